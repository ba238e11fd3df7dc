//! Why a package is not made from a template, or not brought to a newer one.

use std::path::PathBuf;

use crate::package::model::FilePath;
use crate::template::TemplateError;
use crate::template::record::RecordError;
use crate::vm::Failure;

/// Why a package is not made from a template, or not brought to a newer one. Nothing has been written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewError {
    /// The template says no.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// There is no such template.
    #[error("there is no template `{word}`")]
    Unknown {
        /// The word.
        word: String,
        /// The name nearest to it.
        nearest: Option<String>,
    },
    /// The script of a template failed.
    #[error("the configuration script of template `{template}` failed")]
    Script {
        /// The template.
        template: String,
        /// How.
        #[source]
        failure: Box<Failure>,
    },
    /// Files are there that would be written over.
    #[error("`{}` has files that would be written over: {}", directory.display(), listed(files))]
    Exists {
        /// The directory.
        directory: PathBuf,
        /// The files.
        files: Vec<FilePath>,
    },
    /// Something is there that is no file and no directory of the project.
    #[error("`{}` is in the way: it is {what}", path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A template wants to run a program, and nobody granted it.
    #[error("template `{template}` wants to run `{command}`, which was not granted")]
    NotGranted {
        /// The template.
        template: String,
        /// The program.
        command: String,
    },
    /// A program of a template failed.
    #[error("`{command}` of the template failed")]
    CommandFailed {
        /// The program.
        command: String,
        /// How.
        #[source]
        failure: Box<Failure>,
    },
    /// A directory was not made from a template.
    #[error("`{}` was not made from a template: there is no `{file}`", directory.display())]
    NoRecord {
        /// The directory.
        directory: PathBuf,
        /// The file that is missing.
        file: &'static str,
    },
    /// What a project keeps of its template cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Answers cannot be read.
    #[error("the answers in `{}` cannot be read: {reason}", path.display())]
    Answers {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn listed(files: &[FilePath]) -> String {
    const SHOWN_MAX: usize = 8;
    let shown: Vec<String> = files.iter().take(SHOWN_MAX).map(|path| format!("`{path}`")).collect();
    let more = files.len().saturating_sub(SHOWN_MAX);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
