//! Errors of executions: code, name and what to do next.

use hypermesh_abi::Code;

use crate::ops::executions::error::RunError;
use crate::ops::executions::receipt::ReceiptError;
use crate::vm::schedule::Unplaced;

pub(super) fn code(error: &RunError) -> Code {
    match error {
        RunError::Stopping => Code::NOT_RUNNING,
        RunError::Busy { .. } | RunError::Full(_) => Code::BUSY,
        RunError::Waited { .. } | RunError::Late { .. } => Code::TIMEOUT,
        RunError::Placement { source: Unplaced::Unnamed, .. } | RunError::Unscheduled { .. } => Code::INVALID_ARGUMENT,
        RunError::Placement { .. } => Code::RESOURCE_UNAVAILABLE,
        RunError::Elsewhere { .. } => Code::UNSUPPORTED,
        RunError::TooFar { .. } => Code::INVALID_ARGUMENT,
        RunError::Changed { .. } => Code::BUSY,
        RunError::Journal(_) | RunError::Storage { .. } => Code::IO,
        RunError::NoReceipt { .. } => Code::NOT_FOUND,
        RunError::Receipt(ReceiptError::File { .. }) => Code::IO,
        RunError::Receipt(ReceiptError::TooLarge { .. }) => Code::INVALID_ARGUMENT,
        RunError::Receipt(ReceiptError::Differs { .. }) => Code::INTEGRITY,
        RunError::Receipt(_) => Code::CERTIFICATE_VALIDATION_FAILED,
    }
}

pub(super) fn name(error: &RunError) -> Option<&'static str> {
    Some(match error {
        RunError::Busy { .. } => "EXECUTION_WOULD_WAIT",
        RunError::Full(_) => "QUEUE_FULL",
        RunError::Waited { .. } => "QUEUE_TIMEOUT",
        RunError::Placement { .. } => "NO_PLACEMENT",
        RunError::Elsewhere { .. } => "REMOTE_ONLY",
        RunError::Unscheduled { .. } => "NO_TIME_GIVEN",
        RunError::Changed { .. } => "PACKAGE_CHANGED",
        RunError::NoReceipt { .. } => "NO_RECEIPT",
        RunError::Receipt(_) => "RECEIPT_REFUSED",
        _ => return None,
    })
}

pub(super) fn help(error: &RunError) -> Option<String> {
    Some(match error {
        RunError::Stopping => "start the node again with `host-sim up`".into(),
        RunError::Busy { .. } => "leave `--no-wait` out to wait for its turn".into(),
        RunError::Full(_) => "`catalog ps --active` shows what waits, `catalog kill` ends it".into(),
        RunError::Waited { .. } => {
            "`--detach` lets it wait an hour; `spec.execution.timeout_config.execution` is how long it waits otherwise"
                .into()
        }
        RunError::Late { field, .. } => format!("raise `{field}`, or try again later"),
        RunError::Placement { source: Unplaced::Rule { .. }, .. } => {
            "change `spec.execution.scheduling.node_affinity` or `anti_affinity`, or label the nodes".into()
        }
        RunError::Placement { .. } => "change `spec.execution` or `spec.resources` of the package".into(),
        RunError::Elsewhere { .. } => {
            "run it on that node, or change `spec.execution.delegation_strategy` and the rules of affinity".into()
        }
        RunError::Unscheduled { .. } => "say when: `--at 2030-01-01T00:00:00Z`".into(),
        RunError::TooFar { .. } => "schedule it later on".into(),
        RunError::Changed { .. } => "run it again".into(),
        RunError::NoReceipt { .. } => {
            "only an execution that gave a value has one, as `catalog ps EXECUTION` shows".into()
        }
        RunError::Receipt(ReceiptError::Differs { .. }) => {
            "whoever signed it was told something else; ask the node that ran it again with `catalog receipt`".into()
        }
        RunError::Receipt(ReceiptError::Envelope(_)) => {
            "the node must believe the roots of whoever signed it: see `host-sim trust show`".into()
        }
        _ => return None,
    })
}
