//! `template update`: what a newer version of a template makes, merged into what became of the older one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use semver::Version;

use super::super::{Catalog, OpError};
use super::error::NewError;
use super::write::{self, Change};
use super::{Mode, Prepared, with_record};
use crate::archive::open_beneath;
use crate::host::Host;
use crate::package::model::FilePath;
use crate::template::Warning;
use crate::template::merge::{self, Before, Merged, Patches};
use crate::template::parameter::{Given, Unanswered};
use crate::template::record::{BASE, BASE_BYTES_MAX, Base, Origin, RECORD, RECORD_BYTES_MAX, Record};
use crate::trust::policy::Confirmed;

/// What to bring up to date.
#[derive(Clone, Debug)]
pub struct Update {
    /// The directory of the project.
    pub directory: PathBuf,
    /// Another place of the template than the one it came from.
    pub template: Option<String>,
    /// Answers that differ from those of the time, or that are new.
    pub given: BTreeMap<String, Given>,
    /// What becomes of required parameters that have a default.
    pub unanswered: Unanswered,
    /// Whether anything is written.
    pub mode: Mode,
    /// Whether somebody said that what needs confirmation may be done.
    pub confirmed: Confirmed,
}

/// What an update did, or would do.
#[derive(Debug)]
pub struct Updated {
    /// The template.
    pub template: String,
    /// The version that the project was at.
    pub from: Version,
    /// The version that it is at now.
    pub to: Version,
    /// Files that are written, by what happened to them: `added`, `updated`, `merged`, `conflict`, `removed`.
    pub changes: Vec<(FilePath, &'static str)>,
    /// What the author has to decide.
    pub conflicts: Vec<Conflict>,
    /// What should be looked at.
    pub warnings: Vec<Warning>,
    /// What changes, as one patch.
    pub patch: String,
}

/// What the author has to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The file.
    pub path: FilePath,
    /// What is the matter.
    pub reason: &'static str,
}

impl Catalog {
    /// Brings a project to the present version of its template.
    ///
    /// Waits for the script of the template, so callers are on a thread that may block. Programs of templates do not run.
    ///
    /// # Errors
    /// As [`Catalog::new_package`]; the directory was not made from a template, or what it keeps of it is damaged.
    pub fn update_from_template(&self, asked: &Update, host: &dyn Host) -> Result<Updated, OpError> {
        let directory = &asked.directory;
        let record = String::from_utf8_lossy(&own(directory, RECORD, RECORD_BYTES_MAX)?).into_owned();
        let record = Record::read(&record).map_err(NewError::from)?;
        let base = Base::read(&own(directory, BASE, BASE_BYTES_MAX)?).map_err(NewError::from)?;
        let word = asked.template.clone().unwrap_or_else(|| word(directory, &record));
        let (template, found) = self.find_template(&word, Some(&record.name), asked.confirmed, host)?;
        let origin = if asked.template.is_some() { from(directory, found) } else { record.source.clone() };
        let declared = |name: &str| template.definition.parameter(name).is_some();
        let kept = record.parameters.iter().filter(|(name, value)| declared(name) && !value.is_null());
        let mut given: BTreeMap<String, Given> =
            kept.map(|(name, value)| (name.clone(), Given::Value(value.clone()))).collect();
        given.extend(asked.given.clone());
        let project = record.project().map_err(NewError::from)?;
        let prepared = self.prepare_template(template, origin, &given, asked.unanswered, project)?;
        let merged = merge_all(directory, &record, &base, &prepared)?;
        let mut updated = Updated {
            template: prepared.template.title(),
            from: record.version.clone(),
            to: prepared.template.version.clone(),
            changes: Vec::new(),
            conflicts: Vec::new(),
            warnings: prepared.tree.warnings.clone(),
            patch: String::new(),
        };
        let (mut changes, mut patches) = (Vec::new(), Patches::default());
        for (path, now, merged) in merged {
            changes.extend(updated.note(path, now.as_deref(), merged, &mut patches));
        }
        let kept = with_record(&prepared).into_iter().filter(|(path, _)| matches!(path.as_str(), RECORD | BASE));
        changes.extend(kept.map(|(path, file)| Change { path, bytes: Some(file.bytes) }));
        if asked.mode == Mode::Commit {
            write::apply(directory, &changes)?;
        }
        Ok(updated)
    }
}

impl Updated {
    /// Notes what becomes of a file, and gives what is to be written.
    fn note(&mut self, path: FilePath, now: Option<&[u8]>, merged: Merged, patches: &mut Patches) -> Option<Change> {
        let (state, bytes) = match merged {
            Merged::Same => return None,
            Merged::Refused(reason) => {
                self.conflicts.push(Conflict { path, reason });
                return None;
            }
            Merged::Taken(bytes) if now.is_none() => ("added", Some(bytes)),
            Merged::Taken(bytes) => ("updated", Some(bytes)),
            Merged::Joined(bytes) => ("merged", Some(bytes)),
            Merged::Marked(bytes) => {
                let reason = "both sides changed the same lines, which are between marks";
                self.conflicts.push(Conflict { path: path.clone(), reason });
                ("conflict", Some(bytes))
            }
            Merged::Removed => ("removed", None),
        };
        self.patch.push_str(&patches.patch(path.as_str(), now, bytes.as_deref()).unwrap_or_default());
        self.changes.push((path.clone(), state));
        Some(Change { path, bytes })
    }
}

type File = (FilePath, Option<Vec<u8>>, Merged);

fn merge_all(directory: &Path, record: &Record, base: &Base, prepared: &Prepared) -> Result<Vec<File>, OpError> {
    let newer = &prepared.tree.files;
    let paths: BTreeSet<&FilePath> = record.files.keys().chain(newer.keys()).collect();
    let merge = |path: &FilePath| {
        let now = write::read_existing(directory, path)?;
        let before = record.files.get(path).map(|digest| Before { digest: *digest, text: base.text(path) });
        let merged = merge::merge(before, now.as_deref(), newer.get(path));
        Ok((path.clone(), now, merged))
    };
    paths.into_iter().map(merge).collect()
}

/// Reads a file that `new` wrote.
fn own(directory: &Path, name: &'static str, bytes_max: u64) -> Result<Vec<u8>, OpError> {
    let read = open_beneath(directory, name).and_then(|file| write::read_open(file, bytes_max));
    read.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => NewError::NoRecord { directory: directory.to_path_buf(), file: name }.into(),
        _ => OpError::File { path: directory.join(name), source },
    })
}

/// Gives the word that names the template of a record.
fn word(directory: &Path, record: &Record) -> String {
    match &record.source {
        Origin::BuiltIn | Origin::Package => record.template.to_string(),
        Origin::Directory(path) => {
            let joined = std::path::absolute(directory).unwrap_or_else(|_| directory.into()).join(path);
            joined.to_string_lossy().into_owned()
        }
    }
}

/// Gives where a path leads, without links and steps back; of a directory that is to be made, where it will be.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let beside = || Some(absolute.parent()?.canonicalize().ok()?.join(absolute.file_name()?));
    absolute.canonicalize().ok().or_else(beside).unwrap_or_else(|| absolute.clone())
}

/// Gives an origin as a project keeps it: a directory by the way to it from the project.
pub(super) fn from(directory: &Path, origin: Origin) -> Origin {
    let Origin::Directory(path) = origin else { return origin };
    let (to, here) = (real(Path::new(&path)), real(directory));
    let shared = to.components().zip(here.components()).take_while(|(a, b)| a == b).count();
    let mut way: PathBuf = here.components().skip(shared).map(|_| "..").collect();
    way.extend(to.components().skip(shared));
    Origin::Directory(way.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_template_leads_there_whatever_words_name_it() {
        let root = tempfile::tempdir().expect("temporary directory");
        for directory in ["t", "sub/deep"] {
            std::fs::create_dir_all(root.path().join(directory)).expect("made");
        }
        std::os::unix::fs::symlink("sub/deep", root.path().join("link")).expect("linked");
        let origin = || Origin::Directory(root.path().join("sub/../t").to_string_lossy().into_owned());
        for (made, way) in [("sub/../d", "../t"), ("link/d", "../../../t"), ("d", "../t")] {
            assert_eq!(from(&root.path().join(made), origin()), Origin::Directory(way.to_owned()), "{made}");
        }
    }
}
