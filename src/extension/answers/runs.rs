//! Answers about programs: what a run gave, what runs, and what `verify` found.

use std::fmt::Write;
use std::path::Path;

use hypermesh_abi::records::{InputFault, Response};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};

use super::memory;
use super::shown::{micros, shown, size};
use crate::extension::errors;
use crate::ops::execute::Executed;
use crate::ops::executions::receipt::CheckedReceipt;
use crate::ops::executions::record::Record;
use crate::ops::executions::{Detached, Listed};
use crate::ops::network::{Agreed, Agreement, Evidence, Given, Vote};
use crate::ops::publish::published_at;
use crate::ops::verify::Finding;

/// The longest value in a list of executions, in bytes of JSON; that of one execution is shown whole.
const LISTED_VALUE_BYTES_MAX: usize = 1 << 10;

/// The text begins with what was printed, unless it was shown as it came.
pub(in crate::extension) fn executed(executed: &Executed, shown_already: bool) -> Response {
    let (outcome, usage) = (&executed.outcome, &executed.outcome.usage);
    let value = outcome.value.to_json();
    let mut text = if shown_already { String::new() } else { outcome.output.stdout.clone() };
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
        "version": executed.package.version, "value": value, "node": executed.node, "attempts": executed.attempts,
        "stdout": outcome.output.stdout, "stderr": outcome.output.stderr,
        "usage": {"total_us": executed.total_us, "queued_us": executed.queued_us, "wall_us": usage.wall_us, "worker_start_us": usage.worker_start_us,
            "call_us": usage.call_us, "cpu_us": usage.cpu_us, "memory_peak_bytes": usage.memory_peak_bytes},
        "leases": leases, "sandbox": {"level": executed.sandbox_level, "network": "none", "files": "none", "grade": outcome.grade,
            "layers": outcome.layers},
        "receipt": {"package": executed.package.digest, "program": receipt.program, "input": receipt.input,
            "output": receipt.output, "proof": receipt.proof, "started_at": published_at(receipt.started_at),
            "finished_at": published_at(receipt.finished_at)},
    });
    let mut response = Response { data, text };
    memory::add_to_run(&executed.kept, &mut response);
    response
}

/// Adds who agreed and who did not to what the first of them gave.
pub(in crate::extension) fn agreed(agreed: &Agreed) -> Response {
    let (agreement, mut response) = (&agreed.agreement, executed(&agreed.executed, false));
    let most = agreement.most_count();
    let (all, needed) = (agreement.votes.len(), agreement.agree);
    let _ = writeln!(response.text, "   {most} of {all} nodes gave this, and {needed} had to");
    for vote in agreement.dissenters() {
        let _ = writeln!(response.text, "   but {vote}");
    }
    response.data["agreement"] = votes(agreement);
    response
}

/// Says what each node gave where too few gave the same.
pub(in crate::extension) fn disagreement(agreement: &Agreement) -> Response {
    let mut text = String::new();
    for vote in &agreement.votes {
        let _ = writeln!(text, "  {vote}");
    }
    Response { data: json!({"agreement": votes(agreement)}), text }
}

fn votes(agreement: &Agreement) -> Json {
    let most = agreement.most();
    let one = |vote: &Vote| {
        let (node, peer) = (&vote.node, &vote.peer);
        let mut row = match &vote.given {
            Given::Value { execution, program, output } => {
                let said = match most {
                    None => "value",
                    Some(most) if most == (*program, *output) => "most",
                    Some(_) => "differs",
                };
                json!({"node": node, "peer": peer, "said": said, "execution": execution, "program": program,
                    "output": output})
            }
            Given::Nothing { reason } => json!({"node": node, "peer": peer, "said": "nothing", "reason": reason}),
            Given::Forged { reason } => json!({"node": node, "peer": peer, "said": "forged", "reason": reason}),
            Given::Unfinished => json!({"node": node, "peer": peer, "said": "unfinished"}),
        };
        match &vote.evidence {
            Some(Evidence::Signed { envelope, signer }) => {
                row["receipt"] = json!({"signer": signer, "envelope": envelope});
            }
            Some(Evidence::Missing { reason }) => row["receipt"] = json!({"missing": reason}),
            None => {}
        }
        row
    };
    json!({"agree": agreement.agree, "nodes": agreement.votes.iter().map(one).collect::<Vec<_>>()})
}

pub(in crate::extension) fn detached(detached: &Detached) -> Response {
    let record = &detached.record;
    let text = format!(
        "execution {} of {} {} is {}\n   `catalog logs {}` shows what it prints\n",
        record.id, record.package, record.version, record.state, record.id
    );
    Response { data: row(record), text }
}

pub(in crate::extension) fn executions(listed: &Listed, passed_over: usize) -> Response {
    let mut text = String::new();
    let records = &listed.list;
    let earlier = listed.total.saturating_sub(passed_over + records.len());
    for record in records {
        let error = record.error.as_deref().unwrap_or_default();
        let row = format!(
            "{}  {:<11} {:<22} {:>10} {:>10} {:>9}  {error}",
            record.id,
            record.state.to_string(),
            record.package.as_str(),
            micros(record.usage.wall_us),
            micros(record.usage.cpu_us),
            size(record.usage.memory_peak_bytes),
        );
        let _ = writeln!(text, "{}", row.trim_end());
    }
    if records.is_empty() {
        text.push_str("no executions\n");
    } else if earlier > 0 {
        let _ = writeln!(text, "{earlier} earlier ones with `--all`");
    }
    let rows: Vec<Json> = records.iter().map(listed_row).collect();
    Response { data: json!({"executions": rows, "total": listed.total}), text }
}

pub(in crate::extension) fn execution(record: &Record) -> Response {
    let mut text = String::new();
    let lines = [
        ("execution", record.id.to_string()),
        ("package", format!("{} {}", record.package, record.version)),
        ("state", record.state.to_string()),
        ("priority", format!("{:?}", record.priority).to_lowercase()),
        ("node", record.node.clone()),
        ("attempts", record.attempts.to_string()),
        ("in queue", micros(record.queued_us)),
        ("ran", micros(record.usage.wall_us)),
        ("cpu", micros(record.usage.cpu_us)),
        ("memory", size(record.usage.memory_peak_bytes)),
        ("error", record.error.clone().unwrap_or_default()),
        ("value", record.value.as_ref().map(shown).unwrap_or_default()),
    ];
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "{name:<10} {value}");
    }
    Response { data: row(record), text }
}

/// The text is what was printed, unless it was shown as it came.
pub(in crate::extension) fn logs(record: &Record, shown_already: bool) -> Response {
    let mut text = String::new();
    if !shown_already {
        for printed in [&record.stdout, &record.stderr] {
            if printed.skipped > 0 {
                let _ = writeln!(text, "[{} bytes before this are no longer kept]", printed.skipped);
            }
            text.push_str(&printed.text);
            if !printed.text.is_empty() && !printed.text.ends_with('\n') {
                text.push('\n');
            }
        }
    }
    let data = json!({"execution": record.id, "package": record.package, "state": record.state.to_string(),
        "stdout": record.stdout.text, "stdout_skipped_bytes": record.stdout.skipped,
        "stderr": record.stderr.text, "stderr_skipped_bytes": record.stderr.skipped});
    Response { data, text }
}

pub(in crate::extension) fn checked_receipt(checked: &CheckedReceipt, file: Option<&Path>) -> Response {
    let receipt = &checked.receipt;
    let mut text = format!(
        "execution {} of {} {}\n   program {}\n   input   {}\n   output  {}\n   signed by {} at {}\n",
        receipt.execution,
        receipt.package,
        receipt.version,
        receipt.program,
        receipt.input,
        receipt.output,
        checked.signer,
        published_at(checked.signed_at)
    );
    if let Some(file) = file {
        let _ = writeln!(text, "   written to {}", file.display());
    }
    let data = json!({"verified": true, "receipt": receipt, "signer": checked.signer,
        "signed_at": published_at(checked.signed_at), "envelope": checked.envelope, "file": file});
    Response { data, text }
}

pub(in crate::extension) fn terminated(record: &Record) -> Response {
    let text = format!("execution {} of {} is being ended\n", record.id, record.package);
    Response { data: json!({"execution": record.id, "package": record.package}), text }
}

/// Gives a row of a list, in which a long value is left out: many of them would be more than one answer holds.
fn listed_row(record: &Record) -> Json {
    let mut listed = row(record);
    if listed["value"].to_string().len() > LISTED_VALUE_BYTES_MAX {
        listed["value"] = Json::Null;
        listed["value_left_out"] = true.into();
    }
    listed
}

fn row(record: &Record) -> Json {
    json!({"execution": record.id, "package": record.package, "version": record.version,
        "state": record.state.to_string(), "priority": record.priority, "node": record.node,
        "detached": record.detached, "attempts": record.attempts,
        "leases": record.leases, "proof": record.proof, "error": record.error, "value": record.value,
        "accepted_at": published_at(record.accepted_at),
        "started_at": record.started_at.map(published_at),
        "finished_at": record.finished_at.map(published_at),
        "usage": {"queued_us": record.queued_us, "wall_us": record.usage.wall_us, "cpu_us": record.usage.cpu_us,
            "memory_peak_bytes": record.usage.memory_peak_bytes}})
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
