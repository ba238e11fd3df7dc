//! A node that sends metrics and spans to a collector: what arrives is decoded as OTLP.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use prost::Message as _;
use serde_json::{Value as Json, json};

use super::programs;

/// How long something may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A message as it arrived: path, headers, body.
struct Arrived {
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A node that is killed when the test ends.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers whoever posts with 200, and gives what was posted.
fn collector() -> (String, Receiver<Arrived>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("has one");
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                while let Some(arrived) = read(&mut reader) {
                    let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    if sender.send(arrived).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (format!("http://{address}"), receiver)
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Arrived> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let header = |line: &String| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: BTreeMap<String, String> = lines[1..].iter().filter_map(header).collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Arrived { path, headers, body })
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(programs::host_sim());
    command.env_remove("RUST_LOG").env("HOME", home).current_dir(home).arg("--home").arg(home).stdin(Stdio::null());
    command
}

fn up(command: &mut Command) -> (Node, Json) {
    let mut process = command.stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("is piped")).read_line(&mut line).expect("reads");
    (Node(process), serde_json::from_str(&line).expect("is JSON"))
}

fn of(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        other => Some(format!("{other:?}")),
    }
}

#[test]
fn a_collector_gets_metrics_and_spans_and_nobody_does_unasked() {
    let home = programs::home();
    let home = home.path();
    let (node, said) = up(command(home).args(["--json", "up"]));
    assert_eq!(said["otlp"], Json::Null, "it is off until somebody names a collector");
    drop(node);

    let (address, arriving) = collector();
    let mut starting = command(home);
    starting.env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer s3cret").env("OTEL_METRIC_EXPORT_INTERVAL", "100");
    let (_node, said) = up(starting.env("OTEL_SERVICE_NAME", "shop").args(["--json", "up", "--otlp", &address]));
    assert_eq!(said["otlp"], json!(address));
    for (words, code) in [(["catalog", "list"].as_slice(), 0), (&["catalog", "info", "nowhere"], 1)] {
        let ended = command(home).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("starts");
        assert_eq!(ended.code(), Some(code), "{words:?}");
    }

    let (mut requests, mut times) = (BTreeMap::new(), BTreeMap::new());
    let mut spans: Vec<(String, Option<String>, Option<String>)> = Vec::new();
    let started = Instant::now();
    while requests.len() < 2 || times.len() < 2 || spans.iter().filter(|(name, ..)| name == "request").count() < 2 {
        assert!(started.elapsed() < SOON, "requests {requests:?}, times {times:?}, spans {spans:?}");
        let Ok(message) = arriving.recv_timeout(SOON) else { continue };
        assert_eq!(message.headers["content-type"], "application/x-protobuf");
        assert_eq!(message.headers["authorization"], "Bearer s3cret");
        if message.path == "/v1/traces" {
            let traces = ExportTraceServiceRequest::decode(&*message.body).expect("is OTLP");
            for span in traces.resource_spans.into_iter().flat_map(|all| all.scope_spans).flat_map(|all| all.spans) {
                assert!((span.trace_id.len(), span.span_id.len()) == (16, 8));
                assert!(span.start_time_unix_nano <= span.end_time_unix_nano && span.start_time_unix_nano > 0);
                let status = span.status.map(|status| status.message);
                spans.push((span.name, of(&span.attributes, "verb"), status));
            }
            continue;
        }
        assert_eq!(message.path, "/v1/metrics");
        let all = ExportMetricsServiceRequest::decode(&*message.body).expect("is OTLP");
        let resource = all.resource_metrics[0].resource.clone().expect("says who it is");
        assert_eq!(of(&resource.attributes, "service.name").as_deref(), Some("shop"));
        for metric in all.resource_metrics.into_iter().flat_map(|all| all.scope_metrics).flat_map(|all| all.metrics) {
            assert!(metric.name.starts_with("hypermesh_") && !metric.description.is_empty(), "{metric:?}");
            match (metric.name.as_str(), metric.data.expect("has points")) {
                ("hypermesh_requests_total", Data::Sum(sum)) => {
                    assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{sum:?}");
                    for point in sum.data_points {
                        requests.insert(of(&point.attributes, "verb"), point.value);
                    }
                }
                ("hypermesh_request_seconds", Data::Histogram(histogram)) => {
                    for point in histogram.data_points {
                        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                        times.insert(of(&point.attributes, "verb"), (point.count, point.sum > Some(0.0)));
                    }
                }
                _ => {}
            }
        }
    }
    let verbs = |verb: &str| Some(verb.to_owned());
    let one = Some(number_data_point::Value::AsDouble(1.0));
    assert_eq!(requests, [(verbs("info"), one), (verbs("list"), one)].into());
    assert_eq!(times, [(verbs("info"), (1, true)), (verbs("list"), (1, true))].into());
    let of_requests: BTreeMap<_, _> =
        spans.into_iter().filter(|(name, ..)| name == "request").map(|(_, verb, status)| (verb, status)).collect();
    assert_eq!(of_requests, [(verbs("info"), Some("NOT_FOUND".to_owned())), (verbs("list"), None)].into());
}

#[test]
fn a_collector_that_is_wrong_or_away_is_told_and_does_not_hold_up_the_node() {
    let home = programs::home();
    let wrong = command(home.path()).args(["up", "--otlp", "collector:4318"]).output().expect("starts");
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(1) && text.contains("is no address of a collector"), "{text}");

    // A port that nobody has any more.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("has one");
    let mut starting = command(home.path());
    starting.env("OTEL_METRIC_EXPORT_INTERVAL", "100").args(["--json", "up", "--otlp", &format!("http://{address}")]);
    let (mut node, _) = up(starting.stderr(Stdio::piped()));
    let mut lines = BufReader::new(node.0.stderr.take().expect("is piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("takes nothing")), "it says so");
    let listed = command(home.path()).args(["catalog", "list"]).stdout(Stdio::null()).status().expect("starts");
    assert!(listed.success());
    let down = command(home.path()).arg("down").stdout(Stdio::null()).status().expect("starts");
    assert!(down.success() && node.0.wait().expect("ends").success());
}
