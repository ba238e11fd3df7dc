//! Lua's errors as errors of a program: the place out of the text, the kind out of the cause.
//!
//! Lua writes a place as `file:line: ` before the message and cuts long file names at the front (`...end`); nothing is
//! taken for a place but one of the program's own files, as the text is the program's to choose.

use std::sync::Arc;

use crate::vm::program::Program;
use crate::vm::protocol::{ScriptError, ScriptErrorKind};

/// The files of one program.
pub(super) struct Files {
    files: Vec<String>,
    entry: String,
}

impl Files {
    pub(super) fn of(program: &Program) -> Self {
        Self {
            files: program.modules().values().map(|module| module.file.clone()).collect(),
            entry: program.modules()[program.entry()].file.clone(),
        }
    }

    pub(super) fn entry(&self) -> &str {
        &self.entry
    }

    /// Turns an error of the engine into an error of the program.
    pub(super) fn explain(&self, error: &mlua::Error) -> ScriptError {
        let (kind, text) = match innermost(error) {
            mlua::Error::SyntaxError { message, .. } => (ScriptErrorKind::Syntax, message.clone()),
            mlua::Error::MemoryError(message) => (ScriptErrorKind::MemoryLimit, message.clone()),
            mlua::Error::RuntimeError(message) => (ScriptErrorKind::Runtime, message.clone()),
            mlua::Error::FromLuaConversionError { message: Some(message), .. } => {
                (ScriptErrorKind::Value, message.clone())
            }
            other => (ScriptErrorKind::Runtime, other.to_string()),
        };
        let (text, trace) = text.split_once("\nstack traceback:\n").unwrap_or((&text, ""));
        let traceback: Vec<String> = trace.lines().filter_map(|line| self.frame(line.trim())).collect();
        // A coroutine's error gets a place at each resumption; the last is where it began.
        let (mut place, mut message) = (None, text);
        while let Some((file, line, rest)) = self.place(message) {
            (place, message) = (Some((file, line)), rest);
        }
        let innermost = traceback.first().and_then(|frame| self.place(frame));
        let place = place.or(innermost.map(|(file, line, _)| (file, line)));
        ScriptError {
            file: place.map(|(file, _)| file.to_owned()),
            line: place.map(|(_, line)| line),
            traceback,
            ..ScriptError::new(kind, without_address(message))
        }
        .bounded()
    }

    /// Splits `file:line: rest`.
    fn place<'a, 'b>(&'a self, text: &'b str) -> Option<(&'a str, u32, &'b str)> {
        self.files.iter().find_map(|file| {
            let rest = text.strip_prefix(file.as_str()).or_else(|| {
                let (cut, _) = text.strip_prefix("...")?.split_once(':')?;
                file.ends_with(cut).then(|| &text[3 + cut.len()..])
            })?;
            let (line, rest) = rest.strip_prefix(':')?.split_once(':')?;
            Some((file.as_str(), line.parse().ok()?, rest.strip_prefix(' ').unwrap_or(rest)))
        })
    }

    /// Gives a line of a traceback, with the whole file name, if it is of the program's own files.
    fn frame(&self, line: &str) -> Option<String> {
        let (file, number, what) = self.place(line)?;
        Some(format!("{file}:{number}: {what}"))
    }
}

fn innermost(error: &mlua::Error) -> &mlua::Error {
    match error {
        mlua::Error::CallbackError { cause, .. }
        | mlua::Error::BadArgument { cause, .. }
        | mlua::Error::WithContext { cause, .. } => innermost(Arc::as_ref(cause)),
        other => other,
    }
}

/// Names the type of an error that is no text: Lua would print an address of the worker's memory.
fn without_address(message: &str) -> String {
    match message.split_once(": 0x") {
        Some((kind @ ("table" | "function" | "thread" | "userdata"), digits))
            if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) =>
        {
            format!("the program raised a {kind}, which has no text")
        }
        _ => message.to_owned(),
    }
}
