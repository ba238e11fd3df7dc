//! Answers about programs that run and ran.

use serde_json::Value as Json;

use super::shapes;

shapes! {
    /// What a run gave: whole, of one that is detached its beginning, of a file without what only packages have.
    Run {
        execution: Option<String>,
        /// `Queued`, `Running`, `Completed`, `Failed`, `Terminated` and the like.
        state: String,
        package: Option<String>,
        version: Option<String>,
        /// What the program gave, in JSON.
        value: Json,
        node: Option<String>,
        attempts: Option<u32>,
        stdout: Option<String>,
        stderr: Option<String>,
        usage: Usage,
        leases: Option<Vec<Lease>>,
        sandbox: Option<Sandbox>,
        receipt: Option<Digests>,
        /// What each of several nodes gave.
        agreement: Option<Agreement>,
        /// What is kept of its value where it ran.
        memory: Option<Vec<super::memory::Region>>,
        /// The status of a file that ran.
        exit_status: Option<i32>,
        priority: Option<String>,
        detached: Option<bool>,
        proof: Option<String>,
        error: Option<String>,
        accepted_at: Option<String>,
        started_at: Option<String>,
        finished_at: Option<String>,
    }
    /// What it used.
    Usage {
        /// From the question to the answer.
        total_us: Option<u64>,
        queued_us: Option<u64>,
        wall_us: u64,
        /// 0 for a worker that was there.
        worker_start_us: Option<u64>,
        call_us: Option<u64>,
        cpu_us: u64,
        memory_peak_bytes: u64,
    }
    /// The sandbox that it ran in.
    Sandbox {
        /// What the package asks for.
        level: Option<String>,
        network: Option<String>,
        files: Option<String>,
        /// `full`, or `degraded`.
        grade: String,
        /// The layers that held.
        layers: Vec<String>,
    }
    /// What a receipt says of it.
    Digests {
        package: String,
        program: String,
        input: String,
        output: String,
        proof: Option<String>,
        started_at: String,
        finished_at: String,
    }
    /// What several nodes gave.
    Agreement {
        /// How many have to give the same.
        agree: u64,
        nodes: Vec<Vote>,
    }
    /// What one node gave.
    Vote {
        node: String,
        peer: String,
        /// `most`, `differs`, `value`, `nothing`, `forged` or `unfinished`.
        said: String,
        execution: Option<String>,
        program: Option<String>,
        output: Option<String>,
        reason: Option<String>,
        receipt: Option<Evidence>,
    }
    /// The receipt of a vote, or why there is none.
    Evidence { signer: Option<String>, envelope: Option<String>, missing: Option<String> }
    /// Executions, or one of them.
    Executions {
        executions: Option<Vec<Execution>>,
        /// How many there are, with those that are not listed.
        total: Option<u64>,
        execution: Option<String>,
        package: Option<String>,
        version: Option<String>,
        state: Option<String>,
        priority: Option<String>,
        node: Option<String>,
        detached: Option<bool>,
        attempts: Option<u32>,
        leases: Option<Vec<String>>,
        proof: Option<String>,
        error: Option<String>,
        value: Option<Json>,
        accepted_at: Option<String>,
        started_at: Option<String>,
        finished_at: Option<String>,
        usage: Option<Usage>,
    }
    /// An execution.
    Execution {
        execution: String,
        package: String,
        version: String,
        state: String,
        priority: String,
        node: String,
        /// It goes on without whoever asked for it.
        detached: bool,
        attempts: u32,
        /// The ids of what it holds, or held.
        leases: Vec<String>,
        proof: Option<String>,
        error: Option<String>,
        value: Json,
        /// It is too long for a list.
        value_left_out: Option<bool>,
        accepted_at: String,
        started_at: Option<String>,
        finished_at: Option<String>,
        usage: Usage,
    }
    /// What an execution printed.
    Logs {
        execution: String,
        package: String,
        state: String,
        stdout: String,
        /// Bytes before that which are no longer kept.
        stdout_skipped_bytes: u64,
        stderr: String,
        stderr_skipped_bytes: u64,
    }
    /// An execution that is being ended.
    Ended { execution: String, package: String }
    /// A receipt that was checked.
    CheckedReceipt {
        verified: bool,
        receipt: Json,
        signer: String,
        signed_at: String,
        /// The receipt as it was signed, which other nodes check.
        envelope: String,
        file: Option<String>,
    }
}

/// A resource that was leased: whole of a run that is over, its id of one that goes on.
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it is read as a schema and never made")]
pub(super) enum Lease {
    /// The id.
    Id(String),
    /// All of it.
    Whole(Leased),
}

shapes! {
    /// A resource that was leased.
    Leased {
        id: String,
        /// `cpu`, `memory` and the like.
        r#type: String,
        /// Thousandths of a core, bytes, devices or bytes per second, by type.
        amount: u64,
    }
}
