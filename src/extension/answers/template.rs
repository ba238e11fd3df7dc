//! Answers about templates: what was made, which there are, what one asks, what an update changed.

use std::fmt::Write;

use hypermesh_abi::records::Response;
use serde_json::{Value as Json, json};

use super::size;
use crate::ops::publish::Mode;
use crate::ops::template::{FileState, Listed, Made, Updated};
use crate::template::Template;
use crate::template::definition::Action;
use crate::template::parameter::Parameter;
use crate::template::record::Origin;

pub(in crate::extension) fn made(made: &Made, mode: Mode) -> Response {
    let word = if mode == Mode::DryRun { "would make" } else { "made" };
    let mut text = format!("{word} {} from {} {}\n", made.directory.display(), made.template, made.version);
    for file in &made.files {
        let mark = match file.state {
            FileState::New => "+",
            FileState::Unchanged => " ",
            FileState::Overwritten => "~",
            FileState::Kept => "=",
        };
        let _ = writeln!(text, "  {mark} {:<32} {:>9}  {}", file.path.as_str(), size(file.size_bytes), file.kind);
    }
    for ran in &made.ran {
        let _ = writeln!(text, "  ran {}: {}", ran.command, ran.outcome.value.to_json());
    }
    for package in &made.downloaded {
        let _ = writeln!(text, "  brought {package}");
    }
    for warning in &made.warnings {
        let _ = writeln!(text, "  warning: {}: {} [{}]", warning.subject, warning.message, warning.code);
    }
    if mode == Mode::DryRun {
        let changed = made.files.iter().filter(|file| file.state == FileState::Overwritten);
        changed.filter_map(|file| file.patch.as_deref()).for_each(|patch| text.push_str(patch));
    } else if !made.next.is_empty() {
        let _ = writeln!(text, "next, in {}:", made.directory.display());
        for step in &made.next {
            let _ = writeln!(text, "  {step}");
        }
    }
    let files: Vec<Json> = made
        .files
        .iter()
        .map(|file| {
            json!({"path": file.path, "size": file.size_bytes, "hash": file.digest, "kind": file.kind,
                "state": file.state, "patch": file.patch})
        })
        .collect();
    let ran: Vec<Json> = made
        .ran
        .iter()
        .map(|ran| {
            let output = &ran.outcome.output;
            json!({"command": ran.command, "value": ran.outcome.value.to_json(), "stdout": output.stdout,
                "stderr": output.stderr})
        })
        .collect();
    let data = json!({"template": made.template, "version": made.version, "source": source(&made.source),
        "directory": made.directory, "parameters": made.parameters, "files": files, "warnings": made.warnings,
        "next": made.next, "downloaded": made.downloaded, "ran": ran, "printed": made.printed,
        "dry_run": mode == Mode::DryRun});
    Response { data, text }
}

pub(in crate::extension) fn templates(listed: &[Listed]) -> Response {
    let mut text = String::new();
    let mut templates = Vec::new();
    for one in listed {
        let named =
            one.select.as_ref().map_or_else(|| one.word.clone(), |name| format!("{} --select {name}", one.word));
        let _ = writeln!(text, "{named:<28} {:<10} {}", one.version, one.description);
        templates.push(json!({"name": one.word, "select": one.select, "version": one.version,
            "source": source(&one.source), "description": one.description}));
    }
    Response { data: json!({"templates": templates}), text }
}

pub(in crate::extension) fn template(template: &Template, origin: &Origin) -> Response {
    let definition = &template.definition;
    let mut text = format!("{} {}\n{}\n", template.title(), template.version, definition.description);
    if !definition.parameters.is_empty() {
        text.push_str("\nparameters\n");
    }
    for parameter in &definition.parameters {
        let default = match (&parameter.default, parameter.required) {
            (Some(default), _) => format!(" [{default}]"),
            (None, true) => " (must be given)".into(),
            (None, false) => String::new(),
        };
        let kind = parameter.kind.as_str();
        let _ = writeln!(text, "  {:<18} {kind:<8} {}{default}", parameter.name, parameter.description);
    }
    text.push_str("\nfiles\n");
    let files: Vec<&str> = template.files().collect();
    for file in &files {
        let _ = writeln!(text, "  {file}");
    }
    let actions: Vec<&str> = definition.actions.iter().map(Action::name).collect();
    if !actions.is_empty() {
        let _ = writeln!(text, "\nactions\n  {}", actions.join(", "));
    }
    let data = json!({"template": template.title(), "version": template.version, "source": source(origin),
        "description": definition.description, "files": files, "actions": actions, "script": definition.script,
        "parameters": definition.parameters.iter().map(parameter).collect::<Vec<_>>(), "next": definition.next});
    Response { data, text }
}

pub(in crate::extension) fn brought_up(updated: &Updated, mode: Mode) -> Response {
    let Updated { template, from, to, changes, conflicts, warnings, patch } = updated;
    let mut text = format!("{template} {from} -> {to}\n");
    for (path, state) in changes {
        let _ = writeln!(text, "  {state:<9} {path}");
    }
    for conflict in conflicts {
        let _ = writeln!(text, "  decide    {}: {}", conflict.path, conflict.reason);
    }
    for warning in warnings {
        let _ = writeln!(text, "  warning: {}: {} [{}]", warning.subject, warning.message, warning.code);
    }
    match (mode, changes.is_empty() && conflicts.is_empty()) {
        (_, true) => text.push_str("nothing to do: the package has what the template makes\n"),
        (Mode::DryRun, false) => text.push_str(patch),
        (Mode::Commit, false) if !conflicts.is_empty() => {
            text.push_str("look for `<<<<<<<` in files with a conflict, and keep what you want\n");
        }
        (Mode::Commit, false) => {}
    }
    let files: Vec<Json> = changes.iter().map(|(path, state)| json!({"path": path, "state": state})).collect();
    let decide: Vec<Json> =
        conflicts.iter().map(|conflict| json!({"path": conflict.path, "reason": conflict.reason})).collect();
    let data = json!({"template": template, "from": from, "to": to, "files": files, "conflicts": decide,
        "warnings": warnings, "patch": patch, "dry_run": mode == Mode::DryRun});
    Response { data, text }
}

fn source(origin: &Origin) -> Json {
    match origin {
        Origin::BuiltIn => "built_in".into(),
        Origin::Package => "package".into(),
        Origin::Directory(path) => json!({"directory": path}),
    }
}

fn parameter(parameter: &Parameter) -> Json {
    json!({"name": parameter.name, "type": parameter.kind.as_str(), "description": parameter.description,
        "default": parameter.default, "required": parameter.required, "allowed_values": parameter.allowed,
        "min": parameter.range.0, "max": parameter.range.1, "min_length": parameter.length.0,
        "max_length": parameter.length.1, "pattern": parameter.pattern_text()})
}
