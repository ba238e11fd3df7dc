//! What a project keeps of its template: which one it was, of which version, with which parameters, and what it made.
//!
//! `.catalog-template.yaml` is for people and travels with the package when it is published. `.catalog-template.base` holds
//! the texts as the template made them, without which a later update could not tell the author's changes from its own; it
//! is of no use outside the project's directory.

use std::collections::BTreeMap;
use std::io::Read as _;

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use time::Date;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

use super::Template;
use super::generate::{FILES_MAX, Project, TREE_BYTES_MAX, Tree};
use super::parameter::Values;
use crate::digest::Digest;
use crate::package::model::FilePath;
use crate::package::name::PackageName;
use crate::package::{Faults, Format, source};

/// The file that says what a project was made of.
pub const RECORD: &str = ".catalog-template.yaml";
/// The file that holds what the template made.
pub const BASE: &str = ".catalog-template.base";
/// The version of both.
pub const FORMAT: u32 = 1;
/// The largest record, in bytes.
pub const RECORD_BYTES_MAX: u64 = 1 << 20;
/// The largest base as it lies on the disk, in bytes.
pub const BASE_BYTES_MAX: u64 = 32 << 20;

const DAY: StaticFormatDescription = format_description!("[year]-[month]-[day]");
const HEAD: &str = "# Written by `catalog new`; `catalog template update` reads it.\n";

/// What a project keeps of its template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The version of this file.
    pub format: u32,
    /// The package that offers the template.
    pub template: PackageName,
    /// The template within the package.
    pub name: String,
    /// The version of the package.
    pub version: Version,
    /// Where it came from.
    pub source: Origin,
    /// The date that its texts say.
    pub date: String,
    /// The name that was given to the project.
    pub project: String,
    /// The parameters.
    pub parameters: Map<String, Json>,
    /// What it made.
    pub files: BTreeMap<FilePath, Digest>,
}

/// Where a template came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It is part of Catalog.
    BuiltIn,
    /// A package that was installed.
    Package,
    /// A directory, from the project's own if that is possible.
    Directory(String),
}

/// Texts as the template made them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    format: u32,
    texts: BTreeMap<FilePath, String>,
}

/// Why what a project keeps cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It does not have the form.
    #[error("`{file}` is not what `catalog new` wrote: {reason}")]
    Form {
        /// The file.
        file: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// It was written by a later Catalog.
    #[error("`{file}` has format {found}, and this program knows format {FORMAT}")]
    Newer {
        /// The file.
        file: &'static str,
        /// Its format.
        found: u64,
    },
}

impl Record {
    /// Notes what a template made.
    pub fn new(template: &Template, source: Origin, values: &Values, project: &Project, tree: &Tree) -> Self {
        let name = project.to_json()["name"].as_str().unwrap_or_default().to_owned();
        Self {
            format: FORMAT,
            template: template.package.clone(),
            name: template.name.clone(),
            version: template.version.clone(),
            source,
            date: project.date().format(DAY).unwrap_or_default(),
            project: name,
            parameters: values.as_map().clone(),
            files: tree.files.iter().map(|(path, file)| (path.clone(), file.digest())).collect(),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// It is larger than any, has another form, or is of a later Catalog.
    pub fn read(text: &str) -> Result<Self, RecordError> {
        let wrong = |reason: String| RecordError::Form { file: RECORD, reason };
        let mut faults = Faults::new(RECORD);
        let root = source::read(text, Format::Yaml, source::Bounds::MANIFEST, &mut faults);
        let json = match root.filter(|_| faults.list.is_empty()) {
            Some(root) => root.to_json(),
            None => return Err(wrong(faults.to_string())),
        };
        if let Some(found) = json["format"].as_u64().filter(|found| *found > u64::from(FORMAT)) {
            return Err(RecordError::Newer { file: RECORD, found });
        }
        let record: Self = serde_path_to_error::deserialize(json)
            .map_err(|error| wrong(format!("`{}`: {}", error.path(), error.inner())))?;
        match record.files.len() > FILES_MAX {
            true => Err(wrong(format!("it lists more than {FILES_MAX} files"))),
            false => Ok(record),
        }
    }

    /// Gives the project with the date that it was made at.
    ///
    /// # Errors
    /// The date is none.
    pub fn project(&self) -> Result<Project, RecordError> {
        let date = Date::parse(&self.date, DAY);
        let date = date.map_err(|error| RecordError::Form { file: RECORD, reason: format!("`date`: {error}") })?;
        Ok(Project::new(&self.project, date))
    }

    /// Writes the record as text.
    pub fn to_text(&self) -> String {
        // By way of JSON, since YAML would write the kind of origin as a tag, and no text with tags is read.
        let fields = serde_json::to_value(self).unwrap_or_default();
        format!("{HEAD}{}", serde_yaml::to_string(&fields).unwrap_or_default())
    }
}

impl Base {
    /// Keeps the texts of a tree.
    pub fn of(tree: &Tree) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let texts = tree.files.iter().filter_map(|(path, file)| Some((path.clone(), text(&file.bytes)?)));
        Self { format: FORMAT, texts: texts.collect() }
    }

    /// Gives a text.
    pub fn text(&self, path: &FilePath) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Reads texts that were kept.
    ///
    /// # Errors
    /// They are damaged, or larger than any tree.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let wrong = |reason: String| RecordError::Form { file: BASE, reason };
        let mut json = Vec::new();
        let decoder = zstd::Decoder::new(bytes).map_err(|error| wrong(error.to_string()))?;
        // JSON writes some characters as six; a tree of nothing else is no text.
        let limit = 2 * TREE_BYTES_MAX as u64;
        decoder.take(limit + 1).read_to_end(&mut json).map_err(|error| wrong(error.to_string()))?;
        if json.len() as u64 > limit {
            return Err(wrong(format!("it unfolds to more than {limit} bytes")));
        }
        let base: Self = serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
        match base.format > FORMAT {
            true => Err(RecordError::Newer { file: BASE, found: base.format.into() }),
            false => Ok(base),
        }
    }

    /// Writes the texts; the same texts give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        zstd::encode_all(&json[..], zstd::DEFAULT_COMPRESSION_LEVEL).unwrap_or_default()
    }
}

/// Tells whether a file of this name is kept by Catalog.
pub(super) fn is_ours(path: &FilePath) -> bool {
    matches!(path.as_str(), RECORD | BASE)
}
