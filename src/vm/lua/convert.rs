//! Values between Lua and the outside.
//!
//! A table is a list if its keys are 1 to n (so an empty one is an empty list) and a map if they are all text; other
//! tables, tables that contain themselves, functions, coroutines and userdata have no form outside. Text that is not
//! UTF-8 is bytes. Integers and floats stay what they are. Metatables are not looked at.
//!
//! Invariant: work and memory are bounded by [`FRAME_BYTES_MAX`], [`FRAME_OBJECTS_MAX`] and [`VALUE_DEPTH_MAX`], since
//! no limit of the program covers what happens here.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fmt::{self, Write as _};

use mlua::{Lua, LuaString, MultiValue, Table, Value as LuaValue};

use crate::value::{Dtype, Value};
use crate::vm::protocol::{FRAME_BYTES_MAX, FRAME_OBJECTS_MAX, ScriptError, ScriptErrorKind, VALUE_DEPTH_MAX};

pub(super) fn to_lua_args(lua: &Lua, args: &[Value]) -> mlua::Result<MultiValue> {
    args.iter().map(|arg| to_lua(lua, arg)).collect()
}

/// Makes the Lua form of a value. An entry that is nil is absent from the table, as it is in Lua; missing is nil, a symbol
/// text, a set a list, a struct a table of its fields, an array in one dimension a list.
///
/// # Errors
/// The value has no form in Lua: ratios, complex numbers, integers beyond 64 bits, arrays of these or in several
/// dimensions, opaque values. A list holds nil, which would end it early, or the program has no memory left.
pub(super) fn to_lua(lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
    Ok(match value {
        Value::Nil | Value::Missing => LuaValue::Nil,
        Value::Bool(value) => LuaValue::Boolean(*value),
        Value::Int(value) => LuaValue::Integer(*value),
        Value::Float(value) => LuaValue::Number(*value),
        Value::Str(value) => LuaValue::String(lua.create_string(value)?),
        Value::Bytes(value) => LuaValue::String(lua.create_string(value)?),
        Value::Symbol(name) => LuaValue::String(lua.create_string(name)?),
        Value::List(values) | Value::Set(values) => LuaValue::Table(list_table(lua, values)?),
        Value::Map(entries) => LuaValue::Table(map_table(lua, entries)?),
        Value::Struct(value) => LuaValue::Table(map_table(lua, &value.fields)?),
        Value::Dict(pairs) => {
            let table = lua.create_table_with_capacity(0, pairs.len())?;
            for (key, value) in pairs {
                match to_lua(lua, key)? {
                    LuaValue::Nil => return Err(no_form("a key is nil, which no Lua table can hold".into())),
                    LuaValue::Table(_) => return Err(no_form(format!("{} is a key", key.kind()))),
                    key => table.raw_set(key, to_lua(lua, value)?)?,
                }
            }
            LuaValue::Table(table)
        }
        // Lua has no number for every `u64`.
        Value::Array(array) => match array.elements().filter(|_| array.dtype() != Dtype::U64) {
            Some(elements) => LuaValue::Table(list_table(lua, &elements)?),
            None => {
                let (dtype, shape) = (array.dtype(), array.shape());
                return Err(no_form(format!("an array of {dtype} in shape {shape:?} has no form in Lua")));
            }
        },
        Value::BigInt(value) => match i64::try_from(&**value) {
            Ok(value) => LuaValue::Integer(value),
            Err(_) => return Err(no_form("an integer beyond 64 bits has no form in Lua".into())),
        },
        other => return Err(no_form(format!("{} has no form in Lua", other.kind()))),
    })
}

fn list_table(lua: &Lua, values: &[Value]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(values.len(), 0)?;
    for (index, value) in (1..).zip(values) {
        if matches!(value, Value::Nil | Value::Missing) {
            return Err(no_form(format!("element {index} of a list is nil, which no Lua table can hold")));
        }
        table.raw_set(index, to_lua(lua, value)?)?;
    }
    Ok(table)
}

fn map_table(lua: &Lua, entries: &BTreeMap<String, Value>) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, entries.len())?;
    for (key, value) in entries {
        table.raw_set(key.as_str(), to_lua(lua, value)?)?;
    }
    Ok(table)
}

/// Reads what a function returned.
///
/// # Errors
/// A value has no form outside; the message says where it is and why.
pub(super) fn from_lua_results(results: MultiValue) -> Result<Value, ScriptError> {
    let mut reader = Reader { path: "result".into(), open: Vec::new(), objects: 0, bytes: 0 };
    let mut values = results.into_iter().map(|value| reader.read(value)).collect::<Result<Vec<_>, _>>()?;
    Ok(match values.len() {
        0 => Value::Nil,
        1 => values.remove(0),
        _ => Value::List(values),
    })
}

struct Reader {
    /// Where the value stands, such as `result.points[3]`.
    path: String,
    /// The tables it stands in.
    open: Vec<*const c_void>,
    objects: usize,
    bytes: usize,
}

impl Reader {
    fn read(&mut self, value: LuaValue) -> Result<Value, ScriptError> {
        self.objects += 1;
        if self.objects > FRAME_OBJECTS_MAX {
            return Err(self.fault(&format!("is one of more than {FRAME_OBJECTS_MAX} values")));
        }
        Ok(match value {
            LuaValue::Nil => Value::Nil,
            LuaValue::Boolean(value) => Value::Bool(value),
            LuaValue::Integer(value) => Value::Int(value),
            LuaValue::Number(value) => Value::Float(value),
            LuaValue::String(text) => self.text(&text)?,
            LuaValue::Table(table) => self.table(&table)?,
            other => return Err(self.fault(&format!("is a {}, which has no form outside Lua", other.type_name()))),
        })
    }

    fn text(&mut self, text: &LuaString) -> Result<Value, ScriptError> {
        let bytes = text.as_bytes();
        self.bytes += bytes.len();
        if self.bytes > FRAME_BYTES_MAX {
            return Err(self.fault(&format!("brings the texts to more than {FRAME_BYTES_MAX} bytes")));
        }
        Ok(match str::from_utf8(&bytes) {
            Ok(text) => Value::Str(text.to_owned()),
            Err(_) => Value::Bytes(bytes.to_vec()),
        })
    }

    fn table(&mut self, table: &Table) -> Result<Value, ScriptError> {
        if self.open.contains(&table.to_pointer()) {
            return Err(self.fault("is a table that contains itself"));
        }
        if self.open.len() == VALUE_DEPTH_MAX {
            return Err(self.fault(&format!("nests deeper than {VALUE_DEPTH_MAX} tables")));
        }
        self.open.push(table.to_pointer());
        let value = match self.shape(table)? {
            Shape::List => self.list(table)?,
            Shape::Map => self.map(table)?,
        };
        self.open.pop();
        Ok(value)
    }

    fn shape(&self, table: &Table) -> Result<Shape, ScriptError> {
        let length = table.raw_len();
        let (mut numbers, mut texts) = (0, 0);
        for pair in table.pairs::<LuaValue, LuaValue>() {
            match pair.map_err(|error| self.fault(&error.to_string()))?.0 {
                LuaValue::Integer(key) if usize::try_from(key).is_ok_and(|key| (1..=length).contains(&key)) => {
                    numbers += 1;
                }
                LuaValue::String(_) => texts += 1,
                LuaValue::Integer(key) => {
                    return Err(self.fault(&format!("has the key {key} beside keys 1 to {length}; a list has no gaps")));
                }
                other => return Err(self.fault(&format!("has a {} as key", other.type_name()))),
            }
        }
        match (numbers, texts) {
            (0, 1..) => Ok(Shape::Map),
            (_, 0) if numbers == length => Ok(Shape::List),
            (_, 0) => Err(self.fault(&format!("has gaps between 1 and {length}; a list has none"))),
            _ => Err(self.fault("has both text and numbers as keys; it must be a list or a map")),
        }
    }

    fn list(&mut self, table: &Table) -> Result<Value, ScriptError> {
        let mut values = Vec::new();
        for index in 1..=table.raw_len() {
            let value = table.raw_get(index).map_err(|error| self.fault(&error.to_string()))?;
            values.push(self.within(format_args!("[{index}]"), value)?);
        }
        Ok(Value::List(values))
    }

    fn map(&mut self, table: &Table) -> Result<Value, ScriptError> {
        let mut entries = BTreeMap::new();
        for pair in table.pairs::<LuaString, LuaValue>() {
            let (key, value) = pair.map_err(|error| self.fault(&error.to_string()))?;
            let Value::Str(key) = self.text(&key)? else {
                return Err(self.fault("has a key that is not UTF-8"));
            };
            let value = self.within(format_args!(".{key}"), value)?;
            entries.insert(key, value);
        }
        Ok(Value::Map(entries))
    }

    fn within(&mut self, step: fmt::Arguments<'_>, value: LuaValue) -> Result<Value, ScriptError> {
        let length = self.path.len();
        self.path.write_fmt(step).expect("writing to a string does not fail");
        let value = self.read(value)?;
        self.path.truncate(length);
        Ok(value)
    }

    fn fault(&self, reason: &str) -> ScriptError {
        ScriptError::new(ScriptErrorKind::Value, format!("`{}` {reason}", self.path))
    }
}

enum Shape {
    List,
    Map,
}

fn no_form(message: String) -> mlua::Error {
    mlua::Error::FromLuaConversionError { from: "list", to: "table".into(), message: Some(message) }
}
