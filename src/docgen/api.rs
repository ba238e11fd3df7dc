//! What a package offers to those who use it: names, what they take, and what their author says of them, read from its files.
//!
//! Nothing is run and no file is refused: a scanner finds what it understands, and what it does not understand is left out.
//! Scanning takes time and memory in proportion to the text, whatever the text says.

mod comment;
mod julia;
mod lua;
#[cfg(feature = "wasm")]
mod wasm;
#[cfg(feature = "wasm")]
mod wit;

use serde::Serialize;

use super::Warning;
use super::block::{Block, plain};
use super::prose::{self, cut};
use crate::package::PackageFile;
use crate::package::kind::Language;

/// The most bytes of one source; a longer one is left out.
pub const SOURCE_BYTES_MAX: usize = 4 << 20;
/// The most names of one package; what comes after is left out.
pub const ITEMS_MAX: usize = 10_000;
/// The most parameters, fields or results of one name.
pub const PARTS_MAX: usize = 64;
/// The longest line that shows how a name is used, in bytes.
pub const SIGNATURE_BYTES_MAX: usize = 1 << 10;
/// The longest text about one name, in bytes.
pub const DOC_BYTES_MAX: usize = 64 << 10;
/// The longest summary of one name, in bytes.
const SUMMARY_BYTES_MAX: usize = 240;
/// The most ways to call one function.
const SIGNATURES_MAX: usize = 32;

/// One name that a package offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its name, as a program writes it inside its module.
    pub name: String,
    /// The module it belongs to.
    pub module: String,
    /// How it is used, as the source has it; more than one for a function with several methods.
    pub signatures: Vec<String>,
    /// What it takes.
    pub parameters: Vec<Part>,
    /// What it gives.
    pub returns: Vec<Part>,
    /// What it holds.
    pub fields: Vec<Part>,
    /// What its author says, in Markdown.
    pub doc: String,
    /// Whether it is meant for other packages.
    pub visibility: Visibility,
    /// The file it stands in.
    pub file: String,
    /// The line, from 1; 0 where there are no lines.
    pub line: u32,
}

/// What a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A module.
    Module,
    /// A type.
    Type,
    /// A function.
    Function,
    /// A macro.
    Macro,
    /// A value that has a name.
    Constant,
    /// A table of Lua.
    Table,
    /// A memory, a global or a table of WebAssembly.
    Export,
    /// What a WebAssembly module needs of its surroundings.
    Import,
}

/// Whom a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Other packages.
    Public,
    /// The package itself.
    Internal,
}

/// A parameter, a field or a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its name; empty where it has none.
    pub name: String,
    /// Its type, as the source has it.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What it is if nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What its author says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub doc: String,
}

/// Where an item was found.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    file: &'a str,
    /// The module that the file is, as other packages name it.
    module: &'a str,
}

impl Item {
    fn new(kind: Kind, name: impl Into<String>, place: Place<'_>, line: u32) -> Self {
        Self {
            kind,
            name: name.into(),
            module: place.module.to_owned(),
            signatures: Vec::new(),
            parameters: Vec::new(),
            returns: Vec::new(),
            fields: Vec::new(),
            doc: String::new(),
            visibility: Visibility::Public,
            file: place.file.to_owned(),
            line,
        }
    }

    /// Whether it is meant for other packages.
    pub fn is_public(&self) -> bool {
        self.visibility == Visibility::Public && self.kind != Kind::Import
    }

    /// Gives module and name.
    pub fn full_name(&self) -> String {
        if self.is_module(&self.module) { self.module.clone() } else { format!("{}.{}", self.module, self.name) }
    }

    /// Gives the first sentence of what its author says.
    pub fn summary(&self) -> String {
        let words = prose::read(&self.doc, 3).into_iter().find_map(|block| match block {
            Block::Paragraph(spans) => Some(plain(&spans)),
            _ => None,
        });
        let words = words.unwrap_or_default();
        let end = words.match_indices(". ").map(|(at, _)| at + 1).next().unwrap_or(words.len());
        cut(&words[..end], SUMMARY_BYTES_MAX).to_owned()
    }

    /// Gives how it is used, in one text.
    pub(super) fn usage(&self) -> String {
        if self.signatures.is_empty() { self.full_name() } else { self.signatures.join("; ") }
    }

    /// Whether it is the module of this name itself.
    pub(super) fn is_module(&self, module: &str) -> bool {
        self.kind == Kind::Module && self.name == module
    }

    fn with_signature(mut self, signature: &str) -> Self {
        self.sign(signature);
        self
    }

    fn sign(&mut self, signature: &str) {
        let signature = on_one_line(signature);
        if self.signatures.len() < SIGNATURES_MAX && !signature.is_empty() && !self.signatures.contains(&signature) {
            self.signatures.push(signature);
        }
    }
}

impl Kind {
    /// Names it for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Type => "type",
            Self::Function => "function",
            Self::Macro => "macro",
            Self::Constant => "constant",
            Self::Table => "table",
            Self::Export => "export",
            Self::Import => "import",
        }
    }
}

/// Reads what the files of a package offer, in the order of files and lines. `package` is how programs name the package,
/// and `main` its main file.
pub fn extract(package: &str, main: &str, files: &[PackageFile], warnings: &mut Vec<Warning>) -> Vec<Item> {
    let (mut items, mut julia) = (Vec::new(), Vec::new());
    let mut read = 0;
    for file in files.iter() {
        if read > ITEMS_MAX {
            break;
        }
        let path = file.path.as_str();
        let extension = file.path.extension().unwrap_or_default();
        if Language::of_extension(extension).is_none() && !matches!(extension, "wasm" | "wit") {
            continue;
        }
        if file.bytes.len() > SOURCE_BYTES_MAX {
            let text = format!("`{path}` has more than {SOURCE_BYTES_MAX} bytes and was not read");
            warnings.push(Warning { code: "SOURCE_TOO_LONG", text });
            continue;
        }
        if extension == "wasm" {
            let module = if path == main { package.to_owned() } else { format!("{package}/{path}") };
            let found = modules(&file.bytes, Place { file: path, module: &module }, warnings);
            read += found.len();
            items.extend(found);
            continue;
        }
        let Ok(text) = std::str::from_utf8(&file.bytes) else {
            let text = format!("`{path}` is no UTF-8 and was not read");
            warnings.push(Warning { code: "SOURCE_NOT_TEXT", text });
            continue;
        };
        if extension == "wit" {
            let module = file.path.stem();
            let found = interfaces(text, Place { file: path, module }, warnings);
            read += found.len();
            items.extend(found);
        } else if extension == "lua" {
            let module = if path == main { package.to_owned() } else { format!("{package}.{}", file.path.stem()) };
            let found = lua::read(text, Place { file: path, module: &module });
            read += found.len();
            items.extend(found);
        } else {
            let found = julia::read(text, Place { file: path, module: &julia_name(package) });
            read += found.count();
            julia.push(found);
        }
    }
    items.extend(julia::join(julia));
    if read > ITEMS_MAX {
        items.truncate(ITEMS_MAX);
        let text = format!("the package has more than {ITEMS_MAX} names; those beyond are left out");
        warnings.push(Warning { code: "TOO_MANY_NAMES", text });
    }
    items
}

/// Gives the module that the worker makes around a package of Julia whose main file makes none.
fn julia_name(package: &str) -> String {
    let upper = |word: &str| {
        let mut chars = word.chars();
        chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
    };
    package.rsplit('/').next().unwrap_or(package).split(['-', '_', '.']).map(upper).collect()
}

#[cfg(feature = "wasm")]
fn modules(bytes: &[u8], place: Place<'_>, warnings: &mut Vec<Warning>) -> Vec<Item> {
    wasm::read(bytes, place, warnings)
}

#[cfg(feature = "wasm")]
fn interfaces(text: &str, place: Place<'_>, warnings: &mut Vec<Warning>) -> Vec<Item> {
    wit::text(text, place, warnings)
}

#[cfg(not(feature = "wasm"))]
fn modules(_: &[u8], place: Place<'_>, warnings: &mut Vec<Warning>) -> Vec<Item> {
    interfaces("", place, warnings)
}

#[cfg(not(feature = "wasm"))]
fn interfaces(_: &str, place: Place<'_>, warnings: &mut Vec<Warning>) -> Vec<Item> {
    let text = format!("`{}` was not read: this build has no WebAssembly", place.file);
    warnings.push(Warning { code: "WASM_NOT_BUILT", text });
    Vec::new()
}

/// Puts the words of a text on one line, cut to the length of a signature.
fn on_one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && !line.ends_with(['(', '{', '[']) && !word.starts_with([')', '}', ']', ',']) {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > SIGNATURE_BYTES_MAX {
            let kept = cut(&line, SIGNATURE_BYTES_MAX).len();
            line.truncate(kept);
            line.push('…');
            break;
        }
    }
    line
}

/// Takes the indentation away that all lines have in common, and blank lines at both ends.
fn dedent(text: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let lines = || text.lines();
    let common = lines().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    let lines: Vec<&str> = lines().map(|line| line.get(common..).unwrap_or_default().trim_end()).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests;
