//! Proof of work, WHAT: a number that makes a SHA-256 over the challenge begin with enough zero bits.
//!
//! The challenge contains the operation and what every validator drew for it, so nothing can be computed beforehand and
//! nothing counts twice. The computational power is what the prover says of itself, in thousand hashes a second; it is held
//! within HyperMesh's bounds and the profile's, and what proves anything is the number.

use ::time::{Duration, OffsetDateTime};
use serde::{Deserialize, Serialize};

use crate::canonical::NUMBER_MAX;
use crate::digest::Sha256;
use crate::genesis::{NAME_CHARS_MAX, is_name};
use crate::moment;

/// The most leading zero bits that are looked for: about two minutes of one core.
pub const DIFFICULTY_BITS_MAX: u32 = 32;
/// The largest computational power.
pub const POWER_MAX: u64 = 1_000_000;
/// How long work may be pending.
pub const PENDING_MAX: Duration = Duration::minutes(10);
/// How old a proof may be.
pub const AGE_MAX: Duration = Duration::hours(1);

/// The proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// What was worked on: exactly the challenge of the operation.
    pub challenges: Vec<Sha256>,
    /// Thousand hashes a second, as the prover says.
    pub computational_power: u64,
    /// The leading zero bits that were looked for.
    pub difficulty: u32,
    /// The prover, by the fingerprint of its keys.
    pub owner_id: Sha256,
    /// The process that worked.
    pub pid: u32,
    /// The number that was found.
    pub solution: u64,
    /// When the proof was made.
    #[serde(with = "moment")]
    pub timestamp: OffsetDateTime,
    /// Whether the work is done.
    pub work_state: WorkState,
    /// What the work is called.
    pub workload_id: String,
    /// What the work is for.
    pub workload_type: WorkloadType,
}

/// What work is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkloadType {
    /// Issuing certificates.
    Certificate,
    /// Logging certificates.
    CertificateTransparency,
    /// Resolving names.
    DnsResolution,
    /// Running programs.
    Compute,
    /// Moving data.
    Network,
    /// Keeping data.
    Storage,
}

/// Where work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkState {
    /// It has not begun.
    Pending,
    /// It is going on.
    Running,
    /// It is done.
    Completed,
    /// It was given up.
    Failed,
}

/// Why a proof of work proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// The power is out of bounds, or less than is asked.
    #[error("a computational power of `{power}` is not from `{least}` to 1000000")]
    Power {
        /// The power.
        power: u64,
        /// What is asked.
        least: u64,
    },
    /// A name is empty or too long.
    #[error("a workload has a name of 1 to 128 printable characters")]
    Name,
    /// It is another node's.
    #[error("the work is of another owner than the requester")]
    OtherOwner,
    /// It is for another operation, or for none.
    #[error("the work is for another challenge")]
    OtherChallenge,
    /// It is not finished, which is no fault of anybody.
    #[error("the work is still going on")]
    Unfinished,
    /// It has not begun for too long.
    #[error("the work has been pending for more than ten minutes")]
    PendingTooLong,
    /// It was given up.
    #[error("the work failed")]
    Failed,
    /// It is too old, or from the future.
    #[error("the proof of work was made at `{}`, {reason}", moment::shown(.timestamp))]
    Age {
        /// When it was made.
        timestamp: OffsetDateTime,
        /// Why that is wrong.
        reason: &'static str,
    },
    /// Less was done than is asked, or more than anybody does.
    #[error("work of `{difficulty}` bits is not from `{least}` to 32")]
    Difficulty {
        /// What was looked for.
        difficulty: u32,
        /// What is asked.
        least: u32,
    },
    /// The number is not a solution.
    #[error("`{solution}` gives `{actual}` leading zero bits, not `{difficulty}`")]
    Unsolved {
        /// The number.
        solution: u64,
        /// What it gives.
        actual: u32,
        /// What was claimed.
        difficulty: u32,
    },
}

/// Finds a number: 2^`difficulty` hashes are expected. `None` is a difficulty above [`DIFFICULTY_BITS_MAX`].
pub fn solve(challenge: Sha256, difficulty: u32) -> Option<u64> {
    (difficulty <= DIFFICULTY_BITS_MAX).then_some(())?;
    (0..=NUMBER_MAX).find(|solution| zero_bits(challenge, *solution) >= difficulty)
}

impl Work {
    /// Checks the proof for a challenge.
    ///
    /// # Errors
    /// The first rule that is broken; [`WorkError::Unfinished`] is none.
    pub(super) fn check(
        &self,
        owner: Sha256,
        challenge: Sha256,
        least: (u64, u32),
        now: OffsetDateTime,
    ) -> Result<(), WorkError> {
        let (power_min, difficulty_min) = least;
        let (power, timestamp) = (self.computational_power, self.timestamp);
        if !(power_min.max(1)..=POWER_MAX).contains(&power) {
            return Err(WorkError::Power { power, least: power_min });
        }
        if !is_name(&self.workload_id) || self.workload_id.len() > NAME_CHARS_MAX {
            return Err(WorkError::Name);
        }
        if self.owner_id != owner {
            return Err(WorkError::OtherOwner);
        }
        if self.challenges != [challenge] {
            return Err(WorkError::OtherChallenge);
        }
        super::expect_age(timestamp, now, AGE_MAX).map_err(|reason| WorkError::Age { timestamp, reason })?;
        let difficulty = self.difficulty;
        if !(difficulty_min..=DIFFICULTY_BITS_MAX).contains(&difficulty) {
            return Err(WorkError::Difficulty { difficulty, least: difficulty_min });
        }
        match self.work_state {
            WorkState::Pending if now - timestamp > PENDING_MAX => return Err(WorkError::PendingTooLong),
            WorkState::Pending | WorkState::Running => return Err(WorkError::Unfinished),
            WorkState::Failed => return Err(WorkError::Failed),
            WorkState::Completed => {}
        }
        let (solution, actual) = (self.solution, zero_bits(challenge, self.solution));
        if actual < difficulty { Err(WorkError::Unsolved { solution, actual, difficulty }) } else { Ok(()) }
    }
}

/// Counts the leading zero bits that a number gives.
fn zero_bits(challenge: Sha256, solution: u64) -> u32 {
    let hash = Sha256::tagged("TCv1 work", &[challenge.as_bytes(), &solution.to_le_bytes()]);
    let bytes = hash.as_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    zeros as u32 * 8 + bytes.get(zeros).map_or(0, |byte| byte.leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;

    fn work(difficulty: u32) -> Work {
        let challenge = Sha256::of(b"challenge");
        Work {
            challenges: vec![challenge],
            computational_power: 100,
            difficulty,
            owner_id: Sha256::of(b"owner"),
            pid: 1,
            solution: solve(challenge, difficulty).expect("is found"),
            timestamp: NOW,
            work_state: WorkState::Completed,
            workload_id: "run".into(),
            workload_type: WorkloadType::Compute,
        }
    }

    fn check(work: &Work) -> Result<(), WorkError> {
        work.check(Sha256::of(b"owner"), Sha256::of(b"challenge"), (10, 8), NOW)
    }

    #[test]
    fn a_solution_counts_for_its_challenge() {
        for difficulty in [8, 10, 12] {
            check(&work(difficulty)).expect("is solved");
        }
        assert_eq!(solve(Sha256::of(b"x"), DIFFICULTY_BITS_MAX + 1), None);
        let other = work(12).check(Sha256::of(b"owner"), Sha256::of(b"other"), (10, 8), NOW);
        assert_eq!(other, Err(WorkError::OtherChallenge));
    }

    #[test]
    fn every_rule_refuses() {
        let refused = |change: fn(&mut Work), named: &str| {
            let mut proof = work(12);
            change(&mut proof);
            let error = check(&proof).expect_err("refused").to_string();
            assert!(error.contains(named), "{error}");
        };
        refused(|it| it.computational_power = 9, "power");
        refused(|it| it.computational_power = POWER_MAX + 1, "power");
        refused(|it| it.difficulty = 7, "bits");
        refused(|it| it.difficulty = 33, "bits");
        refused(|it| it.solution = it.solution.wrapping_sub(1), "leading zero");
        refused(|it| it.owner_id = Sha256::of(b"x"), "owner");
        refused(|it| it.challenges.clear(), "challenge");
        refused(|it| it.challenges.push(Sha256::of(b"x")), "challenge");
        refused(|it| it.workload_id.clear(), "name");
        refused(|it| it.work_state = WorkState::Failed, "failed");
        refused(|it| it.work_state = WorkState::Running, "going on");
        refused(|it| it.timestamp -= AGE_MAX + Duration::SECOND, "too old");
        refused(|it| it.timestamp += crate::SKEW + Duration::SECOND, "future");
        let pending = |age| Work { work_state: WorkState::Pending, timestamp: NOW - age, ..work(12) };
        assert_eq!(check(&pending(PENDING_MAX)), Err(WorkError::Unfinished));
        assert_eq!(check(&pending(PENDING_MAX + Duration::SECOND)), Err(WorkError::PendingTooLong));
    }
}
