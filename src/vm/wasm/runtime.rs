//! The engine and its settings, compiled modules and components, and the call of one function.

use std::hash::{Hash as _, Hasher};

use wasmtime::{
    Config, InstanceAllocationStrategy, InstancePre, Linker, Module, ModuleVersionStrategy, OptLevel,
    PoolingAllocationConfig, Store, Strategy, UpdateDeadline,
};

use super::cache::ARTEFACT_BYTES_MAX;
#[cfg(feature = "wasm-components")]
use super::component;
use super::guest::{CORE_INSTANCES_MAX, Guest, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};
use super::{convert, fault, validate, wasi};
use crate::digest::Digest;
use crate::value::Value;
use crate::vm::VmError;
use crate::vm::program::{Language, Program};
use crate::vm::protocol::{ScriptError, ScriptErrorKind};

/// Stack that the functions of a program may use; beyond it they trap.
const STACK_BYTES_MAX: usize = 1 << 20;
/// Instances at one time in this process: each takes some 4 GiB of addresses for every memory it may have, and memory only
/// for what it touches.
pub(super) const INSTANCES_MAX: u32 = 64;
/// Memory that stays with a slot after its instance, so that the next one finds its pages.
const KEPT_BYTES: usize = 64 << 10;

/// How programs are compiled; each combination is an engine of its own, and none loads the code of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Instructions are counted, and computed the same everywhere.
    pub(super) is_metered: bool,
    pub(super) place: Place,
}

/// Where programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a process of their own, which is killed to end them.
    Worker,
    /// Beside others: each looks by itself whether it must end, and instances come from a pool.
    Here,
}

/// An engine with everything that modules may import.
pub(super) struct Runtime {
    engine: wasmtime::Engine,
    linker: Linker<Guest>,
    identity: String,
    settings: Settings,
}

/// A module or component ready to be instantiated.
pub(super) struct Loaded {
    ready: Ready,
    file: String,
    digest: Digest,
}

enum Ready {
    Module(InstancePre<Guest>),
    #[cfg(feature = "wasm-components")]
    Component(component::Ready),
}

/// What a program was compiled to.
enum Code {
    Module(Module),
    #[cfg(feature = "wasm-components")]
    Component(wasmtime::component::Component),
}

/// A module or component in its compiled form. It is code: whoever makes one says that [`Artefact::as_bytes`] of another gave its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Artefact(Vec<u8>);

/// What became of a call.
pub(super) struct Called {
    pub(super) result: wasmtime::Result<Value>,
    pub(super) guest: Guest,
    pub(super) fuel_used: u64,
}

impl Artefact {
    /// Takes bytes that [`Self::as_bytes`] gave, by way of the host's cache or its socket: a worker believes its host,
    /// and a host only what [`cache`](super::cache) has proved.
    pub(crate) fn believed(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Gives the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives the bytes away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl std::fmt::Debug for Artefact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Artefact({} bytes)", self.0.len())
    }
}

impl Runtime {
    pub(super) fn new(settings: Settings) -> Result<Self, VmError> {
        let make = || {
            let engine = wasmtime::Engine::new(&config(settings)?)?;
            let mut linker = Linker::new(&engine);
            wasi::provide(&mut linker)?;
            Ok((engine, linker))
        };
        let (engine, linker) = make().map_err(|error: wasmtime::Error| VmError::Engine {
            language: Language::Wasm,
            reason: error.root_cause().to_string(),
        })?;
        let identity = identity(&engine);
        Ok(Self { engine, linker, identity, settings })
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    pub(super) fn engine(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// Prepares a program; gives its compiled form if it had to be compiled.
    pub(super) fn load(
        &self,
        program: &Program,
        compiled: Option<Artefact>,
    ) -> Result<(Loaded, Option<Artefact>), ScriptError> {
        let module = program.modules().get(program.entry());
        let Some(entry) = module else {
            return Err(ScriptError::new(ScriptErrorKind::Syntax, "the program has no entry module"));
        };
        let refused = |error: &wasmtime::Error| {
            let message = error.root_cause().to_string();
            ScriptError { file: Some(entry.file.clone()), ..ScriptError::new(ScriptErrorKind::Syntax, message) }
        };
        // What the engine's own version did not write it refuses here, and what is damaged was refused before.
        let known = compiled.and_then(|artefact| self.revive(&artefact).ok());
        let (code, new) = match known {
            Some(code) => (code, None),
            None => {
                validate::check(&entry.file, entry.source.as_bytes())?;
                let code = self.compile(entry.source.as_bytes()).map_err(|error| refused(&error))?;
                let artefact = code.serialize().ok().filter(|bytes| bytes.len() <= ARTEFACT_BYTES_MAX).map(Artefact);
                (code, artefact)
            }
        };
        let ready = self.link(&code).map_err(|error| refused(&error))?;
        Ok((Loaded { ready, file: entry.file.clone(), digest: program.digest() }, new))
    }

    fn compile(&self, bytes: &[u8]) -> wasmtime::Result<Code> {
        #[cfg(feature = "wasm-components")]
        if validate::is_component(bytes) {
            return wasmtime::component::Component::from_binary(&self.engine, bytes).map(Code::Component);
        }
        Module::from_binary(&self.engine, bytes).map(Code::Module)
    }

    #[expect(unsafe_code, reason = "compiled code is loaded, and code has no safe form")]
    fn revive(&self, artefact: &Artefact) -> wasmtime::Result<Code> {
        let bytes = artefact.as_bytes();
        #[cfg(feature = "wasm-components")]
        if wasmtime::Engine::detect_precompiled(bytes) == Some(wasmtime::Precompiled::Component) {
            // SAFETY: as below; what says that it is a component `Component::serialize` gave, under the same conditions.
            return unsafe { wasmtime::component::Component::deserialize(&self.engine, bytes) }.map(Code::Component);
        }
        // SAFETY: an `Artefact` holds what `Code::serialize` gave, unchanged: it is made here from that alone, or by
        // `Artefact::believed`, whose callers have it from the node's cache under its secret or from the host's socket.
        unsafe { Module::deserialize(&self.engine, bytes) }.map(Code::Module)
    }

    fn link(&self, code: &Code) -> wasmtime::Result<Ready> {
        match code {
            Code::Module(module) => self.linker.instantiate_pre(module).map(Ready::Module),
            #[cfg(feature = "wasm-components")]
            Code::Component(component) => component::Ready::new(&self.engine, component).map(Ready::Component),
        }
    }

    /// Calls a function in a new instance.
    pub(super) fn call(
        &self,
        loaded: &Loaded,
        function: &str,
        args: &[Value],
        guest: Guest,
        fuel: Option<u64>,
    ) -> Called {
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| guest);
        if self.settings.place == Place::Here {
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(|store| {
                store.data().watch.look()?;
                Ok(UpdateDeadline::Continue(1))
            });
        }
        let fuel = if self.settings.is_metered { Some(fuel.unwrap_or(u64::MAX)) } else { None };
        let result = match fuel.map_or(Ok(()), |fuel| store.set_fuel(fuel)) {
            Ok(()) => loaded.call(&mut store, function, args),
            Err(error) => Err(error),
        };
        let left = fuel.and_then(|_| store.get_fuel().ok());
        let fuel_used = fuel.zip(left).map_or(0, |(given, left)| given - left);
        Called { result, guest: store.into_data(), fuel_used }
    }
}

impl Code {
    fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        match self {
            Self::Module(module) => module.serialize(),
            #[cfg(feature = "wasm-components")]
            Self::Component(component) => component.serialize(),
        }
    }
}

impl Loaded {
    fn call(&self, store: &mut Store<Guest>, function: &str, args: &[Value]) -> wasmtime::Result<Value> {
        match &self.ready {
            Ready::Module(ready) => convert::call(store, ready, function, args, &self.file),
            #[cfg(feature = "wasm-components")]
            Ready::Component(ready) => component::call(store, ready, function, args, &self.file),
        }
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }
}

impl Called {
    /// Gives the error as the program's.
    pub(super) fn explain(&self, file: &str) -> Option<ScriptError> {
        self.result.as_ref().err().map(|error| fault::explain(error, file, self.guest.was_denied_memory()))
    }
}

fn config(settings: Settings) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .module_version(ModuleVersionStrategy::WasmtimeVersion)?
        .max_wasm_stack(STACK_BYTES_MAX)
        .wasm_features(validate::FEATURES.complement(), false)
        .wasm_features(validate::FEATURES, true)
        .consume_fuel(settings.is_metered)
        .cranelift_nan_canonicalization(settings.is_metered)
        .relaxed_simd_deterministic(settings.is_metered);
    match settings.place {
        Place::Worker => {}
        Place::Here => {
            // A component takes as much as it may, whoever else runs; a module takes one of each.
            let each = |of_component: u32| if cfg!(feature = "wasm-components") { of_component } else { 1 };
            let mut pool = PoolingAllocationConfig::new();
            pool.total_component_instances(INSTANCES_MAX)
                .total_core_instances(INSTANCES_MAX * each(CORE_INSTANCES_MAX))
                .total_memories(INSTANCES_MAX * each(MEMORIES_MAX))
                .total_tables(INSTANCES_MAX * each(TABLES_MAX))
                .table_elements(TABLE_ELEMENTS_MAX)
                .linear_memory_keep_resident(KEPT_BYTES);
            config.epoch_interruption(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        }
    }
    // A sandbox closes memory files, which images of memories would be; and what an image saves of copying costs fuel
    // elsewhere, so with fuel nobody has them.
    if settings.is_metered || settings.place == Place::Worker {
        config.memory_init_cow(false);
    }
    Ok(config)
}

/// Names the engine, its version and, by a digest, everything its code depends on: settings, processor, version.
fn identity(engine: &wasmtime::Engine) -> String {
    struct Blake(blake3::Hasher);
    impl Hasher for Blake {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            self.0.finalize().as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
        }
    }
    let mut hasher = Blake(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("WebAssembly (wasmtime, {:016x})", hasher.finish())
}
