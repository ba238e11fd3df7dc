//! The question behind the table `storage` of a program: `get(key)`, `set(key, value)`, `remove(key)`, `keys()`. The prelude makes
//! the table of it; the host answers, and keeps what is stored as long as the package says.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Value as LuaValue};

use super::{AskStorage, convert};
use crate::value::Value;
use crate::vm::storage::{StorageAnswer, StorageAsk};

/// Makes the function that asks: what (`get`, `set`, `remove` or `keys`), a key and a value; gives a fault or nil, and a value.
pub(super) fn function(lua: &Lua, ask: &AskStorage) -> mlua::Result<Function> {
    let ask = Rc::clone(ask);
    lua.create_function(move |lua, (what, key, value): (String, Option<String>, LuaValue)| {
        let key = key.unwrap_or_default();
        let answered = match what.as_str() {
            "get" => asked(&ask, StorageAsk::Get { key }),
            "set" => convert::from_lua_results(MultiValue::from_iter([value]))
                .map_err(|error| error.message)
                .and_then(|value| asked(&ask, StorageAsk::Set { key, value })),
            "remove" => asked(&ask, StorageAsk::Remove { key }),
            _ => asked(&ask, StorageAsk::Keys),
        };
        Ok(match answered {
            Ok(value) => (None, convert::to_lua(lua, &value)?),
            Err(fault) => (Some(fault), LuaValue::Nil),
        })
    })
}

fn asked(ask: &AskStorage, question: StorageAsk) -> Result<Value, String> {
    match ask(question)? {
        StorageAnswer::Value(value) => Ok(value),
        StorageAnswer::Refused(reason) => Err(reason),
    }
}
