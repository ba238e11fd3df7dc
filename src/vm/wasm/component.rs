//! Components: what they export, and the call of one function of theirs with values by its types.
//!
//! A function at the root is called by its name, one of an exported interface by `interface#function` with the interface's
//! whole name, or by its own name where no other has it. [`values`] says which value goes with which type; a result of the
//! type `result` gives its value, or is the program's error.
//!
//! Invariant: a component imports types at most ([`check()`]), so nothing it does leaves its memories but what it gives back.

mod check;
mod values;

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker, Type, Val};
use wasmtime::{Engine, Store};

use super::convert::{NAMES_LISTED_MAX, value_fault};
use super::guest::{Guest, MEMORIES_MAX, TABLES_MAX};
use crate::value::Value;
use crate::vm::protocol::{FRAME_BYTES_MAX, ScriptError, ScriptErrorKind};

use values::Room;

pub use check::bound_component;
pub(super) use check::check;

/// What the arguments of one call may take in the engine's form, and what its result may, in bytes: some three million
/// numbers. Both are copied on the way, and a worker has twice this beside its program.
const COPIED_BYTES_MAX: usize = 128 << 20;

/// A component ready to be instantiated.
pub(super) struct Ready {
    pre: InstancePre<Guest>,
    functions: Vec<Function>,
}

/// A function that is exported.
struct Function {
    /// Its name at the root, or its interface's, `#` and its name there.
    full_name: String,
    /// Where its own name begins in that.
    name_at: usize,
    index: ComponentExportIndex,
}

impl Ready {
    /// Links a component, to nothing, and looks at what it needs and exports.
    ///
    /// # Errors
    /// It needs more memories or tables than there are.
    pub(super) fn new(engine: &Engine, component: &Component) -> wasmtime::Result<Self> {
        let few_enough = |needed: u32, most: u32, what: &str| {
            let refused = || wasmtime::Error::msg(format!("it has {needed} {what}, and {most} are the most"));
            if needed <= most { Ok(()) } else { Err(refused()) }
        };
        // It is known of all that bring their modules with them, and others are refused before.
        if let Some(needed) = component.resources_required() {
            few_enough(needed.num_memories, MEMORIES_MAX, "memories")?;
            few_enough(needed.num_tables, TABLES_MAX, "tables")?;
        }
        Ok(Self { pre: Linker::new(engine).instantiate_pre(component)?, functions: functions(engine, component) })
    }

    /// Finds a function by its full name, or by its own.
    fn find(&self, function: &str, file: &str) -> Result<&Function, ScriptError> {
        if let Some(found) = self.functions.iter().find(|other| other.full_name == function) {
            return Ok(found);
        }
        let named: Vec<&Function> = self.functions.iter().filter(|other| other.name() == function).collect();
        let message = match named.as_slice() {
            [found] => return Ok(found),
            [] => {
                let exported = listed(self.functions.iter().map(|other| other.full_name.as_str()));
                format!("the component exports no function `{function}`; it exports [{exported}]")
            }
            several => {
                let names = listed(several.iter().map(|other| other.full_name.as_str()));
                format!("several interfaces have a function `{function}`: [{names}]; call one by this name")
            }
        };
        Err(ScriptError { file: Some(file.to_owned()), ..ScriptError::new(ScriptErrorKind::NoFunction, message) })
    }
}

impl Function {
    fn name(&self) -> &str {
        &self.full_name[self.name_at..]
    }
}

/// Calls a function of a component in a new instance of it.
pub(super) fn call(
    store: &mut Store<Guest>,
    ready: &Ready,
    function: &str,
    args: &[Value],
    file: &str,
) -> wasmtime::Result<Value> {
    let found = ready.find(function, file)?;
    store.set_hostcall_fuel(COPIED_BYTES_MAX);
    let instance = ready.pre.instantiate(&mut *store)?;
    let Some(called) = instance.get_func(&mut *store, found.index) else {
        return Err(value_fault(format!("`{function}` is no function that can be called")).into());
    };
    let ty = called.ty(&*store);
    let params = params(function, &ty, args)?;
    let mut results = vec![Val::Bool(false); ty.results().len()];
    called.call(&mut *store, &params, &mut results)?;
    match results.pop().zip(ty.results().next()) {
        Some((result, ty)) => Ok(give_back(function, result, &ty, file)?),
        None => Ok(Value::Nil),
    }
}

fn functions(engine: &Engine, component: &Component) -> Vec<Function> {
    let mut functions = Vec::new();
    for (name, item) in component.component_type().exports(engine) {
        let Some(index) = component.get_export_index(None, name) else { continue };
        match item.ty {
            ComponentItem::ComponentFunc(_) => {
                functions.push(Function { full_name: name.to_owned(), name_at: 0, index });
            }
            ComponentItem::ComponentInstance(interface) => {
                let inside = interface.exports(engine);
                let inside = inside.filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)));
                functions.extend(inside.filter_map(|(function, _)| {
                    let index = component.get_export_index(Some(&index), function)?;
                    let full_name = format!("{name}#{function}");
                    Some(Function { name_at: full_name.len() - function.len(), full_name, index })
                }));
            }
            _ => {}
        }
    }
    functions
}

fn params(function: &str, ty: &ComponentFunc, args: &[Value]) -> Result<Vec<Val>, ScriptError> {
    if ty.params().len() != args.len() {
        let wanted = ty.params().take(NAMES_LISTED_MAX).map(|(name, ty)| format!("{name}: {}", values::name(&ty)));
        let wanted: Vec<String> = wanted.collect();
        let message =
            format!("`{function}` takes ({}), and {} arguments do not make that", wanted.join(", "), args.len());
        return Err(value_fault(message));
    }
    let mut room = Room::of(COPIED_BYTES_MAX);
    let params = (1..).zip(ty.params()).zip(args).map(|((at, (name, ty)), arg)| {
        let place = |reason: String| value_fault(format!("argument {at} (`{name}`) of `{function}`: {reason}"));
        values::to_val(arg, &ty, &mut room).map_err(place)
    });
    params.collect()
}

/// Makes the value of a call: what is right of a `result`, or the result itself.
fn give_back(function: &str, result: Val, ty: &Type, file: &str) -> Result<Value, ScriptError> {
    let mut room = Room::of(FRAME_BYTES_MAX);
    let place = |reason: String| value_fault(format!("result of `{function}`: {reason}"));
    let mut read = |payload: Option<Box<Val>>, ty: Option<Type>| match payload.zip(ty) {
        Some((payload, ty)) => values::from_val(*payload, &ty, &mut room).map_err(place),
        None => Ok(Value::Nil),
    };
    match (result, ty) {
        (Val::Result(Ok(payload)), Type::Result(ty)) => read(payload, ty.ok()),
        (Val::Result(Err(payload)), Type::Result(ty)) => {
            let message = match read(payload, ty.err())? {
                Value::Nil => format!("`{function}` gave an error"),
                error => format!("`{function}` gave the error {}", error.to_json()),
            };
            Err(ScriptError { file: Some(file.to_owned()), ..ScriptError::new(ScriptErrorKind::Runtime, message) })
        }
        (result, ty) => read(Some(Box::new(result)), Some(ty.clone())),
    }
}

/// Gives the first of some names, for a message.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.take(NAMES_LISTED_MAX).collect::<Vec<&str>>().join(", ")
}

#[cfg(test)]
pub(super) mod tests;
