//! `new` and `template`: packages made from templates, and brought to newer versions of them.
//!
//! Everything that can fail is done before anything is written: the template is read, parameters are checked, its script is
//! asked, every file is rendered, and programs of it run, if that was granted. Then the files appear together.

pub mod error;
mod source;
mod update;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use semver::Version;
use serde_json::{Map, Value as Json};

use self::error::NewError;
pub use self::source::Listed;
pub use self::update::{Conflict, Update, Updated};
use self::write::Change;
use super::cache::Hold;
use super::publish::Mode;
use super::run_file::RunFile;
use super::sandbox::least_grade;
use super::{Catalog, OpError, spec};
use crate::digest::Digest;
use crate::host::{Host, wait};
use crate::package::model::{FilePath, SandboxLevel};
use crate::package::{self, Format};
use crate::template::generate::{Command, Generated, Project, Tree, generate};
use crate::template::merge::Patches;
use crate::template::parameter::{self, Given, Unanswered, Values};
use crate::template::record::{BASE, Base, Origin, RECORD, Record};
use crate::template::script::{ConfigurationScript, Configured};
use crate::template::{Template, TemplateError, Warning};
use crate::trust::policy::Confirmed;
use crate::value::Value;
use crate::vm::{Cancel, Language, Outcome, VmError};

/// What to make, and from what.
#[derive(Clone, Debug)]
pub struct NewPackage {
    /// A template that is part of Catalog, an installed package, or a directory.
    pub template: String,
    /// Which template of the package, if it offers several.
    pub select: Option<String>,
    /// Where to.
    pub directory: PathBuf,
    /// Answers by the names of parameters.
    pub given: BTreeMap<String, Given>,
    /// What becomes of required parameters that have a default.
    pub unanswered: Unanswered,
    /// Whether files that are there are written again.
    pub overwrite: Overwrite,
    /// What becomes of programs that the template wants to run.
    pub commands: Commands,
    /// Whether anything is written.
    pub mode: Mode,
    /// Whether somebody said that what needs confirmation may be done.
    pub confirmed: Confirmed,
}

/// Whether files that are there, and are other than those that are made, are written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// They are a reason to refuse.
    Refuse,
    /// They are written again.
    Force,
}

/// What becomes of programs that a template wants to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commands {
    /// They are a reason to refuse.
    #[default]
    Refuse,
    /// They are left out.
    Skip,
    /// They run in the sandbox: whoever asked has granted it.
    Run,
}

/// What was made, or would be.
#[derive(Debug)]
pub struct Made {
    /// The template, as messages name it.
    pub template: String,
    /// Its version.
    pub version: Version,
    /// Where it came from.
    pub source: Origin,
    /// Where the package is.
    pub directory: PathBuf,
    /// The value of every parameter.
    pub parameters: Map<String, Json>,
    /// The files, in the order of their paths.
    pub files: Vec<MadeFile>,
    /// What should be looked at.
    pub warnings: Vec<Warning>,
    /// What to do next.
    pub next: Vec<String>,
    /// Packages that were brought onto this node.
    pub downloaded: Vec<String>,
    /// What programs gave that ran.
    pub ran: Vec<Ran>,
    /// What the configuration script printed.
    pub printed: String,
}

/// One file that was made.
#[derive(Clone, Debug)]
pub struct MadeFile {
    /// Where, from the directory.
    pub path: FilePath,
    /// Its size.
    pub size_bytes: u64,
    /// The digest of what it holds.
    pub digest: Digest,
    /// What kind of file it is.
    pub kind: &'static str,
    /// What became of what was there.
    pub state: FileState,
    /// What changes, if something was there or nothing is written.
    pub patch: Option<String>,
}

/// What became of what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// There was nothing.
    New,
    /// It was there and is the same.
    Unchanged,
    /// It was other, and is written again.
    Overwritten,
    /// It was other, and is the author's.
    Kept,
}

/// A program of a template that ran.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its language and file.
    pub command: String,
    /// What it gave.
    pub outcome: Outcome,
}

/// A template made ready: what it makes of the answers.
struct Prepared {
    template: Template,
    origin: Origin,
    /// As they were given, before the script computed others.
    asked: Values,
    values: Values,
    printed: String,
    project: Project,
    tree: Tree,
}

impl Catalog {
    /// Makes a package from a template.
    ///
    /// Waits for the script of the template and whatever it asks of the host, so callers are on a thread that may block.
    ///
    /// # Errors
    /// There is no such template; every fault of the parameters; the script fails; a file is there that would be another;
    /// the template wants to run something and nobody granted it. Nothing has been written then.
    pub fn new_package(&self, asked: &NewPackage, host: &dyn Host) -> Result<Made, OpError> {
        let (template, origin) = self.find_template(&asked.template, asked.select.as_deref(), asked.confirmed, host)?;
        let project = Project::new(&directory_name(&asked.directory), host.now().date());
        let origin = update::from(&asked.directory, origin);
        let mut prepared = self.prepare_template(template, origin, &asked.given, asked.unanswered, project)?;
        check_commands(&prepared, asked.commands)?;
        if asked.commands == Commands::Run && !prepared.tree.commands.is_empty() {
            self.may_evaluate(&prepared.origin)?;
        }
        let made = with_record(&prepared);
        let (files, warnings) = plan(&made, &prepared.tree.commands, asked)?;
        prepared.tree.warnings.extend(warnings);
        let (mut downloaded, mut ran) = (Vec::new(), Vec::new());
        let hold = self.hold();
        if asked.mode == Mode::Commit {
            downloaded = self.download_for(&prepared.tree.downloads, &hold, host)?;
            if asked.commands == Commands::Run {
                ran = self.run_commands(&prepared, host)?;
            }
            write_new(&asked.directory, made, &files)?;
        }
        Ok(Made {
            template: prepared.template.title(),
            version: prepared.template.version.clone(),
            source: prepared.origin,
            directory: asked.directory.clone(),
            parameters: prepared.values.as_map().clone(),
            files,
            warnings: prepared.tree.warnings,
            next: prepared.tree.next,
            downloaded,
            ran,
            printed: prepared.printed,
        })
    }

    fn prepare_template(
        &self,
        template: Template,
        origin: Origin,
        given: &BTreeMap<String, Given>,
        unanswered: Unanswered,
        project: Project,
    ) -> Result<Prepared, OpError> {
        let expand = |text: &str| project.expand(text);
        let resolved = Values::resolve(&template.definition.parameters, given, unanswered, &expand);
        let (asked, warnings) = resolved.map_err(|faults| {
            let asked = match unanswered {
                Unanswered::TakeDefault => Vec::new(),
                Unanswered::Refuse => parameter::to_ask(&template.definition.parameters, &faults, &expand),
            };
            TemplateError::Parameters { template: template.title(), faults, asked }
        })?;
        let (values, configured) = self.configure(&template, &origin, &asked, &project)?;
        let mut tree = generate(&template, &values, &configured, &project)?;
        tree.warnings.splice(0..0, warnings);
        tree.warnings.extend(package_faults(&tree));
        Ok(Prepared { template, origin, asked, values, printed: configured.printed, project, tree })
    }

    /// Asks the script of a template. It is evaluated, not executed: nothing is leased, stored or signed for it.
    fn configure(
        &self,
        template: &Template,
        origin: &Origin,
        values: &Values,
        project: &Project,
    ) -> Result<(Values, Configured), OpError> {
        let Some(script) = ConfigurationScript::of(template)? else {
            return Ok((values.clone(), Configured::default()));
        };
        self.may_evaluate(origin)?;
        let mut run = script.evaluation(values, project, template)?;
        run.limits.grade = least_grade(SandboxLevel::Standard, self.config.sandbox);
        let engines = self.engines.as_ref().map_err(|looked| VmError::WorkerMissing { looked: looked.clone() })?;
        let evaluated = wait(engines.of(Language::Lua, false)?.execute(&run, &Cancel::new()));
        let outcome =
            evaluated.map_err(|failure| NewError::Script { template: template.title(), failure: failure.into() })?;
        Ok(script.decided(template, values, &outcome.value, outcome.output.stdout)?)
    }

    /// Refuses what nobody signed where the policy wants that.
    fn may_evaluate(&self, origin: &Origin) -> Result<(), OpError> {
        match origin {
            Origin::Directory(path) if !self.policy.runs_directories() => {
                Err(OpError::UnsignedDirectory { path: path.into() })
            }
            _ => Ok(()),
        }
    }

    /// Brings packages with what they need onto this node, and installs none.
    fn download_for(&self, words: &[String], hold: &Hold<'_>, host: &dyn Host) -> Result<Vec<String>, OpError> {
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let roots = words.iter().map(|word| spec::requirement(word)).collect::<Result<Vec<_>, _>>()?;
        self.pull(&roots, host)?;
        let resolution = self.resolve_roots(&roots, None, host)?;
        let packages: Vec<_> = resolution.packages().collect();
        self.download(&packages, hold, host)?;
        Ok(packages.iter().map(|package| format!("{}@{}", package.name, package.version)).collect())
    }

    /// Runs the programs of a template as a file is run: in the sandbox, with a lease of the host.
    fn run_commands(&self, prepared: &Prepared, host: &dyn Host) -> Result<Vec<Ran>, OpError> {
        let mut ran = Vec::new();
        for command in &prepared.tree.commands {
            let bytes = prepared.template.file(&command.file).unwrap_or_default().to_vec();
            let run = RunFile {
                language: command.language,
                path: command.file.as_str().into(),
                function: super::run_file::MAIN.into(),
                arguments: command.arguments.iter().cloned().map(Value::Str).collect(),
                input: None,
                timeout: None,
            };
            let outcome = wait(Box::pin(self.run_bytes(run, bytes, host)))?;
            let outcome = outcome
                .map_err(|failure| NewError::CommandFailed { command: shown(command), failure: failure.into() })?;
            ran.push(Ran { command: shown(command), outcome });
        }
        Ok(ran)
    }
}

/// Says what is done with every file, and refuses what would be lost.
fn plan(
    made: &BTreeMap<FilePath, Generated>,
    commands: &[Command],
    asked: &NewPackage,
) -> Result<(Vec<MadeFile>, Vec<Warning>), OpError> {
    let directory = &asked.directory;
    let mut files = Vec::new();
    let mut patches = Patches::default();
    let mut in_the_way = Vec::new();
    let mut warnings = Vec::new();
    for (path, file) in made {
        let there = write::read_existing(directory, path)?;
        let is_record = matches!(path.as_str(), RECORD | BASE);
        let state = match &there {
            None => FileState::New,
            Some(bytes) if *bytes == file.bytes => FileState::Unchanged,
            Some(_) if file.keep => FileState::Kept,
            Some(_) => FileState::Overwritten,
        };
        match state {
            FileState::Kept => warnings.push(Warning::new(
                "SKIPPED",
                path.as_str(),
                "it is there, and belongs to its author once it was made",
            )),
            FileState::Overwritten if asked.overwrite == Overwrite::Refuse && !is_record => {
                in_the_way.push(path.clone());
            }
            FileState::Overwritten if !is_record => {
                warnings.push(Warning::new("OVERWRITTEN", path.as_str(), "it was there with something else in it"));
            }
            _ => {}
        }
        let shows = asked.mode == Mode::DryRun && state != FileState::Unchanged && path.as_str() != BASE;
        let patch = shows.then(|| patches.patch(path.as_str(), there.as_deref(), Some(&file.bytes))).flatten();
        let (size_bytes, digest) = (file.bytes.len() as u64, file.digest());
        let kind = Generated::kind(path);
        files.push(MadeFile { path: path.clone(), size_bytes, digest, kind, state, patch });
    }
    if asked.commands == Commands::Skip {
        let skipped = commands.iter();
        warnings
            .extend(skipped.map(|command| Warning::new("SKIPPED", shown(command), "it does not run, as was asked")));
    }
    // A dry run shows what is in the way instead of stopping at it.
    if !in_the_way.is_empty() && asked.mode == Mode::Commit {
        return Err(NewError::Exists { directory: directory.to_path_buf(), files: in_the_way }.into());
    }
    Ok((files, warnings))
}

fn write_new(directory: &Path, mut made: BTreeMap<FilePath, Generated>, files: &[MadeFile]) -> Result<(), OpError> {
    let changes = files.iter().filter(|file| matches!(file.state, FileState::New | FileState::Overwritten));
    let changes = changes.filter_map(|file| {
        let bytes = made.remove(&file.path)?.bytes;
        Some(Change { path: file.path.clone(), bytes: Some(bytes) })
    });
    write::apply(directory, &changes.collect::<Vec<_>>())
}

/// Gives the files of a tree with the two that Catalog keeps.
fn with_record(prepared: &Prepared) -> BTreeMap<FilePath, Generated> {
    let record =
        Record::new(&prepared.template, prepared.origin.clone(), &prepared.asked, &prepared.project, &prepared.tree);
    let own = |bytes| Generated { bytes, keep: false };
    let mut files = prepared.tree.files.clone();
    for (name, bytes) in [(RECORD, record.to_text().into_bytes()), (BASE, Base::of(&prepared.tree).to_bytes())] {
        if let Ok(path) = name.parse() {
            files.insert(path, own(bytes));
        }
    }
    files
}

fn check_commands(prepared: &Prepared, commands: Commands) -> Result<(), OpError> {
    match prepared.tree.commands.first() {
        Some(command) if commands == Commands::Refuse => {
            Err(NewError::NotGranted { template: prepared.template.title(), command: shown(command) }.into())
        }
        _ => Ok(()),
    }
}

/// Gives what is wrong with the manifest that a tree has, as warnings: a template may leave gaps for its author to fill.
fn package_faults(tree: &Tree) -> Vec<Warning> {
    let Some((path, file)) = tree.files.iter().find(|(path, _)| package::read::MANIFEST_NAMES.contains(&path.as_str()))
    else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&file.bytes);
    let format = Format::of_path(Path::new(path.as_str())).unwrap_or(Format::Yaml);
    let faults = match package::parse(&text, format, path.as_str()) {
        Ok((_, warnings)) => warnings,
        Err(faults) => faults.list,
    };
    let warning = |fault: package::Fault| {
        let place = if fault.line > 0 { format!("{path}:{}", fault.line) } else { path.to_string() };
        Warning::new("INVALID_PACKAGE", place, fault.to_string())
    };
    faults.into_iter().map(warning).collect()
}

fn shown(command: &Command) -> String {
    format!("{} {}", command.language, command.file)
}

/// Gives the name of a directory that need not be there.
fn directory_name(directory: &Path) -> String {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf());
    absolute.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
