//! The WebAssembly engine: compiles a module or component, checks what it imports, calls what it exports.
//!
//! **What runs**: core modules of WebAssembly 2 and 3 as [`FEATURES`] lists them, and commands and libraries of WASI preview 1
//! without files and sockets (`wasi`); with the feature `wasm-components`, components that import nothing (`component`). Both
//! are validated anywhere ([`check`], which only reads); they are compiled and run inside `catalog-worker`, or in this
//! process by a [`local::LocalExecutor`], which is for programs that somebody trusts.
//!
//! **Calling convention** (`convert`): numbers are numbers. Text, bytes, lists and maps are written into the module's
//! memory and given as address and length; a function exported as `NAME->text`, `NAME->bytes` or `NAME->json` gives such
//! a value back. `main` of a module with `_start` runs the command, with the arguments as its command line. A component
//! says the types of its functions itself, and values go by them (`component::values`).
//!
//! Invariants: every call has an instance of its own, so nothing of a call is left for the next; compiled code is loaded
//! only if it was compiled here, in a fresh worker before any program ran in it, or proved by [`cache`] to have been.

pub mod cache;
#[cfg(feature = "wasm-components")]
mod component;
mod convert;
mod fault;
mod guest;
pub mod local;
mod runtime;
mod validate;
mod wasi;

use crate::value::Value;
use crate::vm::VmError;
use crate::vm::program::{Context, Program};
use crate::vm::protocol::{ScriptError, ScriptErrorKind};

use guest::{Guest, Sink, Watch};
use runtime::{Loaded, Place, Runtime, Settings};

#[cfg(feature = "wasm-components")]
pub use component::bound_component;
pub use runtime::Artefact;
pub use validate::{FEATURES, MODULE_BYTES_MAX, is_command};

/// The function that stands for the command of a module with `_start`.
pub const MAIN: &str = "main";

/// Checks a program's modules without compiling or running them; safe in any process.
///
/// # Errors
/// The first module or component, by name, that is no valid WebAssembly of [`FEATURES`], or imports what nothing here
/// provides.
pub fn check(program: &Program) -> Result<(), VmError> {
    let mut modules = program.modules().values();
    modules.try_for_each(|module| validate::check(&module.file, module.source.as_bytes()).map_err(VmError::Syntax))
}

/// Refuses every component: this build knows none.
///
/// # Errors
/// Always.
#[cfg(not(feature = "wasm-components"))]
pub fn bound_component(_: &[u8]) -> Result<(), String> {
    Err("this build knows core modules only".into())
}

/// The engine of one worker.
pub struct Engine {
    runtime: Runtime,
    memory_bytes: u64,
    fuel: Option<u64>,
    loaded: Option<(Loaded, Context)>,
    fuel_used: u64,
}

impl Engine {
    /// Makes an engine whose programs may use this much memory and, if given, so much fuel for each call.
    ///
    /// # Errors
    /// The engine cannot be used on this machine.
    pub fn new(memory_bytes: u64, fuel: Option<u64>) -> Result<Self, VmError> {
        let runtime = Runtime::new(Settings { is_metered: fuel.is_some(), place: Place::Worker })?;
        Ok(Self { runtime, memory_bytes, fuel, loaded: None, fuel_used: 0 })
    }

    /// Gives the name and version of the engine and what its compiled code depends on, in one line.
    pub fn identity(&self) -> &str {
        self.runtime.identity()
    }

    /// Prepares a program: takes the compiled form if the host has one that fits, and compiles it otherwise. Gives the
    /// compiled form if it is new.
    ///
    /// # Errors
    /// The module is not valid, imports what is not there, or cannot be compiled.
    pub fn load(
        &mut self,
        program: &Program,
        context: &Context,
        compiled: Option<Artefact>,
    ) -> Result<Option<Artefact>, ScriptError> {
        let same = self.loaded.take().filter(|(loaded, _)| loaded.digest() == program.digest());
        let (loaded, new) = match same {
            Some((loaded, _)) => (loaded, None),
            None => self.runtime.load(program, compiled)?,
        };
        self.loaded = Some((loaded, context.clone()));
        Ok(new)
    }

    /// Calls a function of the loaded program in a new instance.
    ///
    /// # Errors
    /// The program has no such function, it traps or ends with a status, or a value has no form on the other side.
    pub fn call(&mut self, function: &str, args: &[Value]) -> Result<Value, ScriptError> {
        self.fuel_used = 0;
        let Some((loaded, context)) = &self.loaded else {
            return Err(ScriptError::new(ScriptErrorKind::NoFunction, "no program is loaded"));
        };
        let guest = Guest::new(context, self.memory_bytes, Sink::Process, Watch::never());
        let called = self.runtime.call(loaded, function, args, guest, self.fuel);
        self.fuel_used = called.fuel_used;
        called.result.map_err(|error| fault::explain(&error, loaded.file(), called.guest.was_denied_memory()))
    }

    /// Gives the fuel that the last call used; zero if it is not counted.
    pub fn fuel_used(&self) -> u64 {
        self.fuel_used
    }
}

#[cfg(all(test, feature = "wasm-components"))]
pub(crate) use component::tests::bottomless;

#[cfg(test)]
mod tests;
