//! Answers about attacks on the sandbox.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hypermesh_abi::records::{InputFault, Response};
use hypermesh_abi::{Code, Error};
use serde_json::json;

use crate::vm::escape::{Case, Report, Tried};

/// How many attacks one line of the table names.
const NAMES_IN_LINE_MAX: usize = 6;

pub(in crate::extension) fn attacks(cases: &[Case]) -> Response {
    let mut text = String::new();
    for case in cases {
        let _ = writeln!(text, "{:<28} {:<6} {}", case.name, case.language.as_str(), case.tries);
    }
    let rows: Vec<_> = cases
        .iter()
        .map(|case| json!({"name": case.name, "language": case.language.as_str(), "tries": case.tries}))
        .collect();
    Response { data: json!({"total": cases.len(), "cases": rows}), text }
}

/// An escape is an error whose answer has everything, for programs as well.
pub(in crate::extension) fn attacked(report: &Report) -> Result<Response, Error> {
    let data = serde_json::to_value(report).unwrap_or_default();
    let text = table(report);
    if report.is_clean() {
        return Ok(Response { data, text });
    }
    let escaped: Vec<&Tried> = report.cases.iter().filter(|case| case.contained == Some(false)).collect();
    let message = format!("{} of {} attacks were not contained", escaped.len(), report.total);
    let mut error = Error::new(Code::POLICY_DENIED, message)
        .help("run no program that you do not trust on this machine until its sandbox holds");
    error.detail.name = Some("SANDBOX_ESCAPED".into());
    error.detail.faults = escaped.into_iter().map(fault).collect();
    error.detail.answer = Some(Response { data, text });
    Err(error)
}

fn fault(case: &Tried) -> InputFault {
    InputFault {
        code: "SANDBOX_ESCAPED".into(),
        severity: "critical".into(),
        message: format!("{}: {} ({})", case.name, case.tries, case.stopped_by),
        ..InputFault::default()
    }
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let layers: Vec<&str> = report.layers.iter().map(|layer| layer.as_str()).collect();
    let _ = writeln!(text, "sandbox {}: {}", report.grade, layers.join(", "));
    for absent in &report.absent {
        let _ = writeln!(text, "  absent: {} ({})", absent.layer, absent.reason);
    }
    let mut by_layer: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for case in report.cases.iter().filter(|case| case.contained == Some(true)) {
        by_layer.entry(&case.layer).or_default().push(case.name);
    }
    let _ = writeln!(text, "stopped by");
    for (layer, names) in by_layer {
        for (index, names) in names.chunks(NAMES_IN_LINE_MAX).enumerate() {
            let shown = if index == 0 { layer } else { "" };
            let _ = writeln!(text, "  {shown:<18} {}", names.join(", "));
        }
    }
    for case in report.cases.iter().filter(|case| case.contained == Some(false)) {
        let _ = writeln!(text, "NOT CONTAINED {}: {} ({})", case.name, case.tries, case.stopped_by);
    }
    let _ = write!(text, "{} of {} attacks were contained", report.contained, report.total);
    let skipped = report.cases.iter().find(|case| case.contained.is_none());
    let skipped = skipped.map(|case| format!("; {} skipped: {}", report.skipped, case.stopped_by));
    let _ = writeln!(text, "{}", skipped.unwrap_or_default());
    text
}
