//! From evidence to a decision.

use trustchain::hybrid::ALGORITHMS;

use super::decision::Reason;
use super::{
    Action, Check, CheckResult, Decision, Evidence, Fault, Outcome, Ownership, Policy, PublisherKind, RuleResult,
    Severity, Signer,
};
use super::{Use, Verdict, Violation};

/// The decision as it grows.
#[derive(Default)]
struct Findings {
    checks: Vec<CheckResult>,
    rules: Vec<RuleResult>,
    reasons: Vec<Reason>,
    verdict: Option<Verdict>,
}

/// The checks that one verification of signature and chain answers.
const OF_SIGNER: [Check; 5] =
    [Check::Signature, Check::Certificate, Check::Chain, Check::Revocation, Check::PostQuantum];

impl Policy {
    /// Decides about a release.
    pub fn evaluate(&self, evidence: &Evidence<'_>) -> Decision {
        let mut findings = Findings::default();
        self.signer(evidence, &mut findings);
        self.freshness(evidence, &mut findings);
        self.vulnerability(evidence, &mut findings);
        self.reputation(evidence, &mut findings);
        self.consensus(evidence, &mut findings);
        self.publisher(evidence, &mut findings);
        if evidence.size_bytes > self.size_max.0 {
            let message =
                format!("its archive has {} bytes, at most {} are allowed", evidence.size_bytes, self.size_max.0);
            findings.add(Verdict::Block, Some(Violation::PackageSizeExceeded), message);
        }
        if let Some(known) = &evidence.lookalike {
            let message = format!("its name could be mistaken for `{known}` of another publisher");
            findings.add(self.misleading, Some(Violation::MisleadingName), message);
        }
        self.rules(evidence, &mut findings);
        let package = evidence.package;
        Decision {
            package: format!("{}@{}", package.name, package.version),
            digest: evidence.digest,
            policy: self.name,
            checks: findings.checks,
            rules: findings.rules,
            verdict: findings.verdict.unwrap_or(Verdict::Allow),
            reasons: findings.reasons,
        }
    }

    fn signer(&self, evidence: &Evidence<'_>, findings: &mut Findings) {
        for check in OF_SIGNER {
            match &evidence.signer {
                Ok(signer) if check == Check::PostQuantum && signer.algorithms.len() < ALGORITHMS.len() => {
                    let reason =
                        format!("its publisher vouches for it with `{}` alone", signer.algorithms.join("`, `"));
                    self.failed(Fault { check, violation: Violation::InvalidSignature, reason }, findings);
                }
                Ok(signer) => self.passed(check, of_signer(check, signer), findings),
                Err(fault) if fault.check == check => self.stopped(fault, findings),
                Err(fault) => {
                    let evidence = format!("the check of the {} failed before", fault.check);
                    findings.checks.push(self.result(check, Outcome::NotReached, evidence));
                }
            }
        }
    }

    fn freshness(&self, evidence: &Evidence<'_>, findings: &mut Findings) {
        match &evidence.freshness {
            Ok(found) => self.passed(Check::Freshness, found.clone(), findings),
            Err(fault) if evidence.wanted == Use::Execute => {
                findings.checks.push(self.result(Check::Freshness, Outcome::Failed, fault.reason.clone()));
                findings.add(Verdict::Warn, Some(fault.violation), fault.reason.clone());
            }
            Err(fault) => self.failed(fault.clone(), findings),
        }
    }

    fn vulnerability(&self, evidence: &Evidence<'_>, findings: &mut Findings) {
        let found = &evidence.vulnerabilities;
        let worst = found.iter().map(|vulnerability| vulnerability.severity).max();
        let shown = found.iter().map(|v| format!("{} ({})", v.id, v.severity)).collect::<Vec<_>>().join(", ");
        let reason = match worst {
            Some(worst) if worst > self.vulnerability_max => {
                format!("affected by {shown}; at most `{}` is tolerated", self.vulnerability_max)
            }
            Some(worst) => {
                if worst > Severity::None {
                    findings.add(Verdict::Warn, Some(Violation::Vulnerability), format!("affected by {shown}"));
                }
                return self.passed(Check::Vulnerability, format!("{shown}, which is tolerated"), findings);
            }
            None => {
                let known = format!("none of {} advisories affects it", evidence.advisories);
                return self.passed(Check::Vulnerability, known, findings);
            }
        };
        self.failed(Fault { check: Check::Vulnerability, violation: Violation::Vulnerability, reason }, findings);
    }

    fn reputation(&self, evidence: &Evidence<'_>, findings: &mut Findings) {
        let whitelisted = self.is_whitelisted(evidence);
        let shown = format!("{:.2} of at least {:.2}", evidence.reputation, self.reputation_min);
        if whitelisted || evidence.reputation >= self.reputation_min {
            let shown = if whitelisted { "the publisher is on the whitelist".to_owned() } else { shown };
            return self.passed(Check::Reputation, shown, findings);
        }
        let reason = format!("the publisher's reputation is {shown}");
        self.failed(Fault { check: Check::Reputation, violation: Violation::LowReputation, reason }, findings);
    }

    fn consensus(&self, evidence: &Evidence<'_>, findings: &mut Findings) {
        match &evidence.consensus {
            Ok(found) => self.passed(Check::Consensus, found.clone(), findings),
            Err(reason) if self.requires(Check::Consensus) => {
                let (check, violation) = (Check::Consensus, Violation::NoConsensus);
                self.failed(Fault { check, violation, reason: reason.clone() }, findings);
            }
            // Most policies ask nobody to agree, so its absence is nothing to warn of.
            Err(reason) => findings.checks.push(self.result(Check::Consensus, Outcome::NotReached, reason.clone())),
        }
    }

    /// Looks at who the publisher is, and whether it is the one of before.
    fn publisher(&self, evidence: &Evidence<'_>, findings: &mut Findings) {
        let kinds = self.publisher_kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let accepts = |kind| self.publisher_kinds.is_empty() || self.publisher_kinds.contains(&kind);
        let Ok(signer) = &evidence.signer else {
            if !accepts(PublisherKind::Unknown) {
                let message = format!("nobody is known to vouch for it, and only {kinds} publishers are accepted");
                findings.add(Verdict::Block, Some(Violation::UnknownPublisher), message);
            }
            return;
        };
        let publisher = &signer.publisher;
        if self.blacklist.iter().any(|pattern| pattern.matches(publisher)) {
            let message = format!("its publisher `{publisher}` is on the blacklist");
            findings.add(Verdict::Block, Some(Violation::BlacklistedPublisher), message);
        }
        let kind = self.kind_of(publisher);
        if !accepts(kind) && !self.is_whitelisted(evidence) {
            let message = format!("its publisher `{publisher}` is {kind}, and only {kinds} publishers are accepted");
            findings.add(Verdict::Block, Some(Violation::UnknownPublisher), message);
        }
        let keeps_keys = self.pinning || evidence.package.security.certificate_pinning;
        let foreign = evidence.ownership.as_ref().filter(|ownership| !ownership.is_theirs);
        let is_rekeyed = evidence.pin.as_ref().is_some_and(|pin| pin.keys != signer.keys);
        let message = if let Some(Ownership { owners, .. }) = foreign {
            format!("it is published by `{publisher}`, and the package belongs to `{}`", owners.join("`, `"))
        } else if keeps_keys && is_rekeyed {
            format!("its publisher `{publisher}` has other keys than the ones pinned at the first release")
        } else {
            return;
        };
        let verdict = if self.requires(Check::Signature) { Verdict::Block } else { Verdict::Warn };
        findings.add(verdict, Some(Violation::UnknownPublisher), message);
    }

    fn rules(&self, evidence: &Evidence<'_>, findings: &mut Findings) {
        for rule in self.rules.iter().filter(|rule| rule.matches(evidence)) {
            let (action, found) = match &rule.action {
                Action::Block => ("block", Some(Verdict::Block)),
                Action::Warn => ("warn", Some(Verdict::Warn)),
                Action::RequireConfirmation => ("require_confirmation", Some(Verdict::Confirm)),
                Action::Allow => ("allow", None),
                Action::RunValidator { validator, score_min } => {
                    let score = (evidence.score)(*validator);
                    let evidence = format!("score {score} of at least {score_min}");
                    let low = score < *score_min;
                    findings.rules.push(RuleResult {
                        rule: rule.name.clone(),
                        action: "run_validator".into(),
                        evidence: evidence.clone(),
                    });
                    if low {
                        findings.add(Verdict::Block, None, format!("rule `{}`: {evidence}", rule.name));
                    }
                    continue;
                }
            };
            findings.rules.push(RuleResult { rule: rule.name.clone(), action: action.into(), evidence: String::new() });
            match found {
                Some(verdict) => findings.add(verdict, None, format!("rule `{}`", rule.name)),
                None => break,
            }
        }
    }

    fn is_whitelisted(&self, evidence: &Evidence<'_>) -> bool {
        let signer = evidence.signer.as_ref();
        signer.is_ok_and(|signer| self.whitelist.iter().any(|pattern| pattern.matches(&signer.publisher)))
    }

    fn passed(&self, check: Check, evidence: String, findings: &mut Findings) {
        findings.checks.push(self.result(check, Outcome::Passed, evidence));
    }

    fn failed(&self, fault: Fault, findings: &mut Findings) {
        let verdict = if self.requires(fault.check) { Verdict::Block } else { Verdict::Warn };
        findings.checks.push(self.result(fault.check, Outcome::Failed, fault.reason.clone()));
        findings.add(verdict, Some(fault.violation), fault.reason);
    }

    /// Adds a fault that ended the verification of the signer. The checks behind it were not reached, so it weighs as much as
    /// any of them that is required: what is required and was never looked at did not pass.
    fn stopped(&self, fault: &Fault, findings: &mut Findings) {
        let required = OF_SIGNER.iter().any(|check| self.requires(*check));
        let verdict = if required { Verdict::Block } else { Verdict::Warn };
        findings.checks.push(self.result(fault.check, Outcome::Failed, fault.reason.clone()));
        findings.add(verdict, Some(fault.violation), fault.reason.clone());
    }

    fn result(&self, check: Check, outcome: Outcome, evidence: String) -> CheckResult {
        CheckResult { check, required: self.requires(check), outcome, evidence }
    }
}

impl Findings {
    fn add(&mut self, verdict: Verdict, violation: Option<Violation>, message: String) {
        self.verdict = self.verdict.max(Some(verdict));
        self.reasons.push(Reason { violation, message });
    }
}

fn of_signer(check: Check, signer: &Signer) -> String {
    match check {
        Check::Signature => format!("signed by `{}` at {}", signer.subject, shown(signer.signed_at)),
        Check::Certificate => format!("`{}`, valid until {}", signer.publisher, shown(signer.expires)),
        Check::Chain => signer.path.join(" < "),
        Check::Revocation => format!("{} certificates are on no list, and the lists are fresh", signer.path.len()),
        _ => signer.algorithms.join(" and "),
    }
}

fn shown(time: time::OffsetDateTime) -> String {
    time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
