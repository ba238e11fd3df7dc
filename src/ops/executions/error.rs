//! Why an execution is not accepted, does not begin, or cannot be told about.

use std::time::Duration;

use time::OffsetDateTime;

use super::journal::JournalError;
use super::receipt::ReceiptError;
use crate::package::name::PackageName;
use crate::vm::execution::{ExecutionId, State};
use crate::vm::queue::Full;
use crate::vm::schedule::Unplaced;

/// Why an execution is not accepted, does not begin, or cannot be told about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The node stops.
    #[error("the node stops, and begins nothing any more")]
    Stopping,
    /// It would have to wait, and whoever asked does not want to.
    #[error("package `{name}` cannot begin at once: {begun} executions have begun and {waiting} wait")]
    Busy {
        /// Its name.
        name: PackageName,
        /// How many wait.
        waiting: usize,
        /// How many have begun.
        begun: usize,
    },
    /// Too many wait.
    #[error(transparent)]
    Full(#[from] Full),
    /// Its turn did not come in time.
    #[error("package `{name}` waited {limit:?} for its turn, which did not come")]
    Waited {
        /// Its name.
        name: PackageName,
        /// How long it waited.
        limit: Duration,
    },
    /// Something that it needs to begin took too long.
    #[error("package `{name}` waited {limit:?} for {what}, as long as `{field}` allows")]
    Late {
        /// Its name.
        name: PackageName,
        /// For what.
        what: &'static str,
        /// The field with the limit.
        field: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// No node will do.
    #[error("package `{name}` has nowhere to run")]
    Placement {
        /// Its name.
        name: PackageName,
        /// Why.
        source: Unplaced,
    },
    /// Another node is the right one.
    #[error("package `{name}` should run on node `{node}`, and this node cannot have it run there")]
    Elsewhere {
        /// Its name.
        name: PackageName,
        /// The node.
        node: String,
    },
    /// It runs at a given time, and none is given.
    #[error("package `{name}` runs at a given time (`spec.execution.scheduling.timing: scheduled`), and none is given")]
    Unscheduled {
        /// Its name.
        name: PackageName,
    },
    /// It is scheduled too far ahead.
    #[error("package `{name}` cannot be scheduled for {at}: a node looks 30 days ahead")]
    TooFar {
        /// Its name.
        name: PackageName,
        /// The time.
        at: OffsetDateTime,
    },
    /// What is installed became another version while it waited.
    #[error("package `{name}`, or something that it requires, has changed while it waited")]
    Changed {
        /// Its name.
        name: PackageName,
    },
    /// What was executed cannot be kept or read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What packages store cannot be kept.
    #[error("packages cannot store anything on this node: {reason}")]
    Storage {
        /// Why.
        reason: String,
    },
    /// There is no receipt.
    #[error("execution `{id}` is {state:?} and has no receipt")]
    NoReceipt {
        /// The execution.
        id: ExecutionId,
        /// Where it stands.
        state: State,
    },
    /// A receipt is not believed.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
}
