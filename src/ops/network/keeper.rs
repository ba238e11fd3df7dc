//! Copies of archives that this node keeps for others, and its own that others keep: what is here, what is kept on request, and
//! what may go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

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

/// How often peers asked for archives in the last hour: in this one, and in the one before.
#[derive(Debug)]
pub(super) struct Demand(Mutex<Hours>);

#[derive(Debug)]
struct Hours {
    began: Instant,
    now: BTreeMap<Digest, u32>,
    before: BTreeMap<Digest, u32>,
}

/// How long asking is counted as of one time.
const HOUR: Duration = Duration::from_secs(3_600);

/// The most archives whose demand is counted.
const DEMANDS_MAX: usize = 10_000;
/// What a node is thought to send in a second if it has no bound of its own, as HyperMesh has it.
const RATE_BYTES: u64 = 100 << 20;

impl Demand {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Hours { began: now, now: BTreeMap::new(), before: BTreeMap::new() }))
    }

    /// Notes that a peer asked for an archive.
    pub(super) fn asked(&self, blob: Digest, now: Instant) {
        let mut hours = self.at(now);
        if hours.now.len() < DEMANDS_MAX || hours.now.contains_key(&blob) {
            let count = hours.now.entry(blob).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Gives how often it was asked for in this hour, or in the one before if that was more.
    fn of(&self, blob: Digest, now: Instant) -> u32 {
        let hours = self.at(now);
        let in_hour = |hour: &BTreeMap<Digest, u32>| hour.get(&blob).copied().unwrap_or_default();
        in_hour(&hours.now).max(in_hour(&hours.before))
    }

    fn at(&self, now: Instant) -> MutexGuard<'_, Hours> {
        let mut hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(hours.began);
        if passed >= HOUR {
            let last = std::mem::take(&mut hours.now);
            hours.before = if passed < 2 * HOUR { last } else { BTreeMap::new() };
            hours.began = now;
        }
        hours
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
                demand: self.demand.of(archive.blob, Instant::now()),
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
        let releases = self.registry().archives_of_blob(blob)?;
        for (name, version, _) in releases {
            kept = self.fetch_archive(&name, &version, host).map(drop);
            if kept.is_ok() {
                break;
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_long_ago_does_not_count() {
        let (now, blob) = (Instant::now(), Digest::of(b"blob"));
        let demand = Demand::new(now);
        (0..3).for_each(|_| demand.asked(blob, now));
        assert_eq!((demand.of(blob, now), demand.of(Digest::of(b"other"), now)), (3, 0));
        assert_eq!(demand.of(blob, now + HOUR), 3, "in the hour before");
        demand.asked(blob, now + HOUR);
        assert_eq!(demand.of(blob, now + 2 * HOUR), 1);
        assert_eq!(demand.of(blob, now + 5 * HOUR), 0);
        for number in 0..=DEMANDS_MAX {
            demand.asked(Digest::of(&number.to_le_bytes()), now + 5 * HOUR);
        }
        assert_eq!(demand.at(now + 5 * HOUR).now.len(), DEMANDS_MAX);
    }
}
