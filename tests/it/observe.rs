//! A node as those see it who watch it: metrics and health over HTTP, what each metric means, and a log without secrets.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use catalog::extension::metrics::DESCRIBED;
use host_sim::metrics::definition::ALL;
use hypermesh_abi::records::MetricKind;
use rusqlite::Connection;
use serde_json::{Value as Json, json};

use super::programs;

/// How long an answer may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// The page that says what each metric means.
const PAGE: &str = "docs/metrics.md";

/// A node that is killed when the test ends.
struct Watched {
    process: Child,
    said: Json,
}

impl Watched {
    fn new(home: &Path) -> Self {
        let up = ["--json", "up", "--metrics", "127.0.0.1:0"];
        let mut process = command(home).args(up).stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("is piped")).read_line(&mut line).expect("reads");
        Self { process, said: serde_json::from_str(&line).expect("is JSON") }
    }

    /// Gives status and body of what is asked over HTTP.
    fn get(&self, path: &str) -> (u16, String) {
        let address = self.said["metrics"].as_str().and_then(|url| url.strip_prefix("http://"));
        let address = address.and_then(|url| url.strip_suffix("/metrics")).expect("an address");
        let address: SocketAddr = address.parse().expect("an address");
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(SOON)).expect("is a time");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("is taken");
        let mut all = String::new();
        stream.read_to_string(&mut all).expect("is answered");
        let (head, body) = all.split_once("\r\n\r\n").expect("a head");
        (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body.to_owned())
    }

    /// Expects a health everywhere that it is told.
    fn expect(&self, home: &Path, status: u16, health: &str, reason: &str) {
        let (told, body) = self.get("/health");
        let answer: Json = serde_json::from_str(&body).expect("is JSON");
        assert_eq!((told, &answer["health"]), (status, &json!(health)), "{answer}");
        let why = answer["extensions"][0]["reason"].as_str().unwrap_or_default();
        assert!(why.contains(reason) && why.is_empty() == reason.is_empty(), "{answer}");
        let metrics = self.get("/metrics").1;
        for name in ["hypermesh_node_health{", "hypermesh_extension_health{extension=\"catalog\","] {
            for grade in ["Healthy", "Degraded", "Unhealthy"] {
                let line = format!("{name}health=\"{grade}\"}} {}\n", u8::from(grade == health));
                assert!(metrics.contains(&line), "{line} in\n{metrics}");
            }
        }
        assert_eq!(json(home, &["status"])["health"], health);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(programs::host_sim());
    command.env_remove("RUST_LOG").env("HOME", home).current_dir(home).arg("--home").arg(home).stdin(Stdio::null());
    command
}

fn json(home: &Path, words: &[&str]) -> Json {
    let output = command(home).arg("--json").args(words).output().expect("starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("is JSON")
}

#[test]
fn health_changes_with_faults_and_back() {
    let home = programs::home();
    let home = home.path();
    let node = Watched::new(home);
    node.expect(home, 200, "Healthy", "");
    assert_eq!(json(home, &["pause", "catalog"])["ok"], true);
    node.expect(home, 200, "Degraded", "not running");
    assert_eq!(json(home, &["resume", "catalog"])["ok"], true);
    node.expect(home, 200, "Healthy", "");
    let registry = registry(home);
    registry.execute_batch("ALTER TABLE versions RENAME TO gone").expect("changes");
    node.expect(home, 503, "Unhealthy", "the registry cannot be read");
    registry.execute_batch("ALTER TABLE gone RENAME TO versions").expect("changes");
    node.expect(home, 200, "Healthy", "");
}

#[test]
fn an_extension_that_cannot_be_loaded_is_told_everywhere() {
    let home = programs::home();
    let home = home.path();
    let (broken, changed) = (home.join("extensions/broken"), home.join("extensions/catalog"));
    std::fs::create_dir_all(&broken).expect("made");
    std::fs::write(broken.join("extension.yaml"), "nonsense: 1\n").expect("written");
    let node = Watched::new(home);
    let expect = |id: &str, reason: &str| {
        let (status, body) = node.get("/health");
        let answer: Json = serde_json::from_str(&body).expect("is JSON");
        assert_eq!((status, &answer["health"]), (503, &json!("Unhealthy")), "{answer}");
        let all = answer["extensions"].as_array().expect("a list");
        let one = all.iter().find(|one| one["id"].as_str().is_some_and(|known| known.contains(id))).expect("is told");
        assert!(
            one["health"] == "Unhealthy" && one["reason"].as_str().is_some_and(|why| why.contains(reason)),
            "{one}"
        );
        let status = json(home, &["status"]);
        assert_eq!(status["health"], "Unhealthy");
        assert!(status["failed"][0]["id"].as_str().is_some_and(|known| known.contains(id)), "{status}");
        assert!(node.get("/metrics").1.contains("hypermesh_node_health{health=\"Unhealthy\"} 1\n"));
    };
    expect("broken/extension.yaml", "could not be loaded");
    assert_eq!(json(home, &["status"])["extensions"][0]["health"], "Healthy", "the other one is as it was");
    drop(node);
    std::fs::remove_dir_all(&broken).expect("removed");
    let library = std::fs::read_dir(&changed).expect("is there").map(|entry| entry.expect("reads").path());
    let library =
        library.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "so")).expect("a library");
    let mut bytes = std::fs::read(&library).expect("reads");
    bytes.push(0);
    std::fs::remove_file(&library).expect("removed");
    std::fs::write(&library, bytes).expect("written");
    let status = json(home, &["status"]);
    assert_eq!((&status["health"], &status["failed"][0]["id"]), (&json!("Unhealthy"), &json!("catalog")), "{status}");
    assert_eq!(status["failed"][0]["error"]["code"], "INTEGRITY", "{status}");
}

fn registry(home: &Path) -> Connection {
    let mut found = Vec::new();
    let mut open = vec![home.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("is there").map(|entry| entry.expect("reads")) {
            if entry.file_type().expect("is known").is_dir() {
                open.push(entry.path());
            } else if entry.file_name() == "registry.sqlite" {
                found.push(entry.path());
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    Connection::open(&found[0]).expect("opens")
}

#[test]
fn requests_are_counted_and_timed_by_operation() {
    let home = programs::home();
    let home = home.path();
    programs::package(home, "good", "lua-script", "", "return function() return 1 end");
    let node = Watched::new(home);
    for _ in 0..3 {
        assert_eq!(json(home, &["catalog", "run", "./good"])["value"], 1);
    }
    assert_eq!(json(home, &["catalog", "info", "nobody"])["ok"], false);
    let (status, text) = node.get("/metrics");
    assert_eq!(status, 200);
    for expected in [
        "hypermesh_requests_total{extension=\"catalog\",verb=\"run\"} 3",
        "hypermesh_request_seconds_count{extension=\"catalog\",verb=\"run\"} 3",
        "hypermesh_request_seconds_bucket{extension=\"catalog\",verb=\"run\",le=\"+Inf\"} 3",
        "hypermesh_request_errors_total{extension=\"catalog\",code=\"NOT_FOUND\"} 1",
        "hypermesh_catalog_executions_ended_total{extension=\"catalog\",state=\"completed\"} 3",
        "hypermesh_extension_generation{extension=\"catalog\"} 1",
        "hypermesh_metrics_dropped_series_total 0",
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected} in\n{text}");
    }
    let series = json(home, &["metrics"])["metrics"]["hypermesh_request_seconds"]["series"].clone();
    let also = json(home, &["status"])["metrics"]["hypermesh_request_seconds"]["series"].clone();
    assert_eq!(also.as_array().map(Vec::len), series.as_array().map(Vec::len), "`status` has the same metrics");
    let run = series.as_array().expect("series").iter().find(|one| one["labels"]["verb"] == "run").expect("ran");
    let times = ["p50", "p90", "p95", "p99"].map(|name| run[name].as_f64().expect("a time"));
    assert!(times.is_sorted() && times[0] > 0.0, "{run}");
    // What is told is what the page explains, type and all.
    let page = page();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        assert!(page.contains(&format!("| `{name}` | {kind} |")), "{line}");
    }
}

#[test]
fn the_page_of_metrics_is_fresh() {
    let path = programs::workspace().join(PAGE);
    if std::env::var_os("HYPERMESH_UPDATE").is_some() {
        std::fs::write(&path, page()).expect("written");
    }
    let written = std::fs::read_to_string(&path).expect("reads");
    assert!(written == page(), "`{PAGE}` is made of the tables of metrics; HYPERMESH_UPDATE=1 writes it anew");
}

/// Makes the page of every metric.
fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut row = |name: &str, kind: &str, labels: &[&str], help: &str| {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
    };
    for one in ALL {
        row(one.name, one.kind.name(), one.labels, one.help);
    }
    for one in &DESCRIBED {
        let kind = match one.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        let labels: Vec<&str> = std::iter::once("extension").chain(one.labels.iter().copied()).collect();
        row(&format!("hypermesh_catalog_{}", one.name), kind, &labels, one.help);
    }
    page
}

const INTRODUCTION: &str = "\
# Metrics and health

`host-sim up --metrics 127.0.0.1:9090` answers `GET /metrics` in the Prometheus text format 0.0.4 and `GET /health` as JSON; it is
off if no address is given, and says its address when it is up. `/health` answers 200 while the node is Healthy or Degraded and 503
while it is Unhealthy, with the reason of each extension; one that was found and could not be loaded is Unhealthy. `host-sim metrics`
prints the same text, `host-sim metrics --json` and `host-sim status --json` also the 50th, 90th, 95th and 99th percentile of each
histogram. The answer says what runs on a node and who its peers are: give an address that only watchers reach. A request must name the
node by its address, as `localhost`, or by a name given with `--known-as`; others are answered with 421.

An extension tells its own metrics with its status (`Status.metrics` in [abi.md](abi.md)); the host puts `hypermesh_` and the id of
the extension in front of their names and adds the label `extension`. What is malformed or beyond a bound is counted in
`hypermesh_metrics_dropped_series_total` and not shown.

Buckets of histograms end at 1, 2 and 5 of each power of ten from 1 \u{b5}s to 50 s. Times are seconds.

## OpenTelemetry

`host-sim up --otlp http://127.0.0.1:4318`, or `OTEL_EXPORTER_OTLP_ENDPOINT`, sends the same metrics and the spans of requests to a
collector: OTLP over HTTP with protobuf, to `/v1/metrics` and `/v1/traces` below that address. It is off if neither is given.
`OTEL_EXPORTER_OTLP_HEADERS` (`NAME=VALUE,...`), `OTEL_SERVICE_NAME` (`hypermesh-node` if not given) and `OTEL_METRIC_EXPORT_INTERVAL`
(milliseconds; 15 s if not given) are read as the specification says. Each request is a span `request` with `extension` and `verb`, and
`error` with the name of its code if it failed; what the extension does in it are spans below. Names and values are those of the log,
without secrets. 8,192 spans wait at most, and a collector that does not answer within 10 s loses what it was to get.
`it::telemetry::a_collector_gets_metrics_and_spans_and_nobody_does_unasked` decodes what arrives.

## Metrics

| metric | type | labels | meaning |
|---|---|---|---|
";
