//! What extensions tell of themselves, and the text format as a strict reader takes it.

use std::collections::BTreeSet;

use hypermesh_abi::records::Sample;

use super::super::Metrics;
use super::super::definition::{EXTENSION_HEALTH, NODE_LEASES, REQUEST_SECONDS, REQUESTS};
use super::*;

fn metric(name: &str, kind: MetricKind, samples: &[(&[(&str, &str)], f64)]) -> Metric {
    let sample = |(labels, value): &(&[(&str, &str)], f64)| Sample {
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        value: *value,
    };
    Metric { name: name.to_owned(), kind, help: "Told.".to_owned(), samples: samples.iter().map(sample).collect() }
}

fn dropped(snapshot: &Snapshot) -> f64 {
    snapshot.to_json()[DROPPED.name]["series"][0]["value"].as_f64().unwrap_or(-1.0)
}

#[test]
fn what_an_extension_tells_has_its_own_prefix_and_label() {
    let mut snapshot = Snapshot::default();
    let told = [
        metric("sent_bytes_total", MetricKind::Counter, &[(&[("peer", "a")], 7.0), (&[("peer", "b\"\\\n")], 8.0)]),
        metric("round_trip_seconds", MetricKind::Gauge, &[(&[("peer", "a")], 0.0125)]),
        // The last of two that are one series counts.
        metric("packages", MetricKind::Gauge, &[(&[], 1.0), (&[], 2.0)]),
    ];
    snapshot.extend("io.example", &told);
    let text = snapshot.to_prometheus();
    for expected in [
        r#"hypermesh_io_example_sent_bytes_total{extension="io.example",peer="a"} 7"#,
        r#"hypermesh_io_example_sent_bytes_total{extension="io.example",peer="b\"\\\n"} 8"#,
        r#"hypermesh_io_example_round_trip_seconds{extension="io.example",peer="a"} 0.0125"#,
        r#"hypermesh_io_example_packages{extension="io.example"} 2"#,
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected} in\n{text}");
    }
    assert_eq!((dropped(&snapshot), read(&text).len()), (0.0, 4));
}

#[test]
fn what_is_malformed_or_too_much_is_counted_and_not_shown() {
    let mut snapshot = Snapshot::default();
    let gauge = |name: &str, labels: &[(&str, &str)], value| metric(name, MetricKind::Gauge, &[(labels, value)]);
    let many: Vec<String> = (0..=LABELS_MAX).map(|number| format!("l{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
    let refused = [
        gauge("Upper", &[], 1.0),
        gauge("", &[], 1.0),
        gauge("a b", &[], 1.0),
        gauge("x\n# TYPE y gauge\ny", &[], 1.0),
        gauge(&"x".repeat(NAME_CHARS_MAX + 1), &[], 1.0),
        gauge("grows_total", &[], 1.0),
        metric("grows", MetricKind::Counter, &[(&[], 1.0)]),
        gauge("x", &[("extension", "other")], 1.0),
        gauge("x", &[("le", "1")], 1.0),
        gauge("x", &[("a-b", "1")], 1.0),
        gauge("x", &many, 1.0),
        gauge("x", &[], f64::NAN),
        gauge("x", &[], f64::INFINITY),
    ];
    snapshot.extend("x", &refused);
    assert_eq!((dropped(&snapshot), read(&snapshot.to_prometheus()).len()), (refused.len() as f64, 1));
    // Nobody gets at what the host says by the name it has.
    snapshot.extend("node", &[gauge("leases", &[], 9.0)]);
    snapshot.extend("request", &[gauge("seconds_count", &[], 9.0)]);
    assert_eq!(dropped(&snapshot), refused.len() as f64 + 2.0);

    let mut snapshot = Snapshot::default();
    let samples: Vec<Sample> = (0..=EXTENSION_SERIES_MAX)
        .map(|number| Sample { labels: [("n".to_owned(), number.to_string())].into(), value: 1.0 })
        .collect();
    let crowd = Metric { samples, ..gauge("crowd", &[], 1.0) };
    snapshot.extend("x", &[crowd]);
    assert_eq!(
        (dropped(&snapshot), read(&snapshot.to_prometheus())["hypermesh_x_crowd"].len()),
        (1.0, EXTENSION_SERIES_MAX)
    );
    // One name has one type, whoever tells it.
    let counter =
        |id: &str, kind, name: &str, snapshot: &mut Snapshot| snapshot.extend(id, &[metric(name, kind, &[(&[], 1.0)])]);
    counter("a.b", MetricKind::Gauge, "c", &mut snapshot);
    counter("a", MetricKind::Gauge, "b_c", &mut snapshot);
    assert_eq!(read(&snapshot.to_prometheus())["hypermesh_a_b_c"].len(), 2);
}

#[test]
fn a_strict_reader_takes_the_text() {
    let metrics = Metrics::new();
    for (verb, us) in [("run", 3), ("run", 70_000_000), ("list", 1_500)] {
        let histogram = metrics.histogram(&REQUEST_SECONDS, &["x", verb]);
        histogram.observe(std::time::Duration::from_micros(us));
    }
    metrics.counter(&REQUESTS, &["x\\y\"z\n{}, ", "#"]).add(u64::MAX);
    let mut snapshot = metrics.snapshot();
    snapshot.set(&NODE_LEASES, &[], -0.5);
    for (health, is) in [("Healthy", 1.0), ("Degraded", 0.0)] {
        snapshot.set(&EXTENSION_HEALTH, &["x", health], is);
    }
    let families = read(&snapshot.to_prometheus());
    let names: Vec<&str> = families.keys().map(String::as_str).collect();
    let expected = [EXTENSION_HEALTH, DROPPED, NODE_LEASES, REQUEST_SECONDS, REQUESTS].map(|one| one.name);
    assert_eq!(names, expected);
    assert_eq!(families[REQUEST_SECONDS.name].len(), 2 * (BUCKETS_US.len() + 3));
    assert_eq!(families[REQUESTS.name][0].1["extension"], "x\\y\"z\n{}, ");
    let json = snapshot.to_json();
    let run = &json[REQUEST_SECONDS.name]["series"][1];
    assert_eq!((&run["labels"]["verb"], &run["count"]), (&json!("run"), &json!(2)));
    assert!(run["p50"].as_f64().is_some_and(|p50| p50 <= 5e-6) && run["p99"].is_null(), "{run}");
}

/// A sample: its name, labels and value.
type Read = (String, BTreeMap<String, String>, f64);

/// Reads the text format 0.0.4 and refuses everything that a scraper might.
fn read(text: &str) -> BTreeMap<String, Vec<Read>> {
    let mut families: BTreeMap<String, Vec<Read>> = BTreeMap::new();
    let mut current = (String::new(), String::new());
    let mut seen = BTreeSet::new();
    assert!(text.ends_with('\n'));
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, explained) = help.split_once(' ').expect("a name and a text");
            assert!(!explained.is_empty() && !families.contains_key(name), "{line}");
            let kind =
                lines.next().and_then(|line| line.strip_prefix("# TYPE ")).expect("a type behind each explanation");
            let kind = kind.strip_prefix(name).expect("of the same").trim();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            families.insert(name.to_owned(), Vec::new());
            current = (name.to_owned(), kind.to_owned());
            continue;
        }
        let sample = read_sample(line);
        let ending = sample.0.strip_prefix(&current.0).unwrap_or_else(|| panic!("{line} stands below {}", current.0));
        let endings: &[&str] = if current.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(endings.contains(&ending), "{line}");
        let held = families.get_mut(&current.0).expect("was made above");
        assert!(seen.insert((sample.0.clone(), sample.1.clone())), "{line} comes twice");
        held.push(sample);
    }
    for samples in families.values() {
        assert!(!samples.is_empty());
        expect_cumulative(samples);
    }
    families
}

fn read_sample(line: &str) -> Read {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label), "{line}");
            let (value, behind) = unquote(quoted);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = behind.strip_prefix(',').unwrap_or(behind);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    (name.to_owned(), labels, value)
}

/// Reads a value up to its quotation mark, and gives what stands behind.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next().map(|(_, c)| c) {
                Some('n') => '\n',
                Some(c @ ('\\' | '"')) => c,
                other => panic!("{other:?} behind a backslash in {text}"),
            }),
            '\n' => panic!("a line break in {text}"),
            c => value.push(c),
        }
    }
    panic!("no end of {text}")
}

/// Expects that buckets grow up to `+Inf`, which is the count.
fn expect_cumulative(samples: &[Read]) {
    let mut last: BTreeMap<Vec<(String, String)>, (f64, f64)> = BTreeMap::new();
    for (name, labels, value) in samples {
        let mut others = labels.clone();
        let bound = others.remove("le");
        let key: Vec<(String, String)> = others.into_iter().collect();
        if name.ends_with("_bucket") {
            let bound: f64 = bound.expect("a bucket has a bound").parse().expect("is a number");
            let before = last.insert(key, (bound, *value)).unwrap_or((f64::NEG_INFINITY, 0.0));
            assert!(before.0 < bound && before.1 <= *value, "{name} {labels:?}");
        } else if name.ends_with("_count") && !last.is_empty() {
            assert_eq!(last.get(&key), Some(&(f64::INFINITY, *value)), "{name} {labels:?}");
        }
    }
}
