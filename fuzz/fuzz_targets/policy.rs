//! Policies: what an administrator writes, and what follows from it for packages that are well and less well vouched for.

#![no_main]

use std::sync::LazyLock;

use catalog::digest::Digest;
use catalog::package::{Format, Package, parse};
use catalog::trust::policy::{
    Check, Confirmed, Decision, Evidence, Fault, Outcome, Ownership, Pin, Policy, PolicyConfig, Severity, Signer, Use,
    Verdict, Violation, Vulnerability,
};
use catalog_fuzz::{ACME, NOW};
use libfuzzer_sys::fuzz_target;

const MANIFEST: &str = "{apiVersion: catalog.v1, metadata: {name: acme/vec, version: 1.2.0}, spec: {type: lua-library, \
                        content: {main: vec.lua}, security: {sandbox_level: strict}, dependencies: [{name: base, \
                        version: ^1.0}]}}";

static PACKAGE: LazyLock<Package> = LazyLock::new(|| parse(MANIFEST, Format::Yaml, "package.yaml").expect("valid").0);

fuzz_target!(|data: &[u8]| {
    let Ok(config) = serde_json::from_slice::<PolicyConfig>(data) else { return };
    let Ok(policy) = Policy::new(&config) else { return };
    assert_eq!(policy.name(), config.policy);
    for evidence in [good(), bad(), unsigned(), Evidence { wanted: Use::Execute, ..unsigned() }] {
        let decision = policy.evaluate(&evidence);
        expect(&policy, &evidence, &decision);
        assert_eq!(policy.evaluate(&evidence), decision, "it is a function");
        serde_json::to_string(&decision).expect("writes");
        let (verdict, refused) = (decision.verdict, decision.clone().require(Confirmed::No).is_err());
        assert_eq!(refused, verdict >= Verdict::Confirm);
        assert_eq!(decision.require(Confirmed::Yes).is_err(), verdict == Verdict::Block);
    }
});

/// No rule takes back what a check of the policy found.
fn expect(policy: &Policy, evidence: &Evidence<'_>, decision: &Decision) {
    assert_eq!(decision.checks.iter().map(|result| result.check).collect::<Vec<_>>(), Check::ALL);
    for result in &decision.checks {
        assert_eq!(result.required, policy.requires(result.check));
        let late = result.check == Check::Freshness && evidence.wanted == Use::Execute;
        if result.required && result.outcome != Outcome::Passed && !late {
            assert_eq!(decision.verdict, Verdict::Block, "{decision:?}");
        }
    }
    assert_eq!(decision.verdict == Verdict::Allow, decision.reasons.is_empty(), "{decision:?}");
}

fn good() -> Evidence<'static> {
    Evidence {
        wanted: Use::Install,
        package: &PACKAGE,
        digest: Digest::of(b"archive"),
        size_bytes: 5_000,
        files: vec!["vec.lua", "data/key.pem"],
        signer: Ok(Signer {
            publisher: ACME.into(),
            subject: "CN=Acme tools".into(),
            path: ["CN=Acme tools", "CN=Publishers", "CN=Root"].map(Into::into).into(),
            keys: "aa".into(),
            expires: NOW,
            algorithms: vec!["ed25519", "falcon-1024-r3"],
            signed_at: NOW,
        }),
        freshness: Ok("entry 3 of 3".into()),
        vulnerabilities: Vec::new(),
        advisories: 2,
        reputation: 0.5,
        consensus: Ok("3 of 4 agreed".into()),
        pin: None,
        ownership: None,
        lookalike: None,
        score: &|_| 80,
    }
}

fn bad() -> Evidence<'static> {
    let vulnerability = Vulnerability { id: "HM-2030-1".into(), severity: Severity::High };
    Evidence {
        wanted: Use::Publish,
        size_bytes: u64::MAX,
        vulnerabilities: vec![vulnerability],
        reputation: 0.0,
        consensus: Err("nobody was asked".into()),
        pin: Some(Pin { publisher: ACME.into(), keys: "bb".into() }),
        ownership: Some(Ownership { owners: vec!["other.pub.trustchain".into()], is_theirs: false }),
        lookalike: "acme/vex".parse().ok(),
        ..good()
    }
}

fn unsigned() -> Evidence<'static> {
    let fault = |check, violation| Fault { check, violation, reason: "no good".into() };
    Evidence {
        signer: Err(fault(Check::Chain, Violation::InvalidCertificate)),
        freshness: Err(fault(Check::Freshness, Violation::StaleFeed)),
        ..good()
    }
}
