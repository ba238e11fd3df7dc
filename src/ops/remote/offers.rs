//! Releases that a remote registry offers: what is signed about them is checked before anything of them is kept.

use std::collections::BTreeMap;

use semver::Version;

use super::UpstreamError;
use super::pull::Pull;
use crate::config::RemoteMode;
use crate::digest::Digest;
use crate::ops::OpError;
use crate::ops::publish::asset_id;
use crate::ops::validate::read_manifest;
use crate::package::name::PackageName;
use crate::registry::{Offer, Origin, Publication, Release, StoredStatement, Voucher};
use crate::remote::{OfferedRelease, PackageDocument};
use crate::trust::policy::{Check, Fault, Pin, Signer, Violation};
use crate::trust::vouch::{Statement, Subject};

/// A release that may be kept.
struct Believed<'a> {
    offered: &'a OfferedRelease,
    release: Release,
    statement: Option<StoredStatement>,
    yanked: Option<String>,
    asset_id: String,
}

impl Pull<'_> {
    /// Takes in the releases of a description; says whether all of them were.
    pub(super) fn take_in(
        &self,
        document: &PackageDocument,
        chains: &BTreeMap<Digest, String>,
    ) -> Result<bool, OpError> {
        let (mut believed, mut refused) = (Vec::new(), None);
        for offered in &document.releases {
            if self.is_own(&document.name, offered)? {
                continue;
            }
            match self.believe(&document.name, offered, chains)? {
                Ok(release) => believed.push(release),
                Err(reason) => refused = Some((&offered.version, reason)),
            }
        }
        // The first that comes in says whose the name is.
        believed.sort_by_key(|release| release.release.published_at);
        if let Some(reason) = self.without_strangers(&document.name, &mut believed)? {
            refused = Some(reason);
        }
        if let Some((version, reason)) = &refused {
            tracing::warn!(package = %document.name, %version, "a release of the remote registry is refused: {reason}");
            if believed.is_empty() {
                let (url, name) = (self.upstream.url().to_owned(), document.name.clone());
                let (version, reason) = ((*version).clone(), reason.clone());
                return Err(UpstreamError::Unbelievable { url, name, version, reason }.into());
            }
        }
        let offers: Vec<Offer<'_>> = believed.iter().map(Believed::offer).collect();
        self.catalog.registry().take_in(self.upstream.url(), &offers)?;
        Ok(refused.is_none())
    }

    /// Says whether a version was published here, of a name that others publish, too: it stays as it is.
    fn is_own(&self, name: &PackageName, offered: &OfferedRelease) -> Result<bool, OpError> {
        let registry = self.catalog.registry();
        let known = registry.get(name, &offered.version)?;
        let is_here = self.upstream.mode == RemoteMode::Fallback && registry.origin(name)? == Origin::Here;
        let is_same = known.is_some_and(|known| known.release.digests.blake3 == offered.digests.blake3);
        Ok(is_here && is_same && registry.foreign(name, &offered.version)?.is_none())
    }

    /// Takes out what is of nobody who owns the name, if that matters to the policy; answers the last of it, and why.
    fn without_strangers<'o>(
        &self,
        name: &PackageName,
        believed: &mut Vec<Believed<'o>>,
    ) -> Result<Option<(&'o Version, String)>, OpError> {
        let Some(judge) = self.judge.as_ref().filter(|_| self.catalog.policy.requires(Check::Signature)) else {
            return Ok(None);
        };
        let registry = self.catalog.registry();
        let first = registry.first_publisher(name)?;
        let first = first.or_else(|| believed.iter().find_map(|it| Some(it.statement.as_ref()?.pin.publisher.clone())));
        let Some(first) = first else { return Ok(None) };
        let owners = judge.owners_after(&registry, &first, name)?;
        let mut refused = None;
        let mut kept = Vec::with_capacity(believed.len());
        for release in believed.drain(..) {
            let is_theirs = match &release.statement {
                None => true,
                Some(StoredStatement { statement, pin }) => {
                    judge.is_theirs(&registry, &owners, (&pin.publisher, &statement.envelope))?
                }
            };
            if is_theirs {
                kept.push(release);
            } else {
                let reason = format!("it belongs to `{}`, none of whom published it", owners.current().join("`, `"));
                refused = Some((&release.offered.version, reason));
            }
        }
        *believed = kept;
        Ok(refused)
    }

    /// Looks at one release; answers why it is not believed, if that matters to the policy.
    fn believe<'o>(
        &self,
        name: &PackageName,
        offered: &'o OfferedRelease,
        chains: &BTreeMap<Digest, String>,
    ) -> Result<Result<Believed<'o>, String>, OpError> {
        let version = &offered.version;
        let known = self.catalog.registry().get(name, version)?;
        if let Some(known) = known {
            let (here, there) = (known.release.digests.blake3, offered.digests.blake3);
            if here != there {
                let (url, name, version) = (self.upstream.url().to_owned(), name.clone(), version.clone());
                let (offered, known) = (there.to_string(), here.to_string());
                return Err(UpstreamError::Conflict { url, name, version, offered, known }.into());
            }
            return Ok(Ok(Believed::new(offered, known.release, None, known.yanked)));
        }
        let package = match read_manifest(offered.manifest.as_bytes()) {
            Ok(package) if (&package.name, &package.version) == (name, version) => package,
            Ok(package) => return Ok(Err(format!("its manifest is of `{}@{}`", package.name, package.version))),
            Err(error) => return Ok(Err(format!("its manifest does not read: {error}"))),
        };
        let statement = offered.statement.as_ref().and_then(|statement| {
            let chain = chains.get(&statement.chain)?.clone();
            Some(Statement { envelope: statement.envelope.clone().into_bytes(), chain })
        });
        let signer = match self.check(name, offered, statement.as_ref()) {
            Ok(signer) => Some(signer),
            Err(reason) if self.catalog.policy.requires(Check::Signature) => return Ok(Err(reason)),
            // What nobody stands for is kept as that: to whom a name belongs is read from what is kept.
            Err(_) => None,
        };
        let signed_at = signer.as_ref().map(|signer| signer.signed_at);
        let statement = signer.zip(statement).map(|(Signer { publisher, keys, .. }, statement)| StoredStatement {
            pin: Pin { publisher, keys },
            statement,
        });
        let yanked = self.yanked(name, offered, statement.as_ref());
        let release = Release {
            name: package.name,
            version: package.version,
            kind: package.kind,
            description: package.about.description,
            tags: package.about.tags,
            keywords: package.about.keywords,
            dependencies: package.dependencies,
            conflicts: package.conflicts,
            features: package.features,
            digests: offered.digests.clone(),
            blob: offered.blob,
            tar_bytes: offered.tar_bytes,
            archive_bytes: offered.archive_bytes,
            // The registry's own word would let it backdate what its publisher signed today.
            published_at: signed_at.unwrap_or(offered.published_at),
        };
        Ok(Ok(Believed::new(offered, release, statement, yanked)))
    }

    /// Checks that the publisher stands for what is said of a release.
    fn check(
        &self,
        name: &PackageName,
        offered: &OfferedRelease,
        statement: Option<&Statement>,
    ) -> Result<Signer, String> {
        let statement = statement.ok_or("nobody signed it")?;
        let anchors = self.judge.as_ref().and_then(|judge| judge.anchors()).ok_or("this node believes nobody")?;
        let publisher = publisher_of(&statement.chain).ok_or("its chain is of no publisher")?;
        let feed = self.feeds.get(&publisher).and_then(Option::as_ref).map(|feed| &feed.checked);
        let feed = feed.ok_or_else(|| Fault {
            check: Check::Freshness,
            violation: Violation::StaleFeed,
            reason: "there is no feed of its publisher".into(),
        });
        let subject = Subject {
            name,
            version: &offered.version,
            digest: offered.digests.blake3,
            sha256: &offered.digests.sha256,
            tar_bytes: offered.tar_bytes,
            manifest: offered.manifest.as_bytes(),
        };
        let signer = statement.check_subject(&subject, feed, anchors).signer.map_err(|fault| fault.reason)?;
        if signer.publisher == publisher { Ok(signer) } else { Err(format!("it is signed by `{}`", signer.publisher)) }
    }

    /// Says why a release is yanked: as its publisher's feed says, and as the registry says only if there is none that counts.
    fn yanked(
        &self,
        name: &PackageName,
        offered: &OfferedRelease,
        statement: Option<&StoredStatement>,
    ) -> Option<String> {
        let feed = statement.and_then(|statement| self.feeds.get(&statement.pin.publisher)?.as_ref());
        match feed {
            Some(feed) => feed.yanked(name, &offered.version).map(str::to_owned),
            None => offered.yanked.clone(),
        }
    }
}

impl<'a> Believed<'a> {
    fn new(
        offered: &'a OfferedRelease,
        release: Release,
        statement: Option<StoredStatement>,
        yanked: Option<String>,
    ) -> Self {
        let release = Release { blob: offered.blob, archive_bytes: offered.archive_bytes, ..release };
        Self { asset_id: asset_id(release.kind, release.digests.blake3), offered, release, statement, yanked }
    }

    fn offer(&self) -> Offer<'_> {
        let voucher = self.statement.as_ref().map(|StoredStatement { statement, pin }| Voucher { statement, pin });
        let manifest = self.offered.manifest.as_bytes();
        let publication = Publication { release: &self.release, manifest, voucher };
        Offer { publication, yanked: self.yanked.as_deref(), asset_id: &self.asset_id }
    }
}

/// Gives the publisher that a chain is of; nobody has checked it.
pub(super) fn publisher_of(chain: &str) -> Option<String> {
    let chain = trustchain::certificate::from_pem(chain.as_bytes()).ok()?;
    Some(trustchain::feed::publisher_of(chain.first()?)?.to_owned())
}
