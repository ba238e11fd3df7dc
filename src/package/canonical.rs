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
    AffinityRule, BinaryAsset, Conflict, Content, Dependency, Execution, HardwareRequirement, Package, Resources,
    Security, Source,
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
            conflicts: Some(package.conflicts.iter().map(conflict).collect()),
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
        writable: Some(content.writable.iter().map(ToString::to_string).collect()),
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
        fuel: execution.fuel,
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

fn conflict(conflict: &Conflict) -> schema::Conflict {
    schema::Conflict { name: Some(conflict.name.to_string()), version: Some(conflict.requirement_text.clone()) }
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
    use proptest::prelude::*;

    use super::super::arbitrary::any_package;
    use super::super::{Format, parse, tests};
    use super::*;

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
        assert_eq!(Package::from_canonical_json(&bytes).as_ref(), Ok(&package));
        // A change of these digests is a change of every package's identity, unless it is the example that changed: the second
        // is older than `conflicts`, the third than the templates in it, the fourth than `content.writable` and `execution.fuel`.
        assert_eq!(crate::digest::Digest::of(&bytes).short(), "941aac4f8875");
        let mut older = package;
        older.conflicts.clear();
        assert_eq!(crate::digest::Digest::of(&older.to_canonical_json()).short(), "171110ddea93");
        let templates = r#"{"greeting": {"who": {"type": "string", "default": "world"},
            "times": {"type": "number", "default": 1.5, "optional": true}}}"#;
        older.content.templates = serde_json::from_str(templates).expect("is JSON");
        assert_eq!(crate::digest::Digest::of(&older.to_canonical_json()).short(), "7af919684c33");
        older.content.writable.clear();
        older.execution.fuel = None;
        assert_eq!(crate::digest::Digest::of(&older.to_canonical_json()).short(), "189b0b7f5586");
    }

    #[test]
    fn a_minimal_package_writes_its_defaults_out() {
        let package = parse(&tests::minimal("  content: {main: a.lua}\n"), Format::Yaml, "p").expect("is valid").0;
        let text = String::from_utf8(package.to_canonical_json()).expect("is UTF-8");
        insta::assert_snapshot!(text, @r#"{"apiVersion":"catalog.v1","kind":"AssetPackage","metadata":{"name":"a","version":"1.0.0"},"spec":{"content":{"main":"a.lua"},"execution":{"delegation_strategy":"nearest_node","minimum_consensus":1,"priority":"normal","retry_policy":"none","scheduling":{"allocation_strategy":"balanced","timing":"immediate"},"timeout_config":{"compilation":"60000ms","execution":"30000ms","io":"5000ms","network":"10000ms"}},"resources":{"cpu_limit":"1000m","cpu_required":true,"execution_timeout":"30000ms","gpu_required":false,"memory_limit":"536870912","persistent_storage":false},"security":{"certificate_pinning":false,"consensus_required":false,"file_access":{"allow_temp":false,"level":"none"},"hash_validation":"blake3","network_access":{"enabled":false,"require_tls":true},"sandbox_level":"standard"},"type":"lua-script"}}"#);
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
