//! What holds for every policy and whatever is known about a release.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

/// What is known about a release, without what it is known of.
#[derive(Clone, Debug)]
struct Known {
    wanted: Use,
    size_bytes: u64,
    signer: Result<Signer, Fault>,
    freshness: Result<String, Fault>,
    worst: Vec<Severity>,
    reputation: f64,
    consensus: Result<String, String>,
    pin: Option<Pin>,
    is_lookalike: bool,
}

impl Known {
    fn of<'a>(&self, package: &'a Package) -> Evidence<'a> {
        let known = self.clone();
        let vulnerability = |severity: &Severity| Vulnerability { id: "HM-2030-1".into(), severity: *severity };
        Evidence {
            wanted: known.wanted,
            size_bytes: known.size_bytes,
            signer: known.signer,
            freshness: known.freshness,
            vulnerabilities: known.worst.iter().map(vulnerability).collect(),
            reputation: known.reputation,
            consensus: known.consensus,
            pin: known.pin,
            lookalike: known.is_lookalike.then(|| "acme/vex".parse().expect("a name")),
            ..evidence(package)
        }
    }
}

fn known() -> impl Strategy<Value = Known> {
    let failed = select(Check::ALL[..5].to_vec()).prop_map(|check| Err(fault(check, Violation::InvalidSignature)));
    let signer = prop_oneof![3 => Just(Ok(signer())), 1 => failed];
    let late = Err(fault(Check::Freshness, Violation::StaleFeed));
    let freshness = prop_oneof![Just(Ok("entry 3 of 3".to_owned())), Just(late)];
    let consensus = prop_oneof![Just(Ok("agreed".to_owned())), Just(Err("nobody was asked".to_owned()))];
    let pin = |publisher: &str, keys: &str| Just(Some(Pin { publisher: publisher.into(), keys: keys.into() }));
    let pin = prop_oneof![Just(None), pin(ACME, "aa"), pin(ACME, "bb"), pin("other.pub.trustchain", "aa")];
    let figures = (select(vec![0_u64, 4_096, 100 << 20, u64::MAX]), 0.0..=1.0_f64, any::<bool>());
    let wanted = select(vec![Use::Publish, Use::Install, Use::Execute]);
    let worst = prop::collection::vec(select(SEVERITIES.to_vec()), 0..3);
    (wanted, figures, signer, freshness, worst, consensus, pin).prop_map(
        |(wanted, (size_bytes, reputation, is_lookalike), signer, freshness, worst, consensus, pin)| Known {
            wanted,
            size_bytes,
            signer,
            freshness,
            worst,
            reputation,
            consensus,
            pin,
            is_lookalike,
        },
    )
}

/// Gives custom policies that name every figure, and have no rules.
fn custom_part() -> impl Strategy<Value = Custom> {
    let base = select(BASES.to_vec());
    let checks = subsequence(Check::ALL.to_vec(), 0..=Check::ALL.len());
    let kinds = subsequence(KINDS.to_vec(), 0..=KINDS.len());
    let figures = (0.0..=1.0_f64, select(SEVERITIES.to_vec()), any::<bool>(), select(vec![0_u64, 4_096, u64::MAX]));
    (base, checks, kinds, figures).prop_map(|(base, checks, kinds, (reputation, severity, pinning, size))| Custom {
        base,
        checks: Some(checks.into_iter().collect()),
        reputation_min: Some(reputation),
        vulnerability_max: Some(severity),
        publisher_kinds: Some(kinds.into_iter().collect()),
        pinning: Some(pinning),
        size_bytes_max: Some(size),
        run_directories: None,
        rules: Vec::new(),
    })
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let condition = select(vec![
        json!({"package_name_pattern": "*"}),
        json!({"package_name_pattern": "other/*"}),
        json!({"publisher_pattern": "acme.*"}),
        json!({"reputation_below": 0.5}),
        json!({"package_size_exceeds": 4_096}),
        json!({"has_dependency": "base"}),
        json!({"custom": {"field": "metadata.version", "operator": "exists"}}),
    ]);
    let validator = json!({"run_validator": {"validator": "security", "score_min": 81}});
    let actions = ["allow", "block", "warn", "require_confirmation"].map(|action| json!(action));
    let action = select([&actions[..], &[validator]].concat());
    let rule = (prop::collection::vec(condition, 1..3), action).prop_map(|(when, action)| {
        serde_json::from_value(json!({"name": "r", "when": when, "action": action})).expect("a rule")
    });
    prop::collection::vec(rule, 0..5)
}

/// Gives what is at least as strict as both.
fn stricter(a: &Custom, b: &Custom) -> Custom {
    let kinds = |it: &Custom| it.publisher_kinds.clone().unwrap_or_default();
    // No kinds are all of them; kinds that exclude each other leave those of the first.
    let both: BTreeSet<_> = kinds(a).intersection(&kinds(b)).copied().collect();
    Custom {
        base: a.base,
        checks: Some(a.checks.iter().chain(&b.checks).flatten().copied().collect()),
        reputation_min: a.reputation_min.zip(b.reputation_min).map(|(a, b)| a.max(b)),
        vulnerability_max: a.vulnerability_max.min(b.vulnerability_max),
        publisher_kinds: Some(if both.is_empty() { kinds(a) } else { both }),
        pinning: a.pinning.max(b.pinning),
        size_bytes_max: a.size_bytes_max.min(b.size_bytes_max),
        run_directories: a.run_directories,
        rules: a.rules.clone(),
    }
}

fn with(custom: Custom, whitelist: bool) -> Policy {
    let whitelist = whitelist.then(|| "acme.*".to_owned().try_into().expect("a pattern"));
    Policy::new(&PolicyConfig {
        policy: PolicyName::Custom,
        custom: Some(custom),
        publishers: serde_json::from_value(json!([{"kind": "community", "publishers": ["acme.*"]}])).expect("reads"),
        whitelist: whitelist.into_iter().collect(),
        ..PolicyConfig::default()
    })
    .expect("a valid policy")
}

fn organization() -> Vec<Listed> {
    serde_json::from_value(json!([{"kind": "organization", "publishers": ["acme.*"]}])).expect("reads")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_stricter_policy_allows_nothing_that_a_laxer_one_refuses(
        known in known(), a in custom_part(), b in custom_part(), whitelist: bool,
    ) {
        let package = minimal();
        let (lax, strict) = (with(a.clone(), whitelist), with(stricter(&a, &b), whitelist));
        let (lax, strict) = (lax.evaluate(&known.of(&package)), strict.evaluate(&known.of(&package)));
        prop_assert!(strict.verdict >= lax.verdict, "{strict:?}\n{lax:?}");
    }

    #[test]
    fn the_presets_are_in_their_order(known in known()) {
        let package = minimal();
        let verdicts = [PolicyName::Permissive, PolicyName::Moderate, PolicyName::Strict].map(|policy| {
            let config = PolicyConfig { policy, publishers: organization(), ..PolicyConfig::default() };
            Policy::new(&config).expect("a preset").evaluate(&known.of(&package)).verdict
        });
        prop_assert!(verdicts.is_sorted(), "{verdicts:?}");
    }

    #[test]
    fn a_custom_policy_that_changes_nothing_decides_as_its_base(known in known(), base in select(BASES.to_vec())) {
        let package = minimal();
        // Who publishes is somebody whom the strict policy accepts, or it refuses everything and shows nothing.
        let preset = PolicyConfig { policy: base, publishers: organization(), ..PolicyConfig::default() };
        let custom = Some(Custom { base, ..Custom::default() });
        let custom = PolicyConfig { policy: PolicyName::Custom, custom, ..preset.clone() };
        let [preset, custom] =
            [preset, custom].map(|it| Policy::new(&it).expect("a valid policy").evaluate(&known.of(&package)));
        prop_assert_eq!((preset.verdict, preset.reasons), (custom.verdict, custom.reasons));
    }

    #[test]
    fn no_rule_takes_back_what_a_check_found(known in known(), part in custom_part(), rules in rules(), whitelist: bool) {
        let package = minimal();
        let without = with(part.clone(), whitelist).evaluate(&known.of(&package));
        let allow = serde_json::from_value(json!({"name": "ours", "when": [{"package_name_pattern": "*"}], "action": "allow"}));
        let allowed = with(Custom { rules: vec![allow.expect("a rule")], ..part.clone() }, whitelist);
        prop_assert_eq!(allowed.evaluate(&known.of(&package)).verdict, without.verdict);
        let ruled = with(Custom { rules, ..part }, whitelist).evaluate(&known.of(&package));
        prop_assert!(ruled.verdict >= without.verdict, "{ruled:?}");
        prop_assert_eq!(&ruled.checks, &without.checks);
        let late = |check| check == Check::Freshness && known.wanted == Use::Execute;
        let failed = ruled.checks.iter().any(|it| it.required && it.outcome != Outcome::Passed && !late(it.check));
        prop_assert!(!failed || ruled.require(Confirmed::Yes).is_err());
    }
}

const ACME: &str = "acme.pub.trustchain";
const BASES: [PolicyName; 3] = [PolicyName::Strict, PolicyName::Moderate, PolicyName::Permissive];
const SEVERITIES: [Severity; 5] = [Severity::None, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
const KINDS: [PublisherKind; 5] = [
    PublisherKind::Official,
    PublisherKind::Organization,
    PublisherKind::Community,
    PublisherKind::Individual,
    PublisherKind::Unknown,
];
