//! The layers of `src/`: the table in `ARCHITECTURE.md` is their order, and a module imports only from those above it
//! in that table.

use std::collections::BTreeMap;

use super::tree::{File, Tree, line_of, numbered};

const MAP: &str = "ARCHITECTURE.md";

/// A module imports only lower ones.
pub(super) fn imports_go_down(tree: &Tree) -> Vec<String> {
    let ranks: BTreeMap<&str, usize> = table(tree).into_iter().map(|row| (row.module, row.rank)).collect();
    let mut faults = Vec::new();
    for (file, module) in tree.rust().filter_map(|file| Some((file, module_of(&file.path)?))) {
        let Some(own) = ranks.get(module) else { continue };
        for (line, imported) in imports(file) {
            if imported != module && ranks.get(imported.as_str()).is_some_and(|rank| rank > own) {
                faults.push(format!("{}:{line}: `{module}` imports `{imported}`, which is above it", file.path));
            }
        }
        let reach = file.path.matches('/').count();
        faults.extend(
            beyond_root(file, reach).map(|line| {
                format!("{}:{line}: `super` reaches the root of the crate, which hides an import", file.path)
            }),
        );
    }
    faults
}

/// The table and the tree have the same modules, and layers only rise.
pub(super) fn the_table_is_the_tree(tree: &Tree) -> Vec<String> {
    let rows = table(tree);
    let mut faults = Vec::new();
    for pair in rows.windows(2) {
        if pair[0].layer > pair[1].layer {
            faults.push(format!("{MAP}:{}: layer {} stands below {}", pair[1].line, pair[1].layer, pair[0].layer));
        }
    }
    for row in &rows {
        if tree.get(&format!("src/{}.rs", row.module)).is_none() {
            faults.push(format!("{MAP}:{}: there is no module `{}`", row.line, row.module));
        }
    }
    for file in tree.rust() {
        let Some(module) = module_of(&file.path) else { continue };
        let is_root = file.path == format!("src/{module}.rs");
        if is_root && !rows.iter().any(|row| row.module == module) {
            faults.push(format!("{}:1: `{module}` has no row in the table of layers", file.path));
        }
    }
    faults
}

struct Row<'a> {
    line: usize,
    layer: &'a str,
    module: &'a str,
    rank: usize,
}

/// Reads the rows ``| L0 | `digest` | ... |``, lowest first.
fn table(tree: &Tree) -> Vec<Row<'_>> {
    let text = tree.get(MAP).map_or("", |file| file.text.as_str());
    let mut rows = Vec::new();
    for (line, row) in numbered(text) {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (Some(layer), Some(module)) = (cells.next(), cells.next()) else { continue };
        let is_layer = layer.strip_prefix('L').is_some_and(|number| number.parse::<u8>().is_ok());
        if let Some(module) = module.strip_prefix('`').and_then(|module| module.strip_suffix('`')).filter(|_| is_layer)
        {
            rows.push(Row { line, layer, module, rank: rows.len() });
        }
    }
    rows
}

/// Gives the top-level module that a file belongs to; programs and the root of the crate are above all.
fn module_of(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    let module = inner.split('/').next()?;
    let module = module.strip_suffix(".rs").unwrap_or(module);
    (!["lib", "main", "bin"].contains(&module)).then_some(module)
}

/// Gives the top-level modules that a file names by `crate::`, with their lines.
fn imports(file: &File) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, key) in file.code.match_indices("crate::") {
        let is_dollar = file.code[..at].ends_with('$');
        let rest = &file.code[at + key.len()..];
        let line = line_of(&file.code, at);
        if !is_dollar {
            found.extend(heads(rest).into_iter().map(|head| (line, head)));
        }
    }
    found
}

/// Gives the first names of a path or of each path in a group.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut begins, mut heads) = (1, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => begins = true,
            _ if begins && !c.is_whitespace() => {
                heads.push(name(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    heads
}

/// Gives the lines on which a chain of `super` leaves the top-level module; a module in the file is one step more.
fn beyond_root(file: &File, depth: usize) -> impl Iterator<Item = usize> {
    let mut steps_max = depth - 1;
    numbered(&file.code).filter_map(move |(line, text)| {
        if text.trim_end().ends_with('{') && text.split_whitespace().any(|word| word == "mod") {
            steps_max += 1;
        }
        let steps = (1..).take_while(|steps| text.contains(&"super::".repeat(*steps))).count();
        (steps > steps_max).then_some(line)
    })
}
