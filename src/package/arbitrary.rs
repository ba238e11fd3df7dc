//! Any valid package, for property tests.

use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::model::{
    AffinityOperator, AffinityRule, Bytes, Conflict, CpuMillis, DelegationStrategy, Dependency, Execution,
    FileAccessLevel, HashAlgorithm, Package, PackageType, Priority, Resources, RetryPolicy, RuleType, SandboxLevel,
    Security, Source, Timing,
};
use super::tests;

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,6}".prop_map(Json::from)
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Json::from),
            btree_map(".{0,4}", inner, 0..3).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

fn any_source() -> impl Strategy<Value = Source> {
    let text = || option::of(".{0,6}");
    prop_oneof![
        text().prop_map(|registry| Source::Registry { registry }),
        (text(), text()).prop_map(|(reference, path)| Source::Git { url: "https://g".into(), reference, path }),
        ".{1,6}".prop_map(|path| Source::Local { path }),
        "[0-9a-f]{64}".prop_map(|sha256| Source::Http { url: "https://h".into(), sha256 }),
    ]
}

fn any_dependencies() -> impl Strategy<Value = Vec<Dependency>> {
    let one = (
        "[~^]?[1-9][0-9]{0,2}\\.[1-9]",
        any::<bool>(),
        any_source(),
        vec(".{0,4}", 0..3),
        option::of(prop_oneof![Just("linux".to_owned()), Just("macos-aarch64".to_owned())]),
    );
    btree_map("x[a-z]{0,5}", one, 0..4).prop_map(|named| {
        let dependency =
            |(name, (text, optional, source, features, platform)): (String, (String, _, _, _, _))| Dependency {
                name: name.parse().expect("is a name"),
                requirement: text.parse().expect("is a requirement"),
                requirement_text: text,
                optional,
                source,
                features,
                platform,
            };
        named.into_iter().map(dependency).collect()
    })
}

prop_compose! {
    fn any_resources()(
        numbers in vec(1..u64::MAX / 2, 5), some in vec(option::of(1..u64::MAX), 5), cores in option::of(1..u32::MAX),
        flags in vec(any::<bool>(), 3), word in option::of("[a-z]{1,5}"),
    ) -> Resources {
        Resources {
            cpu_limit: CpuMillis(numbers[0]), memory_limit: Bytes(numbers[1]),
            execution_timeout: Duration::from_millis(numbers[2]), storage_required: some[0].map(Bytes),
            network_bandwidth: some[1].map(Bytes), cpu_required: flags[0], cpu_cores: cores,
            cpu_architecture: word.clone(), gpu_required: flags[1], gpu_memory_mb: some[2], gpu_type: word,
            memory_mb: some[3], storage_mb: some[4], persistent_storage: flags[2], hardware_requirements: Vec::new(),
        }
    }
}

prop_compose! {
    fn any_execution()(
        consensus in 1..=5_u32, concurrent in option::of(1..u32::MAX), fuel in option::of(1..1_u64 << 53), weight in 0.0..1e6_f64, values in vec(".{0,4}", 1..3),
        strategy in prop_oneof![Just(DelegationStrategy::NearestNode), Just(DelegationStrategy::SpecificNode)],
        retry_policy in prop_oneof![Just(RetryPolicy::None), Just(RetryPolicy::ExponentialBackoff)],
        priority in prop_oneof![Just(Priority::Low), Just(Priority::Critical)],
        timing in prop_oneof![Just(Timing::Immediate), Just(Timing::Scheduled), Just(Timing::Background)],
        rule_type in prop_oneof![Just(RuleType::Required), Just(RuleType::Preferred)], key in ".{0,4}",
    ) -> Execution {
        let mut execution = Execution {
            delegation_strategy: strategy, minimum_consensus: consensus, retry_policy, max_concurrent: concurrent,
            fuel, priority, ..Execution::default()
        };
        execution.scheduling.timing = timing;
        let rule = AffinityRule { rule_type, key, operator: AffinityOperator::NotIn, values, weight };
        execution.scheduling.node_affinity = vec![rule];
        execution
    }
}

prop_compose! {
    fn any_security()(
        flags in vec(any::<bool>(), 5), ports in vec(1..=u16::MAX, 0..3), texts in vec(".{0,4}", 0..3),
        hash_validation in prop_oneof![Just(HashAlgorithm::Sha256), Just(HashAlgorithm::Sha512), Just(HashAlgorithm::Blake3)],
        sandbox_level in prop_oneof![Just(SandboxLevel::Minimal), Just(SandboxLevel::Standard), Just(SandboxLevel::Paranoid)],
        level in prop_oneof![Just(FileAccessLevel::None), Just(FileAccessLevel::ReadWrite)],
    ) -> Security {
        let mut security = Security { consensus_required: flags[0], certificate_pinning: flags[1], hash_validation,
            sandbox_level, allowed_syscalls: texts.clone(), permissions: texts.clone(), ..Security::default() };
        security.network_access.enabled = flags[2];
        security.network_access.require_tls = flags[3];
        security.network_access.allowed_ports = ports;
        security.network_access.allowed_domains = texts.clone();
        security.file_access.level = level;
        security.file_access.allow_temp = flags[4];
        security.file_access.denied_paths = texts;
        security
    }
}

prop_compose! {
    pub(super) fn any_package()(
        dependencies in any_dependencies(), resources in any_resources(), execution in any_execution(),
        security in any_security(), config_schema in option::of(btree_map(".{0,4}", any_json(), 0..3)),
        templates in btree_map(".{0,4}", any_json(), 0..3), environment in btree_map("[A-Z_][A-Z0-9]{0,3}", "[^\0]{0,6}", 0..3),
        (kind, inline) in (proptest::sample::select(PackageType::all().collect::<Vec<_>>()), option::of(".{0,9}")),
        bytes in vec(any::<u8>(), 0..9), words in vec(".{0,4}", 0..3), text in option::of(".{0,9}"), patch in any::<u64>(),
    ) -> Package {
        let mut package = tests::every_field();
        package.features = dependencies.iter().filter(|dependency| dependency.optional)
            .map(|dependency| (format!("f-{}", dependency.name), vec![dependency.name.to_string()])).collect();
        package.version.patch = patch;
        package.about.description = text.clone();
        package.about.license = text;
        package.about.tags = words;
        package.content.inline = inline;
        package.content.binary[0].bytes = bytes;
        package.content.templates = templates;
        package.conflicts = dependencies.iter().filter(|dependency| dependency.optional).map(|dependency| Conflict {
            name: format!("y{}", dependency.name).parse().expect("is a name"),
            requirement: dependency.requirement.clone(),
            requirement_text: dependency.requirement_text.clone(),
        }).collect();
        Package { kind, security, resources, execution, dependencies, environment,
            config_schema: config_schema.map(|fields| fields.into_iter().collect()), ..package }
    }
}
