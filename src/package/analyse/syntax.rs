//! Grammar, by a check handed in, and the style that keeps sources readable.

use super::{Analyser, Findings, Level, ModuleCheck, Rule, Source, SyntaxCheck};
use crate::package::model::{Package, PackageType};
use crate::package::read::PackageFile;

const SYNTAX: Rule = Rule::new(Analyser::Syntax, "SYNTAX_ERROR", Level::High, "correct it: the program cannot start");
const TABS: Rule = Rule::new(Analyser::Syntax, "NO_TABS", Level::Info, "indent with spaces");
const LONG_LINE: Rule = Rule::new(Analyser::Syntax, "LONG_LINE", Level::Info, "break it up");
const LONG_FILE: Rule = Rule::new(Analyser::Syntax, "LONG_FILE", Level::Low, "split it into several files");

/// The longest line that is not remarked on, in characters.
const LINE_CHARS_MAX: usize = 120;
/// The most lines of a file that are not remarked on.
const FILE_LINES_MAX: usize = 10_000;

pub(super) fn analyse(sources: &[Source<'_>], check: Option<&SyntaxCheck<'_>>, findings: &mut Findings) {
    for source in sources {
        let file = Some(source.path);
        if let Some(Err(fault)) = check.map(|check| check(source.language, source.path, source.text)) {
            findings.add(&SYNTAX, file, fault.line, fault.message);
        }
        for (line, text) in (1..).zip(source.text.lines()) {
            if text.contains('\t') {
                findings.add(&TABS, file, line, "a tab");
            }
            let length = text.chars().count();
            if length > LINE_CHARS_MAX {
                findings.add(&LONG_LINE, file, line, format!("a line of {length} characters"));
            }
        }
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.add(&LONG_FILE, file, 0, format!("the file has {lines} lines"));
        }
    }
}

/// Checks the main file of a WebAssembly package; what does not even begin as a module is found elsewhere.
pub(super) fn analyse_module(
    package: &Package,
    files: &[PackageFile],
    check: Option<&ModuleCheck<'_>>,
    findings: &mut Findings,
) {
    let Some(check) = check.filter(|_| package.kind == PackageType::WasmModule) else { return };
    for file in files.iter().filter(|file| file.path == package.content.main && file.bytes.starts_with(b"\0asm")) {
        if let Err(fault) = check(&file.path, &file.bytes) {
            findings.add(&SYNTAX, Some(&file.path), fault.line, fault.message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{OPTIONS, analyse_main, codes, file};
    use super::super::{Options, SyntaxFault, analyse};
    use super::*;
    use crate::package::{Format, parse};

    #[test]
    fn style_is_measured_at_its_bounds() {
        let of = |text: &str| codes(Analyser::Syntax, "a.lua", text);
        assert_eq!(of(&format!("--{}", "x".repeat(118))), []);
        assert_eq!(of(&format!("\n--{}", "é".repeat(119))), [("LONG_LINE", 2)]);
        assert_eq!(of("\treturn 1"), [("NO_TABS", 1)]);
        assert_eq!(of(&"\n".repeat(10_000)), []);
        assert_eq!(of(&"\n".repeat(10_001)), [("LONG_FILE", 0)]);
    }

    #[test]
    fn the_grammar_check_of_the_caller_is_asked() {
        let manifest = "apiVersion: catalog.v1\nmetadata: {name: a, version: 1.0.0, license: MIT}\nspec: {type: lua-script, content: {main: a.lua}}";
        let package = parse(manifest, Format::Yaml, "p").expect("is valid").0;
        let check = |_, _: &_, text: &str| match text.contains("retrun") {
            true => Err(SyntaxFault { line: 1, message: "near `retrun`".into() }),
            false => Ok(()),
        };
        let ready = |text: &str| {
            let options = Options { syntax: Some(&check), ..OPTIONS };
            analyse(&package, &[file("a.lua", text)], &options).execution_ready
        };
        assert!(ready("return 1") && !ready("retrun 1"));
        assert!(analyse_main("a.lua", "retrun 1", "").execution_ready, "without a check only style is seen");
    }
}
