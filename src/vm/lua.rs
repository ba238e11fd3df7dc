//! The Lua 5.4 engine: what runs inside a worker, and the check of syntax that may run anywhere.
//!
//! A program sees `string`, `table`, `math`, `coroutine`, `utf8` and the base functions without those that read files,
//! load bytecode or drive the collector; `require` finds the program's own modules and nothing else. A program provides
//! functions by what its entry module returns: a function is `main`, a table holds functions by name; if it returns
//! nothing, its global functions count.
//!
//! Time is not limited here. An instruction hook would give the line where time ran out, but costs 2.3 times the run
//! time (measured: fib(30) 51 ms without, 116 ms with a hook every 10,000 instructions), and a loop in `string.find`
//! never reaches it; so the host's kill is the one limit.
//!
//! A state is made before it is needed where there is time for that: it takes longer than most programs do.
//!
//! Invariant: each load starts from a fresh state, and nothing of a program outlives its last call or the next load.

mod convert;
mod fault;
mod storage;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, LuaString, MultiValue, StdLib, Value as LuaValue};

use crate::value::Value;
use crate::vm::VmError;
use crate::vm::program::{Context, Program};
use crate::vm::protocol::{ScriptError, ScriptErrorKind};
use crate::vm::storage::{StorageAnswer, StorageAsk};

use fault::Files;

/// The most bytes that one `string.rep` gives.
pub const REP_BYTES_MAX: u64 = 64 << 20;
/// The name by which the function is called that an entry module returns.
pub const MAIN: &str = "main";
/// Memory for compiling one text in the host's process; Lua takes some ten bytes per byte of text.
const CHECK_BYTES_MAX: usize = 256 << 20;
/// The most functions an error names.
const NAMES_LISTED_MAX: usize = 16;
const PRELUDE: &str = include_str!("lua/prelude.lua");

/// Checks a program's texts without running any of them; safe in any process, as it only compiles, and only text.
///
/// # Errors
/// The first fault of syntax, by the order of module names.
pub fn check(program: &Program) -> Result<(), VmError> {
    let files = Files::of(program);
    let check = || {
        let lua = Lua::new_with(StdLib::NONE, LuaOptions::new())?;
        lua.set_memory_limit(CHECK_BYTES_MAX)?;
        program.modules().values().try_for_each(|module| compile(&lua, &module.file, &module.source.text()).map(drop))
    };
    check().map_err(|error| VmError::Syntax(files.explain(&error)))
}

/// The engine of one worker.
pub struct Engine {
    memory_bytes: usize,
    /// The prelude, compiled and stripped of its lines, once there has been a load.
    prelude: Option<Vec<u8>>,
    /// The state for the next load, made ahead.
    fresh: Option<Fresh>,
    loaded: Option<Loaded>,
    storage: AskStorage,
}

/// Asks the host's storage; an error is a conversation that broke off.
type AskStorage = Rc<dyn Fn(StorageAsk) -> Result<StorageAnswer, String>>;

/// A state in which no program has run.
struct Fresh {
    lua: Lua,
    modules: Modules,
    /// Evaluates a module by name.
    evaluate: Function,
}

/// A program's modules, compiled, with their files: what `require` finds.
type Modules = Rc<RefCell<BTreeMap<String, (Function, String)>>>;

struct Loaded {
    lua: Lua,
    files: Files,
    provided: LuaValue,
}

impl Engine {
    /// Makes an engine whose programs may use this much memory, and store nothing.
    pub fn new(memory_bytes: u64) -> Self {
        let memory_bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        let nobody = |_: StorageAsk| Ok(StorageAnswer::refused("nobody keeps anything here"));
        Self { memory_bytes, prelude: None, fresh: None, loaded: None, storage: Rc::new(nobody) }
    }

    /// Lets programs ask their storage in this way.
    pub fn storing(self, ask: impl Fn(StorageAsk) -> Result<StorageAnswer, String> + 'static) -> Self {
        Self { storage: Rc::new(ask), ..self }
    }

    /// Puts a program into a fresh state and runs its entry module.
    ///
    /// # Errors
    /// A module has a fault of syntax, or the entry module raises an error.
    pub fn load(&mut self, program: &Program, context: &Context) -> Result<(), ScriptError> {
        self.loaded = None;
        let files = Files::of(program);
        let mut start = || {
            let fresh = self.fresh.take().map_or_else(|| self.fresh(), Ok)?;
            for (name, module) in program.modules() {
                let compiled = compile(&fresh.lua, &module.file, &module.source.text())?;
                fresh.modules.borrow_mut().insert(name.clone(), (compiled, module.file.clone()));
            }
            inject(&fresh.lua, context)?;
            let provided = fresh.evaluate.call(program.entry())?;
            Ok((fresh.lua, provided))
        };
        let (lua, provided) = start().map_err(|error| files.explain(&error))?;
        self.loaded = Some(Loaded { lua, files, provided });
        Ok(())
    }

    /// Forgets the program, and makes the state that the next one is put into.
    pub fn clear(&mut self) {
        self.loaded = None;
        if self.fresh.is_none() {
            // Why there is none is told to whoever loads a program next.
            self.fresh = self.fresh().ok();
        }
    }

    /// Makes a state, with what every program sees.
    fn fresh(&mut self) -> mlua::Result<Fresh> {
        let lua = Lua::new_with(libraries(), LuaOptions::new())?;
        lua.set_memory_limit(self.memory_bytes)?;
        let ask = storage::function(&lua, &self.storage)?;
        let modules = Modules::default();
        let evaluate = prepare(&lua, Rc::clone(&modules), prelude(&mut self.prelude, &lua)?, ask)?;
        Ok(Fresh { lua, modules, evaluate })
    }

    /// Calls a function of the loaded program. Several results become a list; none is nil.
    ///
    /// # Errors
    /// The program has no such function, the function raises an error, or a value has no form on the other side.
    pub fn call(&mut self, function: &str, args: &[Value]) -> Result<Value, ScriptError> {
        let Some(loaded) = &self.loaded else {
            return Err(ScriptError::new(ScriptErrorKind::NoFunction, "no program is loaded"));
        };
        let found = loaded.find(function)?;
        let args = convert::to_lua_args(&loaded.lua, args).map_err(|error| loaded.files.explain(&error))?;
        let results: MultiValue = found.call(args).map_err(|error| loaded.files.explain(&error))?;
        convert::from_lua_results(results)
    }
}

impl Loaded {
    fn find(&self, name: &str) -> Result<Function, ScriptError> {
        let found = match &self.provided {
            LuaValue::Function(function) if name == MAIN => Some(function.clone()),
            LuaValue::Table(table) => table.raw_get(name).ok(),
            LuaValue::Nil => self.lua.globals().raw_get(name).ok(),
            _ => None,
        };
        found.ok_or_else(|| self.no_function(name))
    }

    fn no_function(&self, name: &str) -> ScriptError {
        let provided = match &self.provided {
            LuaValue::Function(_) => format!("it provides only `{MAIN}`"),
            LuaValue::Table(table) => {
                let mut names: Vec<String> =
                    table.pairs::<String, Function>().flatten().map(|(name, _)| name).collect();
                names.sort();
                names.truncate(NAMES_LISTED_MAX);
                format!("the table it returns has [{}]", names.join(", "))
            }
            LuaValue::Nil => "it returns nothing and has no such global function".into(),
            other => format!("it returns a {}", other.type_name()),
        };
        let message = format!(
            "the program has no function `{name}`: {provided}; end the entry module with `return function(…) … end`, \
             with `return {{ {name} = function(…) … end }}`, or define a global function `{name}` and return nothing"
        );
        ScriptError {
            file: Some(self.files.entry().to_owned()),
            ..ScriptError::new(ScriptErrorKind::NoFunction, message)
        }
    }
}

fn libraries() -> StdLib {
    StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::COROUTINE | StdLib::UTF8
}

/// Gives the prelude as bytecode; it is our own, so loading it is as safe as having written it.
fn prelude<'a>(compiled: &'a mut Option<Vec<u8>>, lua: &Lua) -> mlua::Result<&'a [u8]> {
    if compiled.is_none() {
        let function = lua.load(PRELUDE).set_name("=prelude").set_mode(ChunkMode::Text).into_function()?;
        *compiled = Some(function.dump(true));
    }
    Ok(compiled.as_deref().unwrap_or_default())
}

/// Turns the standard globals into those of a program; gives the function that evaluates a module.
fn prepare(lua: &Lua, modules: Modules, prelude: &[u8], ask: Function) -> mlua::Result<Function> {
    let write = lua.create_function(|_, text: LuaString| Ok(std::io::stdout().write_all(&text.as_bytes())?))?;
    let complain = lua.create_function(|_, text: LuaString| Ok(std::io::stderr().write_all(&text.as_bytes())?))?;
    let find = lua.create_function(move |_, name: LuaString| {
        let (name, modules) = (name.to_string_lossy(), modules.borrow());
        if let Some((chunk, file)) = modules.get(&name) {
            return Ok((Some(chunk.clone()), file.clone()));
        }
        let names: Vec<&str> = modules.keys().take(NAMES_LISTED_MAX).map(String::as_str).collect();
        Ok((None, format!("module `{name}` is not part of this program, which has [{}]", names.join(", "))))
    })?;
    let prelude = lua.load(prelude).set_name("=prelude").set_mode(ChunkMode::Binary).into_function()?;
    prelude.call((write, complain, find, REP_BYTES_MAX, ask))
}

fn inject(lua: &Lua, context: &Context) -> mlua::Result<()> {
    let globals = lua.globals();
    globals
        .raw_set("env", lua.create_table_from(context.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())))?)?;
    for (name, value) in &context.globals {
        globals.raw_set(name.as_str(), convert::to_lua(lua, value)?)?;
    }
    Ok(())
}

/// Compiles a text, without a byte order mark and without a first line for the shell; line numbers stay.
fn compile(lua: &Lua, file: &str, source: &str) -> mlua::Result<Function> {
    let text = source.trim_start_matches('\u{feff}');
    let text = if text.starts_with('#') { &text[text.find('\n').unwrap_or(text.len())..] } else { text };
    lua.load(text).set_name(format!("@{file}")).set_mode(ChunkMode::Text).into_function()
}

#[cfg(test)]
mod tests;
