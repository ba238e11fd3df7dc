//! What a policy decided, with everything it looked at.

use std::fmt;

use serde::Serialize;

use super::{Check, PolicyName};
use crate::digest::Digest;

/// The decision about one release.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The package, as `name@version`.
    pub package: String,
    /// The archive that was decided about.
    pub digest: Digest,
    /// The policy in force.
    pub policy: PolicyName,
    /// Every check, in a fixed order.
    pub checks: Vec<CheckResult>,
    /// The rules that matched.
    pub rules: Vec<RuleResult>,
    /// What follows.
    pub verdict: Verdict,
    /// Why, for everything that is not simply allowed.
    pub reasons: Vec<Reason>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// Which.
    pub check: Check,
    /// Whether the policy requires it.
    pub required: bool,
    /// How it came out.
    pub outcome: Outcome,
    /// What was looked at and found.
    pub evidence: String,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// Another check failed before it could be looked at.
    NotReached,
}

/// A rule that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleResult {
    /// Its name.
    pub rule: String,
    /// What it does.
    pub action: String,
    /// What was found, where the action looked at something.
    pub evidence: String,
}

/// Why a release is not simply allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// HyperMesh's name for it; none for a rule.
    pub violation: Option<Violation>,
    /// For people.
    pub message: String,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may be used.
    Allow,
    /// It may be used, and somebody should know why not.
    Warn,
    /// It may be used if whoever asks says so once more.
    Confirm,
    /// It may not.
    Block,
}

/// HyperMesh's names of what is wrong with a package's trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Violation {
    /// No signature, or not the right one.
    InvalidSignature,
    /// The certificate or its chain is not right.
    InvalidCertificate,
    /// The administrator wants nothing of this publisher.
    BlacklistedPublisher,
    /// The publisher's reputation is too low.
    LowReputation,
    /// A known vulnerability.
    Vulnerability,
    /// The certificate, a list or the feed is over.
    ExpiredCertificate,
    /// The certificate was revoked.
    RevokedCertificate,
    /// The publisher is nobody that the policy accepts, or another than before.
    UnknownPublisher,
    /// The archive is too large.
    PackageSizeExceeded,
    /// The feed was rolled back, or says nothing about the release.
    StaleFeed,
    /// The validators did not agree.
    NoConsensus,
}

/// A release that the policy does not let through.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the `{}` policy {} package `{}`: {}", .0.policy, verb(.0.verdict), .0.package, messages(&.0.reasons))]
pub struct Denied(pub Box<Decision>);

/// A decision that lets a release through; only [`Decision::require`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted(Decision);

impl Decision {
    /// Asks whether the release may be used; `confirmed` is somebody's word for what needs it.
    ///
    /// # Errors
    /// [`Denied`], with the decision.
    pub fn require(self, confirmed: Confirmed) -> Result<Accepted, Denied> {
        match (self.verdict, confirmed) {
            (Verdict::Block, _) | (Verdict::Confirm, Confirmed::No) => Err(Denied(Box::new(self))),
            _ => Ok(Accepted(self)),
        }
    }

    /// Gives what somebody should know although the release may be used.
    pub fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        self.reasons.iter().map(|reason| format!("{}: {}", self.package, reason.message))
    }

    /// Gives one check.
    pub fn check(&self, check: Check) -> Option<&CheckResult> {
        self.checks.iter().find(|result| result.check == check)
    }
}

impl Accepted {
    /// Gives the digest of the archive that was accepted.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Gives the decision.
    pub fn decision(&self) -> &Decision {
        &self.0
    }
}

/// Whether somebody said that what needs confirmation may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// Somebody did.
    Yes,
    /// Nobody did.
    No,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotReached => "not reached",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Confirm => "confirm",
            Self::Block => "block",
        })
    }
}

fn verb(verdict: Verdict) -> &'static str {
    if verdict == Verdict::Confirm { "wants a confirmation for" } else { "refuses" }
}

fn messages(reasons: &[Reason]) -> String {
    reasons.iter().map(|reason| reason.message.as_str()).collect::<Vec<_>>().join("; ")
}
