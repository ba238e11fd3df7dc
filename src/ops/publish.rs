//! `publish`: packages become part of the registry, all of them or none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use semver::Version;
use time::OffsetDateTime;
use uuid::Uuid;

use super::judge::Judge;
use super::owners::OwnerError;
use super::remote::UpstreamError;
use super::sign::Signing;
use super::validate::Packed;
use super::{Catalog, OpError};
use crate::archive::{self, Archive, Compression};
use crate::asset::AssetKind;
use crate::digest::Digest;
use crate::host::{Host, Progress};
use crate::package::Package;
use crate::package::model::PackageType;
use crate::package::name::PackageName;
use crate::registry::{Origin, Publication, Registry, Release, StoredStatement, Voucher};
use crate::resolve::{self, Candidate, Candidates, CandidatesError, Details};
use crate::trust::policy::{Accepted, Confirmed, Decision, Use};
use crate::trust::{self, Expected, Intact};

/// Whether anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything is checked and nothing written.
    DryRun,
    /// It is done.
    Commit,
}

/// How to publish.
#[derive(Clone, Debug)]
pub struct PublishOptions {
    /// Whether anything is written.
    pub mode: Mode,
    /// Which of the host's publishers signs; its default one if none is named.
    pub publisher: Option<String>,
    /// Whether somebody said that what needs confirmation may be done.
    pub confirmed: Confirmed,
    /// How the archives are compressed; what installs them reads either.
    pub compression: Compression,
}

/// What was published, or would be.
#[derive(Clone, Debug)]
pub struct Published {
    /// The release.
    pub release: Release,
    /// What the policy thinks of it; none for a release that was published before.
    pub decision: Option<Decision>,
    /// The id of the host's asset that stands for it.
    pub asset_id: String,
}

impl Catalog {
    /// Publishes the packages in directories, signed by a publisher of the host. Their dependencies must be met by what is
    /// published or published along.
    ///
    /// # Errors
    /// The first package that is not valid, published already, not resolvable, not signed or not accepted by the policy.
    /// Nothing is published then.
    pub fn publish(
        &self,
        directories: &[PathBuf],
        options: &PublishOptions,
        host: &dyn Host,
    ) -> Result<Vec<Published>, OpError> {
        let _turn = self.writing();
        let mut packed = Vec::with_capacity(directories.len());
        for (done, directory) in directories.iter().enumerate() {
            let subject = directory.display().to_string();
            host.progress(Progress { stage: "pack", subject, done, total: directories.len() });
            packed.push(self.pack_with(directory, options.compression)?.publishable()?);
        }
        self.expect_own(packed.iter().map(|packed| &packed.package.name), host)?;
        let damaged = self.take_damaged(&mut packed)?;
        self.check_new(&packed)?;
        self.check_resolvable(&packed, host)?;
        let prepared = self.prepare_release(packed, options, host)?;
        let mut published = prepared.published();
        if options.mode == Mode::Commit {
            let mut writer = self.store.writer()?;
            damaged.iter().try_for_each(|(packed, _)| writer.keep(&intact(&packed.archive)?).map_err(OpError::from))?;
            drop(writer);
            self.commit(&prepared)?;
        }
        published.extend(damaged.into_iter().map(|(_, release)| Published::new(release, None)));
        Ok(published)
    }

    /// Publishes a package that comes as an archive; one that is published already with the same content is left alone.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn accept(&self, compressed: Vec<u8>, host: &dyn Host) -> Result<(), OpError> {
        let _turn = self.writing();
        let packed = vec![Packed::of_archive(archive::read(compressed)?)?.publishable()?];
        self.expect_own(packed.iter().map(|packed| &packed.package.name), host)?;
        match self.check_new(&packed) {
            Err(OpError::Published { identical: true, .. }) => return Ok(()),
            checked => checked?,
        }
        self.check_resolvable(&packed, host)?;
        let (confirmed, compression) = (Confirmed::No, Compression::default());
        let options = PublishOptions { mode: Mode::Commit, publisher: None, confirmed, compression };
        let prepared = self.prepare_release(packed, &options, host)?;
        self.commit(&prepared)
    }

    /// Has releases signed and asks the policy about them, as whoever installs them will.
    fn prepare_release<'a>(
        &'a self,
        packed: Vec<Packed>,
        options: &PublishOptions,
        host: &'a dyn Host,
    ) -> Result<Prepared<'a>, OpError> {
        let archives: Vec<&Archive> = packed.iter().map(|packed| &packed.archive).collect();
        let signing = self.sign(&archives, options.publisher.as_deref(), host)?;
        let mut judge = self.judge(Use::Publish, host)?;
        self.expect_owners(&packed, &signing, &judge)?;
        for (publisher, feed) in &signing.feeds {
            judge.with_feed(publisher, feed);
        }
        let mut releases = Vec::with_capacity(packed.len());
        for (index, packed) in packed.iter().enumerate() {
            let decision = judge.decide(&packed.package, &packed.archive, signing.statements.get(index))?;
            let accepted = decision.require(options.confirmed)?;
            releases.push((Release::new(&packed.package, &packed.archive, host.now())?, accepted));
        }
        Ok(Prepared { packed, releases, signing, judge })
    }

    /// A name that came from elsewhere is released here by its owners only, whatever the policy of this node lets through.
    fn expect_owners(&self, packed: &[Packed], signing: &Signing, judge: &Judge<'_>) -> Result<(), OpError> {
        let registry = self.registry();
        for (index, Packed { package, .. }) in packed.iter().enumerate() {
            if registry.origin(&package.name)? != Origin::Remote {
                continue;
            }
            let name = package.name.clone();
            let owners = judge.owners(&registry, &name)?;
            let signer = signing.statements.get(index).map(|statement| &statement.pin.publisher);
            let Some((owners, publisher)) = owners.zip(signer) else {
                return Err(UpstreamError::ForeignName { name }.into());
            };
            if !owners.has(publisher) {
                let (publisher, owners) = (publisher.clone(), owners.current().to_vec());
                return Err(OwnerError::NotOwner { publisher, name, owners }.into());
            }
        }
        Ok(())
    }

    fn commit(&self, prepared: &Prepared<'_>) -> Result<(), OpError> {
        let Prepared { packed, releases, signing, judge } = prepared;
        let mut writer = self.store.writer()?;
        let mut manifests = Vec::with_capacity(packed.len());
        for (packed, (_, accepted)) in packed.iter().zip(releases) {
            let verified = trust::admit(intact(&packed.archive)?, accepted)?;
            // Archives first: one without a record is only a file that `collect` takes away.
            writer.keep(&verified)?;
            manifests.push(verified.manifest().to_vec());
        }
        let voucher = |index: usize| {
            let StoredStatement { statement, pin } = signing.statements.get(index)?;
            Some(Voucher { statement, pin })
        };
        let publications: Vec<Publication<'_>> = releases
            .iter()
            .zip(&manifests)
            .enumerate()
            .map(|(index, ((release, _), manifest))| Publication { release, manifest, voucher: voucher(index) })
            .collect();
        let mut registry = self.registry();
        registry.publish(&publications, &signing.feeds)?;
        for (release, _) in releases {
            let id = asset_id(release.kind, release.digests.blake3);
            registry.set_asset_id(&release.name, &release.version, &id)?;
        }
        drop(registry);
        // Only now: a node that saw its own feed further than its registry has it could never publish again.
        judge.note()
    }

    /// Takes out the packages that are published already with the very same content, and whose archive is lost or damaged:
    /// publishing them again is how they are made whole.
    fn take_damaged(&self, all: &mut Vec<Packed>) -> Result<Vec<(Packed, Release)>, OpError> {
        let mut damaged = Vec::new();
        let mut others = Vec::with_capacity(all.len());
        for mut packed in all.drain(..) {
            let known = self.registry().get(&packed.package.name, &packed.package.version)?;
            match known.map(|record| record.release) {
                Some(release) if release.digests.blake3 == packed.archive.digest() && !self.is_whole(&release)? => {
                    if let Some(published) = packed.archive.with_blob(release.blob)? {
                        packed.archive = published;
                    }
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

/// Releases that are signed and accepted, and not published yet.
struct Prepared<'a> {
    packed: Vec<Packed>,
    releases: Vec<(Release, Accepted)>,
    signing: Signing,
    judge: Judge<'a>,
}

impl Prepared<'_> {
    fn published(&self) -> Vec<Published> {
        let published = |(release, accepted): &(Release, Accepted)| {
            Published::new(release.clone(), Some(accepted.decision().clone()))
        };
        self.releases.iter().map(published).collect()
    }
}

impl Published {
    fn new(release: Release, decision: Option<Decision>) -> Self {
        Self { asset_id: asset_id(release.kind, release.digests.blake3), release, decision }
    }
}

/// Reads an archive that was just made once more, as whoever gets it will.
fn intact(archive: &Archive) -> Result<Intact<Archive>, OpError> {
    let (name, version) = (archive.name().clone(), archive.version().clone());
    let expected = Expected { name, version, digest: archive.digest(), blob: None, sha256: None, sha512: None };
    Ok(trust::check_archive(archive.compressed().to_vec(), &expected)?)
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
    new: BTreeMap<PackageName, Vec<(Candidate, Details)>>,
}

impl Candidates for WithNew<'_> {
    fn candidates(&self, name: &PackageName) -> Result<Vec<Candidate>, CandidatesError> {
        let mut candidates = self.registry.candidates(name)?;
        candidates.extend(self.new.get(name).into_iter().flatten().map(|(candidate, _)| candidate.clone()));
        Ok(candidates)
    }

    fn details(&self, name: &PackageName, version: &Version) -> Result<Details, CandidatesError> {
        let new = self.new.get(name).into_iter().flatten().find(|(candidate, _)| candidate.version == *version);
        new.map_or_else(|| self.registry.details(name, version), |(_, details)| Ok(details.clone()))
    }

    fn names(&self) -> Result<Vec<PackageName>, CandidatesError> {
        let mut names = Candidates::names(self.registry)?;
        names.extend(self.new.keys().cloned());
        Ok(names)
    }
}

fn candidates(packed: &[Packed]) -> BTreeMap<PackageName, Vec<(Candidate, Details)>> {
    let mut all: BTreeMap<PackageName, Vec<(Candidate, Details)>> = BTreeMap::new();
    for Packed { package, archive, .. } in packed {
        all.entry(package.name.clone()).or_default().push(candidate(package, archive.digest()));
    }
    all
}

fn candidate(package: &Package, digest: Digest) -> (Candidate, Details) {
    let (dependencies, features) = (package.dependencies.clone(), package.features.clone());
    let candidate = Candidate { version: package.version.clone(), yanked: None, published_at: None };
    (candidate, Details { digest, dependencies, conflicts: package.conflicts.clone(), features })
}

/// The time of a release in RFC 3339.
pub fn published_at(time: OffsetDateTime) -> String {
    time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
