//! Copies of archives that this node keeps for others, and its own that others keep: what is here, what is kept on request, and
//! what may go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use stoq::PeerId;
use stoq::identity::Pending;
use stoq::replica::service::{Keeper, KeeperError};
use stoq::replica::{Capacity, Holding};
use tokio::runtime::Handle;
use trustchain::digest::Blake3;

use crate::config::{NetworkConfig, Share};
use crate::digest::Digest;
use crate::host::Host;
use crate::ops::{Catalog, OpError};

/// Keeps archives in the store.
pub(super) struct ArchiveKeeper {
    pub(super) catalog: Weak<Catalog>,
    pub(super) config: NetworkConfig,
    pub(super) host: Arc<dyn Host>,
    /// Where archives are fetched.
    pub(super) runtime: Handle,
    pub(super) demand: Arc<Demand>,
}

/// How often peers asked for archives since the last report.
#[derive(Debug, Default)]
pub(super) struct Demand(Mutex<BTreeMap<Digest, u32>>);

/// The most archives whose demand is counted.
const DEMANDS_MAX: usize = 10_000;
/// What a node is thought to send in a second if it has no bound of its own, as HyperMesh has it.
const RATE_BYTES: u64 = 100 << 20;

impl Demand {
    /// Notes that a peer asked for an archive.
    pub(super) fn asked(&self, blob: Digest) {
        let mut demand = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if demand.len() < DEMANDS_MAX || demand.contains_key(&blob) {
            let count = demand.entry(blob).or_default();
            *count = count.saturating_add(1);
        }
    }

    fn of(&self, blob: Digest) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&blob).copied().unwrap_or_default()
    }
}

impl Keeper for ArchiveKeeper {
    fn holdings(&self) -> Result<(Capacity, Vec<Holding>), KeeperError> {
        let catalog = self.catalog.upgrade().ok_or("the node stops")?;
        let mirrored = catalog.mirrored()?;
        let mut holdings = Vec::new();
        let mut kept_bytes = 0;
        for archive in catalog.archives_kept(&self.host.platform())? {
            if *self.config.share_of(archive.package.as_str()) == Share::Private {
                continue;
            }
            let is_pinned = archive.is_pinned || mirrored.contains(&archive.package);
            kept_bytes += if is_pinned { 0 } else { archive.bytes };
            holdings.push(Holding {
                digest: Blake3::from_bytes(*archive.blob.as_bytes()),
                size_bytes: archive.bytes,
                demand: self.demand.of(archive.blob),
                priority: u8::from(is_pinned),
                is_pinned,
                is_complete: true,
            });
        }
        let total_bytes = self.config.mirror_bytes_max;
        let on_disk = catalog.free_bytes();
        let site = self.config.site.clone().unwrap_or_default();
        let capacity = Capacity {
            total_bytes,
            free_bytes: total_bytes.saturating_sub(kept_bytes).min(on_disk),
            rate_bytes: self.config.peer_bytes_per_second.unwrap_or(RATE_BYTES),
            region: site.split('/').next().unwrap_or_default().to_owned(),
            site,
        };
        Ok((capacity, holdings))
    }

    fn keep(&self, digest: Blake3, _: u64, _: PeerId) -> Pending<'_, Result<(), KeeperError>> {
        let (catalog, host) = (self.catalog.clone(), Arc::clone(&self.host));
        let blob = Digest::from_bytes(*digest.as_bytes());
        Box::pin(async move {
            let kept = self.runtime.spawn_blocking(move || match catalog.upgrade() {
                Some(catalog) => catalog.keep_for_peers(blob, &*host),
                None => Ok(()),
            });
            kept.await?.map_err(KeeperError::from)
        })
    }

    fn drop_copy(&self, digest: Blake3) -> Result<(), KeeperError> {
        let catalog = self.catalog.upgrade().ok_or("the node stops")?;
        let blob = Digest::from_bytes(*digest.as_bytes());
        let mirrored = catalog.mirrored()?;
        for archive in catalog.archives_kept(&self.host.platform())?.into_iter().filter(|archive| archive.blob == blob)
        {
            if archive.is_pinned || mirrored.contains(&archive.package) {
                return Err(format!("`{}` is needed here", archive.package).into());
            }
            catalog.forget_archive(archive.tar)?;
        }
        Ok(())
    }
}

impl Catalog {
    /// Fetches an archive that a peer asks this node to keep, if a release here names it and may be installed as far as is known.
    fn keep_for_peers(&self, blob: Digest, host: &dyn Host) -> Result<(), OpError> {
        let mut kept = Ok(());
        for (name, version) in self.releases_of_blob(blob)? {
            kept = self.fetch_archive(&name, &version, host);
            if kept.is_ok() {
                break;
            }
        }
        kept
    }
}
