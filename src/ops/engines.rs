//! The executors of this node, one for each language it runs.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Config;
#[cfg(feature = "julia")]
use crate::vm::JuliaExecutor;
use crate::vm::pool::PoolOptions;
use crate::vm::process::Engine;
#[cfg(feature = "wasm-in-process")]
use crate::vm::wasm::local::LocalExecutor;
use crate::vm::{Executor, Language, ProcessExecutor, VmError, WorkerProgram};

/// Where compiled modules are kept, below the directory of the node; a cache that may be removed.
#[cfg(feature = "wasm")]
const COMPILED: &str = "compiled";

/// The executors.
pub(super) struct Engines {
    worker_program: WorkerProgram,
    processes: BTreeMap<Language, ProcessExecutor>,
    #[cfg(feature = "julia")]
    julia: JuliaExecutor,
    #[cfg(feature = "wasm-in-process")]
    local: Option<LocalExecutor>,
}

impl Engines {
    /// Makes an executor for each language that this build runs.
    pub(super) fn new(worker: &WorkerProgram, pool: PoolOptions, home: &Path, config: &Config) -> Self {
        #[cfg(any(feature = "lua", feature = "wasm"))]
        let process = |language| ProcessExecutor::with_engine(worker.clone(), language, Engine::default(), pool);
        #[cfg_attr(not(any(feature = "lua", feature = "wasm")), expect(unused_mut, reason = "there is no engine"))]
        let mut processes = BTreeMap::new();
        #[cfg(feature = "lua")]
        processes.insert(Language::Lua, process(Language::Lua));
        #[cfg(feature = "wasm")]
        let cache = compiled(home);
        #[cfg(feature = "wasm")]
        processes.insert(
            Language::Wasm,
            match &cache {
                Some(cache) => process(Language::Wasm).keeping(cache.clone()),
                None => process(Language::Wasm),
            },
        );
        let _ = (pool, home, config);
        Self {
            worker_program: worker.clone(),
            processes,
            #[cfg(feature = "julia")]
            julia: JuliaExecutor::new(worker.clone(), super::runtime::places(home, config), pool),
            #[cfg(feature = "wasm-in-process")]
            local: if config.wasm_in_process { local(cache) } else { None },
        }
    }

    /// Gives what runs Julia programs.
    #[cfg(feature = "julia")]
    pub(super) fn julia(&self) -> &JuliaExecutor {
        &self.julia
    }

    /// Gives the program that workers are started from.
    pub(super) fn worker_program(&self) -> &WorkerProgram {
        &self.worker_program
    }

    /// Gives the engine that workers of a language run.
    ///
    /// # Errors
    /// It is not part of this build, or its runtime is not on this machine.
    pub(super) async fn engine(&self, language: Language) -> Result<Engine, VmError> {
        #[cfg(feature = "julia")]
        if language == Language::Julia {
            return Ok((*self.julia.processes().await?.0).clone());
        }
        if self.processes.contains_key(&language) { Ok(Engine::default()) } else { Err(VmError::NotBuilt { language }) }
    }

    /// Gives the executor of a language; what is installed, and so was accepted by the policy, may get one in this process.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn of(&self, language: Language, installed: bool) -> Result<&dyn Executor, VmError> {
        #[cfg(feature = "wasm-in-process")]
        if let Some(local) = self.local.as_ref().filter(|_| installed && language == Language::Wasm) {
            return Ok(local);
        }
        #[cfg(feature = "julia")]
        if language == Language::Julia {
            return Ok(&self.julia);
        }
        let _ = installed;
        let found = self.processes.get(&language).map(|executor| executor as &dyn Executor);
        found.ok_or(VmError::NotBuilt { language })
    }
}

/// Without a directory modules are compiled each time, so it is no reason not to run them.
#[cfg(feature = "wasm")]
fn compiled(home: &Path) -> Option<std::sync::Arc<crate::vm::wasm::cache::Cache>> {
    let opened = crate::vm::wasm::cache::Cache::open(&home.join(COMPILED));
    opened.inspect_err(|error| tracing::warn!("compiled modules are not kept: {error}")).ok().map(Into::into)
}

#[cfg(feature = "wasm-in-process")]
fn local(cache: Option<std::sync::Arc<crate::vm::wasm::cache::Cache>>) -> Option<LocalExecutor> {
    LocalExecutor::new(cache).inspect_err(|error| tracing::warn!("WebAssembly runs in workers: {error}")).ok()
}
