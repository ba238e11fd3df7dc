//! Answers about programs: what a run gave, what runs, and what `verify` found.

use std::fmt::Write;

use hypermesh_abi::records::{InputFault, Response};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};

use super::shown::{micros, shown, size};
use crate::extension::errors;
use crate::ops::execute::Executed;
use crate::ops::publish::published_at;
use crate::ops::verify::Finding;
use crate::vm::execution::Execution;

pub(in crate::extension) fn executed(executed: &Executed) -> Response {
    let (outcome, usage) = (&executed.outcome, &executed.outcome.usage);
    let value = outcome.value.to_json();
    let mut text = outcome.output.stdout.clone();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let _ = writeln!(text, "=> {}", shown(&value));
    let start = if usage.worker_start_us == 0 {
        "warm worker".into()
    } else {
        format!("worker start {}", micros(usage.worker_start_us))
    };
    let _ = writeln!(
        text,
        "   {} {} in {} ({start}, cpu {}, memory {})",
        executed.package.name,
        executed.package.version,
        micros(usage.wall_us),
        micros(usage.cpu_us),
        size(usage.memory_peak_bytes)
    );
    let receipt = &executed.receipt;
    let leases: Vec<Json> = executed
        .leased
        .iter()
        .map(|asset| json!({"id": asset.id, "type": asset.kind, "amount": asset.amount}))
        .collect();
    let data = json!({
        "execution": executed.id, "state": "Completed", "package": executed.package.name,
        "version": executed.package.version, "value": value,
        "stdout": outcome.output.stdout, "stderr": outcome.output.stderr,
        "usage": {"total_us": executed.total_us, "wall_us": usage.wall_us, "worker_start_us": usage.worker_start_us,
            "call_us": usage.call_us, "cpu_us": usage.cpu_us, "memory_peak_bytes": usage.memory_peak_bytes},
        "leases": leases, "sandbox": {"level": executed.sandbox_level, "network": "none", "files": "none", "grade": outcome.grade,
            "layers": outcome.layers},
        "receipt": {"package": executed.package.digest, "program": receipt.program, "input": receipt.input,
            "output": receipt.output, "proof": receipt.proof, "started_at": published_at(receipt.started_at),
            "finished_at": published_at(receipt.finished_at)},
    });
    Response { data, text }
}

pub(in crate::extension) fn executions(executions: &[Execution], active: bool) -> Response {
    let shown = executions.iter().filter(|execution| !active || !execution.state.is_final());
    let mut text = String::new();
    let mut rows = Vec::new();
    for execution in shown {
        let state = execution.state.to_string();
        let error = execution.error.as_deref().unwrap_or_default();
        let row = format!(
            "{}  {:<11} {:<22} {:>10}  {error}",
            execution.id,
            state,
            execution.package.as_str(),
            micros(execution.usage.wall_us)
        );
        let _ = writeln!(text, "{}", row.trim_end());
        rows.push(json!({"execution": execution.id, "package": execution.package, "state": state,
            "leases": execution.leases, "proof": execution.proof, "error": execution.error,
            "accepted_at": published_at(execution.accepted_at),
            "started_at": execution.started_at.map(published_at),
            "finished_at": execution.finished_at.map(published_at),
            "usage": {"wall_us": execution.usage.wall_us, "cpu_us": execution.usage.cpu_us,
                "memory_peak_bytes": execution.usage.memory_peak_bytes}}));
    }
    if rows.is_empty() {
        text.push_str("no executions; a node remembers them while it runs (`host-sim up`)\n");
    }
    Response { data: json!({"executions": rows}), text }
}

pub(in crate::extension) fn terminated(execution: &Execution) -> Response {
    let text = format!("execution {} of {} is being ended\n", execution.id, execution.package);
    Response { data: json!({"execution": execution.id, "package": execution.package}), text }
}

/// Damage is an error of the verb, so that scripts see it; each damaged package is one fault.
pub(in crate::extension) fn verified(findings: &[Finding]) -> Result<Response, Error> {
    let damaged: Vec<InputFault> = findings
        .iter()
        .filter_map(|finding| Some(errors::of_damage(&finding.package, finding.fault.as_ref()?)))
        .collect();
    if !damaged.is_empty() {
        let mut error =
            Error::new(Code::INTEGRITY, format!("{} of {} packages are damaged", damaged.len(), findings.len()));
        error.detail.faults = damaged;
        return Err(error);
    }
    let mut text = String::new();
    let mut rows = Vec::new();
    for Finding { package, .. } in findings {
        let named = format!("{} {}", package.name, package.version);
        let _ = writeln!(text, "{named:<28} {}  ok", package.digest.short());
        rows.push(json!({"package": package.name, "version": package.version, "digest": package.digest, "ok": true}));
    }
    match findings.len() {
        0 => text.push_str("nothing is installed\n"),
        1 => text.push_str("the package is as it was published\n"),
        many => {
            let _ = writeln!(text, "{many} packages are as they were published");
        }
    }
    Ok(Response { data: json!({"packages": rows, "findings": []}), text })
}
