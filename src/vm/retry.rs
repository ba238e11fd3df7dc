//! Whether and when a run that failed is tried again. Pure: time comes in, and a number for the jitter.
//!
//! The rule: a failure of this node is tried again (a worker that could not be started, was late, or died in the middle of
//! the run; a resource that was refused at present), an answer of the program is not (an error of its own, a limit that it
//! reached, syntax), since the same run would give the same answer. Nor is a run that somebody ended. A program that was
//! killed in the middle may have stored something, so a package that stores and must not store twice says `none`.

use std::time::Duration;

use crate::package::model::RetryPolicy;
use crate::vm::VmError;

/// How often a run is tried altogether, by HyperMesh's numbers.
pub const ATTEMPTS_MAX: u32 = 3;
/// How long after a failure the next attempt begins; doubled each time by `exponential_backoff`.
pub const DELAY: Duration = Duration::from_millis(1_000);

/// Gives how long to wait after the attempt of a number, counted from 1; none if there is no further one.
pub fn delay(policy: RetryPolicy, attempt: u32) -> Option<Duration> {
    if attempt == 0 || attempt >= ATTEMPTS_MAX {
        return None;
    }
    match policy {
        RetryPolicy::None => None,
        RetryPolicy::Simple => Some(DELAY),
        RetryPolicy::ExponentialBackoff => Some(DELAY * 2_u32.pow(attempt - 1)),
    }
}

/// Gives how long to wait before a failed run is tried again; none if it is not.
pub fn after(policy: RetryPolicy, attempt: u32, error: &VmError) -> Option<Duration> {
    delay(policy, attempt).filter(|_| error.is_transient())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::model::Bytes;
    use crate::vm::{Clock, ScriptError, ScriptErrorKind};

    #[test]
    fn each_policy_has_its_attempts_and_delays() {
        let delays = |policy| (1..=5).map_while(|attempt| delay(policy, attempt)).collect::<Vec<_>>();
        let seconds = |counts: &[u64]| counts.iter().map(|count| Duration::from_secs(*count)).collect::<Vec<_>>();
        assert_eq!(delays(RetryPolicy::None), seconds(&[]));
        assert_eq!(delays(RetryPolicy::Simple), seconds(&[1, 1]));
        assert_eq!(delays(RetryPolicy::ExponentialBackoff), seconds(&[1, 2]));
        assert_eq!(delay(RetryPolicy::Simple, 0), None);
    }

    #[test]
    fn failures_of_the_node_are_tried_again_and_answers_of_the_program_are_not() {
        let crashed = VmError::WorkerCrashed { exit: "signal: 9".into(), stderr_tail: String::new() };
        let late = VmError::WorkerLate { limit: Duration::from_secs(1) };
        for error in [&crashed, &late] {
            assert_eq!(after(RetryPolicy::Simple, 1, error), Some(DELAY), "{error}");
            assert_eq!(after(RetryPolicy::Simple, ATTEMPTS_MAX, error), None, "{error}");
            assert_eq!(after(RetryPolicy::None, 1, error), None, "{error}");
        }
        let script = || ScriptError::new(ScriptErrorKind::Runtime, "no");
        for error in [
            VmError::Script(script()),
            VmError::Syntax(script()),
            VmError::Cancelled,
            VmError::MemoryLimit { limit: Bytes(1) },
            VmError::Timeout { limit: Duration::from_secs(1), clock: Clock::Wall },
            VmError::Protocol { reason: "forged".into() },
        ] {
            assert_eq!(after(RetryPolicy::ExponentialBackoff, 1, &error), None, "{error}");
        }
    }
}
