#!/usr/bin/env bash
# Measures everything that has a target, each beside its peer or floor in the same run, and says which are met.
#
#   benches/compare.sh [--rounds N] [--write] [NAME...]
#
# NAME is one of those below; without any, all run, which takes long. Each runs N times (3), one
# after the other; the table has the median and the range. `--write` also puts the rows into docs/performance.md, where those of
# others stay, each with when it was made. Peers that are missing are
# installed where that is possible (as root by apt-get, b3sum by cargo, uv by pip), else left out with a word. They and `python3`
# must be the programs themselves: a wrapper on PATH, as pyenv's are, takes longer than what is measured. Julia is looked for in the home
# that CATALOG_BENCH_HOME names (`host-sim runtime install julia`). A quiet machine is asked for; its load is told before each run.
set -euo pipefail
cd "$(dirname "$0")/.."

all=(abi trust store resolve search million sandbox queue vm wasm template document console mesh cluster reconcile scale-memory scale-quic transfer)
rounds=3
write=
names=()
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=${2:?"--rounds wants a number"}; shift ;;
    --write) write=1 ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *)
        if [[ " ${all[*]} " != *" $1 "* ]]; then
            echo "there is no benchmark \`$1\`; there are: ${all[*]}" >&2
            exit 2
        fi
        names+=("$1")
        ;;
    esac
    shift
done
[ "${#names[@]}" -gt 0 ] || names=("${all[@]}")

# One choice of packages and features for everything, so that everything is built once.
choice=(--workspace --features stoq/testing)
target=${CARGO_TARGET_DIR:-target}
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# Runs one benchmark; what it prints goes to standard error, so that the table stands alone on standard output.
one() {
    case $1 in
    million) cargo bench --quiet "${choice[@]}" --bench search -- million ;;
    reconcile) "$target/release/examples/reconcile" ;;
    scale-memory) "$target/release/examples/scale" --nodes 200 ;;
    scale-quic) "$target/release/examples/scale" --nodes 64 --quic ;;
    transfer) benches/transfer/run.sh ;;
    *) cargo bench --quiet "${choice[@]}" --bench "$1" ;;
    esac
}

has() { command -v "$1" >/dev/null; }

peers() {
    local pair packages=()
    for pair in zstd:zstd nginx:nginx-light curl:curl lua5.4:lua5.4 bwrap:bubblewrap; do
        has "${pair%%:*}" || packages+=("${pair#*:}")
    done
    if [ "${#packages[@]}" -gt 0 ] && [ "$(id -u)" -eq 0 ] && has apt-get; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"
    fi
    has b3sum || cargo install --quiet --locked b3sum
    if ! has uv && has python3; then
        python3 -m pip install --quiet uv
        PATH=$PATH:$(python3 -c 'import sysconfig; print(sysconfig.get_path("scripts"))')
    fi
}

peers >&2 || echo "=== not every peer could be installed" >&2
cargo build --release "${choice[@]}" --examples --bins
for name in "${names[@]}"; do
    for round in $(seq "$rounds"); do
        printf '=== %s, round %s of %s, load %s\n' "$name" "$round" "$rounds" "$(cut -d' ' -f1 /proc/loadavg)" >&2
        if ! one "$name" 2>&1 | tee -a /dev/stderr | sed -n "s/^target: /$name | /p" >>"$results"; then
            echo "=== $name ended with an error" >&2
        fi
    done
    grep -q "^$name |" "$results" || printf '%s | everything | - | - | - | NOT RUN\n' "$name" >>"$results"
done

# The rows of what ran, with when that was.
rows() {
    local runs="$rounds runs"
    [ "$rounds" -gt 1 ] || runs="1 run"
    awk -F ' [|] ' -v made="$(date -u +%Y-%m-%d), $runs, $(git rev-parse --short HEAD)" '
    function number(value) { return value >= 100 ? sprintf("%.0f", value) : sprintf("%.3g", value) }
    {
        key = $1 " | " $2
        if (!(key in count)) order[++known] = key
        values[key, ++count[key]] = $3
        bound[key] = $4; unit[key] = $5; last[key] = $6
    }
    END {
        for (k = 1; k <= known; k++) {
            key = order[k]; n = count[key]
            if (last[key] == "NOT RUN") { printf "| %s | | | | not run | %s |\n", key, made; continue }
            for (i = 1; i <= n; i++) list[i] = values[key, i] + 0
            for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (list[j] < list[i]) { swap = list[i]; list[i] = list[j]; list[j] = swap }
            median = n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
            printf "| %s | %s %s | %s to %s |", key, number(median), unit[key], number(list[1]), number(list[n])
            if (bound[key] == "none") { printf " | | %s |\n", made; continue }
            split(bound[key], words, " ")
            met = words[2] == "least" ? median >= words[3] : median <= words[3]
            printf " %s | %s | %s |\n", bound[key], met ? "met" : "**not met**", made
        }
    }' "$results"
}

# A table of rows, and how many targets they meet.
table() {
    printf '| Benchmark | What | Median | Range | Target | | Made |\n|---|---|---|---|---|---|---|\n'
    awk '{ print } / \| met \| /{ met++ } / \| (met|[*][*]not met[*][*]) \| /{ all++ }
        END { printf "\n%d of %d targets are met.\n", met, all }'
}

page() {
    local name
    cat <<TEXT
# Performance

What is measured, beside what, and which targets are met. \`benches/compare.sh --write\` makes these rows; each figure is the median
of the runs of its benchmark, which measures many times, and its peer or floor in turns with ours. Each benchmark says at its head
what it does. The machines on which this is made are shared, so ratios say more than times.

TEXT
    printf 'The last rows were made with %s processors (%s).\n\n' "$(nproc)" \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)"
    for name in "${all[@]}"; do
        if [[ " ${names[*]} " == *" $name "* ]]; then rows; else cat docs/performance.md; fi | grep "^| $name |" || true
    done | table
}

rows | table
if [ -n "$write" ]; then
    made=$(page)
    printf '%s\n' "$made" >docs/performance.md
fi
