//! What a package builds on, beside what its code asks for.

use std::collections::BTreeSet;

use crate::package::kind::Language;
use crate::package::model::{Package, Source as Origin};

use super::lexer::Kind;
use super::{Analyser, DEPENDENCY_DEPTH_MAX, Findings, Level, Rule, Source};

const UNDECLARED: Rule =
    Rule::new(Analyser::Dependencies, "UNDECLARED_DEPENDENCY", Level::High, "add it to `spec.dependencies`");
const UNUSED: Rule =
    Rule::new(Analyser::Dependencies, "UNUSED_DEPENDENCY", Level::Low, "remove it from `spec.dependencies`");
const ANY_VERSION: Rule =
    Rule::new(Analyser::Dependencies, "ANY_VERSION", Level::Medium, "say which versions will do, such as `^1.2`");
const MOVING: Rule = Rule::new(
    Analyser::Dependencies,
    "MOVING_REFERENCE",
    Level::Medium,
    "set `reference` to a commit of 40 hexadecimal digits",
);
const PLAIN: Rule = Rule::new(Analyser::Dependencies, "PLAIN_TRANSPORT", Level::Medium, "use https or ssh");
const LOCAL: Rule =
    Rule::new(Analyser::Dependencies, "LOCAL_SOURCE", Level::Low, "publish it first: nobody else has this directory");
const DEEP: Rule = Rule::new(Analyser::Dependencies, "DEEP_DEPENDENCIES", Level::Medium, "depend on less");

pub(super) fn analyse(package: &Package, sources: &[Source<'_>], depth: Option<usize>, findings: &mut Findings) {
    let required = required(package, sources, findings);
    for dependency in &package.dependencies {
        let name = &dependency.name;
        let mut add = |rule: &Rule, message: String| findings.add(rule, None, 0, message);
        if dependency.requirement.comparators.is_empty() {
            add(&ANY_VERSION, format!("`{name}` may have any version"));
        }
        match &dependency.source {
            Origin::Git { url, reference, .. } => {
                let is_commit = reference
                    .as_ref()
                    .is_some_and(|text| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
                if !is_commit {
                    add(&MOVING, format!("`{name}` follows a reference that may move"));
                }
                plain(url, &mut add);
            }
            Origin::Http { url, .. } => plain(url, &mut add),
            Origin::Local { path } => add(&LOCAL, format!("`{name}` comes from `{path}`")),
            Origin::Registry { .. } => {}
        }
        let is_lua = !sources.is_empty() && sources.iter().all(|source| source.language == Language::Lua);
        if is_lua && !dependency.optional && !required.contains(name.as_str()) {
            add(&UNUSED, format!("`{name}` is never required"));
        }
    }
    if let Some(depth) = depth.filter(|depth| *depth > DEPENDENCY_DEPTH_MAX) {
        findings.add(&DEEP, None, 0, format!("the longest chain of dependencies has {depth} packages"));
    }
}

fn plain(url: &str, add: &mut impl FnMut(&Rule, String)) {
    if url.starts_with("http://") || url.starts_with("git://") {
        add(&PLAIN, format!("`{url}` can be changed on the way"));
    }
}

/// Gives the packages that Lua sources require, and remarks on those that are not declared.
fn required<'a>(package: &Package, sources: &[Source<'a>], findings: &mut Findings) -> BTreeSet<&'a str> {
    let mut all = BTreeSet::new();
    let declared: BTreeSet<&str> = package.dependencies.iter().map(|dependency| dependency.name.as_str()).collect();
    for source in sources.iter().filter(|source| source.language == Language::Lua) {
        for (at, token) in source.tokens.iter().enumerate().filter(|(_, token)| token.is_word("require")) {
            let next = source.tokens[at + 1..].iter().find(|next| !next.is_sign("("));
            let Some(module) = next.filter(|next| next.kind == Kind::Text && next.line == token.line) else { continue };
            let name = module.text.split('.').next().unwrap_or_default();
            all.insert(name);
            let is_known = package.name.as_str() == name || declared.contains(name);
            if !is_known {
                let name: String = name.chars().take(64).collect();
                findings.add(
                    &UNDECLARED,
                    Some(source.path),
                    token.line,
                    format!("`{name}` is required, but no dependency"),
                );
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::{OPTIONS, analyse_main, file};
    use super::super::{Options, analyse};
    use super::*;
    use crate::package::{Format, parse};

    fn found(text: &str, dependencies: &str) -> Vec<(&'static str, u32)> {
        let analysis = analyse_main("a.lua", text, &format!("  dependencies: [{dependencies}]\n"));
        let of = analysis.findings.iter().filter(|finding| finding.analyser == Analyser::Dependencies);
        of.map(|finding| (finding.code, finding.line)).collect()
    }

    #[test]
    fn what_code_requires_and_what_is_declared_are_compared() {
        assert_eq!(found("\nlocal b = require('b')", ""), [("UNDECLARED_DEPENDENCY", 2)]);
        assert_eq!(found("return 1", "{name: b, version: '1'}"), [("UNUSED_DEPENDENCY", 0)]);
        let used = "local b, c, own = require('b.util'), require \"n/c\", require('a.other')";
        assert_eq!(found(used, "{name: b, version: '1'}, {name: n/c, version: '1'}"), []);
        assert_eq!(found("return 1", "{name: b, version: '1', optional: true}"), []);
    }

    #[test]
    fn sources_that_may_change_are_found() {
        let of = |source: &str| {
            found("require('b')", &format!("{{name: b, version: '1', source: {source}}}")).first().map(|found| found.0)
        };
        assert_eq!(found("require('b')", "{name: b, version: '*'}"), [("ANY_VERSION", 0)]);
        assert_eq!(of("{git: {url: 'https://x', reference: main}}"), Some("MOVING_REFERENCE"));
        let commit = "0".repeat(40);
        assert_eq!(of(&format!("{{git: {{url: 'https://x', reference: '{commit}'}}}}")), None);
        assert_eq!(
            of(&format!("{{http: {{url: 'http://x', sha256: '{}'}}}}", "0".repeat(64))),
            Some("PLAIN_TRANSPORT")
        );
        assert_eq!(of("{local: {path: ../b}}"), Some("LOCAL_SOURCE"));
    }

    #[test]
    fn depth_is_measured_at_its_bound() {
        let manifest = "apiVersion: catalog.v1\nmetadata: {name: a, version: 1.0.0, license: MIT}\nspec: {type: lua-script, content: {main: a.lua}}";
        let package = parse(manifest, Format::Yaml, "p").expect("is valid").0;
        let found = |depth| {
            let options = Options { dependency_depth: Some(depth), ..OPTIONS };
            analyse(&package, &[file("a.lua", "return 1")], &options).findings.len()
        };
        assert_eq!((found(DEPENDENCY_DEPTH_MAX), found(DEPENDENCY_DEPTH_MAX + 1)), (0, 1));
    }
}
