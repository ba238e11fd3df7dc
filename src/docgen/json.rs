//! A documentation for programs: what the other formats show, as values.

use serde_json::{Value as Json, json};

use super::document::Document;
use super::text;

/// Raised when a field changes its meaning.
const FORMAT_VERSION: u32 = 1;

pub(super) fn write(document: &Document) -> Vec<u8> {
    let Document { package, digest, items, examples, capabilities, steps, warnings, .. } = document;
    let manifest: Json = serde_json::from_slice(&package.to_canonical_json()).unwrap_or_default();
    let sections = document.sections.iter();
    let sections: Vec<Json> = sections
        .map(|section| {
            json!({"id": section.id, "title": section.title, "words": section.words(), "text": text::of_section(section)})
        })
        .collect();
    let items: Vec<Json> = items
        .iter()
        .map(|(item, anchor)| {
            let mut value = json!(item);
            value["id"] = json!(anchor);
            value
        })
        .collect();
    let value = json!({
        "format_version": FORMAT_VERSION,
        "package": package.name,
        "version": package.version,
        "digest": digest.to_string(),
        "manifest": manifest,
        "sections": sections,
        "api": items,
        "examples": examples,
        "capabilities": capabilities,
        "changelog": steps,
        "warnings": warnings,
    });
    format!("{value:#}\n").into_bytes()
}
