//! What Catalog contributes to the host: packages and executions as assets, its archives, its executors.

#[cfg(any(feature = "julia", feature = "lua", feature = "wasm"))]
mod executor;

use std::sync::Arc;

use hypermesh_abi::records::{AdapterDescription, AssetList, AssetRecord, AssetRequest, AssetUsage, PackageVerdict};
use hypermesh_abi::sdk::{self, Call, Registration};
use hypermesh_abi::{Code, Error};
use serde_json::json;
use time::OffsetDateTime;

use super::CatalogExtension;
use super::ports::{CallHost, kind_name};
use crate::asset::AssetKind;
use crate::ops::Catalog;
use crate::ops::publish::Mode;
use crate::package::model::PackageType;
use crate::trust::policy::{Confirmed, Verdict};

/// The media type of a package archive.
const MEDIA_TYPE: &str = "application/vnd.hypermesh.catalog.package.v1+tar.zstd";
/// The first bytes of a Zstandard frame (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

struct Packages(Arc<CatalogExtension>);
struct Machines(Arc<CatalogExtension>);
struct Archives(Arc<CatalogExtension>);

/// Offers everything to the host.
pub(super) fn register(extension: &Arc<CatalogExtension>, registration: &mut Registration<'_>) -> Result<(), Error> {
    registration.asset_adapter("hypermesh.package/1", Arc::new(Packages(Arc::clone(extension))))?;
    registration.asset_adapter("hypermesh.vm/1", Arc::new(Machines(Arc::clone(extension))))?;
    registration.package_handler("hypermesh.archive/1", Arc::new(Archives(Arc::clone(extension))))?;
    #[cfg(feature = "lua")]
    if extension.config.vm {
        registration.vm_executor("hypermesh.lua/1", Arc::new(executor::Executor::lua(extension)))?;
    }
    #[cfg(feature = "julia")]
    if extension.config.vm {
        registration.vm_executor("hypermesh.julia/1", Arc::new(executor::Executor::julia(extension)))?;
    }
    #[cfg(feature = "wasm")]
    if extension.config.vm {
        registration.vm_executor("hypermesh.wasm/1", Arc::new(executor::Executor::wasm(extension)))?;
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
        let running = self.0.catalog()?.executions_active(OffsetDateTime::now_utc());
        let assets = running.into_iter().map(|execution| AssetRecord {
            id: format!("{}:{}", kind_name(AssetKind::VirtualMachine), execution.id),
            asset_type: kind_name(AssetKind::VirtualMachine),
            name: execution.package.to_string(),
            state: "InUse".into(),
            owner: "catalog".into(),
            label: execution.state.to_string(),
            amount: 1,
            attributes: [
                ("leases".to_owned(), json!(execution.leases)),
                ("cpu_us".to_owned(), json!(execution.usage.cpu_us)),
                ("memory_bytes".to_owned(), json!(execution.usage.memory_peak_bytes)),
            ]
            .into(),
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
        let decision = self.0.blocking(call, move |catalog, host| catalog.explain_archive(bytes, host)).await?;
        let checks = decision.checks.iter().map(|check| (check.check.to_string(), check.outcome.to_string()));
        Ok(PackageVerdict {
            package: decision.package.clone(),
            digest: decision.digest.to_string(),
            accepted: decision.verdict < Verdict::Confirm,
            checks: checks.collect(),
        })
    }

    async fn install(&self, call: Call, bytes: Vec<u8>) -> Result<PackageVerdict, Error> {
        let accepted = bytes.clone();
        self.0.blocking(call.clone(), move |catalog, host| catalog.accept(accepted, host)).await?;
        let verdict = self.verify(call.clone(), bytes).await?;
        let package = verdict.package.clone();
        let install =
            move |catalog: &Catalog, host: &CallHost| catalog.install(&[package], Mode::Commit, Confirmed::No, host);
        self.0.blocking(call, install).await?;
        Ok(verdict)
    }

    async fn remove(&self, call: Call, package: String) -> Result<(), Error> {
        self.0.blocking(call, move |catalog, host| catalog.remove(&[package], Mode::Commit, host)).await.map(drop)
    }
}

fn only_listed(what: &str, help: &str) -> Error {
    Error::new(Code::UNSUPPORTED, format!("{what} are listed as assets and not allocated")).help(help)
}
