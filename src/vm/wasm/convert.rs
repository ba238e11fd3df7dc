//! Calls with values: how they become parameters, and how results become values.
//!
//! - `i32` takes an integer that fits, signed or unsigned, or a truth value; `i64` an integer; `f32` and `f64` a number.
//!   Results of these types are integers (signed) and floats. Several results are a list, none is nil.
//! - Text and bytes take two parameters, `i32` address and `i32` length: the host asks the module's `alloc(length) ->
//!   address` for room in its memory and writes them there. A list or map goes the same way, as JSON.
//! - `NAME->text`, `NAME->bytes` and `NAME->json` are functions whose result is address and length of such a value: two
//!   `i32`, or one `i64` with the address in its upper half. They are called by `NAME`.

use wasmtime::{AsContextMut as _, ExternType, FuncType, Instance, InstancePre, Memory, Store, Val, ValType};

use super::MAIN;
use super::guest::{Guest, Stop};
use crate::value::Value;
use crate::vm::protocol::{FRAME_BYTES_MAX, ScriptError, ScriptErrorKind};

/// The export that a command begins with (WASI preview 1).
const START: &str = "_start";
/// The export that a library of WASI prepares itself with.
const INITIALIZE: &str = "_initialize";
const MEMORY: &str = "memory";
const ALLOC: &str = "alloc";
/// The most functions an error names.
pub(super) const NAMES_LISTED_MAX: usize = 16;

/// What the result of a function stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Numbers,
    Text,
    Bytes,
    Json,
}

const FORMS: [(&str, Form); 4] =
    [("", Form::Numbers), ("->text", Form::Text), ("->bytes", Form::Bytes), ("->json", Form::Json)];

/// Calls a function of a module in a new instance of it.
pub(super) fn call(
    store: &mut Store<Guest>,
    ready: &InstancePre<Guest>,
    function: &str,
    args: &[Value],
    file: &str,
) -> wasmtime::Result<Value> {
    let is_function = |name: &str| matches!(ready.module().get_export(name), Some(ExternType::Func(_)));
    if function == MAIN && is_function(START) {
        store.data_mut().arguments = command_line(file, args);
        let instance = ready.instantiate(&mut *store)?;
        return run_command(store, &instance);
    }
    let found = FORMS.iter().map(|(suffix, form)| (format!("{function}{suffix}"), *form));
    let Some((name, form)) = found.into_iter().find(|(name, _)| is_function(name)) else {
        return Err(no_function(ready, function, file).into());
    };
    let instance = ready.instantiate(&mut *store)?;
    if is_function(INITIALIZE) {
        instance.get_typed_func::<(), ()>(&mut *store, INITIALIZE)?.call(&mut *store, ())?;
    }
    let Some(called) = instance.get_func(&mut *store, &name) else {
        return Err(no_function(ready, function, file).into());
    };
    let ty = called.ty(&*store);
    let params = params(store, &instance, function, &ty, args)?;
    let mut results = vec![Val::I32(0); ty.results().len()];
    called.call(&mut *store, &params, &mut results)?;
    give_back(store, &instance, function, form, &results)
}

fn command_line(file: &str, args: &[Value]) -> Vec<Vec<u8>> {
    let words = args.iter().map(|value| match value {
        Value::Str(text) => text.clone().into_bytes(),
        Value::Bytes(bytes) => bytes.clone(),
        other => other.to_json().to_string().into_bytes(),
    });
    std::iter::once(file.as_bytes().to_vec()).chain(words).collect()
}

/// A command gives nothing but its status; zero is what its return means as well.
fn run_command(store: &mut Store<Guest>, instance: &Instance) -> wasmtime::Result<Value> {
    let start = instance.get_typed_func::<(), ()>(&mut *store, START)?;
    match start.call(&mut *store, ()) {
        Err(error) if error.downcast_ref::<Stop>() == Some(&Stop::Exit(0)) => Ok(Value::Nil),
        result => result.map(|()| Value::Nil),
    }
}

fn params(
    store: &mut Store<Guest>,
    instance: &Instance,
    function: &str,
    ty: &FuncType,
    args: &[Value],
) -> wasmtime::Result<Vec<Val>> {
    let mut params = Vec::with_capacity(ty.params().len());
    for (at, arg) in args.iter().enumerate() {
        let place = |reason: String| value_fault(format!("argument {} of `{function}`: {reason}", at + 1));
        let Some(wanted) = ty.params().nth(params.len()) else {
            return Err(too_many(function, ty, args.len()).into());
        };
        let in_memory = match arg {
            Value::Str(text) => Some(text.clone().into_bytes()),
            Value::Bytes(bytes) => Some(bytes.clone()),
            Value::List(_) | Value::Map(_) => Some(arg.to_json().to_string().into_bytes()),
            _ => None,
        };
        match in_memory {
            Some(bytes) => {
                let length = ty.params().nth(params.len() + 1);
                if !matches!((&wanted, &length), (ValType::I32, Some(ValType::I32))) {
                    return Err(place("text, bytes, lists and maps take two parameters `i32`".into()).into());
                }
                params.extend(write(store, instance, &bytes).map_err(
                    |error| match error.downcast::<ScriptError>() {
                        Ok(error) => place(error.message).into(),
                        Err(error) => error,
                    },
                )?);
            }
            None => params.push(number(arg, &wanted).map_err(place)?),
        }
    }
    if params.len() == ty.params().len() { Ok(params) } else { Err(too_many(function, ty, args.len()).into()) }
}

fn number(value: &Value, wanted: &ValType) -> Result<Val, String> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "both are what the caller wrote")]
    let made = match (wanted, value) {
        (ValType::I32, Value::Bool(value)) => Some(Val::I32(i32::from(*value))),
        (ValType::I32, Value::Int(value)) => {
            let signed = i32::try_from(*value).ok();
            signed.or_else(|| u32::try_from(*value).ok().map(u32::cast_signed)).map(Val::I32)
        }
        (ValType::I64, Value::Int(value)) => Some(Val::I64(*value)),
        (ValType::F32, Value::Float(value)) => Some(Val::F32((*value as f32).to_bits())),
        (ValType::F32, Value::Int(value)) => Some(Val::F32((*value as f32).to_bits())),
        (ValType::F64, Value::Float(value)) => Some(Val::F64(value.to_bits())),
        (ValType::F64, Value::Int(value)) => Some(Val::F64((*value as f64).to_bits())),
        _ => None,
    };
    made.ok_or_else(|| format!("`{}` is no `{wanted}`", value.to_json()))
}

/// Puts bytes into the module's memory; gives their address and length.
fn write(store: &mut Store<Guest>, instance: &Instance, bytes: &[u8]) -> wasmtime::Result<[Val; 2]> {
    let hint = "to take text or bytes, a module exports its `memory` and `alloc(length: i32) -> i32`";
    let memory = instance.get_memory(&mut *store, MEMORY);
    let alloc = instance.get_typed_func::<i32, i32>(&mut *store, ALLOC).ok();
    let (Some(memory), Some(alloc)) = (memory, alloc) else { return Err(value_fault(hint.into()).into()) };
    let length = i32::try_from(bytes.len()).map_err(|_| value_fault("it is longer than 2 GiB".into()))?;
    let address = alloc.call(&mut *store, length)?;
    let at = address.cast_unsigned() as usize;
    let room = memory.data_mut(&mut *store).get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len()));
    match room {
        Some(room) => room.copy_from_slice(bytes),
        None => return Err(value_fault(format!("`alloc({length})` gave {at:#x}, which is not in memory")).into()),
    }
    Ok([Val::I32(address), Val::I32(length)])
}

fn give_back(
    store: &mut Store<Guest>,
    instance: &Instance,
    function: &str,
    form: Form,
    results: &[Val],
) -> wasmtime::Result<Value> {
    if form != Form::Numbers {
        let (at, length) = match results {
            [Val::I32(at), Val::I32(length)] => (at.cast_unsigned(), length.cast_unsigned()),
            [Val::I64(both)] => ((both.cast_unsigned() >> 32) as u32, both.cast_unsigned() as u32),
            _ => {
                let message = "address and length are two results `i32` or one `i64`";
                return Err(value_fault(format!("result of `{function}`: {message}")).into());
            }
        };
        let memory = instance.get_memory(&mut *store, MEMORY);
        return Ok(read(store, memory, (at as usize, length as usize), form)
            .map_err(|reason| value_fault(format!("result of `{function}`: {reason}")))?);
    }
    let values: Result<Vec<Value>, ScriptError> = results.iter().map(|result| from_number(result, function)).collect();
    let mut values = values?;
    Ok(match values.len() {
        0 => Value::Nil,
        1 => values.remove(0),
        _ => Value::List(values),
    })
}

fn read(
    store: &mut Store<Guest>,
    memory: Option<Memory>,
    (at, length): (usize, usize),
    form: Form,
) -> Result<Value, String> {
    let memory = memory.ok_or("the module exports no `memory`")?;
    let store = store.as_context_mut();
    let bytes = memory.data(&store).get(at..).and_then(|rest| rest.get(..length));
    let bytes = bytes.ok_or_else(|| format!("{length} bytes at {at:#x} are not in memory"))?;
    if length > FRAME_BYTES_MAX {
        return Err(format!("{length} bytes are more than {FRAME_BYTES_MAX}"));
    }
    let text = || std::str::from_utf8(bytes).map_err(|error| format!("it is no UTF-8: {error}"));
    match form {
        Form::Text => Ok(Value::Str(text()?.to_owned())),
        Form::Json => {
            let json = serde_json::from_str(text()?).map_err(|error| format!("it is no JSON: {error}"))?;
            Value::from_json(&json).map_err(|error| error.to_string())
        }
        Form::Bytes | Form::Numbers => Ok(Value::Bytes(bytes.to_vec())),
    }
}

fn from_number(result: &Val, function: &str) -> Result<Value, ScriptError> {
    Ok(match result {
        Val::I32(value) => Value::Int(i64::from(*value)),
        Val::I64(value) => Value::Int(*value),
        Val::F32(bits) => Value::Float(f64::from(f32::from_bits(*bits))),
        Val::F64(bits) => Value::Float(f64::from_bits(*bits)),
        _ => return Err(value_fault(format!("result of `{function}`: vectors and references have no form outside"))),
    })
}

fn too_many(function: &str, ty: &FuncType, given: usize) -> ScriptError {
    let params: Vec<String> = ty.params().map(|param| param.to_string()).collect();
    value_fault(format!("`{function}` takes ({}), and {given} arguments do not make that", params.join(", ")))
}

fn no_function(ready: &InstancePre<Guest>, function: &str, file: &str) -> ScriptError {
    let functions = ready.module().exports().filter(|export| matches!(export.ty(), ExternType::Func(_)));
    let names: Vec<String> = functions.take(NAMES_LISTED_MAX).map(|export| export.name().to_owned()).collect();
    let message = format!("the module exports no function `{function}`; it exports [{}]", names.join(", "));
    ScriptError { file: Some(file.to_owned()), ..ScriptError::new(ScriptErrorKind::NoFunction, message) }
}

pub(super) fn value_fault(message: String) -> ScriptError {
    ScriptError::new(ScriptErrorKind::Value, message)
}
