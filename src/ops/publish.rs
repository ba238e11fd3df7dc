//! `publish`: packages become part of the registry, all of them or none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use time::OffsetDateTime;
use uuid::Uuid;

use super::validate::Packed;
use super::{Catalog, OpError};
use crate::archive::{self, Archive};
use crate::asset::AssetKind;
use crate::digest::Digest;
use crate::host::{Host, Progress};
use crate::package::Package;
use crate::package::model::PackageType;
use crate::package::name::PackageName;
use crate::registry::{Publication, Registry, Release};
use crate::resolve::{self, Candidate, Candidates, CandidatesError};
use crate::search::Document;
use crate::trust::{self, Expected, Verified};

/// Whether anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything is checked and nothing written.
    DryRun,
    /// It is done.
    Commit,
}

/// What was published, or would be.
#[derive(Clone, Debug)]
pub struct Published {
    /// The release.
    pub release: Release,
    /// The id of the host's asset that stands for it.
    pub asset_id: String,
}

impl Catalog {
    /// Publishes the packages in directories. Their dependencies must be met by what is published or published along.
    ///
    /// # Errors
    /// The first package that is not valid, published already, or not resolvable. Nothing is published then.
    pub fn publish(&self, directories: &[PathBuf], mode: Mode, host: &dyn Host) -> Result<Vec<Published>, OpError> {
        let _turn = self.writing();
        let mut packed = Vec::with_capacity(directories.len());
        for (done, directory) in directories.iter().enumerate() {
            let subject = directory.display().to_string();
            host.progress(Progress { stage: "pack", subject, done, total: directories.len() });
            packed.push(self.pack(directory)?.publishable()?);
        }
        let damaged = self.take_damaged(&mut packed)?;
        self.check_new(&packed)?;
        self.check_resolvable(&packed, host)?;
        let release = |packed: &Packed| Ok(Release::new(&packed.package, &packed.archive, host.now())?);
        let mut releases = packed.iter().map(release).collect::<Result<Vec<_>, OpError>>()?;
        if mode == Mode::Commit {
            let mut writer = self.store.writer()?;
            damaged
                .iter()
                .try_for_each(|(packed, _)| writer.keep(&verified(&packed.archive)?).map_err(OpError::from))?;
            drop(writer);
            self.commit(packed, &releases)?;
        }
        releases.extend(damaged.into_iter().map(|(_, release)| release));
        Ok(releases
            .into_iter()
            .map(|release| Published { asset_id: asset_id(release.kind, release.digests.blake3), release })
            .collect())
    }

    /// Publishes a package that comes as an archive; one that is published already with the same content is left alone.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn accept(&self, compressed: Vec<u8>, host: &dyn Host) -> Result<(), OpError> {
        let _turn = self.writing();
        let packed = vec![Packed::of_archive(archive::read(compressed)?)?.publishable()?];
        match self.check_new(&packed) {
            Err(OpError::Published { identical: true, .. }) => return Ok(()),
            checked => checked?,
        }
        self.check_resolvable(&packed, host)?;
        let release = Release::new(&packed[0].package, &packed[0].archive, host.now())?;
        self.commit(packed, &[release])
    }

    fn commit(&self, packed: Vec<Packed>, releases: &[Release]) -> Result<(), OpError> {
        let mut writer = self.store.writer()?;
        let mut manifests = Vec::with_capacity(packed.len());
        for packed in packed {
            let verified = verified(&packed.archive)?;
            // Archives first: one without a record is only a file that `collect` takes away.
            writer.keep(&verified)?;
            manifests.push(verified.manifest().to_vec());
        }
        let publications: Vec<Publication<'_>> =
            releases.iter().zip(&manifests).map(|(release, manifest)| Publication { release, manifest }).collect();
        let mut registry = self.registry();
        registry.publish(&publications)?;
        for release in releases {
            let id = asset_id(release.kind, release.digests.blake3);
            registry.set_asset_id(&release.name, &release.version, &id)?;
        }
        if let Some(index) = &mut *self.index() {
            releases.iter().for_each(|release| index.insert(&Document::from(release)));
        }
        Ok(())
    }

    /// Takes out the packages that are published already with the very same content, and whose archive is lost or damaged:
    /// publishing them again is how they are made whole.
    fn take_damaged(&self, all: &mut Vec<Packed>) -> Result<Vec<(Packed, Release)>, OpError> {
        let mut damaged = Vec::new();
        let mut others = Vec::with_capacity(all.len());
        for packed in all.drain(..) {
            let known = self.registry().get(&packed.package.name, &packed.package.version)?;
            match known.map(|record| record.release) {
                Some(release) if release.digests.blake3 == packed.archive.digest() && !self.is_whole(&release)? => {
                    damaged.push((packed, release));
                }
                _ => others.push(packed),
            }
        }
        *all = others;
        Ok(damaged)
    }

    fn is_whole(&self, release: &Release) -> Result<bool, OpError> {
        let archive = self.store.compressed(release.digests.blake3)?;
        Ok(archive.is_some_and(|bytes| Digest::of(&bytes) == release.blob))
    }

    fn check_new(&self, packed: &[Packed]) -> Result<(), OpError> {
        let registry = self.registry();
        let mut given = BTreeSet::new();
        for Packed { package, archive, .. } in packed {
            if !given.insert((&package.name, &package.version)) {
                return Err(OpError::GivenTwice { name: package.name.clone(), version: package.version.clone() });
            }
            if let Some(known) = registry.get(&package.name, &package.version)? {
                let identical = known.release.digests.blake3 == archive.digest();
                return Err(OpError::Published {
                    name: package.name.clone(),
                    version: package.version.clone(),
                    identical,
                });
            }
        }
        Ok(())
    }

    /// A package that nobody could install is refused now and not when somebody tries.
    fn check_resolvable(&self, packed: &[Packed], host: &dyn Host) -> Result<(), OpError> {
        let options = self.options(&host.platform());
        let registry = self.registry();
        let with_new = WithNew { registry: &registry, new: candidates(packed) };
        for Packed { package, .. } in packed {
            let own = super::resolve::exactly(&package.name, &package.version);
            resolve::resolve(&with_new, &[own], None, &options)?;
        }
        Ok(())
    }
}

/// Reads an archive that was just made once more, as whoever gets it will.
fn verified(archive: &Archive) -> Result<Verified<Archive>, OpError> {
    let (name, version) = (archive.name().clone(), archive.version().clone());
    let expected = Expected { name, version, digest: archive.digest(), blob: None, sha256: None, sha512: None };
    Ok(trust::verify_archive(archive.compressed().to_vec(), &expected)?)
}

/// Gives the id of the host's asset that stands for a package: `type:uuid:digest`, the UUID (version 5, RFC 9562) made of
/// the digest.
pub fn asset_id(kind: PackageType, digest: Digest) -> String {
    let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, digest.as_bytes());
    format!("{}:{uuid}:{}", AssetKind::of_package(kind).as_str(), digest.to_hex())
}

/// The registry with packages that are about to be published.
struct WithNew<'a> {
    registry: &'a Registry,
    new: BTreeMap<PackageName, Vec<Candidate>>,
}

impl Candidates for WithNew<'_> {
    fn candidates(&self, name: &PackageName) -> Result<Vec<Candidate>, CandidatesError> {
        let mut candidates = self.registry.candidates(name)?;
        candidates.extend(self.new.get(name).into_iter().flatten().cloned());
        Ok(candidates)
    }

    fn names(&self) -> Result<Vec<PackageName>, CandidatesError> {
        let mut names = Candidates::names(self.registry)?;
        names.extend(self.new.keys().cloned());
        Ok(names)
    }
}

fn candidates(packed: &[Packed]) -> BTreeMap<PackageName, Vec<Candidate>> {
    let mut all: BTreeMap<PackageName, Vec<Candidate>> = BTreeMap::new();
    for Packed { package, archive, .. } in packed {
        all.entry(package.name.clone()).or_default().push(candidate(package, archive.digest()));
    }
    all
}

fn candidate(package: &Package, digest: Digest) -> Candidate {
    Candidate {
        version: package.version.clone(),
        digest,
        dependencies: package.dependencies.clone(),
        features: package.features.clone(),
        yanked: None,
    }
}

/// The time of a release in RFC 3339.
pub fn published_at(time: OffsetDateTime) -> String {
    time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
