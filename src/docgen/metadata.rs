//! `metadata.json`: what a documentation is made of, in figures and names, beside it in every format.

use serde_json::{Value as Json, json};

use super::document::Document;
use super::{Format, Page};

/// Raised when a field changes its meaning.
const FORMAT_VERSION: u32 = 1;

pub(super) fn write(document: &Document, format: Format, pages: &[Page]) -> Vec<u8> {
    let section =
        |section: &super::Section| json!({"id": section.id, "title": section.title, "words": section.words()});
    let sections: Vec<Json> = document.sections.iter().map(section).collect();
    let count = |state: &str| document.examples.iter().filter(|example| example.result.as_str() == state).count();
    let figures = document.figures();
    let value = json!({
        "format_version": FORMAT_VERSION,
        "generator": concat!("catalog ", env!("CARGO_PKG_VERSION")),
        "package": document.package.name,
        "version": document.package.version,
        "digest": document.digest.to_string(),
        "format": format.as_str(),
        "sections": sections,
        "words": figures.words,
        "reading_minutes": figures.reading_minutes,
        "api": {"names": document.items.len(), "public": figures.public, "documented": figures.documented},
        "examples": {"passed": count("passed"), "failed": count("failed"), "differs": count("differs"),
            "not_run": count("not run")},
        "files": pages.iter().map(|page| json!({"name": page.name, "bytes": page.bytes.len()})).collect::<Vec<_>>(),
        "warnings": document.warnings,
    });
    format!("{value:#}\n").into_bytes()
}
