//! The sections of a documentation, in the order in which somebody reads them who does not know the package.

use serde::Serialize;

use super::block::{Block, Cell, Span, Tone, away, cell, code, list, paragraph, plain, program};
use super::document::{Document, Section};
use super::example::{self, Example, Outcome};
use super::history::Step;
use super::{Draft, reference, wishes};
use crate::package::Package;
use crate::package::capability::shown;
use crate::package::model::{AffinityRule, Dependency, PackageType, SandboxLevel, Source};
use crate::package::units::format_cpu;

/// Puts a documentation together.
pub(super) fn document(draft: Draft, steps: &[Step]) -> Document {
    let Draft { package, digest, items, examples, readme, changes, warnings } = draft;
    let package = &package;
    let mut overview = facts(package);
    let mut shown = examples.iter();
    overview.extend(example::show(package, without_title(readme, package.name.as_str()), &mut shown));
    let (anchors, api) = reference::blocks(package, &items, shown);
    let capabilities = wishes::capabilities(package);
    let section = |id, title, blocks| Section { id, title, blocks };
    let sections = vec![
        section("overview", "Overview", overview),
        section("install", "Install", install(package)),
        section("parameters", "Parameters", parameters(package)),
        section("capabilities", "What it asks for", vec![list(capabilities.clone())]),
        section("api", "API", api),
        section("examples", "Examples", of_examples(package, &examples)),
        section("dependencies", "Dependencies", dependencies(package)),
        section("security", "Security", security(package, &digest.to_string())),
        section("deployment", "Deployment", deployment(package)),
        section("changelog", "Changelog", changelog(steps, changes)),
    ];
    let items = items.into_iter().zip(anchors).collect();
    let (package, steps) = (package.clone(), steps.to_vec());
    Document { package, digest, sections, items, examples, capabilities, steps, warnings }.settle()
}

/// A README begins with the name of its package, and a changelog with what it is, which stand above them already.
fn without_title(mut blocks: Vec<Block>, title: &str) -> Vec<Block> {
    let same = |spans: &[Span]| plain(spans).trim().eq_ignore_ascii_case(title);
    if matches!(blocks.first(), Some(Block::Heading { spans, .. }) if same(spans)) {
        blocks.remove(0);
    }
    blocks
}

fn table(head: &[&str], rows: Vec<Vec<Cell>>) -> Block {
    Block::Table { head: head.iter().map(|title| cell(*title)).collect(), rows }
}

fn facts(package: &Package) -> Vec<Block> {
    let about = &package.about;
    let mut blocks: Vec<Block> = about.description.iter().map(paragraph).collect();
    let link = |url: &String| match away(url) {
        Some(target) => vec![Span::Link { target, spans: cell(url) }],
        None => code(url),
    };
    let mut rows = vec![vec![cell("Version"), code(package.version.to_string())]];
    rows.push(vec![cell("Type"), code(package.kind.to_string())]);
    for (title, value) in [("Licence", &about.license), ("Author", &about.author), ("Updated", &about.updated)] {
        rows.extend(value.as_ref().map(|value| vec![cell(title), cell(value)]));
    }
    for (title, value) in [("Home page", &about.homepage), ("Repository", &about.repository)] {
        rows.extend(value.as_ref().map(|value| vec![cell(title), link(value)]));
    }
    for (title, words) in [("Tags", &about.tags), ("Keywords", &about.keywords)] {
        rows.extend((!words.is_empty()).then(|| vec![cell(title), cell(words.join(", "))]));
    }
    blocks.push(table(&["Field", "Value"], rows));
    blocks
}

fn install(package: &Package) -> Vec<Block> {
    let Package { name, version, kind, .. } = package;
    let mut blocks = vec![program("sh", format!("catalog install {name}@{version}"))];
    if kind.is_library() {
        let needs = format!("dependencies:\n  - name: {name}\n    version: ^{version}");
        blocks.push(paragraph("A package that builds on it says so in its manifest, under spec:"));
        blocks.push(program("yaml", needs));
        let local = name.as_str().rsplit('/').next().unwrap_or_default().replace('-', "_");
        match kind {
            PackageType::LuaLibrary => {
                blocks.push(paragraph("and its program finds it by name:"));
                blocks.push(program("lua", format!("local {local} = require(\"{name}\")")));
            }
            _ => blocks.push(paragraph("and its program uses the modules that the API section names.")),
        }
    } else {
        blocks.push(program("sh", format!("catalog run {name}")));
    }
    if !package.features.is_empty() {
        let rows = package.features.iter().map(|(name, needs)| vec![code(name), cell(needs.join(", "))]).collect();
        blocks.push(paragraph("These features can be switched on:"));
        blocks.push(table(&["Feature", "Brings"], rows));
    }
    blocks
}

/// The most properties of a configuration that are listed, and how deep they are followed.
const PROPERTIES_MAX: usize = 500;
const PROPERTIES_DEPTH_MAX: usize = 8;

fn parameters(package: &Package) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut rows = Vec::new();
    if let Some(schema) = &package.config_schema {
        properties("", schema, PROPERTIES_DEPTH_MAX, &mut rows);
        if rows.is_empty() {
            blocks.push(program("json", format!("{schema:#}")));
        }
    }
    if !rows.is_empty() {
        blocks.push(paragraph("Its configuration:"));
        blocks.push(table(&["Name", "Type", "Default", "Required", "Description"], rows));
    }
    if !package.environment.is_empty() {
        blocks.push(paragraph("Variables that its program sees:"));
        let rows = package.environment.iter().map(|(name, value)| vec![code(name), code(value)]).collect();
        blocks.push(table(&["Variable", "Value"], rows));
    }
    if !package.content.templates.is_empty() {
        blocks.push(paragraph("Parameters of its templates:"));
        let rows = package.content.templates.iter();
        let rows = rows.map(|(name, value)| vec![code(name), code(value.to_string())]).collect();
        blocks.push(table(&["Template", "Parameters"], rows));
    }
    if blocks.is_empty() {
        blocks.push(paragraph("It has no configuration; what its functions take stands in the API section."));
    }
    blocks
}

/// Lists the properties of a JSON Schema, those of objects inside by `outer.inner`.
fn properties(prefix: &str, schema: &serde_json::Value, depth: usize, rows: &mut Vec<Vec<Cell>>) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if rows.len() >= PROPERTIES_MAX {
            return;
        }
        let kind = match &property["type"] {
            serde_json::Value::String(kind) => kind.clone(),
            serde_json::Value::Null if property["enum"].is_array() => format!("one of {}", property["enum"]),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        };
        let bounds = ["minimum", "maximum", "minLength", "maxLength", "pattern"];
        let bounds = bounds.iter().filter(|bound| !property[**bound].is_null());
        let bounds: Vec<String> = bounds.map(|bound| format!("{bound} {}", property[*bound])).collect();
        let text = property["description"].as_str().or(property["title"].as_str()).unwrap_or_default();
        let told = [text.to_owned(), bounds.join(", ")].into_iter().filter(|part| !part.is_empty());
        let whole = format!("{prefix}{name}");
        rows.push(vec![
            code(&whole),
            cell(kind),
            if property["default"].is_null() { Vec::new() } else { code(property["default"].to_string()) },
            cell(if required.contains(&name.as_str()) { "yes" } else { "no" }),
            cell(told.collect::<Vec<_>>().join("; ")),
        ]);
        if depth > 1 {
            properties(&format!("{whole}."), property, depth - 1, rows);
        }
    }
}

fn of_examples(package: &Package, examples: &[Example]) -> Vec<Block> {
    if examples.is_empty() {
        let language = match package.kind {
            PackageType::WasmModule => "call",
            PackageType::JuliaLibrary | PackageType::JuliaProgram => "julia",
            _ => "lua",
        };
        let mut spans = cell("There are none. A block of the language ");
        spans.extend(code(language));
        spans.extend(cell(" in the README or in the text about a name is one, and runs when this page is made."));
        return vec![Block::Paragraph(spans)];
    }
    let row = |(at, example): (usize, &Example)| {
        let state = match &example.result {
            Outcome::NotRun { reason } => format!("not run: {reason}"),
            other => other.as_str().to_owned(),
        };
        vec![cell((at + 1).to_string()), code(&example.origin), cell(state)]
    };
    let count = |state: &str| examples.iter().filter(|example| example.result.as_str() == state).count();
    let counts = ["passed", "failed", "differs", "not run"];
    let counts = counts.iter().filter(|state| count(state) > 0).map(|state| format!("{} {state}", count(state)));
    let bad = examples.iter().any(|example| example.result.is_bad());
    let tone = if bad { Tone::Bad } else { Tone::Plain };
    let text = format!("Examples ran in the sandbox of the package: {}.", counts.collect::<Vec<_>>().join(", "));
    vec![
        Block::Note { tone, spans: cell(text) },
        table(&["No.", "Where it stands", "Result"], examples.iter().enumerate().map(row).collect()),
    ]
}

fn dependencies(package: &Package) -> Vec<Block> {
    if package.dependencies.is_empty() {
        return vec![paragraph("It builds on no other package.")];
    }
    let from = |dependency: &Dependency| match &dependency.source {
        Source::Registry { registry: None } => "registry".to_owned(),
        Source::Registry { registry: Some(name) } => format!("registry {name}"),
        Source::Git { url, reference, path } => {
            let part = |text: &Option<String>| text.as_ref().map_or(String::new(), |text| format!(" {text}"));
            format!("git {url}{}{}", part(reference), part(path))
        }
        Source::Local { path } => format!("directory {path}"),
        Source::Http { url, .. } => url.clone(),
    };
    let row = |dependency: &Dependency| {
        let mut notes = Vec::new();
        if dependency.optional {
            notes.push("optional".to_owned());
        }
        notes.extend(dependency.platform.iter().map(|platform| format!("on {platform} only")));
        if !dependency.features.is_empty() {
            notes.push(format!("with {}", dependency.features.join(", ")));
        }
        let version = code(&dependency.requirement_text);
        vec![code(dependency.name.as_str()), version, cell(from(dependency)), cell(notes.join(", "))]
    };
    vec![table(&["Package", "Version", "From", "Notes"], package.dependencies.iter().map(row).collect())]
}

fn security(package: &Package, digest: &str) -> Vec<Block> {
    let security = &package.security;
    let level = match security.sandbox_level {
        SandboxLevel::Minimal => "minimal: what it reaches is up to its own rules",
        SandboxLevel::Standard => "standard: filtered system calls, limited network, files to read",
        SandboxLevel::Strict => "strict: no network and no files",
        SandboxLevel::Paranoid => "paranoid: strict, and on isolated hardware only",
    };
    let consensus = match security.consensus_required {
        true => format!("{} validators must agree before a run", package.execution.minimum_consensus),
        false => "no agreement of validators is asked for".to_owned(),
    };
    let pinning = match security.certificate_pinning {
        true => "the publisher's keys are pinned at the first install",
        false => "the publisher's keys are checked, not pinned",
    };
    let rows = vec![
        vec![cell("Sandbox"), cell(level)],
        vec![cell("Agreement"), cell(consensus)],
        vec![cell("Publisher"), cell(pinning)],
        vec![cell("Checked digest"), cell(word(&security.hash_validation))],
        vec![cell("Archive"), code(digest)],
    ];
    let text =
        "Programs never run in the process of the host: each run has a worker of its own, closed by the sandbox.";
    vec![paragraph(text), table(&["What", "How"], rows)]
}

fn deployment(package: &Package) -> Vec<Block> {
    let (resources, execution) = (&package.resources, &package.execution);
    let times = &execution.timeout_config;
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "not bounded".into());
    let mut rows = vec![
        ("Processor", format_cpu(resources.cpu_limit)),
        ("Memory", shown(resources.memory_limit)),
        ("Time of a run", format!("{:?}", times.execution)),
        ("Time to compile", format!("{:?}", times.compilation)),
        ("Time of a network operation", format!("{:?}", times.network)),
        ("Time of a read or write", format!("{:?}", times.io)),
        ("Node", word(&execution.delegation_strategy)),
        ("Nodes are filled", word(&execution.scheduling.allocation_strategy)),
        ("Start", word(&execution.scheduling.timing)),
        ("Priority", word(&execution.priority)),
        ("After a failure", word(&execution.retry_policy)),
        ("Runs at a time", or_none(execution.max_concurrent.map(|count| count.to_string()))),
        ("Agreement", format!("{} of 1 to 5", execution.minimum_consensus)),
    ];
    rows.extend(execution.fuel.map(|fuel| ("Instructions of a run", fuel.to_string())));
    let rows = rows.into_iter().map(|(title, value)| vec![cell(title), cell(value)]).collect();
    let mut blocks = vec![table(&["What", "Value"], rows)];
    let rules = [("wants", &execution.scheduling.node_affinity), ("avoids", &execution.scheduling.anti_affinity)];
    let rules: Vec<String> =
        rules.iter().flat_map(|(verb, rules)| rules.iter().map(|rule| of_rule(verb, rule))).collect();
    if !rules.is_empty() {
        blocks.push(paragraph("Nodes that it is placed on:"));
        blocks.push(list(rules));
    }
    blocks
}

fn of_rule(verb: &str, rule: &AffinityRule) -> String {
    let values = if rule.values.is_empty() { String::new() } else { format!(" {}", rule.values.join(", ")) };
    let (kind, operator) = (word(&rule.rule_type), word(&rule.operator));
    format!("{kind}: it {verb} nodes whose label {} {operator}{values}", rule.key)
}

fn changelog(steps: &[Step], changes: Vec<Block>) -> Vec<Block> {
    let mut blocks = Vec::new();
    for step in steps {
        blocks.extend(of_step(step));
    }
    if !changes.is_empty() {
        if !blocks.is_empty() {
            blocks.push(Block::Heading { level: 3, id: String::new(), spans: cell("What its author says") });
        }
        blocks.extend(without_title(changes, "changelog"));
    }
    if blocks.is_empty() {
        blocks.push(paragraph("This is the first version that is known here."));
    }
    blocks
}

fn of_step(step: &Step) -> Vec<Block> {
    let mut blocks =
        vec![Block::Heading { level: 3, id: String::new(), spans: cell(format!("Version {}", step.version)) }];
    if let Some(reason) = &step.yanked {
        blocks.push(Block::Note { tone: Tone::Bad, spans: cell(format!("Taken back: {reason}")) });
    }
    let Some(before) = &step.before else {
        blocks.push(paragraph("The first version."));
        return blocks;
    };
    let mut items: Vec<Vec<Block>> = Vec::new();
    for (text, wider) in &step.capabilities {
        let stress = if *wider { vec![Span::Strong(cell(text))] } else { cell(text) };
        items.push(vec![Block::Paragraph(stress)]);
    }
    let named = |verb: &str, usage: &str| {
        vec![Block::Paragraph(vec![Span::Text(format!("{verb} ")), Span::Code(usage.to_owned())])]
    };
    items.extend(step.added.iter().map(|usage| named("new:", usage)));
    items.extend(step.removed.iter().map(|usage| named("gone:", usage)));
    for (was, is) in &step.changed {
        let mut spans = vec![Span::Text("used in another way: ".into()), Span::Code(was.clone())];
        spans.extend([Span::Text(" is now ".into()), Span::Code(is.clone())]);
        items.push(vec![Block::Paragraph(spans)]);
    }
    items.extend(step.dependencies.iter().map(|text| vec![paragraph(text)]));
    if step.files > 0 {
        items.push(vec![paragraph(format!("{} files differ", step.files))]);
    }
    items.extend(step.unknown.iter().map(|text| vec![paragraph(text)]));
    match step.is_empty() {
        true => blocks.push(paragraph(format!("Nothing differs from {before}."))),
        false => {
            blocks.push(paragraph(format!("Since {before}:")));
            blocks.push(Block::List { start: None, items });
        }
    }
    blocks
}

/// Gives the word by which a manifest names a value.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}
