//! Whether files are what they are said to be.

use crate::package::kind::Language;
use crate::package::model::{Package, PackageType};
use crate::package::read::PackageFile;

use super::{Analyser, Findings, Level, Rule, SOURCE_BYTES_MAX};

const EMPTY: Rule = Rule::new(Analyser::Content, "EMPTY_MAIN", Level::High, "put the program into it");
const EXTENSION: Rule = Rule::new(
    Analyser::Content,
    "MAIN_EXTENSION",
    Level::Low,
    "name the file as its language does, or correct `spec.type`",
);
const NOT_TEXT: Rule = Rule::new(Analyser::Content, "SOURCE_NOT_TEXT", Level::High, "save sources as UTF-8");
const NOT_WASM: Rule = Rule::new(Analyser::Content, "NOT_WASM", Level::High, "give a binary WebAssembly module");
const EXECUTABLE: Rule =
    Rule::new(Analyser::Content, "HIDDEN_EXECUTABLE", Level::High, "remove it, or make the package of type `binary`");
const LARGE: Rule = Rule::new(
    Analyser::Content,
    "LARGE_SOURCE",
    Level::Medium,
    "keep data apart from sources; this file was not looked into",
);

/// First bytes of programs: ELF, Mach-O (two orders), and the stub of Windows.
const PROGRAMS: [&[u8]; 4] = [b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"MZ\x90\0"];

pub(super) fn analyse(package: &Package, files: &[PackageFile], findings: &mut Findings) {
    for file in files {
        let path = Some(&file.path);
        let is_source = file.path.extension().and_then(Language::of_extension).is_some();
        if is_source && std::str::from_utf8(&file.bytes).is_err() {
            findings.add(&NOT_TEXT, path, 0, "the source is not UTF-8");
        }
        if is_source && file.bytes.len() > SOURCE_BYTES_MAX {
            findings.add(&LARGE, path, 0, format!("the source has {} bytes", file.bytes.len()));
        }
        let may_hold_programs = matches!(package.kind, PackageType::Binary | PackageType::Container);
        if !may_hold_programs && PROGRAMS.iter().any(|start| file.bytes.starts_with(start)) {
            findings.add(&EXECUTABLE, path, 0, "a native program");
        }
        if file.path == package.content.main {
            main(package, file, findings);
        }
    }
}

fn main(package: &Package, file: &PackageFile, findings: &mut Findings) {
    let path = Some(&file.path);
    if file.bytes.iter().all(u8::is_ascii_whitespace) {
        findings.add(&EMPTY, path, 0, "the main file is empty");
    } else if package.kind == PackageType::WasmModule && !file.bytes.starts_with(b"\0asm") {
        findings.add(&NOT_WASM, path, 0, "the main file does not begin as WebAssembly does");
    }
    let expected = package.kind.main_extension();
    if expected.is_some() && file.path.extension() != expected {
        let message = format!("the main file of a {} ends in `.{}`", package.kind, expected.unwrap_or_default());
        findings.add(&EXTENSION, path, 0, message);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, Profile, analyse};
    use super::*;
    use crate::package::{Format, parse};

    fn found(kind: &str, main: &str, bytes: &[u8]) -> Vec<&'static str> {
        let text = format!(
            "apiVersion: catalog.v1\nmetadata: {{name: a, version: 1.0.0, license: MIT}}\nspec: {{type: {kind}, content: {{main: {main}}}}}"
        );
        let package = parse(&text, Format::Yaml, "p").expect("is valid").0;
        let files = [PackageFile { path: main.parse().expect("is a path"), bytes: bytes.to_vec() }];
        let options = Options { profile: Profile::Standard, syntax: None, module: None, dependency_depth: None };
        let found = analyse(&package, &files, &options).findings;
        found.iter().filter(|finding| finding.analyser == Analyser::Content).map(|finding| finding.code).collect()
    }

    #[test]
    fn files_that_are_not_what_they_are_said_to_be_are_found() {
        assert_eq!(found("lua-script", "a.lua", b" \n"), ["EMPTY_MAIN"]);
        assert_eq!(found("lua-script", "a.txt", b"return 1"), ["MAIN_EXTENSION"]);
        assert_eq!(found("lua-script", "a.lua", b"\xff"), ["SOURCE_NOT_TEXT"]);
        assert_eq!(found("wasm-module", "a.wasm", b"(module)"), ["NOT_WASM"]);
        assert_eq!(found("custom", "a", b"\x7fELF\x02"), ["HIDDEN_EXECUTABLE"]);
        assert_eq!(found("lua-script", "a.lua", &vec![b' '; SOURCE_BYTES_MAX + 1]), ["EMPTY_MAIN", "LARGE_SOURCE"]);
    }

    #[test]
    fn files_that_are_what_they_are_said_to_be_pass() {
        assert!(found("lua-script", "a.lua", b"return 1").is_empty());
        assert!(found("wasm-module", "a.wasm", b"\0asm\x01\0\0\0").is_empty());
        assert!(found("binary", "a", b"\x7fELF\x02").is_empty());
    }
}
