//! Errors of the engine as errors of a program: what went wrong, and by which functions of it.

use wasmtime::{FrameInfo, Trap, WasmBacktrace};

use super::guest::Stop;
use crate::vm::protocol::{ScriptError, ScriptErrorKind, TRACEBACK_LINES_MAX};

/// Makes the error of a program. `denied` says that it had asked for more memory than it may have, and what went wrong
/// after that is put down to it.
pub(super) fn explain(error: &wasmtime::Error, file: &str, denied: bool) -> ScriptError {
    if let Some(error) = error.downcast_ref::<ScriptError>() {
        return error.clone().bounded();
    }
    let (kind, message) = match (error.downcast_ref::<Stop>(), error.downcast_ref::<Trap>()) {
        (Some(Stop::Exit(status)), _) => (ScriptErrorKind::Exit(*status), format!("ended with status {status}")),
        (Some(stop), _) => (ScriptErrorKind::Runtime, stop.to_string()),
        (None, Some(Trap::OutOfFuel)) => (ScriptErrorKind::FuelLimit, "all of its fuel is used".into()),
        (None, _) if denied => (ScriptErrorKind::MemoryLimit, "not enough memory".into()),
        (None, Some(trap)) => (ScriptErrorKind::Runtime, name(*trap)),
        (None, None) => (ScriptErrorKind::Runtime, error.root_cause().to_string()),
    };
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
    ScriptError {
        file: Some(file.to_owned()),
        traceback: frames.iter().take(TRACEBACK_LINES_MAX).map(|frame| line(frame, file)).collect(),
        ..ScriptError::new(kind, message)
    }
    .bounded()
}

fn name(trap: Trap) -> String {
    let text = trap.to_string();
    text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned()
}

fn line(frame: &FrameInfo, file: &str) -> String {
    let name = match frame.func_name() {
        Some(name) => format!("`{:#}`", rustc_demangle::demangle(name)),
        None => format!("number {}", frame.func_index()),
    };
    match frame.module_offset() {
        Some(offset) => format!("{file}:{offset:#x}: in function {name}"),
        None => format!("{file}: in function {name}"),
    }
}
