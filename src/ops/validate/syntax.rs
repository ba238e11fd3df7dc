//! The grammar of the languages this build has an engine for.

use crate::package::analyse::SyntaxFault;
#[cfg(feature = "lua")]
use crate::package::kind::Language as SourceLanguage;
use crate::package::model::FilePath;
use crate::vm::{Language, Module, Program, VmError};

/// Checks the grammar of a text without running it, where this node knows its language.
#[cfg(feature = "lua")]
pub(super) fn check(language: SourceLanguage, path: &FilePath, text: &str) -> Result<(), SyntaxFault> {
    if language != SourceLanguage::Lua {
        return Ok(());
    }
    let module = Module { file: path.to_string(), source: text.into() };
    let program = Program::new(Language::Lua, "main", [("main".to_owned(), module)].into());
    program.and_then(|program| crate::vm::lua::check(&program)).map_err(|error| fault(&error))
}

/// Checks a WebAssembly module without compiling it.
#[cfg(feature = "wasm")]
pub(super) fn check_module(path: &FilePath, bytes: &[u8]) -> Result<(), SyntaxFault> {
    let module = Module { file: path.to_string(), source: bytes.to_vec().into() };
    let program = Program::new(Language::Wasm, "main", [("main".to_owned(), module)].into());
    program.and_then(|program| crate::vm::wasm::check(&program)).map_err(|error| fault(&error))
}

fn fault(error: &VmError) -> SyntaxFault {
    match error.script() {
        Some(script) => SyntaxFault { line: script.line.unwrap_or(0), message: script.message.clone() },
        None => SyntaxFault { line: 0, message: error.to_string() },
    }
}
