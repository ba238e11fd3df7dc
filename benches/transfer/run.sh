#!/usr/bin/env bash
# Moves one file from one process to another on this machine, verified, by STOQ and by others, and prints goodput and CPU.
#
#   benches/transfer/run.sh [MEBIBYTES] [ROUNDS]
#
# From tmpfs to tmpfs, over the loopback interface, in interleaved rounds after one that is not counted; medians. What is not
# on this machine is left out with a word: nginx, curl and b3sum (`cargo install b3sum`), and iroh-blobs, which is built here
# when `TRANSFER_IROH=1` says so (ten minutes). CPU is user and system time of both ends.
set -euo pipefail

mebibytes=${1:-1024}
rounds=${2:-3}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$(mktemp -d /dev/shm/transfer.XXXXXX)
servers=()

end() {
    for server in "${servers[@]}"; do kill "$server" 2>/dev/null || true; done
    rm -rf "$work"
}
trap end EXIT

say() { printf '%s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null; }

# CPU seconds so far of a process and its children.
cpu_of() {
    local pid total=0 ticks
    for pid in "$1" $(pgrep -P "$1" || true); do
        ticks=$(awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$pid/stat" 2>/dev/null || echo 0)
        total=$((total + ticks))
    done
    awk -v ticks="$total" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", ticks / hz }'
}

# Starts a server whose standard input stays open; its process is $server and its first line is in $line.
start() {
    local out="$work/server.$RANDOM"
    mkfifo "$out"
    mkfifo "$out.input"
    # Open for reading and writing, so that it never ends; the server ends by the signal of end().
    "$@" <>"$out.input" >"$out" &
    server=$!
    servers+=("$server")
    read -r line <"$out"
}

# One transfer: NAME SERVER COMMAND...; a line of name, seconds, CPU of client and server goes to the results.
measure() {
    local name=$1 server=$2 before after began ended spent
    shift 2
    rm -rf "$work/got" "$work/got.state" "$work/store"
    before=$(cpu_of "$server")
    began=$(date +%s.%N)
    TIMEFORMAT='%U %S'
    spent=$({ time "$@" >"$work/said" 2>"$work/errors"; } 2>&1) || { say "$name failed: $(tail -2 "$work/errors")"; return 0; }
    ended=$(date +%s.%N)
    after=$(cpu_of "$server")
    if [[ $round -gt 0 ]]; then
        printf '%s %s %s %s %s %s %s\n' "$name" "$began" "$ended" $spent "$before" "$after" >>"$work/results"
    fi
}

curl_verified() {
    curl --silent --show-error --insecure --tlsv1.3 --output "$work/got" "https://127.0.0.1:$nginx_port/blob"
    [[ $(b3sum --no-names "$work/got") == "$digest" ]]
}

say "a file of $mebibytes MiB; load $(cut -d' ' -f1-3 /proc/loadavg)"
head -c "${mebibytes}M" /dev/urandom >"$work/blob"

cargo build --quiet --release --manifest-path "$root/Cargo.toml" --workspace --features stoq/testing --example transfer
transfer="$target/release/examples/transfer"
"$transfer" keys "$work/keys"
start "$transfer" serve "$work/keys" "$work/blob"
read -r address peer digest <<<"$line"
ours=$server
start env STOQ_MTU=1452 "$transfer" serve "$work/keys" "$work/blob"
read -r address_1452 peer_1452 _ <<<"$line"
ours_1452=$server

nginx=
if has nginx && has curl && has b3sum && has openssl; then
    nginx_port=$((20000 + RANDOM % 20000))
    openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout "$work/tls.key" -out "$work/tls.crt" 2>/dev/null
    cat >"$work/nginx.conf" <<CONF
daemon off; worker_processes 1; pid $work/nginx.pid; error_log $work/nginx.log;
events { worker_connections 64; }
http {
    access_log off; sendfile on; tcp_nopush on;
    server {
        listen 127.0.0.1:$nginx_port ssl; root $work;
        ssl_certificate $work/tls.crt; ssl_certificate_key $work/tls.key;
        ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; ssl_session_tickets off;
    }
}
CONF
    chmod 755 "$work"
    nginx -c "$work/nginx.conf" 2>/dev/null &
    nginx=$!
    servers+=("$nginx")
    for _ in $(seq 100); do curl --silent --insecure --head "https://127.0.0.1:$nginx_port/blob" >/dev/null && break; done
else
    say "left out: nginx, curl, openssl or b3sum is not here"
fi

iroh=
iroh_program="$target/release/transfer-iroh"
if [[ ${TRANSFER_IROH:-0} == 1 ]]; then
    CARGO_TARGET_DIR="$target" cargo build --quiet --release --manifest-path "$here/iroh/Cargo.toml" || say "iroh-blobs does not build here"
fi
if [[ -x $iroh_program ]]; then
    start "$iroh_program" serve "$work/iroh" "$work/blob"
    read -r iroh_address iroh_id iroh_hash <<<"$line"
    iroh=$server
else
    say "left out: iroh-blobs is not built; TRANSFER_IROH=1 builds it"
fi

for round in $(seq 0 "$rounds"); do
    measure stoq "$ours" "$transfer" fetch "$work/keys" "$work/got" "$address" "$peer" "$digest"
    measure stoq-mtu-1452 "$ours_1452" env STOQ_MTU=1452 "$transfer" fetch "$work/keys" "$work/got" "$address_1452" "$peer_1452" "$digest"
    measure stoq-raw-discarded "$ours" "$transfer" raw "$work/keys" $((mebibytes << 20)) "$address" "$peer"
    [[ -z $nginx ]] || measure nginx-curl-b3sum "$nginx" curl_verified
    [[ -z $iroh ]] || measure iroh-blobs "$iroh" "$iroh_program" fetch "$work/store" "$iroh_address" "$iroh_id" "$iroh_hash"
done

say "load $(cut -d' ' -f1-3 /proc/loadavg)"
awk -v mebibytes="$mebibytes" '
function median(list, count,    i, j, swap) {
    for (i = 1; i <= count; i++) for (j = i + 1; j <= count; j++) if (list[j] < list[i]) { swap = list[i]; list[i] = list[j]; list[j] = swap }
    return count % 2 ? list[(count + 1) / 2] : (list[count / 2] + list[count / 2 + 1]) / 2
}
function at_least(what, measured, least) {
    printf "target: %s | %.3f | at least %s | times | %s\n", what, measured, least, (measured >= least ? "met" : "NOT MET")
}
function at_most(what, measured, most) {
    printf "target: %s | %.3f | at most %s | times | %s\n", what, measured, most, (measured <= most ? "met" : "NOT MET")
}
{
    if (!($1 in count)) names[++known] = $1
    i = ++count[$1]
    rate[$1, i] = mebibytes / ($3 - $2)
    client[$1, i] = ($4 + $5) * 1024 / mebibytes
    server[$1, i] = ($7 - $6) * 1024 / mebibytes
}
END {
    printf "%-20s %12s %14s %14s %12s %10s %10s\n", "what", "MiB/s median", "client s/GiB", "server s/GiB", "sum s/GiB", "x goodput", "x CPU"
    for (k = 1; k <= known; k++) {
        name = names[k]
        for (i = 1; i <= count[name]; i++) { r[i] = rate[name, i]; c[i] = client[name, i]; s[i] = server[name, i] }
        mr = median(r, count[name]); mc = median(c, count[name]); ms = median(s, count[name])
        if (k == 1) { first_rate = mr; first_cpu = mc + ms }
        goodput[name] = first_rate / mr
        cpu[name] = first_cpu / (mc + ms)
        printf "%-20s %12.0f %14.2f %14.2f %12.2f %10.2f %10.2f\n", name, mr, mc, ms, mc + ms, first_rate / mr, first_cpu / (mc + ms)
    }
    print "x: what STOQ has of the other, goodput above one and CPU below one being better"
    if ("nginx-curl-b3sum" in goodput) at_least("1 GiB over QUIC, goodput of nginx", goodput["nginx-curl-b3sum"], 1.4)
    if ("iroh-blobs" in goodput) {
        at_least("1 GiB over QUIC, goodput of iroh-blobs", goodput["iroh-blobs"], 2.5)
        at_most("1 GiB over QUIC, processor time of iroh-blobs", cpu["iroh-blobs"], 0.4)
    }
}' "$work/results"
