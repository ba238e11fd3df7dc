//! `replicas`: which nodes have the archives of packages.

use std::sync::Arc;

use semver::Version;
use stoq::PeerId;

use super::not_running;
use crate::digest::Digest;
use crate::ops::executions::off_thread;
use crate::ops::mesh::KeptArchive;
use crate::ops::{Catalog, OpError, inspect, spec};
use crate::package::name::PackageName;
use crate::registry::Record;

/// The copies of an archive.
#[derive(Clone, Debug)]
pub struct Replica {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The digest of the compressed archive.
    pub blob: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// Peers that say that they have it, this node among them.
    pub holders: Vec<PeerId>,
    /// Whether this node has it.
    pub here: bool,
    /// On how many nodes it should be.
    pub wanted: u32,
}

impl Catalog {
    /// Says which nodes have the archives of a package, or of all that are here.
    ///
    /// # Errors
    /// There is no network; the package is not known; the registry.
    pub async fn replicas(self: &Arc<Self>, package: Option<&str>, platform: String) -> Result<Vec<Replica>, OpError> {
        let node = self.node().await?;
        let (catalog, package, own) = (Arc::clone(self), package.map(str::to_owned), node.peer_id());
        let mut replicas = off_thread(move || catalog.archives_of(package.as_deref(), own, &platform)).await?;
        for replica in &mut replicas {
            let found = node.swarm().providers(*replica.blob.as_bytes(), HOLDERS_MAX).await;
            let found = found.map_err(|error| not_running(&error))?.value;
            let others = found.into_iter().map(|provider| provider.peer).filter(|peer| *peer != node.peer_id());
            replica.holders.extend(others);
        }
        Ok(replicas)
    }

    /// Gives the archives of a package, or of all that are here, with this node as their only holder.
    fn archives_of(&self, package: Option<&str>, own: PeerId, platform: &str) -> Result<Vec<Replica>, OpError> {
        let wanted = self.config().network.as_ref().map_or(1, |network| network.replicas);
        let Some(package) = package else {
            let here = |archive: KeptArchive| {
                let KeptArchive { package, version, blob, bytes, .. } = archive;
                Replica { package, version, blob, bytes, holders: vec![own], here: true, wanted }
            };
            return Ok(self.archives_kept(platform)?.into_iter().map(here).collect());
        };
        let (name, _) = spec::exact(package)?;
        let records = self.registry().versions(&name)?;
        if records.is_empty() {
            return Err(inspect::not_published(&name, &self.registry().names()?));
        }
        let mut replicas = Vec::new();
        for Record { release, .. } in records {
            let (blob, bytes, _) = self.form_of(&release)?;
            let here = self.store.archive_path(release.digests.blake3).exists();
            let (package, version) = (release.name, release.version);
            let holders = if here { vec![own] } else { Vec::new() };
            replicas.push(Replica { package, version, blob, bytes, holders, here, wanted });
        }
        Ok(replicas)
    }
}

/// The most holders of an archive that are looked for.
const HOLDERS_MAX: usize = 20;
