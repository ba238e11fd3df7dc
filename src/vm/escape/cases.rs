//! The list of attacks: tables of native ones, and texts in the languages whose engines are attacked.

use std::collections::BTreeMap;

use super::{Case, End, Ends, wasm};
use crate::vm::VmError;
use crate::vm::program::{Language, Module, Program};

const LUA: &str = include_str!("cases.lua");
const JULIA: &str = include_str!("cases.jl");

/// Gives every attack, in a fixed order.
pub fn all() -> Vec<Case> {
    let mut cases = native();
    cases.extend(of_text(Language::Lua, LUA, "--: "));
    // They name system calls by the numbers of one architecture.
    if cfg!(target_arch = "x86_64") {
        cases.extend(of_text(Language::Julia, JULIA, "#: "));
    }
    cases.extend(wasm::ATTACKS.iter().map(|attack| attack.case.clone()));
    cases
}

/// Makes the program that has the function of an attack.
///
/// # Errors
/// None of the texts here gives one.
pub(super) fn program(language: Language, name: &str) -> Result<Program, VmError> {
    let (file, source) = match language {
        Language::Lua => ("escape.lua", LUA),
        Language::Julia => ("escape.jl", JULIA),
        Language::Wasm => {
            let module = wasm::ATTACKS.iter().find(|attack| attack.case.name == name);
            ("escape.wasm", module.map_or("", |attack| attack.module))
        }
        // Its functions are built in.
        Language::Probe => ("escape", ""),
    };
    let module = Module { file: file.into(), source: source.into() };
    Program::new(language, "escape", BTreeMap::from([("escape".to_owned(), module)]))
}

/// Gives the name of the function of an attack: names in Julia have no hyphens, and a module of WebAssembly has one attack.
pub(super) fn function(case: &Case) -> String {
    match case.language {
        Language::Julia => case.name.replace('-', "_"),
        Language::Wasm => "main".to_owned(),
        Language::Lua | Language::Probe => case.name.to_owned(),
    }
}

#[cfg(any(feature = "lua", feature = "wasm"))]
fn native() -> Vec<Case> {
    let case = |attack: &super::native::Attack| Case {
        name: attack.name,
        language: Language::Probe,
        tries: attack.tries,
        ends: attack.ends,
    };
    super::native::ATTACKS.iter().map(case).collect()
}

#[cfg(not(any(feature = "lua", feature = "wasm")))]
fn native() -> Vec<Case> {
    Vec::new()
}

/// Reads the lines `name: what it tries [ends]` that stand above the functions of a text.
fn of_text(language: Language, text: &'static str, mark: &str) -> Vec<Case> {
    let case = |line: &'static str| {
        let (name, rest) = line.split_once(": ")?;
        let (tries, ends) = match rest.strip_suffix(']').and_then(|rest| rest.rsplit_once(" [")) {
            Some((tries, ends)) => (tries, of_words(ends)?),
            None => (rest, Ends::Answered),
        };
        Some(Case { name, language, tries, ends })
    };
    text.lines().filter_map(|line| line.strip_prefix(mark)).filter_map(case).collect()
}

fn of_words(words: &str) -> Option<Ends> {
    Some(Ends::AnsweredOr(match words {
        "time" => &[End::Time],
        "memory" => &[End::Memory],
        "memory, signal" => &[End::Memory, End::Signal],
        "output" => &[End::Output],
        "signal" => &[End::Signal],
        "exit" => &[End::Exit],
        "protocol" => &[End::Protocol],
        "error" => &[End::Error],
        "error, memory" => &[End::Error, End::Memory],
        "error, signal" => &[End::Error, End::Signal],
        "time, protocol" => &[End::Time, End::Protocol],
        "time, error" => &[End::Time, End::Error],
        "exit, time" => &[End::Exit, End::Time],
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_attack_has_a_name_of_its_own_and_a_function() {
        let cases = all();
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len());
        let count = |language| cases.iter().filter(|case| case.language == language).count();
        for (language, text, mark) in [(Language::Lua, LUA, "--: "), (Language::Julia, JULIA, "#: ")] {
            let marked = text.lines().filter(|line| line.starts_with(mark)).count();
            assert_eq!((count(language), marked > 30), (marked, true), "{language}: a line cannot be read");
        }
        for case in cases.iter().filter(|case| case.language == Language::Julia) {
            assert!(JULIA.contains(&format!("\nfunction {}()\n", function(case))), "{}", case.name);
        }
        for case in cases.iter().filter(|case| case.language == Language::Lua) {
            assert!(LUA.contains(&format!("cases[\"{}\"] = function()", case.name)), "{}", case.name);
        }
        assert!(count(Language::Probe) >= 150 && cases.len() >= 200, "{}", cases.len());
    }
}
