//! What can be told of the templates that a package offers without using them, so that their author is told and not who uses
//! them: the definition, every text, the names that texts and rules use, what actions name, and what comes of the defaults.
//!
//! Runs no script: where a template has one, names may be what that computes, and are not looked at.

use std::collections::{BTreeMap, BTreeSet};

use handlebars::Template as Text;
use handlebars::template::TemplateElement;
use serde_json::Value as Json;
use time::macros::date;

use super::definition::{Action, Definition};
use super::generate::{Project, RENDERED, generate};
use super::parameter::{RESERVED, Unanswered, Values};
use super::render::{RenderFault, is_template};
use super::script::Configured;
use super::{Template, TemplateError, fault, inspect};
use crate::package::model::FilePath;
use crate::package::{Fault, Package, PackageFile, Severity, closest};

/// Gives what is wrong with the templates of a package. Faults of the manifest name their field and no line; those of other
/// files name file and line.
pub fn check(package: &Package, files: &[PackageFile]) -> Vec<Fault> {
    if package.content.templates.is_empty() {
        return Vec::new();
    }
    let files: BTreeMap<FilePath, Vec<u8>> = files.iter().map(|file| (file.path.clone(), file.bytes.clone())).collect();
    let mut found = Vec::new();
    for (name, raw) in &package.content.templates {
        match Definition::read(name, raw, &files) {
            Ok(definition) => {
                let (package_name, version) = (package.name.clone(), package.version.clone());
                let (name, files) = (name.clone(), files.clone());
                let template = Template { package: package_name, version, name, definition, files };
                found.extend(Checker::new(&template).finish());
            }
            Err(faults) => found.extend(faults.list),
        }
    }
    found
}

struct Checker<'a> {
    template: &'a Template,
    /// The path of the definition in the manifest.
    base: String,
    used: BTreeSet<String>,
    found: Vec<Fault>,
}

impl<'a> Checker<'a> {
    fn new(template: &'a Template) -> Self {
        let base = format!("spec.content.templates.{}", template.name);
        Self { template, base, used: BTreeSet::new(), found: Vec::new() }
    }

    fn finish(mut self) -> Vec<Fault> {
        let Definition { root, parameters, rules, actions, next, .. } = &self.template.definition;
        for (index, parameter) in parameters.iter().enumerate() {
            let default = parameter.default.as_ref().and_then(Json::as_str).unwrap_or_default();
            self.default(&format!("parameters[{index}].default"), default);
        }
        for (path, bytes) in self.template.below(root) {
            self.file(&format!("{root}/{path}"), bytes);
        }
        for (index, rule) in rules.iter().enumerate() {
            if let Some(condition) = &rule.when {
                let word = if condition.holds { "when" } else { "unless" };
                self.name(&condition.name, &format!("files[{index}].{word}"), None);
            }
        }
        for (index, action) in actions.iter().enumerate() {
            self.action(&format!("actions[{index}].{}", action.name()), action);
        }
        for (index, text) in next.iter().enumerate() {
            self.text(&format!("next[{index}]"), text);
        }
        self.unused();
        if !self.found.iter().any(|fault| fault.severity > Severity::Warning) {
            self.make();
        }
        self.found
    }

    fn action(&mut self, at: &str, action: &Action) {
        match action {
            Action::CreateFile { path, content } => {
                self.text(&format!("{at}.path"), path);
                self.text(&format!("{at}.content"), content);
            }
            Action::CopyFiles { destination, .. } => self.text(&format!("{at}.destination"), destination),
            Action::DownloadDependencies { packages, .. } => {
                packages.iter().for_each(|text| self.text(&format!("{at}.packages"), text));
            }
            Action::ExecuteCommand { arguments, .. } => {
                arguments.iter().for_each(|text| self.text(&format!("{at}.arguments"), text));
            }
        }
    }

    /// Looks at a file of the template: the path it is made at, and its text if that is rendered.
    fn file(&mut self, path: &str, bytes: &[u8]) {
        let Ok(file) = path.parse::<FilePath>() else { return };
        self.parse(path, path, Some(&file));
        if !path.ends_with(RENDERED) {
            return;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.parse(path, text, Some(&file)),
            Err(_) => self.push(Some(&file), 0, fault("NOT_UTF8", "", "it is rendered, and is no UTF-8", SAVE)),
        }
    }

    /// Looks at a text of the manifest, at its path below the definition.
    fn text(&mut self, at: &str, text: &str) {
        self.parse(at, text, None);
    }

    /// Looks at a default, which knows of the project and of nothing else.
    fn default(&mut self, at: &str, text: &str) {
        if let Err(message) = example().expand(text) {
            let hint = "defaults may use `{{project.name}}`, `{{project.identifier}}` and `{{project.module}}`";
            self.push(None, 0, fault("TEMPLATE", &format!("{}.{at}", self.base), message, hint));
        }
    }

    fn parse(&mut self, at: &str, text: &str, file: Option<&FilePath>) {
        if !is_template(text) {
            return;
        }
        let parsed = match inspect::parse(at, text) {
            Ok(parsed) => parsed,
            Err(RenderFault { line, message, .. }) => {
                let path = if file.is_some() { String::new() } else { format!("{}.{at}", self.base) };
                let line = if file.is_some() { line.max(1) } else { 0 };
                return self.push(file, line, fault("TEMPLATE", &path, message, "docs/templates.md has the grammar"));
            }
        };
        inspect::names(&parsed, &mut self.used);
        let mut names = BTreeSet::new();
        outer_names(&parsed, &mut names);
        for name in names {
            let line = line_of(text, &name);
            self.name(&name, at, file.map(|file| (file, line)));
        }
    }

    /// Holds a name against what the template asks and what is always there.
    fn name(&mut self, name: &str, at: &str, file: Option<(&FilePath, u32)>) {
        self.used.insert(name.to_owned());
        let definition = &self.template.definition;
        let known = name.is_empty()
            || name.starts_with('@')
            || name == "uuid"
            || RESERVED.contains(&name)
            || definition.script.is_some()
            || definition.parameter(name).is_some();
        if known {
            return;
        }
        let near = closest(name, definition.parameters.iter().map(|parameter| parameter.name.as_str()));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "list it in `parameters`, or correct the name".into(),
        };
        let message = format!("there is no parameter `{name}`");
        let path = if file.is_some() { String::new() } else { format!("{}.{at}", self.base) };
        let (file, line) = file.map_or((None, 0), |(file, line)| (Some(file), line));
        self.push(file, line, fault("UNKNOWN_PARAMETER", &path, message, hint));
    }

    /// A script may use every parameter, and nobody can tell.
    fn unused(&mut self) {
        let definition = &self.template.definition;
        if definition.script.is_some() {
            return;
        }
        for (index, parameter) in definition.parameters.iter().enumerate() {
            if !self.used.contains(&parameter.name) {
                let message = format!("no text, path or rule uses `{}`", parameter.name);
                let path = format!("{}.parameters[{index}]", self.base);
                let fault = fault("UNUSED_PARAMETER", &path, message, "use it, or do not ask for it");
                self.push(None, 0, fault.severity(Severity::Warning));
            }
        }
    }

    /// Makes the package of the defaults, where they are enough for one.
    fn make(&mut self) {
        let project = example();
        let definition = &self.template.definition;
        let expand = |text: &str| project.expand(text);
        let values = Values::resolve(&definition.parameters, &BTreeMap::new(), Unanswered::TakeDefault, &expand);
        let (None, Ok((values, _))) = (&definition.script, values) else { return };
        match generate(self.template, &values, &Configured::default(), &project) {
            Ok(_) => {}
            Err(TemplateError::Render { fault: RenderFault { file, line, message }, .. }) => {
                let path = format!("{}/{file}", definition.root).parse::<FilePath>().ok();
                let path = path.filter(|path| self.template.file(path).is_some());
                let field = if path.is_some() { String::new() } else { self.base.clone() };
                let hint = "with its defaults the template cannot be used; give others, or mend the text";
                self.push(path.as_ref(), line, fault("TEMPLATE", &field, message, hint));
            }
            Err(error) => {
                let field = self.base.clone();
                self.push(None, 0, fault("TEMPLATE", &field, error.to_string(), "so it is with its defaults"));
            }
        }
    }

    fn push(&mut self, file: Option<&FilePath>, line: u32, fault: Fault) {
        self.found.push(Fault { file: file.cloned().map(Box::new), line, ..fault });
    }
}

/// Gives the project that templates are tried with.
fn example() -> Project {
    Project::new("demo", date!(2000 - 01 - 01))
}

/// Gives the first part of every name that a text looks up among its variables: inside `each` names may be those of the item.
fn outer_names(text: &Text, found: &mut BTreeSet<String>) {
    for element in &text.elements {
        match element {
            TemplateElement::HelperBlock(helper) => {
                let is_each = helper.name.as_name() == Some("each");
                inspect::names_of_call(helper, found);
                let inner = if is_each { None } else { helper.template.as_ref() };
                for inner in inner.into_iter().chain(&helper.inverse) {
                    outer_names(inner, found);
                }
            }
            TemplateElement::Expression(helper) | TemplateElement::HtmlExpression(helper) => {
                inspect::names_of_call(helper, found);
            }
            _ => {}
        }
    }
}

/// Gives the first line with a tag that has a name in it, from 1; 0 if there is none.
fn line_of(text: &str, name: &str) -> u32 {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let has = |line: &str| {
        let tags = line.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap_or_default());
        tags.into_iter().any(|tag| tag.split(|c: char| !is_word(c)).any(|word| word == name))
    };
    text.lines().position(has).map_or(0, |index| u32::try_from(index + 1).unwrap_or(0))
}

const SAVE: &str = "save it as UTF-8, or without the ending `.hbs` if it is to be copied as it is";
