//! What a template says of itself: `spec.content.templates.NAME` of its package.

use std::collections::{BTreeMap, BTreeSet};

use glob::{MatchOptions, Pattern};
use serde::Deserialize;
use serde_json::Value as Json;

use super::fault;
use super::parameter::{Parameter, RawParameter};
use crate::package::model::FilePath;
use crate::package::{Faults, closest};
use crate::vm::Language;

/// The most parameters of a template.
pub const PARAMETERS_MAX: usize = 100;
/// The most rules about files of a template.
pub const RULES_MAX: usize = 100;
/// The most actions of a template.
pub const ACTIONS_MAX: usize = 50;
/// The most next steps that a template tells.
pub const NEXT_MAX: usize = 20;
/// The directory of a template's files, if it does not say otherwise.
pub const ROOT: &str = "files";
/// The longest pattern, in bytes, and the most stars in it: matching takes time with both.
const PATTERN_BYTES_MAX: usize = 255;
const PATTERN_STARS_MAX: usize = 8;

/// What a template asks and does.
#[derive(Clone, Debug)]
pub struct Definition {
    /// What it makes, in a sentence.
    pub description: String,
    /// The directory of the package that its files are in.
    pub root: String,
    /// The script that computes parameters and chooses files.
    pub script: Option<FilePath>,
    /// What it asks, in this order.
    pub parameters: Vec<Parameter>,
    /// Which files are made when, and which are the author's afterwards.
    pub rules: Vec<Rule>,
    /// What happens besides rendering files.
    pub actions: Vec<Action>,
    /// What to do next, as texts with parameters.
    pub next: Vec<String>,
}

/// A rule about files, by the paths they are made at.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which files.
    pub path: Glob,
    /// They are made only if this holds.
    pub when: Option<Condition>,
    /// Once made they belong to whoever used the template: neither `--force` nor an update writes them again.
    pub keep: bool,
}

/// `NAME`, which holds if that is given and neither false, zero nor empty; or `NAME=TEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The parameter, or what a script computed.
    pub name: String,
    /// What it must be, where that is said.
    pub equals: Option<String>,
    /// Whether it must be so, or must not.
    pub holds: bool,
}

/// A pattern of paths: `*` within a directory, `**` across directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Pattern);

/// What happens besides rendering files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Makes a file of a text; both may have parameters.
    #[serde(alias = "CreateFile")]
    CreateFile {
        /// Where.
        path: String,
        /// What it holds.
        content: String,
    },
    /// Copies files of the package as they are.
    #[serde(alias = "CopyFiles")]
    CopyFiles {
        /// A directory of the package.
        source: String,
        /// Where to; the directory of the project if empty. May have parameters.
        #[serde(default)]
        destination: String,
        /// Which files, by their paths below the source; all if none is given.
        #[serde(default)]
        patterns: Vec<String>,
    },
    /// Brings packages onto this node, with what they need; nothing is installed.
    #[serde(alias = "DownloadDependencies")]
    DownloadDependencies {
        /// Whose packages: `catalog`.
        #[serde(default = "catalog")]
        manager: String,
        /// The packages, as NAME or NAME@REQUIREMENT. Each may have parameters.
        #[serde(alias = "list")]
        packages: Vec<String>,
    },
    /// Runs a program of the package in the sandbox, if that was granted.
    #[serde(alias = "ExecuteCommand")]
    ExecuteCommand {
        /// The language of the program: `lua`, `julia` or `wasm`; nothing else runs in the sandbox.
        command: String,
        /// The file of the program, then its arguments as text. Arguments may have parameters.
        arguments: Vec<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    description: String,
    #[serde(default = "root")]
    root: String,
    script: Option<String>,
    #[serde(default)]
    parameters: Vec<RawParameter>,
    #[serde(default)]
    files: Vec<RawRule>,
    #[serde(default, alias = "post_actions")]
    actions: Vec<Action>,
    #[serde(default)]
    next: Vec<String>,
    /// For whoever reads the manifest.
    #[serde(rename = "metadata")]
    _metadata: Option<Json>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    path: String,
    when: Option<String>,
    unless: Option<String>,
    #[serde(default)]
    keep: bool,
}

impl Definition {
    /// Reads a definition; `files` are those of its package.
    ///
    /// # Errors
    /// The first fault of its form, or every fault of its meaning.
    pub(super) fn read(name: &str, raw: &Json, files: &BTreeMap<FilePath, Vec<u8>>) -> Result<Self, Faults> {
        let base = format!("spec.content.templates.{name}");
        let mut faults = Faults { file: "package.yaml".into(), list: Vec::new() };
        let raw: Raw = match serde_path_to_error::deserialize(raw) {
            Ok(raw) => raw,
            Err(error) => {
                let path = format!("{base}.{}", error.path());
                faults.push(fault("WRONG_FORM", &path, error.inner().to_string(), "docs/templates.md has every field"));
                return Err(faults);
            }
        };
        for (what, count, most) in [
            ("parameters", raw.parameters.len(), PARAMETERS_MAX),
            ("files", raw.files.len(), RULES_MAX),
            ("actions", raw.actions.len(), ACTIONS_MAX),
            ("next", raw.next.len(), NEXT_MAX),
        ] {
            if count > most {
                let message = format!("there are {count}, more than {most}");
                faults.push(fault("TOO_MANY", &format!("{base}.{what}"), message, "leave some out"));
                return Err(faults);
            }
        }
        let parameters = parameters(raw.parameters, &base, &mut faults);
        let rules = rules(&raw.files, &base, &mut faults);
        check_actions(&raw.actions, files, &base, &mut faults);
        if !files.keys().any(|path| is_below(path, &raw.root)) {
            let message = format!("the package has no file below `{}`", raw.root);
            let hint = "list the files of the template in `spec.content.files`, or say where they are";
            faults.push(fault("NO_FILES", &format!("{base}.root"), message, hint));
        }
        let script = raw.script.and_then(|text| script(&text, files, &base, &mut faults));
        match faults.list.is_empty() {
            true => Ok(Self {
                description: raw.description,
                root: raw.root,
                script,
                parameters,
                rules,
                actions: raw.actions,
                next: raw.next,
            }),
            false => Err(faults),
        }
    }

    /// Gives a parameter.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

impl Action {
    /// Gives the name that messages use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateFile { .. } => "create_file",
            Self::CopyFiles { .. } => "copy_files",
            Self::DownloadDependencies { .. } => "download_dependencies",
            Self::ExecuteCommand { .. } => "execute_command",
        }
    }
}

impl Condition {
    fn new(text: &str, holds: bool) -> Self {
        let (name, equals) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        Self { name: name.trim().to_owned(), equals: equals.map(|value| value.trim().to_owned()), holds }
    }

    /// Tells whether it holds for a value.
    pub fn met_by(&self, value: &Json) -> bool {
        let is_so = match (&self.equals, value) {
            (Some(wanted), Json::String(text)) => text == wanted,
            (Some(wanted), other) => {
                let text = other.to_string();
                text == *wanted
            }
            (None, value) => handlebars::JsonTruthy::is_truthy(value, false),
        };
        is_so == self.holds
    }
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is too long, has too many stars, or is none.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("the pattern is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        if text.bytes().filter(|byte| *byte == b'*').count() > PATTERN_STARS_MAX {
            return Err(format!("the pattern has more than {PATTERN_STARS_MAX} stars"));
        }
        Pattern::new(text).map(Self).map_err(|error| format!("`{text}` is no pattern: {}", error.msg))
    }

    /// Tells whether a path is meant.
    pub fn matches(&self, path: &str) -> bool {
        let options =
            MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };
        self.0.matches_with(path, options)
    }

    /// Gives the pattern.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

fn parameters(raw: Vec<RawParameter>, base: &str, faults: &mut Faults) -> Vec<Parameter> {
    let mut seen = BTreeSet::new();
    let mut parameters = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let path = format!("{base}.parameters[{index}]");
        if !seen.insert(raw.name.clone()) {
            faults.push(fault("DUPLICATE", &path, format!("`{}` is there twice", raw.name), "keep one of the two"));
        }
        parameters.extend(Parameter::read(raw, &path, faults));
    }
    parameters
}

fn rules(raw: &[RawRule], base: &str, faults: &mut Faults) -> Vec<Rule> {
    let mut rules = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let path = format!("{base}.files[{index}]");
        let when = match (&raw.when, &raw.unless) {
            (Some(_), Some(_)) => {
                faults.push(fault("TWO_CONDITIONS", &path, "`when` and `unless` exclude each other", "keep one"));
                None
            }
            (Some(text), None) => Some(Condition::new(text, true)),
            (None, Some(text)) => Some(Condition::new(text, false)),
            (None, None) => None,
        };
        match Glob::new(&raw.path) {
            Ok(glob) => rules.push(Rule { path: glob, when, keep: raw.keep }),
            Err(reason) => faults.push(fault("INVALID_PATTERN", &path, reason, "write it as `tests/**` or `*.md`")),
        }
    }
    rules
}

fn check_actions(actions: &[Action], files: &BTreeMap<FilePath, Vec<u8>>, base: &str, faults: &mut Faults) {
    for (index, action) in actions.iter().enumerate() {
        let path = format!("{base}.actions[{index}].{}", action.name());
        match action {
            Action::CreateFile { .. } => {}
            Action::CopyFiles { source, patterns, .. } => {
                if !files.keys().any(|file| is_below(file, source)) {
                    let message = format!("the package has no file below `{source}`");
                    faults.push(fault("NO_FILES", &path, message, "list the files in `spec.content.files`"));
                }
                for reason in patterns.iter().filter_map(|pattern| Glob::new(pattern).err()) {
                    faults.push(fault("INVALID_PATTERN", &path, reason, "write it as `*.txt`"));
                }
            }
            Action::DownloadDependencies { manager, .. } if manager != "catalog" => {
                let message = format!("`{manager}` is no manager that runs here, where only `catalog` does");
                faults.push(fault("OTHER_MANAGER", &path, message, "tell people in `next` what to run themselves"));
            }
            Action::DownloadDependencies { .. } => {}
            Action::ExecuteCommand { command, arguments } => {
                if language_of(command).is_none() {
                    let message = format!(
                        "`{command}` cannot run: the sandbox runs `lua`, `julia` and `wasm` programs of the template only"
                    );
                    faults.push(fault(
                        "COMMAND_REFUSED",
                        &path,
                        message,
                        "tell people in `next` what to run themselves",
                    ));
                }
                let program = arguments.first().and_then(|text| text.parse::<FilePath>().ok());
                if !program.is_some_and(|program| files.contains_key(&program)) {
                    let message = "the first argument is no file of the package".to_string();
                    faults.push(fault(
                        "FILE_NOT_FOUND",
                        &path,
                        message,
                        "name the program, listed in `spec.content.files`",
                    ));
                }
            }
        }
    }
}

/// Gives the language of programs that a command runs.
pub(super) fn language_of(command: &str) -> Option<Language> {
    [Language::Lua, Language::Julia, Language::Wasm].into_iter().find(|language| language.as_str() == command)
}

fn script(text: &str, files: &BTreeMap<FilePath, Vec<u8>>, base: &str, faults: &mut Faults) -> Option<FilePath> {
    let found = text.parse::<FilePath>().ok().filter(|path| files.contains_key(path));
    if found.is_none() {
        let hint = match closest(text, files.keys().map(FilePath::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "list it in `spec.content.files`".into(),
        };
        faults.push(fault("FILE_NOT_FOUND", &format!("{base}.script"), format!("there is no file `{text}`"), hint));
    }
    found
}

fn is_below(path: &FilePath, directory: &str) -> bool {
    path.as_str().strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

fn root() -> String {
    ROOT.into()
}

fn catalog() -> String {
    "catalog".into()
}
