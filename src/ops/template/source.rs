//! Where templates come from: Catalog itself, installed packages, directories; and answers from a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use semver::Version;
use serde_json::Value as Json;

use super::super::spec::{self, Target};
use super::super::validate::read_manifest;
use super::super::{Catalog, OpError};
use super::error::NewError;
use super::write;
use crate::host::Host;
use crate::package::{self, Faults, Format, PackageFile, closest, source};
use crate::template::Template;
use crate::template::builtin::{ALL, BuiltIn};
use crate::template::parameter::Given;
use crate::template::record::Origin;
use crate::trust::policy::Confirmed;

/// One template that can be used by its name.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The word that names it.
    pub word: String,
    /// Which template of its package, if that offers several.
    pub select: Option<String>,
    /// The version.
    pub version: Version,
    /// Where it comes from.
    pub source: Origin,
    /// What it makes.
    pub description: String,
}

impl Catalog {
    /// Lists the templates that are part of Catalog and those that installed packages offer.
    ///
    /// # Errors
    /// The store, or the manifest of an installed package.
    pub fn templates(&self, platform: &str) -> Result<Vec<Listed>, OpError> {
        let mut listed = Vec::new();
        for built_in in ALL {
            let package = built_in.package();
            listed.push(Listed {
                word: built_in.name.into(),
                select: None,
                version: package.version,
                source: Origin::BuiltIn,
                description: package.about.description.unwrap_or_default(),
            });
        }
        for locked in self.installed(platform)?.packages() {
            let Some(manifest) = self.registry().manifest(&locked.name, &locked.version)? else { continue };
            let package = read_manifest(&manifest)?;
            let offered = &package.content.templates;
            listed.extend(offered.iter().map(|(name, raw)| Listed {
                word: locked.name.to_string(),
                select: (offered.len() > 1).then(|| name.clone()),
                version: locked.version.clone(),
                source: Origin::Package,
                description: raw["description"].as_str().unwrap_or_default().to_owned(),
            }));
        }
        Ok(listed)
    }

    /// Finds a template by a word: one that is part of Catalog, an installed package, or a directory.
    ///
    /// # Errors
    /// There is none; the policy does not let its package in; its definition has faults.
    pub fn find_template(
        &self,
        word: &str,
        select: Option<&str>,
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<(Template, Origin), OpError> {
        if let Some(built_in) = BuiltIn::named(word) {
            return Ok((built_in.template()?, Origin::BuiltIn));
        }
        let unknown = || {
            let near = closest(word, ALL.iter().map(|built_in| built_in.name)).map(str::to_owned);
            NewError::Unknown { word: word.to_owned(), nearest: near }
        };
        match spec::target(word).map_err(|_| unknown())? {
            Target::Directory(directory) => {
                let template = of_directory(&directory, select)?;
                Ok((template, Origin::Directory(directory.to_string_lossy().into_owned())))
            }
            Target::Named(requirement) => {
                let lockfile = self.installed(&host.platform())?;
                let name = &requirement.name;
                if lockfile.get(name).is_none() && self.registry().latest(name)?.is_none() {
                    return Err(unknown().into());
                }
                let (package, archive) = self.load_installed(&requirement, &lockfile, confirmed, host)?;
                let file = |entry: crate::archive::Entry<'_>| {
                    Some(PackageFile { path: entry.path.parse().ok()?, bytes: entry.bytes.to_vec() })
                };
                let files = archive.entries().filter_map(file).collect();
                Ok((Template::of(&package, files, select)?, Origin::Package))
            }
        }
    }

    /// Reads answers from a file of fields: YAML, JSON or TOML.
    ///
    /// # Errors
    /// The file cannot be read, or is no map.
    pub fn answers(&self, path: &Path) -> Result<BTreeMap<String, Given>, OpError> {
        let wrong = |reason: String| NewError::Answers { path: path.to_path_buf(), reason };
        let format = Format::of_path(path).ok_or_else(|| wrong("name it `.yaml`, `.json` or `.toml`".into()))?;
        let bytes = write::read_file(path, source::MANIFEST_BYTES_MAX as u64)
            .map_err(|source| OpError::File { path: path.to_path_buf(), source })?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is no UTF-8".into()))?;
        let mut faults = Faults { file: path.display().to_string(), list: Vec::new() };
        let root = source::read(&text, format, source::Bounds::MANIFEST, &mut faults);
        match root.filter(|_| faults.list.is_empty()).map(|root| root.to_json()) {
            Some(Json::Object(fields)) => {
                Ok(fields.into_iter().map(|(name, value)| (name, Given::Value(value))).collect())
            }
            Some(_) => Err(wrong("it is no map of parameters".into()).into()),
            None => Err(wrong(faults.to_string()).into()),
        }
    }
}

fn of_directory(directory: &Path, select: Option<&str>) -> Result<Template, OpError> {
    if !directory.exists() {
        return Err(OpError::NoDirectory { path: directory.to_path_buf() });
    }
    let invalid = |faults| OpError::Invalid { directory: PathBuf::from(directory), faults };
    let (package, _) = package::read(directory).map_err(invalid)?;
    let files = package::read_files(directory, &package).map_err(invalid)?;
    Ok(Template::of(&package, files, select)?)
}
