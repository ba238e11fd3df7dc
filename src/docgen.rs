//! Documentation of one version of a package: what its manifest says, what its sources define, what its author writes, what
//! its examples give, and what changed from the version before.
//!
//! Works on bytes and gives bytes: no file, no clock, no network and no program is touched here, and the same package gives the
//! same bytes. [`Draft`] reads a package and finds its examples; whoever can run them puts the results in; [`Draft::finish`]
//! makes a [`Document`] of blocks, and a [`Format`] writes that.
//!
//! Invariants: nothing an author writes is markup of an output format ([`block`]); every link inside a page has its place
//! (`anchors`); what is read is bounded, and what is left out for that is told as a [`Warning`].

pub mod api;
pub mod block;
pub mod example;
pub mod history;
pub mod prose;

mod anchors;
mod document;
mod escape;
mod html;
mod json;
mod markdown;
mod metadata;
mod pdf;
mod reference;
mod sections;
mod text;
mod wishes;

use serde::Serialize;

use self::api::Item;
use self::block::Block;
pub use self::document::{Document, Figures, Section};
use self::example::Example;
use self::history::Step;
use crate::digest::Digest;
use crate::package::name::PackageName;
use crate::package::{Package, PackageFile};

/// Something that was left out or is not as its author meant it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// A name for programs.
    pub code: &'static str,
    /// What it is, with the file or name it is about, and what to do.
    pub text: String,
}

/// A form of documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One page with styles, search and everything else in it; nothing is fetched.
    Html,
    /// CommonMark.
    Markdown,
    /// For programs.
    Json,
    /// Lines of 100 characters at most where words allow it.
    Text,
    /// Pages to print.
    Pdf,
}

/// A file of documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// A package that was read, with examples that have not run.
pub struct Draft {
    /// The package.
    pub package: Package,
    digest: Digest,
    /// What the package offers.
    pub items: Vec<Item>,
    /// The examples, in the order in which they are shown.
    pub examples: Vec<Example>,
    readme: Vec<Block>,
    changes: Vec<Block>,
    /// What was left out so far.
    pub warnings: Vec<Warning>,
}

impl Draft {
    /// Reads a package and its files, of which an archive has this digest.
    pub fn read(package: Package, digest: Digest, files: &[PackageFile]) -> Self {
        let mut warnings = Vec::new();
        let items = api::extract(package.name.as_str(), package.content.main.as_str(), files, &mut warnings);
        let readme = author_text(files, "readme", &mut warnings);
        let changes = author_text(files, "changelog", &mut warnings);
        let examples = example::find(&package, &readme, &items, &mut warnings);
        Self { package, digest, items, examples, readme, changes, warnings }
    }

    /// Puts everything together; `steps` are the versions up to this one, the latest first.
    pub fn finish(self, steps: &[Step]) -> Document {
        sections::document(self, steps)
    }
}

impl Document {
    /// Writes the document and its `metadata.json`; what the format cannot show is added to the warnings.
    pub fn pages(&mut self, format: Format) -> Vec<Page> {
        let mut pages = match format {
            Format::Html => html::write(self),
            Format::Markdown => vec![Page { name: "README.md", bytes: markdown::write(self).into_bytes() }],
            Format::Json => vec![Page { name: "documentation.json", bytes: json::write(self) }],
            Format::Text => vec![Page { name: "documentation.txt", bytes: text::write(self).into_bytes() }],
            Format::Pdf => {
                let (bytes, warnings) = pdf::write(self);
                self.warnings.extend(warnings);
                vec![Page { name: "documentation.pdf", bytes }]
            }
        };
        pages.push(Page { name: METADATA, bytes: metadata::write(self, format, &pages) });
        pages
    }
}

/// The file that says what the others are.
pub const METADATA: &str = "metadata.json";

impl Format {
    /// Names it, as whoever asks for it does.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Markdown => "markdown",
            Self::Json => "json",
            Self::Text => "text",
            Self::Pdf => "pdf",
        }
    }
}

/// Names a package in a title.
fn title(name: &PackageName, version: &semver::Version) -> String {
    format!("{name} {version}")
}

/// Reads a text of the author that lies beside the manifest, such as `README.md`.
fn author_text(files: &[PackageFile], stem: &str, warnings: &mut Vec<Warning>) -> Vec<Block> {
    let names = [format!("{stem}.md"), format!("{stem}.markdown"), format!("{stem}.txt"), stem.to_owned()];
    let found = names.iter().find_map(|name| files.iter().find(|file| file.path.as_str().eq_ignore_ascii_case(name)));
    let Some(file) = found else { return Vec::new() };
    let Ok(text) = std::str::from_utf8(&file.bytes) else {
        let text = format!("`{}` is no UTF-8 and is not shown", file.path);
        warnings.push(Warning { code: "TEXT_NOT_TEXT", text });
        return Vec::new();
    };
    if text.len() > prose::PROSE_BYTES_MAX {
        let text = format!("`{}` is shown up to its first {} bytes", file.path, prose::PROSE_BYTES_MAX);
        warnings.push(Warning { code: "TEXT_CUT", text });
    }
    prose::read(text, 3)
}

#[cfg(test)]
mod tests;
