//! Validation of modules and components: the whole grammar and type system, and that everything imported is there.
//!
//! Only `wasmparser` is used, which is what the engine itself validates with. It is safe code that reads bytes, so this may
//! run in any process.

use wasmparser::{Encoding, ExternalKind, Parser, Payload, TypeRef, ValType, Validator, WasmFeatures};

use super::wasi;
use crate::vm::protocol::{ScriptError, ScriptErrorKind};

/// The most bytes of one module or component: program, context and some more fit into one frame.
pub const MODULE_BYTES_MAX: usize = 12 << 20;
/// The most missing imports that an error names.
pub(super) const MISSING_LISTED_MAX: usize = 8;

/// The parts of WebAssembly that modules may use: release 2 (bulk memory, multiple values, references to functions, vectors),
/// and of release 3 extended constants, tail calls, multiple memories, 64-bit memories and relaxed vectors. Threads,
/// exceptions and collected objects are not among them. Components are, without what is asynchronous, where they are built in.
pub const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(if cfg!(feature = "wasm-components") { WasmFeatures::COMPONENT_MODEL } else { WasmFeatures::empty() })
    .difference(WasmFeatures::GC_TYPES);

/// Checks one module or component.
pub(super) fn check(file: &str, bytes: &[u8]) -> Result<(), ScriptError> {
    let fault = |message: String| {
        Err(ScriptError { file: Some(file.to_owned()), ..ScriptError::new(ScriptErrorKind::Syntax, message) }.bounded())
    };
    if bytes.len() > MODULE_BYTES_MAX {
        return fault(format!("a module of {} bytes is longer than {MODULE_BYTES_MAX}", bytes.len()));
    }
    if is_component(bytes) {
        return check_component(bytes).or_else(fault);
    }
    if let Err(error) = Validator::new_with_features(FEATURES).validate_all(bytes) {
        return fault(format!("no valid module: {} at byte {:#x}", error.message(), error.offset()));
    }
    match missing(bytes) {
        Ok(missing) if missing.is_empty() => Ok(()),
        Ok(missing) => fault(describe(&missing)),
        Err(error) => fault(format!("no valid module: {} at byte {:#x}", error.message(), error.offset())),
    }
}

/// An import that nothing here provides.
struct Missing {
    module: String,
    name: String,
    problem: &'static str,
}

/// Tells whether a module begins with a command: whether it exports a function `_start`. A component is none.
pub fn is_command(bytes: &[u8]) -> bool {
    if is_component(bytes) {
        return false;
    }
    let exports = Parser::new(0).parse_all(bytes).find_map(|payload| match payload {
        Ok(Payload::ExportSection(exports)) => Some(exports),
        _ => None,
    });
    let mut exports = exports.into_iter().flatten().filter_map(Result::ok);
    exports.any(|export| export.name == "_start" && export.kind == ExternalKind::Func)
}

#[cfg(feature = "wasm-components")]
fn check_component(bytes: &[u8]) -> Result<(), String> {
    super::component::check(bytes)
}

#[cfg(not(feature = "wasm-components"))]
fn check_component(_: &[u8]) -> Result<(), String> {
    Err("this is a component, and this build runs core modules only; build for the target `wasm32-wasip1`".into())
}

pub(super) fn is_component(bytes: &[u8]) -> bool {
    let version = Parser::new(0).parse_all(bytes).next();
    matches!(version, Some(Ok(Payload::Version { encoding: Encoding::Component, .. })))
}

/// Gives the imports of a valid module that are not there.
fn missing(bytes: &[u8]) -> wasmparser::Result<Vec<Missing>> {
    let (mut types, mut missing) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section.into_iter_err_on_gc_types() {
                    types.push(group?);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    let problem = match import.ty {
                        TypeRef::Func(index) | TypeRef::FuncExact(index) => {
                            let signature = types.get(index as usize).map(|ty| (ty.params(), ty.results()));
                            problem(import.module, import.name, signature)
                        }
                        _ => Some("only functions can be imported"),
                    };
                    if let Some(problem) = problem {
                        missing.push(Missing { module: import.module.into(), name: import.name.into(), problem });
                    }
                }
            }
            _ => {}
        }
    }
    Ok(missing)
}

fn problem(module: &str, name: &str, signature: Option<(&[ValType], &[ValType])>) -> Option<&'static str> {
    if module != wasi::MODULE {
        return Some("nothing provides it");
    }
    let Some((params, results)) = wasi::signature(name) else { return Some("WASI preview 1 has no such function") };
    let (own_params, own_results) = signature?;
    let letter = |ty: &ValType| match ty {
        ValType::I32 => 'i',
        ValType::I64 => 'I',
        _ => '?',
    };
    let same = |own: &[ValType], text: &str| own.iter().map(letter).eq(text.chars());
    if same(own_params, params) && same(own_results, results) { None } else { Some("it has another type") }
}

fn describe(missing: &[Missing]) -> String {
    let listed: Vec<String> = missing
        .iter()
        .take(MISSING_LISTED_MAX)
        .map(|one| format!("`{}` of `{}` ({})", one.name, one.module, one.problem))
        .collect();
    let more = missing.len().saturating_sub(MISSING_LISTED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let from = |test: fn(&str) -> bool| missing.iter().any(|one| test(&one.module));
    let hint = if from(|module| module.contains("wbindgen")) {
        "it was built for a web page; build it without wasm-bindgen, for the target `wasm32-wasip1`"
    } else if from(|module| module.starts_with("wasi:")) {
        "these are of WASI preview 2; build for the target `wasm32-wasip1`"
    } else if from(|module| module == "env") {
        "what the linker did not find it leaves to be imported from `env`; link it in, or build for `wasm32-wasip1`"
    } else {
        "a module gets the functions of `wasi_snapshot_preview1` and no others"
    };
    format!("it imports what is not there: {}{more}; {hint}", listed.join(", "))
}
