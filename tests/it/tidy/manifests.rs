//! Cargo manifests: what is declared is used, and versions stand in one place.

use toml::{Table, Value};

use super::tree::{File, Tree, find_word};

/// Packages whose build script makes code from that of another.
const MADE_FROM: [(&str, &str); 1] = [("tests/fixtures/variants", "abi/frozen/1.0")];

/// Every dependency of a member is named in its code and has its version from the workspace.
pub(super) fn dependencies_are_used(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (manifest, folder, table) in members(tree) {
        for (name, dependency) in declared(&table) {
            let place = format!("{}:{}", manifest.path, line_of(manifest, &name));
            let from_workspace = dependency.get("workspace").and_then(Value::as_bool) == Some(true);
            if !from_workspace {
                faults.push(format!("{place}: `{name}` has its version here and not in the workspace"));
            }
            let word = name.replace('-', "_");
            let names =
                |file: &&File| find_word(&file.uncommented, &word).is_some() || file.uncommented.contains(&name);
            let origins = MADE_FROM.iter().filter(|(made, _)| *made == folder).map(|(_, origin)| *origin);
            let mut code = std::iter::once(folder).chain(origins).flat_map(|folder| code_of(tree, folder));
            if !code.any(|file| names(&file)) {
                faults.push(format!("{place}: no code of `{folder}` names `{name}`"));
            }
        }
    }
    faults
}

/// Every dependency of the workspace is one of a member.
pub(super) fn workspace_dependencies_are_used(tree: &Tree) -> Vec<String> {
    let Some((manifest, root)) = tree.get("Cargo.toml").and_then(|file| Some((file, parse(file)?))) else {
        return vec!["Cargo.toml:1: cannot be read".to_owned()];
    };
    let used: Vec<String> =
        members(tree).iter().flat_map(|(.., table)| declared(table)).map(|(name, _)| name).collect();
    let all = root.get("workspace").and_then(|workspace| workspace.get("dependencies")).and_then(Value::as_table);
    let unused = all.into_iter().flatten().filter(|(name, _)| !used.contains(name));
    unused.map(|(name, _)| format!("Cargo.toml:{}: no member depends on `{name}`", line_of(manifest, name))).collect()
}

/// Every feature switches something: code, another feature or a dependency.
pub(super) fn features_are_used(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (manifest, folder, table) in members(tree) {
        let Some(features) = table.get("features").and_then(Value::as_table) else { continue };
        for (name, enables) in features.iter().filter(|(name, _)| *name != "default") {
            let condition = format!("feature = \"{name}\"");
            let in_code = code_of(tree, folder).any(|file| file.uncommented.contains(&condition));
            if !in_code && enables.as_array().is_none_or(Vec::is_empty) {
                let line = line_of(manifest, name);
                faults.push(format!("{}:{line}: feature `{name}` switches nothing", manifest.path));
            }
        }
    }
    faults
}

/// Gives every package: its manifest, its folder and what the manifest says.
fn members(tree: &Tree) -> Vec<(&File, &str, Table)> {
    let manifests = tree.0.iter().filter_map(|file| Some((file, file.path.strip_suffix("Cargo.toml")?)));
    let parsed = manifests.filter_map(|(file, folder)| Some((file, folder.trim_end_matches('/'), parse(file)?)));
    // What only measures others is no member, and brings what it likes.
    parsed.filter(|(_, folder, table)| table.contains_key("package") && !folder.starts_with("benches/")).collect()
}

fn parse(file: &File) -> Option<Table> {
    toml::from_str(&file.text).ok()
}

fn declared(table: &Table) -> Vec<(String, Value)> {
    let targets =
        table.get("target").and_then(Value::as_table).into_iter().flatten().filter_map(|(_, it)| it.as_table());
    let tables = std::iter::once(table).chain(targets);
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let sections = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    sections.flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Gives the code of a package, which is what lies in its folder and in no other package's.
fn code_of<'a>(tree: &'a Tree, folder: &'a str) -> impl Iterator<Item = &'a File> {
    let inner: Vec<&str> =
        members(tree).iter().map(|(_, other, _)| *other).filter(|other| other.len() > folder.len()).collect();
    let within = |path: &str, folder: &str| {
        folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    tree.rust().filter(move |file| {
        within(&file.path, folder) && !inner.iter().any(|other| within(other, folder) && within(&file.path, other))
    })
}

fn line_of(manifest: &File, key: &str) -> usize {
    let is_key = |line: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '.', '=']));
    manifest.text.lines().position(is_key).map_or(1, |index| index + 1)
}
