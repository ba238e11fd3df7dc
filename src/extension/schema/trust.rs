//! Answers about who stands for packages, and what is known against them.

use super::shapes;

shapes! {
    /// Feeds of publishers, or those that were signed anew.
    Feeds { feeds: Option<Vec<Feed>>, renewed: Option<Vec<String>> }
    /// The feed of a publisher.
    Feed {
        publisher: String,
        entries: u64,
        /// Until when its head counts.
        expires: Option<String>,
        /// Why it does not count.
        fault: Option<String>,
        reputation: f64,
        tier: String,
    }
    /// What was checked of installed packages, or (`--explain`) what the policy decides about them.
    Verified {
        packages: Option<Vec<Whole>>,
        findings: Option<Vec<()>>,
        decisions: Option<Vec<Decision>>,
        accepted: Option<bool>,
    }
    /// A package that is as it was published.
    Whole { package: String, version: String, digest: String, ok: bool }
    /// What a policy decides about a release.
    Decision {
        /// NAME@VERSION.
        package: String,
        digest: String,
        policy: String,
        checks: Vec<Check>,
        rules: Vec<Rule>,
        /// `allow`, `warn`, `confirm` or `block`.
        verdict: String,
        reasons: Vec<Reason>,
    }
    /// A check.
    Check {
        check: String,
        /// The policy requires it.
        required: bool,
        /// `passed`, `failed` or `not_reached`.
        outcome: String,
        evidence: String,
    }
    /// A rule that matched.
    Rule { rule: String, action: String, evidence: String }
    /// Why a release is not simply allowed.
    Reason {
        /// HyperMesh's name for it.
        violation: Option<String>,
        message: String,
    }
    /// What is known against packages.
    Audited {
        /// How many were looked at.
        packages: u64,
        /// How many advisories there are.
        advisories: u64,
        imported_at: Option<String>,
        newest: Option<String>,
        /// From which rating on it is refused.
        level: String,
        denied: u64,
        findings: Vec<Weakness>,
        ignored: Vec<Weakness>,
        warnings: Vec<String>,
    }
    /// A known weakness of a package.
    Weakness {
        package: String,
        version: String,
        id: String,
        ids: Vec<String>,
        rating: Option<String>,
        score: Option<f64>,
        /// What it counts as.
        level: String,
        title: String,
        fixed_in: Option<String>,
        /// From what was asked for down to the package.
        path: Vec<String>,
        references: Vec<String>,
        /// Why it is ignored.
        ignored: Option<String>,
    }
    /// Advisories that were imported.
    AdvisoriesImported {
        records: u64,
        added: u64,
        changed: u64,
        unchanged: u64,
        other_ecosystems: u64,
        removed: u64,
        /// How many there are now.
        advisories: u64,
    }
    /// The advisories of this node.
    Advisories {
        advisories: Vec<Advisory>,
        total: u64,
        /// How many are not withdrawn.
        active: u64,
        imported_at: Option<String>,
        newest: Option<String>,
    }
    /// An advisory.
    Advisory {
        id: String,
        aliases: Vec<String>,
        title: String,
        packages: Vec<String>,
        rating: Option<String>,
        score: Option<f64>,
        modified: String,
        withdrawn: Option<String>,
    }
}
