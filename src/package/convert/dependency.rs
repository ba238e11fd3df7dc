//! `spec.dependencies` and `spec.conflicts`.

use std::collections::HashMap;

use semver::VersionReq;

use crate::package::check::closest;
use crate::package::document::Cursor;
use crate::package::model::{Conflict, Dependency, Source};
use crate::package::name::PackageName;
use crate::package::{platform, schema};

use super::Read;

impl Read<'_> {
    /// Reads every dependency; `None` stands for one with a fault.
    pub(super) fn dependencies(
        &mut self,
        raw: Vec<schema::Dependency>,
        own: Option<&PackageName>,
        at: &Cursor<'_>,
    ) -> Vec<Option<Dependency>> {
        let mut seen = HashMap::new();
        let mut read = Vec::with_capacity(raw.len());
        for (index, raw) in raw.into_iter().enumerate() {
            let at = at.index(index);
            let dependency = self.dependency(raw, &at);
            if let Some(dependency) = &dependency {
                let place = at.key("name").place;
                let name = &dependency.name;
                if Some(name) == own {
                    self.fault("SELF_DEPENDENCY", &place, format!("`{name}` depends on itself"), "remove it");
                }
                let line = place.position.line;
                if let Some(first) = seen.insert((name.clone(), dependency.platform.clone()), line) {
                    let message = format!("`{name}` is listed on line {first} and again on line {line}");
                    self.fault("DUPLICATE_DEPENDENCY", &place, message, "keep one, or give each its own `platform`");
                }
            }
            read.push(dependency);
        }
        read
    }

    /// Reads what the package cannot stand beside; `None` stands for one with a fault.
    pub(super) fn conflicts(
        &mut self,
        raw: Vec<schema::Conflict>,
        own: Option<&PackageName>,
        at: &Cursor<'_>,
    ) -> Vec<Option<Conflict>> {
        let read = raw.into_iter().enumerate().map(|(index, raw)| {
            let at = at.index(index);
            let place = at.key("name").place;
            let name = self.name(raw.name.as_deref(), &place);
            let text = raw.version.as_deref().unwrap_or("*").trim().to_owned();
            let requirement = self.requirement(Some(&text), &at);
            if name.is_some() && name.as_ref() == own {
                let message = "a node has one version of a package anyway".to_owned();
                self.fault("SELF_CONFLICT", &place, message, "remove it");
            }
            if name.as_ref().is_some_and(PackageName::is_virtual) {
                let message = "what is of the node cannot be taken away from it".to_owned();
                self.fault("VIRTUAL_CONFLICT", &place, message, "name a package");
            }
            Some(Conflict { name: name?, requirement: requirement?, requirement_text: text })
        });
        read.collect()
    }

    fn dependency(&mut self, raw: schema::Dependency, at: &Cursor<'_>) -> Option<Dependency> {
        let given = raw.source.unwrap_or_default();
        let namespace = given.registry.as_ref().and_then(|registry| registry.namespace.clone());
        let full_name = match (raw.name, namespace) {
            (Some(name), Some(namespace)) if !name.contains('/') => Some(format!("{namespace}/{name}")),
            (name, _) => name,
        };
        let name = self.name(full_name.as_deref(), &at.key("name").place);
        let requirement = self.requirement(raw.version.as_deref(), at);
        let source = self.source(given, &at.key("source"));
        if let Some(text) = raw.platform.as_deref().filter(|text| !platform::is_platform(text)) {
            let names = platform::all();
            let hint = closest(text, names.iter().map(String::as_str)).map_or_else(
                || "write `os` or `os-architecture`, such as `linux` or `linux-x86_64`".to_owned(),
                |name| format!("did you mean `{name}`?"),
            );
            self.fault("INVALID_PLATFORM", &at.key("platform").place, format!("`{text}` is not a platform"), hint);
        }
        Some(Dependency {
            name: name?,
            requirement: requirement?,
            requirement_text: raw.version?.trim().to_owned(),
            optional: raw.optional.unwrap_or(false),
            source: source?,
            features: raw.features.unwrap_or_default(),
            platform: raw.platform,
        })
    }

    fn requirement(&mut self, text: Option<&str>, at: &Cursor<'_>) -> Option<VersionReq> {
        let hint = match text {
            Some(text) if text.contains("||") => "alternatives are not supported; choose one range, such as `>=1, <3`",
            Some(text) if text.contains("..") => "write a range as `>=1.0.0, <2.0.0`",
            Some(text) if text.trim().contains(' ') && !text.contains(',') => {
                "put a comma between comparisons: `>=1, <2`"
            }
            _ => "write `^1.2`, `~1.2.3`, `>=1, <3`, `=1.2.3` or `1.*`",
        };
        self.parsed(text, &at.key("version").place, ("INVALID_REQUIREMENT", hint), |text| {
            VersionReq::parse(text.trim()).map_err(|error| format!("`{text}` is not a version requirement: {error}"))
        })
    }

    fn source(&mut self, raw: schema::Source, at: &Cursor<'_>) -> Option<Source> {
        if let Some(git) = raw.git {
            let url = self.address(git.url, &at.key("git"), &["https://", "ssh://", "git://", "file://", "http://"])?;
            return Some(Source::Git { url, reference: git.reference, path: git.path });
        }
        if let Some(local) = raw.local {
            return Some(Source::Local { path: local.path? });
        }
        if let Some(http) = raw.http {
            let url = self.address(http.url, &at.key("http"), &["https://", "http://"]);
            let sha256 = http.sha256?;
            if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let message = format!("`{}` is not a SHA-256", sha256.chars().take(80).collect::<String>());
                self.fault(
                    "INVALID_DIGEST",
                    &at.key("http").key("sha256").place,
                    message,
                    "write 64 hexadecimal digits",
                );
                return None;
            }
            return Some(Source::Http { url: url?, sha256: sha256.to_ascii_lowercase() });
        }
        Some(Source::Registry { registry: raw.registry.and_then(|registry| registry.registry) })
    }

    fn address(&mut self, url: Option<String>, at: &Cursor<'_>, schemes: &[&str]) -> Option<String> {
        let url = url?;
        let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
        if rest.is_none_or(str::is_empty) || url.contains(char::is_whitespace) {
            let message =
                format!("`{}` is not an address that can be fetched", url.chars().take(80).collect::<String>());
            let hint = format!("begin it with {}", schemes.join(" or "));
            self.fault("INVALID_ADDRESS", &at.key("url").place, message, hint);
            return None;
        }
        Some(url)
    }
}
