//! One execution as it is shown and kept: where it stands, what it used, the end of what it printed, its value and receipt.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use trustchain::receipt::Receipt;

use crate::package::model::Priority;
use crate::package::name::PackageName;
use crate::vm::Usage;
use crate::vm::execution::{Execution, ExecutionId, State};
use crate::vm::monitor::{Monitor, Stream};

/// The largest value that is kept, in bytes of JSON; whoever waits for a run gets a larger one all the same.
pub const VALUE_BYTES_MAX: usize = 256 << 10;

/// What is known of one execution. Its JSON form is what is kept, so fields are added with a default and never renamed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its identity.
    pub id: ExecutionId,
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: String,
    /// Its place in the queue.
    pub priority: Priority,
    /// The node it was placed on.
    pub node: String,
    /// Whether it goes on without whoever asked for it.
    pub detached: bool,
    /// Where it stands.
    pub state: State,
    /// How often it was tried.
    pub attempts: u32,
    /// How long it waited in the queue, in microseconds.
    pub queued_us: u64,
    /// The leases it holds, or held, by the host's ids.
    pub leases: Vec<String>,
    /// The consensus proof it ran under.
    pub proof: Option<String>,
    /// When it was accepted.
    #[serde(with = "time::serde::rfc3339")]
    pub accepted_at: OffsetDateTime,
    /// When its program began to run, the last time.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// When it finished.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// What it used; of one that runs, what it uses now.
    pub usage: Usage,
    /// Why it failed, or the attempt before.
    pub error: Option<String>,
    /// The end of its output.
    pub stdout: Printed,
    /// The end of its error output.
    pub stderr: Printed,
    /// What it gave; none if it gave none, or one above [`VALUE_BYTES_MAX`].
    #[serde(default)]
    pub value: Option<serde_json::Value>,
    /// Its receipt.
    #[serde(default)]
    pub receipt: Option<Receipt>,
    /// The receipt as it was signed, once somebody has asked for it.
    #[serde(default)]
    pub signed: Option<String>,
}

/// The end of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Printed {
    /// How many bytes came before it and are gone.
    pub skipped: u64,
    /// The text; bytes that are no UTF-8 are replaced.
    pub text: String,
}

impl Record {
    /// Makes the record of an execution, with what can be seen of it now.
    pub fn of(execution: &Execution, monitor: &Monitor, now: OffsetDateTime) -> Self {
        let mut usage = execution.usage;
        if execution.state == State::Running {
            let live = monitor.usage().unwrap_or_default();
            usage.cpu_us = live.cpu_us;
            usage.memory_peak_bytes = live.memory_bytes;
            let since = execution.started_at.map_or(0, |started| (now - started).whole_microseconds());
            usage.wall_us = u64::try_from(since).unwrap_or(0);
        }
        let mut queued_us = execution.queued_us;
        if execution.state == State::Pending && execution.attempts == 0 {
            queued_us = u64::try_from((now - execution.accepted_at).whole_microseconds()).unwrap_or(0);
        }
        Self {
            id: execution.id,
            package: execution.package.clone(),
            version: execution.version.clone(),
            priority: execution.priority,
            node: execution.node.clone(),
            detached: execution.detached,
            state: execution.state,
            attempts: execution.attempts,
            queued_us,
            leases: execution.leases.clone(),
            proof: execution.proof.clone(),
            accepted_at: execution.accepted_at,
            started_at: execution.started_at,
            finished_at: execution.finished_at,
            usage,
            error: execution.error.clone(),
            stdout: Printed::of(monitor, Stream::Stdout),
            stderr: Printed::of(monitor, Stream::Stderr),
            value: None,
            receipt: None,
            signed: None,
        }
    }
}

impl Printed {
    /// Takes the end of a stream.
    pub fn of(monitor: &Monitor, stream: Stream) -> Self {
        let part = monitor.printed_since(stream, 0);
        Self { skipped: part.offset, text: String::from_utf8_lossy(&part.bytes).into_owned() }
    }
}
