//! Values by the types of an interface: what goes with which, in both directions.
//!
//! Nothing changes its kind on the way, and what a type has no room for is refused with the place where it stands. An option
//! is nil or its value; one whose value is an option itself is a map with the key `some`, so that none and a none inside stay
//! apart. A variant, and a result that is no function's whole result, is a map with its case as the only key.

use std::collections::BTreeMap;

use wasmtime::component::types::{Flags, OptionType, Record, ResultType, Tuple, Variant};
use wasmtime::component::{Type, Val};

use super::listed;
use crate::value::{Array, Value};

/// The only key of an option that has a value, where that value is an option.
const SOME: &str = "some";
const OK: &str = "ok";
const ERR: &str = "err";
/// The most bytes of a value that an error shows.
const SHOWN_BYTES_MAX: usize = 64;
/// The widest integer that an error shows; writing a larger one takes time.
const SHOWN_BITS_MAX: u64 = 128;

/// What may still be copied, in bytes.
pub(super) struct Room {
    left: usize,
}

impl Room {
    pub(super) fn of(bytes: usize) -> Self {
        Self { left: bytes }
    }

    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.left.checked_sub(bytes).ok_or("all of it together is larger than what one call may copy")?;
        self.left = left;
        Ok(())
    }

    /// Takes the room of so many of the engine's values.
    fn take_vals(&mut self, count: usize) -> Result<(), String> {
        self.take(count.saturating_mul(size_of::<Val>()))
    }
}

/// Names a type as interfaces write it, without what is in it.
pub(super) fn name(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::S8 => "s8",
        Type::U8 => "u8",
        Type::S16 => "s16",
        Type::U16 => "u16",
        Type::S32 => "s32",
        Type::U32 => "u32",
        Type::S64 => "s64",
        Type::U64 => "u64",
        Type::Float32 => "f32",
        Type::Float64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::List(_) | Type::FixedLengthList(_) => "list",
        Type::Map(_) => "map",
        Type::Record(_) => "record",
        Type::Tuple(_) => "tuple",
        Type::Variant(_) => "variant",
        Type::Enum(_) => "enum",
        Type::Option(_) => "option",
        Type::Result(_) => "result",
        Type::Flags(_) => "flags",
        Type::Own(_) | Type::Borrow(_) => "resource",
        Type::Future(_) => "future",
        Type::Stream(_) => "stream",
        Type::ErrorContext => "error-context",
    }
}

/// Makes the engine's form of a value.
///
/// # Errors
/// The value is none of the type, with the place inside it; or there is no room.
pub(super) fn to_val(value: &Value, ty: &Type, room: &mut Room) -> Result<Val, String> {
    room.take_vals(1)?;
    let made = match (ty, value) {
        (Type::Bool, Value::Bool(value)) => Some(Val::Bool(*value)),
        (Type::S8, _) => integer(value).map(Val::S8),
        (Type::U8, _) => integer(value).map(Val::U8),
        (Type::S16, _) => integer(value).map(Val::S16),
        (Type::U16, _) => integer(value).map(Val::U16),
        (Type::S32, _) => integer(value).map(Val::S32),
        (Type::U32, _) => integer(value).map(Val::U32),
        (Type::S64, _) => integer(value).map(Val::S64),
        (Type::U64, _) => integer(value).map(Val::U64),
        #[expect(clippy::cast_possible_truncation, reason = "the nearest float is what the caller wrote")]
        (Type::Float32, _) => float(value).map(|value| Val::Float32(value as f32)),
        (Type::Float64, _) => float(value).map(Val::Float64),
        (Type::Char, Value::Str(text)) => only_char(text).map(Val::Char),
        (Type::String, Value::Str(text) | Value::Symbol(text)) => {
            room.take(text.len())?;
            Some(Val::String(text.clone()))
        }
        (Type::Enum(ty), Value::Str(case)) => Some(Val::Enum(one_of(case, "case", || ty.names())?)),
        (Type::List(ty), _) => return to_list(value, &ty.ty(), room),
        (Type::Record(ty), Value::Map(fields)) => return to_record(fields, ty, room),
        (Type::Record(ty), Value::Struct(value)) => return to_record(&value.fields, ty, room),
        (Type::Tuple(ty), Value::List(values)) => return to_tuple(values, ty, room),
        (Type::Variant(ty), Value::Map(entries)) => return to_variant(entries, ty, room),
        (Type::Option(ty), _) => return to_option(value, &ty.ty(), room),
        (Type::Result(ty), Value::Map(entries)) => return to_result(entries, ty, room),
        (Type::Flags(ty), Value::Set(names) | Value::List(names)) => return to_flags(names, ty, room),
        _ if has_no_form(ty) => return Err(no_form(ty)),
        _ => None,
    };
    made.ok_or_else(|| none_of(value, ty))
}

/// Makes a value of the engine's form of it.
///
/// # Errors
/// The type has no form outside its component, or there is no room.
pub(super) fn from_val(val: Val, ty: &Type, room: &mut Room) -> Result<Value, String> {
    room.take(1)?;
    Ok(match (val, ty) {
        (Val::Bool(value), _) => Value::Bool(value),
        (Val::S8(value), _) => Value::Int(value.into()),
        (Val::U8(value), _) => Value::Int(value.into()),
        (Val::S16(value), _) => Value::Int(value.into()),
        (Val::U16(value), _) => Value::Int(value.into()),
        (Val::S32(value), _) => Value::Int(value.into()),
        (Val::U32(value), _) => Value::Int(value.into()),
        (Val::S64(value), _) => Value::Int(value),
        (Val::U64(value), _) => from_unsigned(value),
        (Val::Float32(value), _) => Value::Float(value.into()),
        (Val::Float64(value), _) => Value::Float(value),
        (Val::Char(value), _) => Value::Str(value.into()),
        (Val::String(text), _) | (Val::Enum(text), _) => {
            room.take(text.len())?;
            Value::Str(text)
        }
        (Val::List(vals), Type::List(ty)) => from_list(vals, &ty.ty(), room)?,
        (Val::Record(fields), Type::Record(ty)) => from_record(fields, ty, room)?,
        (Val::Tuple(vals), Type::Tuple(ty)) => {
            let values = vals.into_iter().zip(ty.types()).map(|(val, ty)| from_val(val, &ty, room));
            Value::List(values.collect::<Result<_, _>>()?)
        }
        (Val::Variant(case, payload), Type::Variant(ty)) => {
            let payload_ty = ty.cases().find(|other| other.name == case).and_then(|case| case.ty);
            from_payload(case, payload, payload_ty, room)?
        }
        (Val::Option(val), Type::Option(ty)) => from_option(val, ty, room)?,
        (Val::Result(Ok(payload)), Type::Result(ty)) => from_payload(OK.to_owned(), payload, ty.ok(), room)?,
        (Val::Result(Err(payload)), Type::Result(ty)) => from_payload(ERR.to_owned(), payload, ty.err(), room)?,
        (Val::Flags(names), _) => {
            room.take(names.iter().map(|name| 1 + name.len()).sum())?;
            Value::Set(names.into_iter().map(Value::Str).collect())
        }
        _ => return Err(no_form(ty)),
    })
}

/// Gives an integer, if the type holds it.
fn integer<T: TryFrom<i128>>(value: &Value) -> Option<T> {
    let value = match value {
        Value::Int(value) => i128::from(*value),
        Value::BigInt(value) => i128::try_from(&**value).ok()?,
        _ => return None,
    };
    T::try_from(value).ok()
}

#[expect(clippy::cast_precision_loss, reason = "the nearest float is what the caller wrote")]
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        _ => None,
    }
}

fn only_char(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}

fn from_unsigned(value: u64) -> Value {
    i64::try_from(value).map_or_else(|_| Value::BigInt(Box::new(value.into())), Value::Int)
}

fn to_list(value: &Value, ty: &Type, room: &mut Room) -> Result<Val, String> {
    let held;
    let values = match value {
        Value::Bytes(bytes) if matches!(ty, Type::U8) => {
            room.take_vals(bytes.len())?;
            return Ok(Val::List(bytes.iter().map(|byte| Val::U8(*byte)).collect()));
        }
        Value::List(values) | Value::Set(values) => values,
        Value::Array(array) => {
            held = elements(array, room)?;
            &held
        }
        other => return Err(format!("{} is no `list`", shown(other))),
    };
    let element = |(at, value)| to_val(value, ty, room).map_err(|reason| format!("element {at}: {reason}"));
    Ok(Val::List((1..).zip(values).map(element).collect::<Result<_, _>>()?))
}

/// Gives the elements of an array in one dimension.
fn elements(array: &Array, room: &mut Room) -> Result<Vec<Value>, String> {
    room.take_vals(usize::try_from(array.size_bytes()).unwrap_or(usize::MAX) / array.dtype().size_bytes())?;
    let refused = || format!("an array of {} in shape {:?} is no `list`", array.dtype(), array.shape());
    array.elements().ok_or_else(refused)
}

fn from_list(vals: Vec<Val>, ty: &Type, room: &mut Room) -> Result<Value, String> {
    if matches!(ty, Type::U8) {
        room.take(vals.len())?;
        let byte = |val| if let Val::U8(byte) = val { Some(byte) } else { None };
        return Ok(Value::Bytes(vals.into_iter().filter_map(byte).collect()));
    }
    let values = vals.into_iter().map(|val| from_val(val, ty, room));
    Ok(Value::List(values.collect::<Result<_, _>>()?))
}

fn to_record(given: &BTreeMap<String, Value>, ty: &Record, room: &mut Room) -> Result<Val, String> {
    let mut fields = Vec::with_capacity(ty.fields().len());
    let mut used = 0;
    for field in ty.fields() {
        let value = match given.get(field.name) {
            Some(value) => {
                used += 1;
                value
            }
            None if matches!(field.ty, Type::Option(_)) => &Value::Nil,
            None => return Err(format!("field `{}` is missing", field.name)),
        };
        room.take(size_of::<String>() + field.name.len())?;
        let val = to_val(value, &field.ty, room).map_err(|reason| format!("field `{}`: {reason}", field.name))?;
        fields.push((field.name.to_owned(), val));
    }
    // What is left over has a name that no field has.
    if used < given.len() {
        let unknown = given.keys().find(|key| ty.fields().all(|field| field.name != key.as_str()));
        one_of(unknown.map_or("", String::as_str), "field", || ty.fields().map(|field| field.name))?;
    }
    Ok(Val::Record(fields))
}

fn from_record(fields: Vec<(String, Val)>, ty: &Record, room: &mut Room) -> Result<Value, String> {
    let fields = fields.into_iter().zip(ty.fields()).map(|((name, val), field)| {
        room.take(name.len())?;
        Ok((name, from_val(val, &field.ty, room)?))
    });
    Ok(Value::Map(fields.collect::<Result<_, String>>()?))
}

fn to_tuple(values: &[Value], ty: &Tuple, room: &mut Room) -> Result<Val, String> {
    if values.len() != ty.types().len() {
        return Err(format!("a list of {} is no `tuple` of {}", values.len(), ty.types().len()));
    }
    let element = |((at, value), ty)| to_val(value, &ty, room).map_err(|reason| format!("element {at}: {reason}"));
    Ok(Val::Tuple((1..).zip(values).zip(ty.types()).map(element).collect::<Result<_, _>>()?))
}

fn to_variant(entries: &BTreeMap<String, Value>, ty: &Variant, room: &mut Room) -> Result<Val, String> {
    let (name, value) = only_entry(entries, "variant")?;
    let name = one_of(name, "case", || ty.cases().map(|case| case.name))?;
    let payload_ty = ty.cases().find(|case| case.name == name).and_then(|case| case.ty);
    let payload = to_payload(&name, value, payload_ty, room)?;
    Ok(Val::Variant(name, payload))
}

fn to_result(entries: &BTreeMap<String, Value>, ty: &ResultType, room: &mut Room) -> Result<Val, String> {
    let (name, value) = only_entry(entries, "result")?;
    let name = one_of(name, "case", || [OK, ERR].into_iter())?;
    Ok(Val::Result(if name == OK {
        Ok(to_payload(OK, value, ty.ok(), room)?)
    } else {
        Err(to_payload(ERR, value, ty.err(), room)?)
    }))
}

/// Makes what a case holds.
fn to_payload(case: &str, value: &Value, ty: Option<Type>, room: &mut Room) -> Result<Option<Box<Val>>, String> {
    match (ty, value) {
        (Some(ty), value) => {
            let val = to_val(value, &ty, room).map_err(|reason| format!("case `{case}`: {reason}"))?;
            Ok(Some(Box::new(val)))
        }
        (None, Value::Nil) => Ok(None),
        (None, _) => Err(format!("case `{case}` holds nothing, so its value is nil")),
    }
}

fn from_payload(case: String, payload: Option<Box<Val>>, ty: Option<Type>, room: &mut Room) -> Result<Value, String> {
    room.take(case.len())?;
    let value = match payload.zip(ty) {
        Some((val, ty)) => from_val(*val, &ty, room)?,
        None => Value::Nil,
    };
    Ok(Value::Map(BTreeMap::from([(case, value)])))
}

fn to_option(value: &Value, ty: &Type, room: &mut Room) -> Result<Val, String> {
    let inner = match value {
        Value::Nil => return Ok(Val::Option(None)),
        Value::Map(entries) if matches!(ty, Type::Option(_)) => match only_entry(entries, "option of an option")? {
            (SOME, inner) => inner,
            (other, _) => return Err(format!("an option of an option has the key `{SOME}`, not `{other}`")),
        },
        other if matches!(ty, Type::Option(_)) => {
            return Err(format!("{} is no option of an option, which is nil or has the key `{SOME}`", shown(other)));
        }
        other => other,
    };
    Ok(Val::Option(Some(Box::new(to_val(inner, ty, room)?))))
}

fn from_option(val: Option<Box<Val>>, ty: &OptionType, room: &mut Room) -> Result<Value, String> {
    let Some(val) = val else { return Ok(Value::Nil) };
    let ty = ty.ty();
    let value = from_val(*val, &ty, room)?;
    let is_nested = matches!(ty, Type::Option(_));
    Ok(if is_nested { Value::Map(BTreeMap::from([(SOME.to_owned(), value)])) } else { value })
}

fn to_flags(names: &[Value], ty: &Flags, room: &mut Room) -> Result<Val, String> {
    let flags = names.iter().map(|name| match name {
        Value::Str(name) => {
            room.take(size_of::<String>() + name.len())?;
            one_of(name, "flag", || ty.names())
        }
        other => Err(format!("{} is no name of a flag", shown(other))),
    });
    Ok(Val::Flags(flags.collect::<Result<_, _>>()?))
}

/// Gives the entry of a map that has one.
fn only_entry<'a>(entries: &'a BTreeMap<String, Value>, what: &str) -> Result<(&'a str, &'a Value), String> {
    let entry = entries.first_key_value().filter(|_| entries.len() == 1);
    let refused = || format!("a map of {} keys is no `{what}`, which has its case as the only one", entries.len());
    entry.map(|(key, value)| (key.as_str(), value)).ok_or_else(refused)
}

/// Gives a name if it is among those there are.
fn one_of<'a, Names: Iterator<Item = &'a str>>(
    name: &str,
    what: &str,
    names: impl Fn() -> Names,
) -> Result<String, String> {
    if names().any(|other| other == name) {
        return Ok(name.to_owned());
    }
    let shown = if name.len() <= SHOWN_BYTES_MAX { name } else { "…" };
    Err(format!("there is no {what} `{shown}`, only [{}]", listed(names())))
}

fn has_no_form(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Own(_)
            | Type::Borrow(_)
            | Type::Future(_)
            | Type::Stream(_)
            | Type::ErrorContext
            | Type::Map(_)
            | Type::FixedLengthList(_)
    )
}

fn no_form(ty: &Type) -> String {
    format!("a `{}` has no form outside its component", name(ty))
}

fn none_of(value: &Value, ty: &Type) -> String {
    format!("{} is no `{}`", shown(value), name(ty))
}

/// Shows a value that is short, and names the kind of any other.
fn shown(value: &Value) -> String {
    let is_short = match value {
        Value::Nil | Value::Missing | Value::Bool(_) | Value::Int(_) | Value::Float(_) => true,
        Value::BigInt(value) => value.bits() <= SHOWN_BITS_MAX,
        Value::Str(text) | Value::Symbol(text) => text.len() <= SHOWN_BYTES_MAX,
        _ => false,
    };
    match value {
        Value::BigInt(value) if is_short => format!("`{value}`"),
        value if is_short => format!("`{}`", value.to_json()),
        value => value.kind().to_owned(),
    }
}
