//! The grammar of the languages this build has an engine for.

use crate::package::analyse::SyntaxFault;
use crate::package::kind::Language as SourceLanguage;
use crate::package::model::FilePath;
use crate::vm::{Language, Module, Program};

/// Checks the grammar of a text without running it, where this node knows its language.
pub(super) fn check(language: SourceLanguage, path: &FilePath, text: &str) -> Result<(), SyntaxFault> {
    if language != SourceLanguage::Lua {
        return Ok(());
    }
    let module = Module { file: path.to_string(), source: text.to_owned() };
    let program = Program::new(Language::Lua, "main", [("main".to_owned(), module)].into());
    program.and_then(|program| crate::vm::lua::check(&program)).map_err(|error| match error.script() {
        Some(script) => SyntaxFault { line: script.line.unwrap_or(0), message: script.message.clone() },
        None => SyntaxFault { line: 0, message: error.to_string() },
    })
}
