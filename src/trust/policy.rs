//! Policies: which packages this node publishes, installs and runs, and why.
//!
//! An administrator chooses `strict`, `moderate`, `permissive` or a custom one in the extension's manifest. A policy is a pure
//! function from [`Evidence`] to a [`Decision`], which keeps every check, what it found and what follows, so that each can be
//! explained. Nothing here fetches: who gathers the evidence says what was looked at.
//!
//! What is required is never read from a package. A rule can make a decision stricter; `allow` ends the rules, and no rule
//! takes a failed check back.

mod decision;
mod evaluate;
mod evidence;
mod rule;

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::decision::{
    Accepted, CheckResult, Confirmed, Decision, Denied, Outcome, Reason, RuleResult, Verdict, Violation,
};
pub use self::evidence::{Evidence, Fault, Ownership, Pin, Signer, Vulnerability};
pub use self::rule::{Action, Condition, Operator, Pattern, Rule};
use crate::package::model::Bytes;

/// The most rules of a policy.
pub const RULES_MAX: usize = 200;
/// The most patterns of one list.
pub const PATTERNS_MAX: usize = 1_000;

/// What a policy can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The release statement is signed, and the archive is the one it names.
    Signature,
    /// The signer's certificate is valid, for publishing, and owns the package's namespace.
    Certificate,
    /// Its chain ends at a root of this node.
    Chain,
    /// Nothing in the chain is revoked, by lists that are fresh.
    Revocation,
    /// Every certificate and the statement are signed with the post-quantum algorithm, too.
    PostQuantum,
    /// The release is in its publisher's feed, which is fresh and was not rolled back.
    Freshness,
    /// No advisory above the tolerated severity affects the version.
    Vulnerability,
    /// The publisher's reputation reaches the minimum.
    Reputation,
    /// Validators agreed to the publication.
    Consensus,
}

/// What a release is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// To become part of the registry.
    Publish,
    /// To be installed.
    Install,
    /// To run. A feed that is over does not stop what is installed already.
    Execute,
}

/// How bad a vulnerability is, by the ratings of CVSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// 0.0
    None,
    /// 0.1 to 3.9
    Low,
    /// 4.0 to 6.9
    Medium,
    /// 7.0 to 8.9; and whatever has no rating.
    High,
    /// 9.0 to 10.0
    Critical,
}

/// Who a publisher is, as the administrator's policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PublisherKind {
    /// HyperMesh itself.
    Official,
    /// A company or foundation.
    Organization,
    /// A group of people.
    Community,
    /// One person.
    Individual,
    /// Nobody said.
    Unknown,
}

/// The name of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PolicyName {
    /// Every check, publishers that the administrator listed as official or organization, and pinned keys.
    Strict,
    /// Every check but consensus.
    #[default]
    Moderate,
    /// Everything is looked at and reported; refused are only bytes that are not those published, publishers on the blacklist and
    /// archives that are too large.
    Permissive,
    /// `custom` says how it differs from its base.
    Custom,
}

/// How many algorithms must vouch for what is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Ed25519 and FALCON-1024: every certificate, release statement and feed is signed with both.
    #[default]
    Full,
    /// Ed25519 is enough for a publisher whose certificate has no other key; the check `post_quantum` is reported and not
    /// required. Archives are bound by SHA-256 and BLAKE3 as ever, and whatever has a second signature is checked with both.
    Basic,
}

/// How trust is decided, as an administrator writes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Which policy is in force.
    pub policy: PolicyName,
    /// `full` unless an administrator chooses `basic`: then publishers with an Ed25519 key alone are accepted, whose
    /// signatures a quantum computer would forge. Not with the policy `strict`. No package has a say in it.
    pub level: Level,
    /// Where `custom` differs from its base.
    pub custom: Option<Custom>,
    /// Who is who: patterns of publishers' domains, such as `acme.pub.trustchain`, by kind.
    pub publishers: Vec<Listed>,
    /// Patterns of publishers that are never accepted.
    pub blacklist: Vec<Pattern>,
    /// Patterns of publishers that need no reputation and no kind.
    pub whitelist: Vec<Pattern>,
}

/// Publishers of one kind.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// The kind.
    pub kind: PublisherKind,
    /// Patterns of their domains.
    pub publishers: Vec<Pattern>,
}

/// Where a custom policy differs from its base.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Custom {
    /// What it begins with; not `custom`.
    pub base: PolicyName,
    /// The checks that must pass; others are reported only. Without `post_quantum` no more is accepted than with it: that is
    /// for `level` to say.
    pub checks: Option<BTreeSet<Check>>,
    /// The least reputation, 0 to 1.
    pub reputation_min: Option<f64>,
    /// The worst vulnerability that is tolerated.
    pub vulnerability_max: Option<Severity>,
    /// The kinds of publisher that are accepted; all if empty.
    pub publisher_kinds: Option<BTreeSet<PublisherKind>>,
    /// A package's publisher must keep the keys of its first release that was accepted here.
    pub pinning: Option<bool>,
    /// The largest archive, in bytes of its tar.
    pub size_bytes_max: Option<u64>,
    /// Directories run without being published and installed.
    pub run_directories: Option<bool>,
    /// Further rules, the first that decides counts.
    pub rules: Vec<Rule>,
}

/// A policy in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    name: PolicyName,
    level: Level,
    required: BTreeSet<Check>,
    reputation_min: f64,
    vulnerability_max: Severity,
    publisher_kinds: BTreeSet<PublisherKind>,
    pinning: bool,
    /// What follows from a name that could be mistaken for another; a custom policy has it of its base.
    misleading: Verdict,
    size_max: Bytes,
    run_directories: bool,
    rules: Vec<Rule>,
    publishers: Vec<Listed>,
    blacklist: Vec<Pattern>,
    whitelist: Vec<Pattern>,
}

/// A policy that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` of the trust policy: {reason}")]
pub struct PolicyError {
    /// The field.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

impl Policy {
    /// Makes the policy that an administrator wrote.
    ///
    /// # Errors
    /// A figure out of its range, a list that is too long, a custom part without or beside a custom policy.
    pub fn new(config: &PolicyConfig) -> Result<Self, PolicyError> {
        let fault = |field: &str, reason: &str| Err(PolicyError { field: field.into(), reason: reason.into() });
        let base = match (config.policy, &config.custom) {
            (PolicyName::Custom, None) => return fault("policy", "`custom` needs the field `custom` beside it"),
            (PolicyName::Custom, Some(custom)) if custom.base == PolicyName::Custom => {
                return fault("custom.base", "expected `strict`, `moderate` or `permissive`");
            }
            (PolicyName::Custom, Some(custom)) => custom.base,
            (_, Some(_)) => return fault("custom", "it counts only with `policy: custom`"),
            (name, None) => name,
        };
        let mut policy = Self::preset(base);
        policy.name = config.policy;
        if let Some(custom) = &config.custom {
            policy.change(custom)?;
        }
        let asks_for_both = config.custom.as_ref().and_then(|custom| custom.checks.as_ref());
        match config.level {
            Level::Full => {}
            Level::Basic if base == PolicyName::Strict => {
                return fault("level", "the strict policy takes no signatures of one algorithm, expected `full`");
            }
            Level::Basic if asks_for_both.is_some_and(|checks| checks.contains(&Check::PostQuantum)) => {
                return fault("level", "`custom.checks` requires `post_quantum`, expected `full`");
            }
            Level::Basic => {
                policy.level = Level::Basic;
                policy.required.remove(&Check::PostQuantum);
            }
        }
        policy.publishers.clone_from(&config.publishers);
        policy.blacklist.clone_from(&config.blacklist);
        policy.whitelist.clone_from(&config.whitelist);
        let listed: usize = policy.publishers.iter().map(|listed| listed.publishers.len()).sum();
        for (field, patterns) in [
            ("publishers", listed.max(policy.publishers.len())),
            ("blacklist", policy.blacklist.len()),
            ("whitelist", policy.whitelist.len()),
        ] {
            if patterns > PATTERNS_MAX {
                return fault(field, "there are more than 1000 patterns");
            }
        }
        Ok(policy)
    }

    /// Gives its name.
    pub fn name(&self) -> PolicyName {
        self.name
    }

    /// Says how many algorithms must vouch for what is accepted.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Says whether a check must pass.
    pub fn requires(&self, check: Check) -> bool {
        self.required.contains(&check)
    }

    /// Says whether a directory may run that nobody published.
    pub fn runs_directories(&self) -> bool {
        self.run_directories
    }

    /// Says whether a rule looks at what is in a package's files.
    pub fn looks_inside(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.action, Action::RunValidator { .. }))
    }

    /// Says who a publisher is.
    pub fn kind_of(&self, publisher: &str) -> PublisherKind {
        let matches = |listed: &&Listed| listed.publishers.iter().any(|pattern| pattern.matches(publisher));
        self.publishers.iter().find(matches).map_or(PublisherKind::Unknown, |listed| listed.kind)
    }

    /// The figures are HyperMesh's.
    fn preset(name: PolicyName) -> Self {
        let (required, reputation_min, vulnerability_max, kinds): (&[Check], f64, Severity, &[PublisherKind]) =
            match name {
                PolicyName::Strict => {
                    (&Check::ALL, 0.7, Severity::Low, &[PublisherKind::Official, PublisherKind::Organization])
                }
                PolicyName::Permissive => (&[], 0.0, Severity::Critical, &[]),
                PolicyName::Moderate | PolicyName::Custom => (&Check::ALL[..8], 0.3, Severity::High, &[]),
            };
        Self {
            name,
            level: Level::Full,
            required: required.iter().copied().collect(),
            reputation_min,
            vulnerability_max,
            publisher_kinds: kinds.iter().copied().collect(),
            pinning: name == PolicyName::Strict,
            misleading: if name == PolicyName::Strict { Verdict::Block } else { Verdict::Warn },
            size_max: Bytes(100 << 20),
            run_directories: name != PolicyName::Strict,
            rules: Vec::new(),
            publishers: Vec::new(),
            blacklist: Vec::new(),
            whitelist: Vec::new(),
        }
    }

    fn change(&mut self, custom: &Custom) -> Result<(), PolicyError> {
        let fault = |field: &str, reason: &str| Err(PolicyError { field: field.into(), reason: reason.into() });
        if let Some(minimum) = custom.reputation_min {
            if !(0.0..=1.0).contains(&minimum) {
                return fault("custom.reputation_min", "expected 0 to 1");
            }
            self.reputation_min = minimum;
        }
        if custom.rules.len() > RULES_MAX {
            return fault("custom.rules", "there are more than 200");
        }
        for (index, rule) in custom.rules.iter().enumerate() {
            rule.check().map_err(|reason| PolicyError { field: format!("custom.rules[{index}]"), reason })?;
        }
        let Custom { checks, vulnerability_max, publisher_kinds, pinning, size_bytes_max, run_directories, .. } =
            custom;
        self.required = checks.clone().unwrap_or_else(|| self.required.clone());
        self.vulnerability_max = vulnerability_max.unwrap_or(self.vulnerability_max);
        self.publisher_kinds = publisher_kinds.clone().unwrap_or_else(|| self.publisher_kinds.clone());
        self.pinning = pinning.unwrap_or(self.pinning);
        self.size_max = size_bytes_max.map_or(self.size_max, Bytes);
        self.run_directories = run_directories.unwrap_or(self.run_directories);
        self.rules.clone_from(&custom.rules);
        Ok(())
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::preset(PolicyName::Moderate)
    }
}

impl Check {
    /// All of them, in the order in which they are shown; the moderate policy requires all but the last.
    pub const ALL: [Self; 9] = [
        Self::Signature,
        Self::Certificate,
        Self::Chain,
        Self::Revocation,
        Self::PostQuantum,
        Self::Freshness,
        Self::Vulnerability,
        Self::Reputation,
        Self::Consensus,
    ];
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "signature",
            Self::Certificate => "certificate",
            Self::Chain => "chain",
            Self::Revocation => "revocation",
            Self::PostQuantum => "post-quantum",
            Self::Freshness => "freshness",
            Self::Vulnerability => "vulnerability",
            Self::Reputation => "reputation",
            Self::Consensus => "consensus",
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

impl fmt::Display for PublisherKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Official => "official",
            Self::Organization => "organization",
            Self::Community => "community",
            Self::Individual => "individual",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strict => "strict",
            Self::Moderate => "moderate",
            Self::Permissive => "permissive",
            Self::Custom => "custom",
        })
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Decisions for tests of what comes after.

    use super::{Accepted, Confirmed, Decision, PolicyName, Verdict};
    use crate::digest::Digest;
    use crate::package::name::PackageName;

    /// Accepts an archive.
    pub(crate) fn accepted(name: &PackageName, digest: Digest) -> Accepted {
        let (package, policy, verdict) = (name.to_string(), PolicyName::Permissive, Verdict::Allow);
        let decision = Decision { package, digest, policy, checks: vec![], rules: vec![], verdict, reasons: vec![] };
        decision.require(Confirmed::No).expect("it is allowed")
    }
}
#[cfg(test)]
mod tests;
