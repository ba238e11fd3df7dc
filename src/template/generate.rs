//! From a template and values to a tree of files, without looking at any disk: the same input gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use handlebars::Context;
use serde_json::{Map, Value as Json, json};
use time::Date;
use uuid::Uuid;

use super::definition::{Action, Condition, Glob, language_of};
use super::parameter::Values;
use super::render::{self, Renderer};
use super::script::Configured;
use super::{Template, TemplateError, Warning, inspect};
use crate::digest::Digest;
use crate::package::model::FilePath;
use crate::vm::Language;

/// The most files that a template makes.
pub const FILES_MAX: usize = 1000;
/// The most bytes of all files that a template makes.
pub const TREE_BYTES_MAX: usize = 32 << 20;
/// The ending of files that are rendered; it is not part of what they become.
pub const RENDERED: &str = ".hbs";

/// What is known of the project that a template is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// A package name made of the directory's name.
    name: String,
    date: Date,
}

/// A tree of files that a template makes.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The files by their paths.
    pub files: BTreeMap<FilePath, Generated>,
    /// Packages to be brought onto the node.
    pub downloads: Vec<String>,
    /// Programs to be run, if that is granted.
    pub commands: Vec<Command>,
    /// What to do next.
    pub next: Vec<String>,
    /// What should be looked at.
    pub warnings: Vec<Warning>,
}

/// One file that a template makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Once made it belongs to whoever used the template.
    pub keep: bool,
}

/// A program of the template to be run in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its language.
    pub language: Language,
    /// Its file in the package.
    pub file: FilePath,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl Project {
    /// Makes a project of a directory's name and the date that its files say.
    pub fn new(directory_name: &str, date: Date) -> Self {
        Self { name: package_name(directory_name), date }
    }

    /// Gives the date.
    pub fn date(&self) -> Date {
        self.date
    }

    /// Gives what templates find under `project`.
    pub fn to_json(&self) -> Json {
        let words = || self.name.split(['-', '_']).filter(|word| !word.is_empty());
        let module: String = words().map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        json!({"name": self.name, "identifier": words().collect::<Vec<_>>().join("_"), "module": module})
    }

    /// Renders a text that knows of the project only, as defaults of parameters do.
    ///
    /// # Errors
    /// The text asks for more, or is no template.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        if !render::is_template(text) {
            return Ok(text.to_owned());
        }
        let renderer = Renderer::new(Uuid::nil(), self.date);
        let context = render::context(&json!({"project": self.to_json()}));
        renderer.render("default", text, &context).map_err(|fault| fault.message)
    }
}

/// Makes the files of a template.
///
/// # Errors
/// A text that cannot be rendered, a path that leaves the directory or is made twice, a bound.
pub fn generate(
    template: &Template,
    values: &Values,
    configured: &Configured,
    project: &Project,
) -> Result<Tree, TemplateError> {
    let mut variables = values.as_map().clone();
    variables.extend(configured.computed.clone());
    let mut maker = Maker::new(template, variables, project);
    for (path, bytes) in template.below(&template.definition.root) {
        maker.render_file(path, bytes, &configured.skip)?;
    }
    for action in &template.definition.actions {
        maker.act(action)?;
    }
    for text in &template.definition.next {
        let next = maker.text("next", text)?;
        maker.tree.next.push(next);
    }
    maker.warn_of_unused(values, configured);
    Ok(maker.tree)
}

struct Maker<'a> {
    template: &'a Template,
    renderer: Renderer,
    variables: Map<String, Json>,
    context: Context,
    /// Names that some text, path or condition used.
    used: BTreeSet<String>,
    bytes: usize,
    tree: Tree,
}

impl<'a> Maker<'a> {
    fn new(template: &'a Template, variables: Map<String, Json>, project: &Project) -> Self {
        let seed = json!([template.package, template.version, template.name, variables]).to_string();
        let seed = Uuid::new_v5(&Uuid::NAMESPACE_OID, seed.as_bytes());
        let mut all = variables.clone();
        all.insert("project".into(), project.to_json());
        all.insert("template".into(), json!({"name": template.title(), "version": template.version}));
        let tree = Tree {
            files: BTreeMap::new(),
            downloads: Vec::new(),
            commands: Vec::new(),
            next: Vec::new(),
            warnings: Vec::new(),
        };
        Self {
            template,
            renderer: Renderer::new(seed, project.date),
            variables,
            context: render::context(&Json::Object(all)),
            used: BTreeSet::new(),
            bytes: 0,
            tree,
        }
    }

    fn render_file(&mut self, path: &str, bytes: &[u8], skip: &[Glob]) -> Result<(), TemplateError> {
        let (target, is_text) = match path.strip_suffix(RENDERED) {
            Some(stripped) => (stripped, true),
            None => (path, false),
        };
        let target = self.text(path, target)?;
        let rules: Vec<_> = self.template.definition.rules.iter().filter(|rule| rule.path.matches(&target)).collect();
        for condition in rules.iter().filter_map(|rule| rule.when.as_ref()) {
            if !self.holds(condition)? {
                return Ok(());
            }
        }
        if skip.iter().any(|glob| glob.matches(&target)) {
            return Ok(());
        }
        let keep = rules.iter().any(|rule| rule.keep);
        let bytes = match is_text {
            true => {
                let text =
                    std::str::from_utf8(bytes).map_err(|_| self.path_fault(path, "it is rendered, and is no UTF-8"))?;
                self.text(path, text)?.into_bytes()
            }
            false => bytes.to_vec(),
        };
        self.add(&target, bytes, keep)
    }

    fn act(&mut self, action: &Action) -> Result<(), TemplateError> {
        match action {
            Action::CreateFile { path, content } => {
                let target = self.text("create_file.path", path)?;
                let content = self.text("create_file.content", content)?;
                self.add(&target, content.into_bytes(), false)
            }
            Action::CopyFiles { source, destination, patterns } => {
                let destination = self.text("copy_files.destination", destination)?;
                self.copy(source, &destination, patterns)
            }
            Action::DownloadDependencies { packages, .. } => {
                for package in packages {
                    let word = self.text("download_dependencies", package)?;
                    self.tree.downloads.push(word);
                }
                Ok(())
            }
            Action::ExecuteCommand { command, arguments } => {
                let texts = arguments.iter().map(|text| self.text("execute_command", text));
                let mut arguments = texts.collect::<Result<Vec<_>, _>>()?.into_iter();
                let file = arguments.next().unwrap_or_default();
                let file = file.parse().map_err(|_| self.path_fault(&file, "it is no file of the template"))?;
                let language = language_of(command).ok_or_else(|| self.path_fault(command, "no program is in it"))?;
                let command = Command { language, file, arguments: arguments.collect() };
                self.tree.commands.push(command);
                Ok(())
            }
        }
    }

    fn copy(&mut self, source: &str, destination: &str, patterns: &[String]) -> Result<(), TemplateError> {
        let globs: Vec<Glob> = patterns.iter().filter_map(|pattern| Glob::new(pattern).ok()).collect();
        let mut matched = vec![false; globs.len()];
        let template = self.template;
        for (path, bytes) in template.below(source) {
            let hits: Vec<usize> = (0..globs.len()).filter(|index| globs[*index].matches(path)).collect();
            hits.iter().for_each(|index| matched[*index] = true);
            if globs.is_empty() || !hits.is_empty() {
                let target = if destination.is_empty() { path.to_owned() } else { format!("{destination}/{path}") };
                self.add(&target, bytes.to_vec(), false)?;
            }
        }
        for (glob, _) in globs.iter().zip(&matched).filter(|(_, matched)| !**matched) {
            let message = format!("no file below `{source}` of the template matches it, so nothing was copied for it");
            self.tree.warnings.push(Warning::new("SKIPPED", glob.as_str(), message));
        }
        Ok(())
    }

    fn text(&mut self, file: &str, text: &str) -> Result<String, TemplateError> {
        let of = |fault| TemplateError::Render { template: self.template.title(), fault };
        if !render::is_template(text) {
            return Ok(text.to_owned());
        }
        let parsed = inspect::parse(file, text).map_err(of)?;
        inspect::names(&parsed, &mut self.used);
        self.renderer.render_parsed(file, &parsed, &self.context).map_err(of)
    }

    fn holds(&mut self, condition: &Condition) -> Result<bool, TemplateError> {
        self.used.insert(condition.name.clone());
        let value = self.variables.get(&condition.name).ok_or_else(|| {
            let reason = format!("a rule asks for `{}`, which is no parameter and was not computed", condition.name);
            self.path_fault("files", &reason)
        })?;
        Ok(condition.met_by(value))
    }

    fn add(&mut self, path: &str, bytes: Vec<u8>, keep: bool) -> Result<(), TemplateError> {
        let target: FilePath = path.parse().map_err(|error| self.path_fault(path, &format!("{error}")))?;
        if super::record::is_ours(&target) {
            return Err(self.path_fault(path, "a file of this name keeps what the template was"));
        }
        let is_inside = |outer: &FilePath, inner: &FilePath| {
            inner.as_str().strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        if self.tree.files.keys().any(|other| is_inside(other, &target) || is_inside(&target, other)) {
            return Err(self.path_fault(path, "it would be a file and a directory"));
        }
        self.bytes += bytes.len();
        let limit = match (self.tree.files.len() >= FILES_MAX, self.bytes > TREE_BYTES_MAX) {
            (true, _) => Some(format!("{FILES_MAX} files")),
            (_, true) => Some(format!("{TREE_BYTES_MAX} bytes")),
            _ => None,
        };
        if let Some(limit) = limit {
            return Err(TemplateError::TooMuch { template: self.template.title(), limit });
        }
        match self.tree.files.insert(target, Generated { bytes, keep }) {
            Some(_) => Err(self.path_fault(path, "two of its files become this one")),
            None => Ok(()),
        }
    }

    /// A script may have used every parameter, and nobody can tell.
    fn warn_of_unused(&mut self, values: &Values, configured: &Configured) {
        if configured.ran {
            return;
        }
        for name in values.as_map().keys().filter(|name| !self.used.contains(*name)) {
            let message = "the template asks for it, and no text, path or rule of it uses it".to_string();
            self.tree.warnings.push(Warning::new("UNUSED_PARAMETER", name, message));
        }
    }

    fn path_fault(&self, path: &str, reason: &str) -> TemplateError {
        let printable: String = path.chars().flat_map(char::escape_debug).take(300).collect();
        TemplateError::Path { template: self.template.title(), path: printable, reason: reason.to_owned() }
    }
}

impl Generated {
    /// Gives the digest of what it holds.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Gives what kind of file stands at a path.
    pub fn kind(path: &FilePath) -> &'static str {
        let is_test = path.as_str().starts_with("tests/") || path.file_name().contains("test");
        match (path.file_name(), path.extension()) {
            ("package.yaml", _) => "manifest",
            _ if super::record::is_ours(path) => "record",
            (_, Some("md" | "txt")) => "document",
            _ if is_test => "test",
            ("Containerfile", _) | (_, Some("lua" | "jl" | "wat" | "wasm" | "rs" | "py" | "js" | "sh")) => "source",
            _ => "data",
        }
    }
}

/// Makes a package name of any text: lower case, `-` for what a name cannot hold.
fn package_name(text: &str) -> String {
    let lower = text.to_lowercase();
    let mapped = lower.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' });
    let mut name: String = mapped.collect::<String>().trim_start_matches(|c: char| !c.is_ascii_lowercase()).into();
    name.truncate(64);
    let name = name.trim_end_matches(['-', '_']);
    if name.is_empty() { "package".into() } else { name.into() }
}
