//! Rules across fields of a manifest.

use std::collections::BTreeSet;

use super::fault::FaultCode;
use super::model::{Manifest, Trust};
use super::names::Capability;
use super::yaml::Step;
use super::{ASSETS_MAX, CAPABILITIES_MAX, DEPENDENCIES_MAX, DESCRIPTION_CHARS_MAX, OPERATIONS_MAX, WORKERS_MAX};

/// A broken rule: where, what, and what to do about it.
pub(super) struct Broken {
    pub(super) code: FaultCode,
    pub(super) path: Vec<Step>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Lists every rule the manifest breaks.
pub(super) fn broken_rules(manifest: &Manifest) -> Vec<Broken> {
    let mut broken = Vec::new();
    sizes(manifest, &mut broken);
    signature(manifest, &mut broken);
    files(manifest, &mut broken);
    dependencies(manifest, &mut broken);
    capabilities(manifest, &mut broken);
    broken
}

fn sizes(manifest: &Manifest, broken: &mut Vec<Broken>) {
    let description = manifest.description.as_deref().map_or(0, |text| text.chars().count());
    let limits = &manifest.resources.limits;
    let rules: [(&[&str], usize, usize, usize); 7] = [
        (&["description"], description, 0, DESCRIPTION_CHARS_MAX),
        (&["workers"], manifest.workers.len(), 0, WORKERS_MAX),
        (&["dependencies"], manifest.dependencies.len(), 0, DEPENDENCIES_MAX),
        (&["capabilities", "required"], manifest.capabilities.required.len(), 0, CAPABILITIES_MAX),
        (&["capabilities", "granted"], manifest.capabilities.granted.len(), 0, CAPABILITIES_MAX),
        (
            &["resources", "limits", "concurrent_operations"],
            limits.concurrent_operations as usize,
            1,
            OPERATIONS_MAX as usize,
        ),
        (&["resources", "limits", "assets"], limits.assets as usize, 1, ASSETS_MAX as usize),
    ];
    for (path, size, min, max) in rules {
        if !(min..=max).contains(&size) {
            let unit = match path {
                ["description"] => " characters",
                ["resources", ..] => "",
                _ => " entries",
            };
            let message = format!("`{size}`{unit} is out of range, expected {min} to {max}");
            broken.push(Broken { code: FaultCode::InvalidValue, path: keys(path), message, hint: None });
        }
    }
}

fn signature(manifest: &Manifest, broken: &mut Vec<Broken>) {
    if manifest.trust == Trust::Required && manifest.library.signature.is_none() {
        broken.push(Broken {
            code: FaultCode::MissingField,
            path: keys(&["library", "signature"]),
            message: "missing field `signature`, expected a signature bundle because `trust` is `required`".to_owned(),
            hint: Some("add the publisher's bundle, or set `trust: basic` to vouch for the digest yourself".to_owned()),
        });
    }
}

fn files(manifest: &Manifest, broken: &mut Vec<Broken>) {
    let mut seen = BTreeSet::from([&manifest.library.path]);
    for (index, worker) in manifest.workers.iter().enumerate() {
        if !seen.insert(&worker.path) {
            let path = vec![key("workers"), Step::Index(index), key("path")];
            broken.push(twice(path, &format!("the file `{}`", worker.path)));
        }
    }
}

fn dependencies(manifest: &Manifest, broken: &mut Vec<Broken>) {
    let mut seen = BTreeSet::new();
    for (index, dependency) in manifest.dependencies.iter().enumerate() {
        let path = vec![key("dependencies"), Step::Index(index), key("id")];
        if dependency.id == manifest.id {
            let message = format!("`{}` depends on itself, expected another extension", manifest.id);
            broken.push(Broken { code: FaultCode::InvalidValue, path, message, hint: None });
        } else if !seen.insert(&dependency.id) {
            broken.push(twice(path, &format!("the dependency `{}`", dependency.id)));
        }
    }
}

fn capabilities(manifest: &Manifest, broken: &mut Vec<Broken>) {
    let lists = [("required", &manifest.capabilities.required), ("granted", &manifest.capabilities.granted)];
    for (name, list) in lists {
        let mut seen = BTreeSet::new();
        for (index, capability) in list.iter().enumerate().filter(|(_, capability)| !seen.insert(*capability)) {
            broken.push(twice(capability_path(name, index), &format!("the capability `{capability}`")));
        }
    }
    let granted = |capability: &Capability| manifest.capabilities.granted.contains(capability);
    for (index, capability) in manifest.capabilities.required.iter().enumerate().filter(|(_, c)| !granted(c)) {
        broken.push(Broken {
            code: FaultCode::CapabilityNotGranted,
            path: capability_path("required", index),
            message: format!("the capability `{capability}` is required and not granted, expected it in both lists"),
            hint: Some(format!("add `{capability}` to `capabilities.granted` if you allow it")),
        });
    }
}

fn twice(path: Vec<Step>, what: &str) -> Broken {
    let message = format!("{what} is listed twice, expected once");
    Broken { code: FaultCode::Duplicate, path, message, hint: Some("remove one of the two".to_owned()) }
}

fn capability_path(list: &str, index: usize) -> Vec<Step> {
    vec![key("capabilities"), key(list), Step::Index(index)]
}

fn keys(path: &[&str]) -> Vec<Step> {
    path.iter().map(|name| key(name)).collect()
}

fn key(name: &str) -> Step {
    Step::Key(name.to_owned())
}
