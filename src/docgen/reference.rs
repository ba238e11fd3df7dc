//! The section on what a package offers: every name with how it is used, what it takes, and what its author says.

use std::collections::BTreeMap;

use super::api::{Item, Kind, Part, Visibility};
use super::block::{Block, Cell, Span, Target, cell, code, paragraph, program};
use super::example::{self, Example};
use super::{anchors, prose};
use crate::package::Package;

/// Where a heading of the reference is a module, and where a name in it.
const MODULE_LEVEL: u8 = 3;
const NAME_LEVEL: u8 = 4;

/// Gives the anchors of items, and the blocks that show them. `examples` are those of the items, in their order.
pub(super) fn blocks<'a>(
    package: &Package,
    items: &[Item],
    examples: impl Iterator<Item = &'a Example>,
) -> (Vec<String>, Vec<Block>) {
    let mut taken = BTreeMap::new();
    let anchor = |item: &Item| format!("api-{}", prose::slug(&item.full_name()));
    let anchors: Vec<String> = items.iter().map(|item| anchors::unique(&anchor(item), &mut taken)).collect();
    if items.is_empty() {
        let text = "No names were found in its files: nothing is defined there that other packages could use.";
        return (anchors, vec![paragraph(text)]);
    }
    let mut examples = examples;
    let language = language(package);
    let shown: Vec<Vec<Block>> = items.iter().map(|item| of_item(package, language, item, &mut examples)).collect();
    let mut blocks = Vec::new();
    let modules = modules(items);
    for (module, members) in &modules {
        // The item that is the module gives it its heading.
        let own = members.iter().copied().find(|at| items[*at].is_module(module));
        let id = own.map(|at| anchors[at].clone()).unwrap_or_default();
        blocks.push(Block::Heading { level: MODULE_LEVEL, id, spans: code(*module) });
        blocks.extend(own.into_iter().flat_map(|at| shown[at].clone()));
        let rest: Vec<usize> = members.iter().copied().filter(|at| Some(*at) != own).collect();
        let listed: Vec<Vec<Cell>> = rest.iter().map(|at| row(&items[*at], &anchors[*at])).collect();
        if listed.len() > 1 {
            blocks.push(Block::Table { head: vec![cell("Name"), cell("Kind"), cell("Summary")], rows: listed });
        }
        for at in rest {
            let item = &items[at];
            let mut spans = code(item.name.as_str());
            spans.push(Span::Text(format!(" — {}", label(item))));
            blocks.push(Block::Heading { level: NAME_LEVEL, id: anchors[at].clone(), spans });
            blocks.extend(shown[at].iter().cloned());
        }
    }
    (anchors, blocks)
}

/// Gives the items of each module, public ones first, modules in the order of their first item.
fn modules(items: &[Item]) -> Vec<(&str, Vec<usize>)> {
    let mut modules: Vec<(&str, Vec<usize>)> = Vec::new();
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, item) in items.iter().enumerate() {
        let place = *index.entry(item.module.as_str()).or_insert_with(|| {
            modules.push((item.module.as_str(), Vec::new()));
            modules.len() - 1
        });
        modules[place].1.push(at);
    }
    for (_, members) in &mut modules {
        members.sort_by_key(|at| (items[*at].visibility, items[*at].kind == Kind::Import));
    }
    modules
}

fn row(item: &Item, anchor: &str) -> Vec<Cell> {
    let link = Span::Link { target: Target::Here(anchor.to_owned()), spans: code(item.name.as_str()) };
    vec![vec![link], cell(label(item)), cell(item.summary())]
}

fn label(item: &Item) -> String {
    match item.visibility {
        Visibility::Public => item.kind.label().to_owned(),
        Visibility::Internal => format!("internal {}", item.kind.label()),
    }
}

fn of_item<'a>(
    package: &Package,
    language: &str,
    item: &Item,
    examples: &mut impl Iterator<Item = &'a Example>,
) -> Vec<Block> {
    let mut blocks = Vec::new();
    if !item.signatures.is_empty() {
        blocks.push(program(language, item.signatures.join("\n")));
    }
    blocks.extend(example::show(package, prose::read(&item.doc, 5), examples));
    blocks.extend(parts("Parameter", &item.parameters, item));
    blocks.extend(parts("Field", &item.fields, item));
    blocks.extend(parts("Result", &item.returns, item));
    if item.line > 0 {
        let spans = vec![Span::Text("Defined in ".into()), Span::Code(format!("{}:{}", item.file, item.line))];
        blocks.push(Block::Paragraph(spans));
    }
    blocks
}

/// A table of parameters, fields or results, with the columns that have something in them. Names alone stand in the
/// signature already.
fn parts(title: &str, parts: &[Part], item: &Item) -> Option<Block> {
    let has_kind = parts.iter().any(|part| part.kind.is_some());
    let has_default = parts.iter().any(|part| part.default.is_some());
    let has_doc = parts.iter().any(|part| !part.doc.is_empty());
    // The signature of what has no line, as of WebAssembly, says it all unless somebody wrote a word about it.
    let said = item.line == 0 && !has_doc;
    if parts.is_empty() || said || !(has_kind || has_default || has_doc) {
        return None;
    }
    let named = parts.iter().any(|part| !part.name.is_empty());
    let columns = [(named, title), (has_kind, "Type"), (has_default, "Default"), (has_doc, "Description")];
    let head = columns.iter().filter(|(shown, _)| *shown).map(|(_, title)| cell(*title)).collect();
    let optional = |text: &Option<String>| text.as_ref().map_or_else(Vec::new, |text| code(text.as_str()));
    let row = |part: &Part| {
        let cells = [
            (named, code(part.name.as_str())),
            (has_kind, optional(&part.kind)),
            (has_default, optional(&part.default)),
            (has_doc, in_line(&part.doc)),
        ];
        cells.into_iter().filter(|(shown, _)| *shown).map(|(_, cell)| cell).collect()
    };
    Some(Block::Table { head, rows: parts.iter().map(row).collect() })
}

/// Gives a short text of an author as the spans of its first paragraph.
fn in_line(text: &str) -> Cell {
    match prose::read(text, 6).into_iter().next() {
        Some(Block::Paragraph(spans)) => spans,
        _ => cell(text),
    }
}

fn language(package: &Package) -> &'static str {
    use crate::package::model::PackageType::{JuliaLibrary, JuliaProgram, LuaLibrary, LuaScript};
    match package.kind {
        LuaScript | LuaLibrary => "lua",
        JuliaProgram | JuliaLibrary => "julia",
        _ => "",
    }
}
