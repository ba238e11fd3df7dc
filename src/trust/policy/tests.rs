//! Every check, condition and action, each with what it accepts and what it refuses.

use serde_json::{Value as Json, json};
use time::macros::datetime;

use super::*;
use crate::digest::Digest;
use crate::package::{self, Package};

mod properties;

fn package(manifest: &str) -> Package {
    let format = package::source::Format::Yaml;
    package::parse(manifest, format, "package.yaml").expect("a valid package").0
}

fn minimal() -> Package {
    package(
        "{apiVersion: catalog.v1, metadata: {name: acme/vec, version: 1.2.0}, spec: {type: lua-library, content: {main: \
         vec.lua}, security: {sandbox_level: strict}, dependencies: [{name: base, version: ^1.0}]}}",
    )
}

fn signer() -> Signer {
    Signer {
        publisher: "acme.pub.trustchain".into(),
        subject: "CN=Acme tools".into(),
        path: ["CN=Acme tools", "CN=Publishers", "CN=Root"].map(Into::into).into(),
        keys: "aa".into(),
        expires: datetime!(2031-01-01 0:00 UTC),
        algorithms: vec!["ed25519", "falcon-1024-r3"],
        signed_at: datetime!(2030-01-01 0:00 UTC),
    }
}

fn evidence(package: &Package) -> Evidence<'_> {
    Evidence {
        wanted: Use::Install,
        package,
        digest: Digest::of(b"archive"),
        size_bytes: 5_000,
        files: vec!["vec.lua", "data/key.pem"],
        signer: Ok(signer()),
        freshness: Ok("entry 3 of 3".into()),
        vulnerabilities: Vec::new(),
        advisories: 2,
        reputation: 0.5,
        consensus: Err("nobody was asked".into()),
        ownership: None,
        pin: None,
        lookalike: None,
        score: &|_| 80,
    }
}

fn policy(config: Json) -> Policy {
    Policy::new(&serde_json::from_value(config).expect("reads")).expect("a valid policy")
}

fn custom(rules: &Json) -> Policy {
    policy(json!({"policy": "custom", "custom": {"rules": rules}}))
}

fn fault(check: Check, violation: Violation) -> Fault {
    Fault { check, violation, reason: "no good".into() }
}

fn violations(decision: &Decision) -> Vec<Violation> {
    decision.reasons.iter().filter_map(|reason| reason.violation).collect()
}

#[test]
fn the_moderate_policy_takes_what_is_signed_fresh_and_of_fair_reputation() {
    let package = minimal();
    let policy = Policy::default();
    let decision = policy.evaluate(&evidence(&package));
    assert_eq!(decision.verdict, Verdict::Allow, "{decision:?}");
    assert_eq!(decision.checks.len(), Check::ALL.len());
    let refused: [(Check, Violation); 6] = [
        (Check::Signature, Violation::InvalidSignature),
        (Check::Certificate, Violation::ExpiredCertificate),
        (Check::Chain, Violation::InvalidCertificate),
        (Check::Revocation, Violation::RevokedCertificate),
        (Check::PostQuantum, Violation::InvalidSignature),
        (Check::Freshness, Violation::StaleFeed),
    ];
    for (check, violation) in refused {
        let mut evidence = evidence(&package);
        match check {
            Check::Freshness => evidence.freshness = Err(fault(check, violation)),
            _ => evidence.signer = Err(fault(check, violation)),
        }
        let decision = policy.evaluate(&evidence);
        assert_eq!((decision.verdict, violations(&decision)), (Verdict::Block, vec![violation]), "{check}");
        assert_eq!(decision.check(check).map(|result| result.outcome), Some(Outcome::Failed));
    }
    let low = Evidence { reputation: 0.29, ..evidence(&package) };
    assert_eq!(violations(&policy.evaluate(&low)), [Violation::LowReputation]);
    let large = Evidence { size_bytes: (100 << 20) + 1, ..evidence(&package) };
    assert_eq!(violations(&policy.evaluate(&large)), [Violation::PackageSizeExceeded]);
}

#[test]
fn a_name_that_looks_like_another_is_reported_and_refused_by_the_strict_policy() {
    let package = minimal();
    let like = || Evidence { lookalike: Some("acme/vex".parse().expect("a name")), ..evidence(&package) };
    assert_eq!(Policy::default().evaluate(&like()).verdict, Verdict::Warn);
    let strict = policy(json!({"policy": "strict", "whitelist": ["*"]}));
    let strict = strict.evaluate(&Evidence { consensus: Ok("agreed".into()), ..like() });
    assert_eq!(violations(&strict), [Violation::MisleadingName]);
}

#[test]
fn a_custom_policy_on_the_strict_one_refuses_misleading_names() {
    let package = minimal();
    let strict = policy(json!({"policy": "custom", "custom": {"base": "strict"}, "whitelist": ["*"]}));
    let like = Evidence { lookalike: Some("acme/vex".parse().expect("a name")), ..evidence(&package) };
    let decision = strict.evaluate(&Evidence { consensus: Ok("agreed".into()), ..like });
    assert_eq!((decision.verdict, violations(&decision)), (Verdict::Block, vec![Violation::MisleadingName]));
}

#[test]
fn a_required_check_that_was_not_reached_did_not_pass() {
    let package = minimal();
    let unsigned = || Err(fault(Check::Signature, Violation::InvalidSignature));
    let decide = |part: Json| {
        let policy = policy(json!({"policy": "custom", "custom": part}));
        policy.evaluate(&Evidence { signer: unsigned(), ..evidence(&package) })
    };
    for check in ["certificate", "chain", "revocation", "post_quantum"] {
        let decision = decide(json!({"checks": [check]}));
        assert_eq!((decision.verdict, violations(&decision)), (Verdict::Block, vec![Violation::InvalidSignature]));
    }
    assert_eq!(decide(json!({"checks": []})).verdict, Verdict::Warn);
    // Whoever accepts official publishers alone does not accept what nobody publishes.
    let decision = decide(json!({"checks": [], "publisher_kinds": ["official"]}));
    assert_eq!((decision.verdict, violations(&decision).last()), (Verdict::Block, Some(&Violation::UnknownPublisher)));
    assert_eq!(decide(json!({"checks": [], "publisher_kinds": ["official", "unknown"]})).verdict, Verdict::Warn);
}

#[test]
fn a_feed_that_is_over_stops_no_program() {
    let package = minimal();
    let freshness = Err(fault(Check::Freshness, Violation::ExpiredCertificate));
    let late = Evidence { wanted: Use::Execute, freshness, ..evidence(&package) };
    assert_eq!(Policy::default().evaluate(&late).verdict, Verdict::Warn);
}

#[test]
fn vulnerabilities_are_weighed_by_severity() {
    let package = minimal();
    let with = |severity| Evidence {
        vulnerabilities: vec![Vulnerability { id: "HM-2030-1".into(), severity }],
        ..evidence(&package)
    };
    let verdict = |name: &str, severity| policy(json!({"policy": name})).evaluate(&with(severity)).verdict;
    assert_eq!(verdict("moderate", Severity::High), Verdict::Warn);
    assert_eq!(verdict("moderate", Severity::Critical), Verdict::Block);
    assert_eq!(verdict("permissive", Severity::Critical), Verdict::Warn);
    let strict = policy(json!({"policy": "strict"})).evaluate(&with(Severity::Medium));
    assert!(violations(&strict).contains(&Violation::Vulnerability));
}

#[test]
fn the_strict_policy_wants_everything() {
    let package = minimal();
    let listed = json!([{"kind": "organization", "publishers": ["acme.*"]}]);
    let strict = policy(json!({"policy": "strict", "publishers": listed}));
    let good = || Evidence { consensus: Ok("3 of 4 agreed".into()), reputation: 0.7, ..evidence(&package) };
    assert_eq!(strict.evaluate(&good()).verdict, Verdict::Allow);
    assert!(!strict.runs_directories());
    let no_consensus = Evidence { consensus: Err("nobody was asked".into()), ..good() };
    assert_eq!(violations(&strict.evaluate(&no_consensus)), [Violation::NoConsensus]);
    let low = Evidence { reputation: 0.69, ..good() };
    assert_eq!(violations(&strict.evaluate(&low)), [Violation::LowReputation]);
    let unlisted = policy(json!({"policy": "strict"}));
    assert_eq!(violations(&unlisted.evaluate(&good())), [Violation::UnknownPublisher]);
    let pin = |keys: &str| Some(Pin { publisher: signer().publisher, keys: keys.into() });
    let rekeyed = Evidence { pin: pin("bb"), ..good() };
    assert_eq!(violations(&strict.evaluate(&rekeyed)), [Violation::UnknownPublisher]);
    assert_eq!(strict.evaluate(&Evidence { pin: pin("aa"), ..good() }).verdict, Verdict::Allow);
}

#[test]
fn a_package_belongs_to_its_owners_and_pins_keys_if_it_says_so() {
    let package = minimal();
    let owned = |owners: &[&str], is_theirs| {
        let owners = owners.iter().map(ToString::to_string).collect();
        Evidence { ownership: Some(Ownership { owners, is_theirs }), ..evidence(&package) }
    };
    let (one, other) = ("one.pub.trustchain", "other.pub.trustchain");
    let taken = Policy::default().evaluate(&owned(&[one, other], false));
    assert_eq!((taken.verdict, violations(&taken)), (Verdict::Block, vec![Violation::UnknownPublisher]));
    let reason = &taken.reasons[0].message;
    assert!(reason.ends_with("the package belongs to `one.pub.trustchain`, `other.pub.trustchain`"), "{reason}");
    assert_eq!(Policy::default().evaluate(&owned(&["acme.pub.trustchain", other], true)).verdict, Verdict::Allow);
    // What somebody released who was an owner then.
    assert_eq!(Policy::default().evaluate(&owned(&[other], true)).verdict, Verdict::Allow);
    let rekeyed = Some(Pin { publisher: signer().publisher, keys: "bb".into() });
    let renewed = Evidence { pin: rekeyed.clone(), ..evidence(&package) };
    assert_eq!(Policy::default().evaluate(&renewed).verdict, Verdict::Allow, "keys may be rotated");
    let mut pinned = minimal();
    pinned.security.certificate_pinning = true;
    let rekeyed = Evidence { pin: rekeyed, ..evidence(&pinned) };
    assert_eq!(Policy::default().evaluate(&rekeyed).verdict, Verdict::Block);
}

#[test]
fn the_permissive_policy_reports_and_refuses_nothing() {
    let package = minimal();
    let permissive = policy(json!({"policy": "permissive"}));
    let unsigned = Evidence {
        signer: Err(fault(Check::Signature, Violation::InvalidSignature)),
        freshness: Err(fault(Check::Freshness, Violation::StaleFeed)),
        reputation: 0.0,
        ..evidence(&package)
    };
    let decision = permissive.evaluate(&unsigned);
    assert_eq!(decision.verdict, Verdict::Warn);
    assert_eq!(violations(&decision), [Violation::InvalidSignature, Violation::StaleFeed]);
    let blacklisted = policy(json!({"policy": "permissive", "blacklist": ["acme.*"]}));
    assert_eq!(blacklisted.evaluate(&evidence(&package)).verdict, Verdict::Block, "but what an administrator named");
}

#[test]
fn each_condition_holds_and_does_not_hold() {
    let package = minimal();
    let cases = [
        (json!({"package_name_pattern": "acme/*"}), json!({"package_name_pattern": "acme"})),
        (json!({"publisher_pattern": "*.pub.trustchain"}), json!({"publisher_pattern": "pub.*"})),
        (json!({"package_size_exceeds": 4_999}), json!({"package_size_exceeds": 5_000})),
        (json!({"has_dependency": "base"}), json!({"has_dependency": "bass"})),
        (json!({"has_dependency": "base@^1.0"}), json!({"has_dependency": "base@^2.0"})),
        (json!({"certificate_issuer": "CN=Publishers"}), json!({"certificate_issuer": "CN=Acme tools"})),
        (json!({"reputation_below": 0.51}), json!({"reputation_below": 0.5})),
        (json!({"contains_file_pattern": "*.pem"}), json!({"contains_file_pattern": "*.key"})),
        (
            json!({"custom": {"field": "spec.security.sandbox_level", "operator": "equals", "value": "strict"}}),
            json!({"custom": {"field": "spec.security.sandbox_level", "operator": "in", "value": ["minimal"]}}),
        ),
        (
            json!({"custom": {"field": "metadata.license", "operator": "absent"}}),
            json!({"custom": {"field": "metadata.version", "operator": "absent"}}),
        ),
    ];
    for (holds, fails) in cases {
        let verdict = |condition: &Json| {
            custom(&json!([{"name": "r", "when": [condition], "action": "block"}]))
                .evaluate(&evidence(&package))
                .verdict
        };
        assert_eq!(verdict(&holds), Verdict::Block, "{holds}");
        assert_eq!(verdict(&fails), Verdict::Allow, "{fails}");
    }
}

#[test]
fn each_action_has_its_effect() {
    let package = minimal();
    let any = json!([{"package_name_pattern": "*"}]);
    let decide = |action: Json| {
        custom(
            &json!([{"name": "first", "when": any, "action": action}, {"name": "last", "when": any, "action": "warn"}]),
        )
        .evaluate(&evidence(&package))
    };
    assert_eq!(decide(json!("block")).verdict, Verdict::Block);
    assert_eq!(decide(json!("warn")).verdict, Verdict::Warn);
    assert_eq!(decide(json!("allow")).verdict, Verdict::Allow, "the last rule is not looked at");
    let passes = json!({"run_validator": {"validator": "security", "score_min": 80}});
    assert_eq!(decide(passes).verdict, Verdict::Warn);
    let fails = json!({"run_validator": {"validator": "security", "score_min": 81}});
    assert_eq!(decide(fails).verdict, Verdict::Block);
    let confirm = decide(json!("require_confirmation"));
    assert_eq!(confirm.verdict, Verdict::Confirm);
    assert!(confirm.clone().require(Confirmed::No).is_err());
    assert!(confirm.require(Confirmed::Yes).is_ok());
    let blocked = decide(json!("block"));
    assert!(blocked.require(Confirmed::Yes).is_err(), "nobody confirms what is refused");
}

#[test]
fn allow_takes_no_failed_check_back() {
    let package = minimal();
    let rules = json!([{"name": "ours", "when": [{"package_name_pattern": "*"}], "action": "allow"}]);
    let forged = Evidence { signer: Err(fault(Check::Signature, Violation::InvalidSignature)), ..evidence(&package) };
    assert_eq!(custom(&rules).evaluate(&forged).verdict, Verdict::Block);
}

#[test]
fn at_the_level_basic_one_signature_is_reported_and_a_wrong_one_is_refused() {
    let package = minimal();
    let one = || Evidence { signer: Ok(Signer { algorithms: vec!["ed25519"], ..signer() }), ..evidence(&package) };
    let (full, basic) = (Policy::default(), policy(json!({"level": "basic"})));
    assert_eq!((full.level(), basic.level()), (Level::Full, Level::Basic));
    assert_eq!(full.evaluate(&one()).verdict, Verdict::Block);
    let decision = basic.evaluate(&one());
    assert_eq!((decision.verdict, violations(&decision)), (Verdict::Warn, vec![Violation::InvalidSignature]));
    let check = decision.check(Check::PostQuantum).expect("is reported");
    assert_eq!((check.outcome, check.required), (Outcome::Failed, false));
    assert_eq!(check.evidence, "its publisher vouches for it with `ed25519` alone");
    assert_eq!(basic.evaluate(&evidence(&package)).verdict, Verdict::Allow, "both are as good as ever");
    // Whatever ended the verification is refused, by which check it may be.
    for check in [Check::Signature, Check::Certificate, Check::Chain, Check::Revocation, Check::PostQuantum] {
        let wrong = Evidence { signer: Err(fault(check, Violation::InvalidCertificate)), ..evidence(&package) };
        assert_eq!(basic.evaluate(&wrong).verdict, Verdict::Block, "{check}");
    }
}

#[test]
fn a_custom_policy_without_the_post_quantum_check_accepts_nothing_unverified() {
    let package = minimal();
    let without = json!(["signature", "certificate", "chain", "revocation"]);
    let custom = policy(json!({"policy": "custom", "custom": {"checks": without}}));
    let classical = Err(fault(Check::PostQuantum, Violation::InvalidSignature));
    let decision = custom.evaluate(&Evidence { signer: classical, ..evidence(&package) });
    assert_eq!(decision.verdict, Verdict::Block, "the signature was never looked at: {decision:?}");
}

#[test]
fn a_policy_that_cannot_be_is_refused_by_field() {
    let rule = |when: Json, action: Json| json!({"policy": "custom", "custom": {"rules": [{"name": "r", "when": when, "action": action}]}});
    for (config, named) in [
        (json!({"policy": "custom"}), "policy"),
        (json!({"policy": "strict", "custom": {}}), "custom"),
        (json!({"policy": "custom", "custom": {"base": "custom"}}), "custom.base"),
        (json!({"policy": "strict", "level": "basic"}), "level"),
        (json!({"policy": "custom", "level": "basic", "custom": {"base": "strict"}}), "level"),
        (json!({"policy": "custom", "level": "basic", "custom": {"checks": ["post_quantum"]}}), "level"),
        (json!({"policy": "custom", "custom": {"reputation_min": 1.5}}), "custom.reputation_min"),
        (json!({"blacklist": vec!["a"; PATTERNS_MAX + 1]}), "blacklist"),
        (json!({"whitelist": vec!["a"; PATTERNS_MAX + 1]}), "whitelist"),
        (json!({"publishers": vec![json!({"kind": "official", "publishers": ["a"]}); PATTERNS_MAX + 1]}), "publishers"),
        (rule(json!([]), json!("block")), "custom.rules[0]"),
        (rule(json!([{"reputation_below": 2.0}]), json!("block")), "custom.rules[0]"),
        (rule(json!([{"has_dependency": "a@b"}]), json!("block")), "custom.rules[0]"),
        (rule(json!([{"custom": {"field": "a", "operator": "in", "value": 1}}]), json!("block")), "custom.rules[0]"),
    ] {
        let read: PolicyConfig = serde_json::from_value(config).expect("reads");
        assert_eq!(Policy::new(&read).expect_err("is refused").field, named);
    }
    for wrong in [
        json!({"policy": "lax"}),
        json!({"polcy": "strict"}),
        json!({"blacklist": ["[a"]}),
        rule(json!([{"sha": "x"}]), json!("block")),
        rule(json!([{"package_name_pattern": "*"}]), json!("explode")),
        rule(json!([{"package_name_pattern": "*"}]), json!({"run_validator": {"validator": "taste", "score_min": 1}})),
    ] {
        assert!(serde_json::from_value::<PolicyConfig>(wrong.clone()).is_err(), "{wrong}");
    }
}
