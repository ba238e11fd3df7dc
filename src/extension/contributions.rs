//! What Catalog contributes to the host: packages and executions as assets, its archives, its executors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hypermesh_abi::records::{
    AdapterDescription, AssetList, AssetRecord, AssetRequest, AssetUsage, ExecutionOutcome, ExecutionRequest,
    ExecutorDescription, Metrics, PackageVerdict, ProgramCheck,
};
use hypermesh_abi::sdk::{self, Call, Registration};
use hypermesh_abi::{Code, Error};
use serde_json::json;

use super::ports::{CallHost, kind_name};
use super::{CatalogExtension, errors};
use crate::archive;
use crate::asset::{Amount, AssetKind, AssetNeed};
use crate::host::Host;
use crate::ops::publish::Mode;
use crate::package::model::{Bytes, CpuMillis, PackageType};
use crate::value::Value;
use crate::vm::{self, Language, Limits, Module, Program, lua};

/// The media type of a package archive.
const MEDIA_TYPE: &str = "application/vnd.hypermesh.catalog.package.v1+tar.zstd";
/// The first bytes of a Zstandard frame (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

struct Packages(Arc<CatalogExtension>);
struct Machines(Arc<CatalogExtension>);
struct Archives(Arc<CatalogExtension>);
struct Lua(Arc<CatalogExtension>);

/// Offers everything to the host.
pub(super) fn register(extension: &Arc<CatalogExtension>, registration: &mut Registration<'_>) -> Result<(), Error> {
    registration.asset_adapter("hypermesh.package/1", Arc::new(Packages(Arc::clone(extension))))?;
    registration.asset_adapter("hypermesh.vm/1", Arc::new(Machines(Arc::clone(extension))))?;
    registration.package_handler("hypermesh.archive/1", Arc::new(Archives(Arc::clone(extension))))?;
    if extension.config.vm {
        registration.vm_executor("hypermesh.lua/1", Arc::new(Lua(Arc::clone(extension))))?;
    }
    Ok(())
}

/// Gives the kinds of asset that Catalog provides.
pub(super) fn provided() -> Vec<String> {
    let mut kinds: Vec<String> = PackageType::all().map(|kind| kind_name(AssetKind::of_package(kind))).collect();
    kinds.push(kind_name(AssetKind::VirtualMachine));
    kinds.sort();
    kinds.dedup();
    kinds
}

impl sdk::AssetAdapter for Packages {
    fn describe(&self) -> AdapterDescription {
        AdapterDescription { asset_types: provided(), allocations_max: 0 }
    }

    async fn discover(&self, call: Call) -> Result<AssetList, Error> {
        let records = self.0.blocking(call, |catalog, _| catalog.published()).await?;
        let assets = records.into_iter().map(|record| AssetRecord {
            id: record.asset_id.unwrap_or_default(),
            asset_type: kind_name(AssetKind::of_package(record.release.kind)),
            name: format!("{}@{}", record.release.name, record.release.version),
            state: "Available".into(),
            owner: "catalog".into(),
            amount: 1,
            attributes: [("digest".to_owned(), json!(record.release.digests.blake3))].into(),
            ..AssetRecord::default()
        });
        Ok(AssetList { assets: assets.collect() })
    }

    async fn allocate(&self, _: Call, _: AssetRequest) -> Result<u64, Error> {
        Err(only_listed("packages", "`catalog publish` makes a package an asset"))
    }

    async fn usage(&self, _: Call, _: u64) -> Result<AssetUsage, Error> {
        Err(only_listed("packages", "`catalog info` tells about one"))
    }

    async fn release(&self, _: Call, _: u64) -> Result<(), Error> {
        Err(only_listed("packages", "published versions stay"))
    }
}

impl sdk::AssetAdapter for Machines {
    fn describe(&self) -> AdapterDescription {
        AdapterDescription { asset_types: vec![kind_name(AssetKind::VirtualMachine)], allocations_max: 0 }
    }

    async fn discover(&self, _: Call) -> Result<AssetList, Error> {
        let executions = self.0.catalog()?.executions_list();
        let running = executions.into_iter().filter(|execution| !execution.state.is_final());
        let assets = running.map(|execution| AssetRecord {
            id: format!("{}:{}", kind_name(AssetKind::VirtualMachine), execution.id),
            asset_type: kind_name(AssetKind::VirtualMachine),
            name: execution.package.to_string(),
            state: "InUse".into(),
            owner: "catalog".into(),
            label: execution.state.to_string(),
            amount: 1,
            attributes: [("leases".to_owned(), json!(execution.leases))].into(),
        });
        Ok(AssetList { assets: assets.collect() })
    }

    async fn allocate(&self, _: Call, _: AssetRequest) -> Result<u64, Error> {
        Err(only_listed("virtual machines", "`catalog run` starts one"))
    }

    async fn usage(&self, _: Call, _: u64) -> Result<AssetUsage, Error> {
        Err(only_listed("virtual machines", "`catalog ps` tells about them"))
    }

    async fn release(&self, _: Call, _: u64) -> Result<(), Error> {
        Err(only_listed("virtual machines", "they end with their program"))
    }
}

impl sdk::PackageHandler for Archives {
    fn media_types(&self) -> Vec<String> {
        vec![MEDIA_TYPE.into()]
    }

    fn inspect(&self, media_type: &str, head: &[u8]) -> bool {
        media_type == MEDIA_TYPE && head.starts_with(&ZSTD_MAGIC)
    }

    async fn verify(&self, call: Call, bytes: Vec<u8>) -> Result<PackageVerdict, Error> {
        let archive = self.0.blocking(call, move |_, _| Ok(archive::read(bytes)?)).await?;
        let checks = [("form", "canonical"), ("signature", "none")];
        Ok(PackageVerdict {
            package: format!("{}@{}", archive.name(), archive.version()),
            digest: archive.digest().to_string(),
            accepted: true,
            checks: checks.map(|(check, outcome)| (check.to_owned(), outcome.to_owned())).into(),
        })
    }

    async fn install(&self, call: Call, bytes: Vec<u8>) -> Result<PackageVerdict, Error> {
        let verdict = self.verify(call.clone(), bytes.clone()).await?;
        let package = verdict.package.clone();
        self.0
            .blocking(call, move |catalog, host| {
                catalog.accept(bytes, host)?;
                catalog.install(&[package], Mode::Commit, host)
            })
            .await?;
        Ok(verdict)
    }

    async fn remove(&self, call: Call, package: String) -> Result<(), Error> {
        self.0.blocking(call, move |catalog, host| catalog.remove(&[package], Mode::Commit, host)).await.map(drop)
    }
}

impl sdk::VmExecutor for Lua {
    fn describe(&self) -> ExecutorDescription {
        ExecutorDescription { languages: vec!["lua".into()], engine: "Lua 5.4".into() }
    }

    async fn check(&self, _: Call, program: Vec<u8>) -> Result<ProgramCheck, Error> {
        let checked =
            tokio::task::spawn_blocking(move || lua_program(&program).and_then(|program| lua::check(&program)));
        match checked.await.map_err(|error| Error::wrap(Code::INTERNAL, &error))? {
            Ok(()) => Ok(ProgramCheck { valid: true, faults: Vec::new() }),
            Err(error) => match error.script() {
                Some(script) => Ok(ProgramCheck { valid: false, faults: vec![errors::of_script(script, None)] }),
                None => Err(errors::to_error(&error.into())),
            },
        }
    }

    async fn execute(
        &self,
        call: Call,
        program: Vec<u8>,
        request: ExecutionRequest,
    ) -> Result<ExecutionOutcome, Error> {
        let to_error = |error: crate::ops::OpError| errors::to_error(&error);
        let args: Result<Vec<Value>, _> = request.arguments.iter().map(Value::from_json).collect();
        let args = args.map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
        let limits = limits(&request);
        let needs =
            [Amount::Cpu { cores: 1, share: limits.cpu, architecture: None }, Amount::Memory { size: limits.memory }]
                .map(|amount| AssetNeed { amount, hardware: Vec::new(), duration_limit: limits.wall });
        let host = CallHost::new(call);
        let lease = host.lease("program", &needs, limits.wall).await.map_err(|refusal| to_error(refusal.into()))?;
        let function = if request.function.is_empty() { lua::MAIN.to_owned() } else { request.function };
        let program = lua_program(&program).map_err(|error| to_error(error.into()))?;
        let run = vm::Call { function, args };
        let outcome = self.0.catalog()?.execute_program(program, run, limits).await.map_err(to_error)?;
        drop(lease);
        let usage = outcome.usage;
        Ok(ExecutionOutcome {
            value: outcome.value.to_json(),
            stdout: outcome.output.stdout,
            wall_us: usage.wall_us,
            usage: [("cpu_us".to_owned(), usage.cpu_us), ("memory_peak_bytes".to_owned(), usage.memory_peak_bytes)]
                .into(),
        })
    }

    fn stats(&self) -> Metrics {
        let Ok(catalog) = self.0.catalog() else { return Metrics::default() };
        let mut counters = BTreeMap::new();
        for execution in catalog.executions_list() {
            *counters.entry(format!("executions_{}", execution.state.to_string().to_lowercase())).or_insert(0) += 1;
        }
        Metrics { counters }
    }
}

fn lua_program(source: &[u8]) -> Result<Program, vm::VmError> {
    let source = String::from_utf8_lossy(source).into_owned();
    let module = Module { file: "program.lua".into(), source };
    Program::new(Language::Lua, "program", [("program".to_owned(), module)].into())
}

fn limits(request: &ExecutionRequest) -> Limits {
    let mut limits = Limits { cpu: CpuMillis(1_000), ..Limits::default() };
    if request.timeout_ms > 0 {
        limits.wall = Duration::from_millis(request.timeout_ms).min(Limits::WALL_MAX);
    }
    if request.memory_bytes > 0 {
        limits.memory = Bytes(request.memory_bytes);
    }
    limits
}

fn only_listed(what: &str, help: &str) -> Error {
    Error::new(Code::UNSUPPORTED, format!("{what} are listed as assets and not allocated")).help(help)
}
