//! The meaning of a manifest: schema types become a [`Package`], or faults. Reads no files.
//!
//! A field that `check` has already refused is absent here and is not reported again.

mod content;
mod dependency;
mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::num::NonZeroU16;

use semver::Version;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::check::closest;
use super::document::{Cursor, Place};
use super::fault::{Fault, Faults, Severity};
use super::model::{About, FileAccess, FileAccessLevel, NetworkAccess, Package, SandboxLevel, Security};
use super::name::PackageName;
use super::schema;

/// Gives the package if nothing essential is wrong; the caller asks `faults` about the rest.
pub(crate) fn package(raw: schema::Manifest, root: &Cursor<'_>, faults: &mut Faults) -> Option<Package> {
    let mut read = Read { faults };
    let metadata = raw.metadata.unwrap_or_default();
    let spec = raw.spec.unwrap_or_default();
    let at = root.key("spec");
    let name = read.own_name(metadata.name.as_deref(), &root.key("metadata").key("name").place);
    let version = read.version(metadata.version.as_deref(), &root.key("metadata").key("version").place);
    let about = read.about(metadata, &root.key("metadata"));
    let kind = spec.kind.and_then(|kind| kind.parse().ok());
    let content = read.content(spec.content.unwrap_or_default(), kind, &at.key("content"));
    let security = read.security(spec.security.unwrap_or_default(), &at.key("security"));
    let resources = read.resources(spec.resources.unwrap_or_default(), &at.key("resources"));
    let timeout = resources.execution_timeout;
    let execution = read.execution(spec.execution.unwrap_or_default(), timeout, &at.key("execution"));
    let dependencies = read.dependencies(spec.dependencies.unwrap_or_default(), name.as_ref(), &at.key("dependencies"));
    let conflicts = read.conflicts(spec.conflicts.unwrap_or_default(), name.as_ref(), &at.key("conflicts"));
    let features = spec.features.unwrap_or_default();
    read.features(&features, &dependencies, &at.key("features"));
    let environment = spec.environment.unwrap_or_default();
    read.environment(&environment, &at.key("environment"));
    let config_schema = spec.config_schema.filter(|schema| !schema.is_null());
    read.config_schema(config_schema.as_ref(), &at.key("config_schema").place);
    Some(Package {
        name: name?,
        version: version?,
        about,
        kind: kind?,
        content: content?,
        security,
        resources,
        execution,
        dependencies: dependencies.into_iter().collect::<Option<_>>()?,
        conflicts: conflicts.into_iter().collect::<Option<_>>()?,
        features,
        environment,
        config_schema,
    })
}

/// Collects faults while fields are read.
struct Read<'a> {
    faults: &'a mut Faults,
}

impl Read<'_> {
    fn fault(&mut self, code: &'static str, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        self.faults.push(Fault::error(code, place, message).hint(hint));
    }

    fn warning(&mut self, code: &'static str, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        self.faults.push(Fault::error(code, place, message).hint(hint).severity(Severity::Warning));
    }

    /// Parses a text if it is there.
    fn parsed<T, E: Display>(
        &mut self,
        text: Option<&str>,
        place: &Place,
        (code, hint): (&'static str, &str),
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(text?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(code, place, error.to_string(), hint);
                None
            }
        }
    }

    fn name(&mut self, text: Option<&str>, place: &Place) -> Option<PackageName> {
        let hint = "names are `name` or `namespace/name` in lower case, such as `acme/ray-tracer`";
        self.parsed(text, place, ("INVALID_NAME", hint), str::parse)
    }

    /// A package must not pass for something of the node.
    fn own_name(&mut self, text: Option<&str>, place: &Place) -> Option<PackageName> {
        let name = self.name(text, place)?;
        if name.is_virtual() {
            let message = format!("`{name}` is the name of something of a node, and no package can have it");
            self.fault("INVALID_NAME", place, message, "begin the name with a letter");
        }
        Some(name)
    }

    fn version(&mut self, text: Option<&str>, place: &Place) -> Option<Version> {
        let hint = "versions are `major.minor.patch`, such as `\"1.10.0\"` or `\"2.0.0-rc.1\"`";
        self.parsed(text, place, ("INVALID_VERSION", hint), |text| {
            Version::parse(text).map_err(|error| format!("`{text}` is not a version: {error}"))
        })
    }

    fn about(&mut self, raw: schema::Metadata, at: &Cursor<'_>) -> About {
        for (key, text) in [("created", &raw.created), ("updated", &raw.updated)] {
            let hint = "times are RFC 3339, such as `2026-01-31T12:00:00Z`";
            self.parsed(text.as_deref(), &at.key(key).place, ("INVALID_TIME", hint), |text| {
                OffsetDateTime::parse(text, &Rfc3339).map_err(|_| format!("`{text}` is not a time"))
            });
        }
        About {
            description: raw.description,
            author: raw.author,
            license: raw.license,
            homepage: raw.homepage,
            repository: raw.repository,
            created: raw.created,
            updated: raw.updated,
            tags: raw.tags.unwrap_or_default(),
            keywords: raw.keywords.unwrap_or_default(),
        }
    }

    fn security(&mut self, raw: schema::Security, at: &Cursor<'_>) -> Security {
        let default = Security::default();
        let network = raw.network_access.unwrap_or_default();
        let files = raw.file_access.unwrap_or_default();
        let security = Security {
            consensus_required: raw.consensus_required.unwrap_or(default.consensus_required),
            certificate_pinning: raw.certificate_pinning.unwrap_or(default.certificate_pinning),
            hash_validation: raw.hash_validation.unwrap_or(default.hash_validation),
            sandbox_level: raw.sandbox_level.unwrap_or(default.sandbox_level),
            allowed_syscalls: raw.allowed_syscalls.unwrap_or_default(),
            permissions: raw.permissions.unwrap_or_default(),
            network_access: NetworkAccess {
                enabled: network.enabled.unwrap_or(default.network_access.enabled),
                allowed_domains: network.allowed_domains.unwrap_or_default(),
                allowed_ports: network.allowed_ports.unwrap_or_default().into_iter().map(NonZeroU16::get).collect(),
                require_tls: network.require_tls.unwrap_or(default.network_access.require_tls),
            },
            file_access: FileAccess {
                level: files.level.unwrap_or(default.file_access.level),
                allowed_paths: files.allowed_paths.unwrap_or_default(),
                denied_paths: files.denied_paths.unwrap_or_default(),
                allow_temp: files.allow_temp.unwrap_or(default.file_access.allow_temp),
            },
        };
        self.contradictions(&security, at);
        security
    }

    /// Warns of rules that have no effect.
    fn contradictions(&mut self, security: &Security, at: &Cursor<'_>) {
        let network = &security.network_access;
        let level = at.key("sandbox_level").place;
        if security.sandbox_level >= SandboxLevel::Strict {
            let hint = "choose `standard`, or remove the rule";
            if network.enabled {
                self.warning(
                    "NO_EFFECT",
                    &level,
                    "this sandbox level has no network, whatever `network_access` says",
                    hint,
                );
            }
            if security.file_access.level != FileAccessLevel::None {
                self.warning("NO_EFFECT", &level, "this sandbox level has no files, whatever `file_access` says", hint);
            }
        }
        let has_rules = !network.allowed_domains.is_empty() || !network.allowed_ports.is_empty();
        if has_rules && !network.enabled {
            let place = at.key("network_access").place;
            self.warning(
                "NO_EFFECT",
                &place,
                "domains and ports are listed, but the network is off",
                "set `enabled: true`",
            );
        }
    }

    /// Every entry of a feature is another feature or an optional dependency.
    fn features(
        &mut self,
        features: &BTreeMap<String, Vec<String>>,
        dependencies: &[Option<super::model::Dependency>],
        at: &Cursor<'_>,
    ) {
        let known = dependencies.iter().flatten().filter(|dependency| dependency.optional);
        let optional: BTreeSet<&str> = known.map(|dependency| dependency.name.as_str()).collect();
        for (feature, entries) in features {
            let at = at.key(feature);
            if !is_word(feature) {
                let message = format!("`{}` is not a name of a feature", feature.escape_debug());
                self.fault("INVALID_NAME", &at.place, message, "use letters, digits, `-` and `_`, at most 64");
            }
            for (index, entry) in entries.iter().enumerate() {
                let place = at.index(index).place;
                let is_known = features.contains_key(entry) || optional.contains(entry.as_str());
                if is_known || self.faults.is_full() || self.faults.cover(&place.path) {
                    continue;
                }
                let is_dependency = dependencies.iter().flatten().any(|dependency| dependency.name.as_str() == entry);
                let names = features.keys().map(String::as_str).chain(optional.iter().copied());
                let hint = match closest(entry, names) {
                    _ if is_dependency => "mark this dependency `optional: true`".to_owned(),
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "list other features or optional dependencies".to_owned(),
                };
                let message = format!("`{entry}` is neither a feature nor an optional dependency");
                self.fault("UNKNOWN_FEATURE", &place, message, hint);
            }
        }
    }

    fn environment(&mut self, environment: &BTreeMap<String, String>, at: &Cursor<'_>) {
        for (key, value) in environment {
            let is_name = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_name
                || !key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                || value.contains('\0')
            {
                let message = format!("`{}` cannot be a variable of a program", key.escape_debug());
                let hint = "use letters, digits and `_` in names, and no zero byte in values";
                self.fault("INVALID_VARIABLE", &at.key(key).place, message, hint);
            }
        }
    }

    fn config_schema(&mut self, schema: Option<&serde_json::Value>, place: &Place) {
        if schema.is_some_and(|schema| !schema.is_object() && !schema.is_boolean()) {
            self.fault("WRONG_TYPE", place, "a JSON Schema is a map or a truth value", "write `{type: object, …}`");
        }
    }
}

/// Gives whether a text can name a feature.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
