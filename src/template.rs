//! Templates: packages that make packages.
//!
//! A package offers templates in `spec.content.templates`. A [`Template`] is one of them with the files below its root; with
//! checked [`Values`](parameter::Values) it becomes a tree of files ([`generate`]), the same for the same template, values and
//! date. What a template may decide by itself it decides in handlebars ([`render`]) or in a configuration script
//! ([`script`]); both compute, and neither reaches a file, a clock, a lease or another machine. Nothing here writes files or
//! runs a program.
//!
//! Invariant: whatever a template says, its files stay inside the directory it is used for, and the work of rendering it is
//! bounded by the constants of these modules.

pub mod builtin;
pub mod check;
pub mod definition;
pub mod generate;
pub mod merge;
pub mod parameter;
pub mod record;
pub mod render;
pub mod script;

mod helpers;
mod inspect;

use std::collections::BTreeMap;

use semver::Version;

use self::definition::Definition;
use self::render::RenderFault;
use crate::package::model::FilePath;
use crate::package::name::PackageName;
use crate::package::{Fault, Faults, Package, PackageFile, Severity};

/// One template, with the files that it is made of.
#[derive(Clone, Debug)]
pub struct Template {
    /// The package that offers it.
    pub package: PackageName,
    /// The version of that package, which is the version of the template.
    pub version: Version,
    /// Its name within the package.
    pub name: String,
    /// What it asks and does.
    pub definition: Definition,
    /// Every file of the package.
    files: BTreeMap<FilePath, Vec<u8>>,
}

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The package offers no template.
    #[error("package `{package}` {version} offers no template")]
    None {
        /// The package.
        package: PackageName,
        /// Its version.
        version: Version,
    },
    /// The package offers several templates and none was chosen, or one that it does not have.
    #[error("package `{package}` {version} has the templates {}, and {asked}", listed(names))]
    Which {
        /// The package.
        package: PackageName,
        /// Its version.
        version: Version,
        /// Those it has.
        names: Vec<String>,
        /// What was asked for.
        asked: String,
    },
    /// The definition of the template is not valid.
    #[error("template `{template}` has {}", counted(faults))]
    Definition {
        /// The template.
        template: String,
        /// Every fault.
        faults: Faults,
    },
    /// Parameters are missing or are not what the template takes.
    #[error("template `{template}` does not take these parameters: {}", summary(faults))]
    Parameters {
        /// The template.
        template: String,
        /// Every fault.
        faults: Faults,
        /// The parameters that can be asked for, with their defaults as they are for this project.
        asked: Vec<parameter::Parameter>,
    },
    /// A text of the template cannot be rendered.
    #[error("template `{template}`: {fault}")]
    Render {
        /// The template.
        template: String,
        /// Where and why.
        fault: RenderFault,
    },
    /// What the template makes is not a tree of files.
    #[error("template `{template}` cannot make `{path}`: {reason}")]
    Path {
        /// The template.
        template: String,
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The template makes more than it may.
    #[error("template `{template}` makes more than {limit}")]
    TooMuch {
        /// The template.
        template: String,
        /// The bound, with its unit.
        limit: String,
    },
    /// A configuration script gave something else than it should.
    #[error("configuration script `{file}` of template `{template}` gave {reason}")]
    Script {
        /// The template.
        template: String,
        /// The script.
        file: FilePath,
        /// What.
        reason: String,
    },
}

/// Something that whoever uses a template should look at; nothing failed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// Stable, upper case, such as `UNUSED_PARAMETER`.
    pub code: &'static str,
    /// The parameter, path or pattern it is about.
    pub subject: String,
    /// What it is.
    pub message: String,
}

impl Template {
    /// Takes one of the templates that a package offers: the one of a name, or the only one.
    ///
    /// # Errors
    /// There is none, or none of that name; every fault of its definition.
    pub fn of(package: &Package, files: Vec<PackageFile>, name: Option<&str>) -> Result<Self, TemplateError> {
        let offered = &package.content.templates;
        let which = |asked: String| {
            let (package, version) = (package.name.clone(), package.version.clone());
            match offered.is_empty() {
                true => TemplateError::None { package, version },
                false => TemplateError::Which { package, version, names: offered.keys().cloned().collect(), asked },
            }
        };
        let (name, raw) = match (name, offered.len()) {
            (Some(name), _) => offered.get_key_value(name).ok_or_else(|| which(format!("`{name}` is none of them")))?,
            (None, 1) => offered.iter().next().ok_or_else(|| which(String::new()))?,
            (None, _) => return Err(which("none was chosen".into())),
        };
        let files: BTreeMap<FilePath, Vec<u8>> = files.into_iter().map(|file| (file.path, file.bytes)).collect();
        let shown = if package.name.as_str() == name { name.clone() } else { format!("{}:{name}", package.name) };
        let definition = Definition::read(name, raw, &files)
            .map_err(|faults| TemplateError::Definition { template: shown, faults })?;
        let (package, version) = (package.name.clone(), package.version.clone());
        Ok(Self { package, version, name: name.clone(), definition, files })
    }

    /// Gives the name that messages use: the package, and the template if that is called otherwise.
    pub fn title(&self) -> String {
        match self.package.as_str() == self.name {
            true => self.name.clone(),
            false => format!("{}:{}", self.package, self.name),
        }
    }

    /// Gives the paths that its files are made at, before parameters are put in.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.below(&self.definition.root).map(|(path, _)| path.strip_suffix(generate::RENDERED).unwrap_or(path))
    }

    /// Gives a file of the package.
    pub fn file(&self, path: &FilePath) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// Gives the files below a directory of the package, with their paths from there.
    pub(crate) fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.files.iter().filter_map(move |(path, bytes)| {
            let inside = path.as_str().strip_prefix(directory)?.strip_prefix('/')?;
            Some((inside, bytes.as_slice()))
        })
    }
}

impl Warning {
    pub(crate) fn new(code: &'static str, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, subject: subject.into(), message: message.into() }
    }
}

/// Makes a fault; a text of the template or of the caller in it may hold what a terminal would obey.
pub(crate) fn fault(code: &'static str, path: &str, message: impl Into<String>, hint: impl Into<String>) -> Fault {
    let printable = |text: String| {
        let escaped = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
        text.chars().map(escaped).collect()
    };
    let (path, message) = (printable(path.to_owned()), printable(message.into()));
    let hint = Some(hint.into()).filter(|hint| !hint.is_empty());
    Fault { code, severity: Severity::Error, path, file: None, line: 0, column: 0, message, hint }
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn counted(faults: &Faults) -> String {
    match faults.list.len() {
        1 => "a fault in its definition".into(),
        many => format!("{many} faults in its definition"),
    }
}

fn summary(faults: &Faults) -> String {
    const SHOWN_MAX: usize = 8;
    let mut names: Vec<&str> = faults.list.iter().map(|fault| fault.path.as_str()).collect();
    names.dedup();
    let more = names.len().saturating_sub(SHOWN_MAX);
    names.truncate(SHOWN_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests;
