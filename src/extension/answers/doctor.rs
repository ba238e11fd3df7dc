//! The answer about this machine.

use std::fmt::Write as _;

use hypermesh_abi::records::Response;
use serde_json::json;

use crate::ops::doctor::{Finding, State};

pub(in crate::extension) fn doctor(findings: &[Finding]) -> Response {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "{:<8} {:<11} {}", finding.state.as_str(), finding.area, finding.says);
        if let Some(help) = &finding.help {
            let _ = writeln!(text, "{:<8} {:<11} -> {help}", "", "");
        }
    }
    let of = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (limited, broken) = (of(State::Limited), of(State::Broken));
    let _ = match (limited, broken) {
        (0, 0) => writeln!(text, "nothing is wrong here"),
        _ => writeln!(text, "{limited} limited, {broken} broken"),
    };
    let rows: Vec<_> = findings
        .iter()
        .map(|it| json!({"area": it.area, "state": it.state.as_str(), "says": it.says, "help": it.help}))
        .collect();
    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ready);
    Response { data: json!({"findings": rows, "worst": worst.as_str()}), text }
}
