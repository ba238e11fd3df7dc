//! Writes a manifest as commented YAML that [`parse`](super::parse) reads back to the same manifest.

use std::fmt::{Display, Write as _};

use super::model::{Manifest, SignatureSource, Trust};

/// Writes a manifest with a comment beside every setting an administrator may want to change.
pub fn write(manifest: &Manifest) -> String {
    let mut out = Out(String::new());
    head(&mut out, manifest);
    files(&mut out, manifest);
    needs(&mut out, manifest);
    limits(&mut out, manifest);
    configuration(&mut out, manifest);
    out.0
}

fn head(out: &mut Out, manifest: &Manifest) {
    out.line("# What a HyperMesh host needs to know to load this extension.");
    out.line("apiVersion: extension.hypermesh/v1");
    out.line("kind: Extension");
    out.line(&format!("id: {}", quoted(&manifest.id)));
    out.line(&format!("version: {}", quoted(&manifest.version)));
    if let Some(description) = &manifest.description {
        out.line(&format!("description: {}", quoted(description)));
    }
    out.line("\n# `false` keeps the extension installed and not loaded.");
    out.line(&format!("enabled: {}", manifest.enabled));
    out.line(
        "\n# `required`: a publisher this host trusts has signed the library. `basic`: the digest below is enough.",
    );
    out.line(&format!("trust: {}", if manifest.trust == Trust::Basic { "basic" } else { "required" }));
}

fn files(out: &mut Out, manifest: &Manifest) {
    out.line("\n# Paths are seen from this file. The host loads exactly these bytes or nothing.");
    out.line("library:");
    out.line(&format!("  path: {}", quoted(&manifest.library.path)));
    out.line(&format!("  digest: {}", manifest.library.digest));
    match &manifest.library.signature {
        Some(SignatureSource::File(path)) => out.line(&format!("  signature: {}", quoted(path))),
        Some(SignatureSource::Inline(bytes)) => {
            out.line(&format!("  signature: base64:{}", data_encoding::BASE64.encode(bytes)));
        }
        None => {}
    }
    if !manifest.workers.is_empty() {
        out.line("\n# Executables the extension starts.\nworkers:");
    }
    for worker in &manifest.workers {
        out.line(&format!("  - path: {}\n    digest: {}", quoted(&worker.path), worker.digest));
    }
}

fn needs(out: &mut Out, manifest: &Manifest) {
    out.line("\n# Versions of HyperMesh it works with.");
    out.line(&format!("hypermesh: {}", quoted(&manifest.hypermesh)));
    if !manifest.dependencies.is_empty() {
        out.line("\n# Extensions that are loaded before it.\ndependencies:");
    }
    for dependency in &manifest.dependencies {
        out.line(&format!("  - id: {}", quoted(&dependency.id)));
        out.line(&format!("    version: {}", quoted(&dependency.version)));
        out.line(&format!("    optional: {}", dependency.optional));
    }
    out.line("\n# Without what is required it is not loaded; what is not granted is refused and audited.");
    out.line("capabilities:");
    for (name, list) in [("required", &manifest.capabilities.required), ("granted", &manifest.capabilities.granted)] {
        let names = list.iter().map(quoted).collect::<Vec<_>>().join(", ");
        out.line(&format!("  {name}: [{names}]"));
    }
    if manifest.conformance != super::Conformance::default() {
        out.line("\n# The level of `host-sim check` the library must have passed, 0 to 3.");
        out.line(&format!("conformance:\n  level: {}", manifest.conformance.level.get()));
        if let Some(attestation) = &manifest.conformance.attestation {
            out.line(&format!("  attestation: {}", quoted(attestation)));
        }
    }
}

fn limits(out: &mut Out, manifest: &Manifest) {
    let limits = &manifest.resources.limits;
    out.line("\n# The most it may hold of this node at once.\nresources:\n  limits:");
    out.line(&format!("    cpu: {} # share of all processors", limits.cpu));
    out.line(&format!("    memory: {}", limits.memory));
    out.line(&format!("    storage: {}", limits.storage));
    out.line(&format!("    bandwidth: {} # per second", limits.bandwidth));
    out.line(&format!("    concurrent_operations: {}", limits.concurrent_operations));
    out.line(&format!("    operation_timeout: {}", limits.operation_timeout));
    out.line(&format!("    assets: {}", limits.assets));
}

fn configuration(out: &mut Out, manifest: &Manifest) {
    out.line("\n# Settings of the extension itself.");
    if manifest.configuration.is_empty() {
        return out.line("configuration: {}");
    }
    let yaml = serde_yaml::to_string(&manifest.configuration).unwrap_or_else(|_| "{}".to_owned());
    out.line(&format!("configuration:\n  {}", yaml.trim_end_matches('\n').replace('\n', "\n  ")));
}

struct Out(String);

impl Out {
    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// Gives text as it is where YAML can only read it as this text, and otherwise in quotes.
fn quoted(value: &(impl Display + ?Sized)) -> String {
    let text = value.to_string();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/-".contains(&b))
        && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_uppercase())
        && !matches!(&*text.to_lowercase(), "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    if plain { text } else { escaped(&serde_json::Value::String(text).to_string()) }
}

/// Escapes what JSON leaves as it is inside quotes and YAML takes for a line break or refuses.
fn escaped(json: &str) -> String {
    json.chars().fold(String::new(), |mut out, char| {
        if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(char));
        } else {
            out.push(char);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Digest, parse};
    use super::*;

    fn manifest(description: &str, setting: &str) -> Manifest {
        let digest = Digest::of(b"");
        let text = format!(
            "{{apiVersion: extension.hypermesh/v1, id: yes, version: 1.0.0-rc.1, enabled: false, hypermesh: '>=1, <3',
              library: {{path: a b.so, digest: '{digest}', signature: 'base64:e30='}},
              workers: [{{path: bin/worker, digest: '{digest}'}}],
              dependencies: [{{id: io.example.x, version: ^2, optional: true}}],
              capabilities: {{required: [VMExecution], granted: [VMExecution, Custom(a:b)]}},
              resources: {{limits: {{cpu: 12.5%, operation_timeout: 1500ms}}}},
              conformance: {{level: 2, attestation: report.json}}}}"
        );
        let mut manifest = parse(&text.replace("id: yes", "id: 'yes'"), "x").expect("valid");
        manifest.description = Some(description.to_owned());
        manifest.configuration.insert(setting.to_owned(), serde_json::json!({"text": setting, "list": [1, 2.5, null]}));
        manifest
    }

    #[test]
    fn a_manifest_for_people() {
        insta::assert_snapshot!(write(&manifest("Assets: as packages", "library_path")), @r#"
        # What a HyperMesh host needs to know to load this extension.
        apiVersion: extension.hypermesh/v1
        kind: Extension
        id: "yes"
        version: "1.0.0-rc.1"
        description: "Assets: as packages"

        # `false` keeps the extension installed and not loaded.
        enabled: false

        # `required`: a publisher this host trusts has signed the library. `basic`: the digest below is enough.
        trust: required

        # Paths are seen from this file. The host loads exactly these bytes or nothing.
        library:
          path: "a b.so"
          digest: blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262
          signature: base64:e30=

        # Executables the extension starts.
        workers:
          - path: bin/worker
            digest: blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262

        # Versions of HyperMesh it works with.
        hypermesh: ">=1, <3"

        # Extensions that are loaded before it.
        dependencies:
          - id: io.example.x
            version: "^2"
            optional: true

        # Without what is required it is not loaded; what is not granted is refused and audited.
        capabilities:
          required: [VMExecution]
          granted: [VMExecution, "Custom(a:b)"]

        # The level of `host-sim check` the library must have passed, 0 to 3.
        conformance:
          level: 2
          attestation: report.json

        # The most it may hold of this node at once.
        resources:
          limits:
            cpu: 12.50% # share of all processors
            memory: 1Gi
            storage: 10Gi
            bandwidth: 100Mi # per second
            concurrent_operations: 100
            operation_timeout: 1500ms
            assets: 10000

        # Settings of the extension itself.
        configuration:
          library_path:
            text: library_path
            list:
            - 1
            - 2.5
            - null
        "#);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(description in ".{0,40}", setting in "(.|\\n| |#){0,20}") {
            let manifest = manifest(&description, &setting);
            prop_assert_eq!(parse(&write(&manifest), "x"), Ok(manifest));
        }

        #[test]
        fn reading_any_text_ends_in_a_manifest_or_in_faults(text in "\\PC{0,200}", yaml in "([a-z]{1,3}: ?[\\[{\"']?[a-z*&!|>-]{0,4}\n){0,8}") {
            for text in [text, yaml] {
                if let Err(faults) = parse(&text, "x") {
                    prop_assert!(!faults.faults.is_empty());
                }
            }
        }
    }
}
