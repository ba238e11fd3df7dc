//! The canonical JSON of a package: what is signed, hashed and kept, whichever format the author wrote.
//!
//! Keys are sorted, there is no white space, every default is written out, and what is absent or empty is left out; units are
//! in thousandths of a core, bytes and milliseconds. Equal packages give equal bytes, and only these bytes read back.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde_json::Value as Json;

use super::document::Place;
use super::fault::{Fault, Faults};
use super::model::{
    AffinityRule, BinaryAsset, Content, Dependency, Execution, HardwareRequirement, Package, Resources, Security,
    Source,
};
use super::source::{Bounds, Format, MANIFEST_BYTES_MAX, MANIFEST_NODES_MAX};
use super::units::{format_bytes, format_cpu, format_duration};
use super::{parse_into, schema};

/// The most bytes of a canonical form. Written-out defaults make it larger than what the author wrote, at most fourfold
/// (a rule of 24 bytes becomes one of 77), and characters that JSON escapes at most twofold.
pub const CANONICAL_BYTES_MAX: usize = 8 * MANIFEST_BYTES_MAX;

const BOUNDS: Bounds = Bounds { bytes_max: CANONICAL_BYTES_MAX, nodes_max: 8 * MANIFEST_NODES_MAX, ..Bounds::MANIFEST };

impl Package {
    /// Gives the canonical JSON.
    pub fn to_canonical_json(&self) -> Vec<u8> {
        let mut manifest = lower(self);
        // The author's own JSON may hold nulls and empty lists that mean something, so it stays out of the pruning.
        let spec = manifest.spec.get_or_insert_default();
        let config_schema = spec.config_schema.take();
        let templates = spec.content.get_or_insert_default().templates.take().unwrap_or_default();
        let mut json = serde_json::to_value(&manifest).unwrap_or_default();
        prune(&mut json);
        if let Some(schema) = config_schema {
            json["spec"]["config_schema"] = schema;
        }
        if !templates.is_empty() {
            json["spec"]["content"]["templates"] = templates.into_iter().collect();
        }
        sorted(json).to_string().into_bytes()
    }

    /// Reads canonical JSON.
    ///
    /// # Errors
    /// Faults of the package, or `NOT_CANONICAL` for other bytes than [`Package::to_canonical_json`] gives.
    pub fn from_canonical_json(bytes: &[u8]) -> Result<Self, Faults> {
        let mut faults = Faults::new("package.json");
        let package = match std::str::from_utf8(bytes) {
            Ok(text) => parse_into(text, Format::Json, BOUNDS, &mut faults).map(|(package, _)| package),
            Err(_) => {
                faults.push(Fault::error("SYNTAX", &Place::default(), "the bytes are not UTF-8"));
                None
            }
        };
        if package.as_ref().is_some_and(|package| package.to_canonical_json() != bytes) && faults.is_acceptable() {
            let fault = Fault::error("NOT_CANONICAL", &Place::default(), "the bytes are not in canonical form");
            faults.push(fault.hint("canonical bytes are made by Catalog, not written by hand"));
        }
        faults.finish(package).map(|(package, _)| package)
    }
}

/// Makes the schema types again, with every default written out.
fn lower(package: &Package) -> schema::Manifest {
    let about = package.about.clone();
    schema::Manifest {
        api_version: Some(schema::API_VERSION.into()),
        kind: Some(schema::KINDS[0].into()),
        metadata: Some(schema::Metadata {
            name: Some(package.name.to_string()),
            version: Some(package.version.to_string()),
            description: about.description,
            author: about.author,
            license: about.license,
            homepage: about.homepage,
            repository: about.repository,
            created: about.created,
            updated: about.updated,
            tags: Some(about.tags),
            keywords: Some(about.keywords),
        }),
        spec: Some(schema::Spec {
            kind: Some(package.kind.to_string()),
            content: Some(content(&package.content)),
            security: Some(security(&package.security)),
            resources: Some(resources(&package.resources)),
            execution: Some(execution(&package.execution)),
            dependencies: Some(package.dependencies.iter().map(dependency).collect()),
            features: Some(package.features.clone()),
            environment: Some(package.environment.clone()),
            config_schema: package.config_schema.clone(),
        }),
    }
}

fn content(content: &Content) -> schema::Content {
    schema::Content {
        main: Some(content.main.to_string()),
        files: Some(content.files.iter().map(ToString::to_string).collect()),
        inline: content.inline.clone(),
        binary: Some(content.binary.iter().map(binary).collect()),
        templates: Some(content.templates.clone()),
    }
}

fn binary(asset: &BinaryAsset) -> schema::Binary {
    schema::Binary {
        name: Some(asset.path.to_string()),
        mime_type: Some(asset.mime_type.clone()),
        base64: Some(data_encoding::BASE64.encode(&asset.bytes)),
        size: None,
        sha256: None,
    }
}

fn security(security: &Security) -> schema::Security {
    let network = security.network_access.clone();
    let files = security.file_access.clone();
    schema::Security {
        consensus_required: Some(security.consensus_required),
        certificate_pinning: Some(security.certificate_pinning),
        hash_validation: Some(security.hash_validation),
        sandbox_level: Some(security.sandbox_level),
        allowed_syscalls: Some(security.allowed_syscalls.clone()),
        permissions: Some(security.permissions.clone()),
        network_access: Some(schema::NetworkAccess {
            enabled: Some(network.enabled),
            allowed_domains: Some(network.allowed_domains),
            allowed_ports: Some(network.allowed_ports.into_iter().filter_map(NonZeroU16::new).collect()),
            require_tls: Some(network.require_tls),
        }),
        file_access: Some(schema::FileAccess {
            level: Some(files.level),
            allowed_paths: Some(files.allowed_paths),
            denied_paths: Some(files.denied_paths),
            allow_temp: Some(files.allow_temp),
        }),
    }
}

fn resources(resources: &Resources) -> schema::Resources {
    schema::Resources {
        cpu_limit: Some(format_cpu(resources.cpu_limit)),
        memory_limit: Some(format_bytes(resources.memory_limit)),
        execution_timeout: Some(format_duration(resources.execution_timeout)),
        storage_required: resources.storage_required.map(format_bytes),
        network_bandwidth: resources.network_bandwidth.map(format_bytes),
        cpu_required: Some(resources.cpu_required),
        cpu_cores: resources.cpu_cores,
        cpu_architecture: resources.cpu_architecture.clone(),
        gpu_required: Some(resources.gpu_required),
        gpu_memory_mb: resources.gpu_memory_mb,
        gpu_type: resources.gpu_type.clone(),
        memory_mb: resources.memory_mb,
        storage_mb: resources.storage_mb,
        persistent_storage: Some(resources.persistent_storage),
        hardware_requirements: Some(resources.hardware_requirements.iter().map(hardware).collect()),
    }
}

fn hardware(hardware: &HardwareRequirement) -> schema::HardwareRequirement {
    schema::HardwareRequirement {
        hardware_type: Some(hardware.hardware_type),
        minimum_spec: Some(hardware.minimum_spec.clone()),
        preferred_spec: hardware.preferred_spec.clone(),
        required_features: Some(hardware.required_features.clone()),
    }
}

fn execution(execution: &Execution) -> schema::Execution {
    let timeouts = &execution.timeout_config;
    let scheduling = &execution.scheduling;
    schema::Execution {
        delegation_strategy: Some(execution.delegation_strategy),
        minimum_consensus: Some(execution.minimum_consensus),
        retry_policy: Some(execution.retry_policy),
        max_concurrent: execution.max_concurrent,
        priority: Some(execution.priority),
        timeout_config: Some(schema::TimeoutConfig {
            execution: Some(format_duration(timeouts.execution)),
            network: Some(format_duration(timeouts.network)),
            io: Some(format_duration(timeouts.io)),
            compilation: Some(format_duration(timeouts.compilation)),
        }),
        scheduling: Some(schema::Scheduling {
            timing: Some(scheduling.timing),
            allocation_strategy: Some(scheduling.allocation_strategy),
            node_affinity: Some(scheduling.node_affinity.iter().map(affinity).collect()),
            anti_affinity: Some(scheduling.anti_affinity.iter().map(affinity).collect()),
        }),
    }
}

fn affinity(rule: &AffinityRule) -> schema::AffinityRule {
    schema::AffinityRule {
        rule_type: Some(rule.rule_type),
        key: Some(rule.key.clone()),
        operator: Some(rule.operator),
        values: Some(rule.values.clone()),
        weight: Some(rule.weight),
    }
}

fn dependency(dependency: &Dependency) -> schema::Dependency {
    let source = match dependency.source.clone() {
        Source::Registry { registry: None } => None,
        Source::Registry { registry } => Some(schema::Source {
            registry: Some(schema::RegistrySource { registry, namespace: None }),
            ..schema::Source::default()
        }),
        Source::Git { url, reference, path } => Some(schema::Source {
            git: Some(schema::GitSource { url: Some(url), reference, path }),
            ..schema::Source::default()
        }),
        Source::Local { path } => {
            Some(schema::Source { local: Some(schema::LocalSource { path: Some(path) }), ..schema::Source::default() })
        }
        Source::Http { url, sha256 } => Some(schema::Source {
            http: Some(schema::HttpSource { url: Some(url), sha256: Some(sha256) }),
            ..schema::Source::default()
        }),
    };
    schema::Dependency {
        name: Some(dependency.name.to_string()),
        version: Some(dependency.requirement_text.clone()),
        optional: Some(dependency.optional),
        source,
        features: Some(dependency.features.clone()),
        platform: dependency.platform.clone(),
    }
}

/// Leaves out nulls and empty lists and maps; a feature without entries stays, because its name says something.
fn prune(json: &mut Json) {
    match json {
        Json::Array(values) => values.iter_mut().for_each(prune),
        Json::Object(fields) => fields.retain(|name, value| {
            if name != "features" || value.is_array() {
                prune(value);
            }
            !is_void(value)
        }),
        _ => {}
    }
}

fn is_void(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::Array(values) => values.is_empty(),
        Json::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Orders the keys of every map by their text.
fn sorted(json: Json) -> Json {
    match json {
        Json::Array(values) => values.into_iter().map(sorted).collect(),
        Json::Object(fields) => {
            let fields: BTreeMap<_, _> = fields.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            fields.into_iter().collect()
        }
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
<<<<<<< HEAD
    use std::time::Duration;

    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::super::model::{
        AffinityOperator, Bytes, CpuMillis, DelegationStrategy, FileAccessLevel, HashAlgorithm, PackageType, Priority,
        RetryPolicy, RuleType, SandboxLevel, Timing,
    };
    use super::super::{Format, parse, tests};
    use super::*;

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
            consensus in 1..=5_u32, concurrent in option::of(1..u32::MAX), weight in 0.0..1e6_f64, values in vec(".{0,4}", 1..3),
            strategy in prop_oneof![Just(DelegationStrategy::NearestNode), Just(DelegationStrategy::SpecificNode)],
            retry_policy in prop_oneof![Just(RetryPolicy::None), Just(RetryPolicy::ExponentialBackoff)],
            priority in prop_oneof![Just(Priority::Low), Just(Priority::Critical)],
            timing in prop_oneof![Just(Timing::Immediate), Just(Timing::Scheduled), Just(Timing::Background)],
            rule_type in prop_oneof![Just(RuleType::Required), Just(RuleType::Preferred)], key in ".{0,4}",
        ) -> Execution {
            let mut execution = Execution {
                delegation_strategy: strategy, minimum_consensus: consensus, retry_policy, max_concurrent: concurrent,
                priority, ..Execution::default()
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
        fn any_package()(
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
            Package { kind, security, resources, execution, dependencies, environment,
                config_schema: config_schema.map(|fields| fields.into_iter().collect()), ..package }
        }
    }

=======
    use proptest::prelude::*;

    use super::super::arbitrary::any_package;
    use super::super::{Format, parse, tests};
    use super::*;

>>>>>>> pkg
    proptest! {
        #[test]
        fn canonical_json_round_trips(package in any_package()) {
            let bytes = package.to_canonical_json();
            let read = Package::from_canonical_json(&bytes).map_err(|faults| TestCaseError::fail(faults.to_string()))?;
            prop_assert_eq!(read.to_canonical_json(), bytes);
            prop_assert_eq!(read, package);
        }
    }

    #[test]
    fn a_full_package_round_trips_and_its_form_is_pinned() {
        let package = tests::every_field();
        let bytes = package.to_canonical_json();
        assert_eq!(Package::from_canonical_json(&bytes), Ok(package));
        // A change of this digest is a change of every package's identity.
        assert_eq!(crate::digest::Digest::of(&bytes).short(), "189b0b7f5586");
    }

    #[test]
    fn a_minimal_package_writes_its_defaults_out() {
        let package = parse(&tests::minimal("  content: {main: a.lua}\n"), Format::Yaml, "p").expect("is valid").0;
        let text = String::from_utf8(package.to_canonical_json()).expect("is UTF-8");
<<<<<<< HEAD
        insta::assert_snapshot!(text, @r#"
        {"apiVersion":"catalog.v1","kind":"AssetPackage","metadata":{"name":"a","version":"1.0.0"},"spec":{"content":{"main":"a.lua"},"execution":{"delegation_strategy":"nearest_node","minimum_consensus":1,"priority":"normal","retry_policy":"none","scheduling":{"allocation_strategy":"balanced","timing":"immediate"},"timeout_config":{"compilation":"60000ms","execution":"30000ms","io":"5000ms","network":"10000ms"}},"resources":{"cpu_limit":"1000m","cpu_required":true,"execution_timeout":"30000ms","gpu_required":false,"memory_limit":"536870912","persistent_storage":false},"security":{"certificate_pinning":false,"consensus_required":false,"file_access":{"allow_temp":false,"level":"none"},"hash_validation":"blake3","network_access":{"enabled":false,"require_tls":true},"sandbox_level":"standard"},"type":"lua-script"}}
        "#);
=======
        insta::assert_snapshot!(text, @r#"{"apiVersion":"catalog.v1","kind":"AssetPackage","metadata":{"name":"a","version":"1.0.0"},"spec":{"content":{"main":"a.lua"},"execution":{"delegation_strategy":"nearest_node","minimum_consensus":1,"priority":"normal","retry_policy":"none","scheduling":{"allocation_strategy":"balanced","timing":"immediate"},"timeout_config":{"compilation":"60000ms","execution":"30000ms","io":"5000ms","network":"10000ms"}},"resources":{"cpu_limit":"1000m","cpu_required":true,"execution_timeout":"30000ms","gpu_required":false,"memory_limit":"536870912","persistent_storage":false},"security":{"certificate_pinning":false,"consensus_required":false,"file_access":{"allow_temp":false,"level":"none"},"hash_validation":"blake3","network_access":{"enabled":false,"require_tls":true},"sandbox_level":"standard"},"type":"lua-script"}}"#);
>>>>>>> pkg
    }

    #[test]
    fn other_bytes_of_the_same_package_are_refused() {
        let canonical = tests::every_field().to_canonical_json();
        let mut spaced = canonical.clone();
        spaced.push(b' ');
        let pretty = serde_json::from_slice::<Json>(&canonical).expect("is JSON");
        for wrong in [spaced, serde_json::to_vec_pretty(&pretty).expect("is JSON")] {
            let faults = Package::from_canonical_json(&wrong).expect_err("is refused");
            assert_eq!(faults.list[0].code, "NOT_CANONICAL");
        }
        assert!(Package::from_canonical_json(&[0xff]).is_err());
        assert!(Package::from_canonical_json(&vec![b' '; CANONICAL_BYTES_MAX + 1]).is_err());
    }
}
