//! `owner`: to whom a package belongs, and how its owners make others owners.
//!
//! Nothing of it is in a table: owners say it in their feeds, signed and numbered like releases and yanks, so that every node that
//! has the feeds knows the same (`trustchain::owners`). Who owns a package may release it; for a name with a namespace the
//! certificate must cover the namespace besides.

use std::collections::{BTreeMap, BTreeSet};

use trustchain::certificate::{NamesError, SubjectName};
use trustchain::feed::{Action, FeedError};
use trustchain::owners::{OwnerStep, Owners, OwnersError};

use super::judge::Judge;
use super::sign::head;
use super::{Catalog, OpError, spec};
use crate::host::Host;
use crate::package::name::PackageName;
use crate::registry::Registry;
use crate::trust::policy::Use;
use crate::trust::vouch::CheckedFeed;

/// To whom a name belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The package.
    pub name: PackageName,
    /// Its owners; none of a package of which nobody has signed a release.
    pub owners: Option<Owners>,
}

/// What is to become of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It becomes one.
    Add,
    /// It is one no more.
    Remove,
}

/// Why owners stay as they are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// Nobody has signed a release of it.
    #[error("package `{name}` belongs to nobody: no signed release of it is known here")]
    Nobody {
        /// The package.
        name: PackageName,
    },
    /// Whoever is to sign has no say.
    #[error("`{publisher}` is no owner of package `{name}`, which belongs to `{}`", .owners.join("`, `"))]
    NotOwner {
        /// Who is to sign.
        publisher: String,
        /// The package.
        name: PackageName,
        /// To whom it belongs.
        owners: Vec<String>,
    },
    /// None of the owners signs on this node.
    #[error("none of the owners of package `{name}` signs on this node; it belongs to `{}`", .owners.join("`, `"))]
    NobodyHere {
        /// The package.
        name: PackageName,
        /// To whom it belongs.
        owners: Vec<String>,
    },
    /// Not the domain of a publisher.
    #[error("`{word}` names no publisher")]
    Domain {
        /// What was given.
        word: String,
        /// What is wrong with it.
        #[source]
        source: NamesError,
    },
    /// There was nothing to do, or nobody would be left.
    #[error("the owners of package `{name}` stay as they are")]
    Stay {
        /// The package.
        name: PackageName,
        /// Why.
        #[source]
        source: OwnersError,
    },
    /// More than fit into a step.
    #[error("package `{name}` has, or had, more owners than a step of a feed can name")]
    TooMany {
        /// The package.
        name: PackageName,
        /// What does not fit.
        #[source]
        source: FeedError,
    },
}

impl Catalog {
    /// Says to whom a name belongs: the policy holds every later release against it.
    ///
    /// # Errors
    /// A word that is no name, or the registry.
    pub fn owners(&self, word: &str, host: &dyn Host) -> Result<Ownership, OpError> {
        let (name, _) = spec::exact(word)?;
        self.pull_name(&name, host)?;
        let judge = self.judge(Use::Publish, host)?;
        let owners = judge.owners(&self.registry(), &name)?;
        Ok(Ownership { name, owners })
    }

    /// Makes a publisher an owner of a package, or no owner any more: a step in the feed of an owner who signs on this node,
    /// `signer` if one is named.
    ///
    /// # Errors
    /// A package that belongs to nobody; a signer that is no owner; the last owner would go; the host does not sign.
    pub fn change_owner(
        &self,
        word: &str,
        (change, publisher): (Change, &str),
        signer: Option<&str>,
        host: &dyn Host,
    ) -> Result<Ownership, OpError> {
        let (name, _) = spec::exact(word)?;
        let publisher = domain(publisher)?;
        let signer = signer.map(domain).transpose()?;
        self.pull_name(&name, host)?;
        let _turn = self.writing();
        self.expect_own(std::iter::once(&name), host)?;
        let judge = self.judge(Use::Publish, host)?;
        let owners = judge.owners(&self.registry(), &name)?;
        let Some(owners) = owners else { return Err(OwnerError::Nobody { name }.into()) };
        let stay = |source| OwnerError::Stay { name: name.clone(), source };
        let entries = self.registry().feed(&publisher)?.map_or(0, |feed| feed.entries.len() as u64);
        let signers = self.signers(&name, &owners, signer.as_deref())?;
        let action = match change {
            Change::Add => owners.with(&publisher).map_err(stay)?,
            Change::Remove => owners.without(&publisher, entries).map_err(stay)?,
        };
        let mut refusal = None;
        for signer in signers {
            match self.say_owners(&name, signer, &action, host) {
                Err(OpError::Host(refused)) => refusal = Some(OpError::Host(refused)),
                Err(OpError::FeedEntry(source @ FeedError::Malformed { .. })) => {
                    return Err(OwnerError::TooMany { name, source }.into());
                }
                said => {
                    said?;
                    let judge = self.judge(Use::Publish, host)?;
                    let owners = judge.owners(&self.registry(), &name)?;
                    return Ok(Ownership { name, owners });
                }
            }
        }
        let owners = owners.current().to_vec();
        Err(refusal.unwrap_or_else(|| OwnerError::NobodyHere { name, owners }.into()))
    }

    /// Gives who of the owners may sign here: their feeds go on on this node.
    fn signers<'o>(
        &self,
        name: &PackageName,
        owners: &'o Owners,
        wanted: Option<&str>,
    ) -> Result<Vec<&'o str>, OpError> {
        let current = owners.current();
        if let Some(publisher) = wanted {
            let owner = current.iter().find(|owner| *owner == publisher);
            let owner = owner.ok_or_else(|| OwnerError::NotOwner {
                publisher: publisher.to_owned(),
                name: name.clone(),
                owners: current.to_vec(),
            })?;
            return self.expect_own_feed(owner).map(|()| vec![owner.as_str()]);
        }
        let mut signers = Vec::new();
        for owner in current {
            if self.registry().feed_origin(owner)?.is_none() {
                signers.push(owner.as_str());
            }
        }
        Ok(signers)
    }

    fn say_owners(&self, name: &PackageName, signer: &str, action: &Action, host: &dyn Host) -> Result<(), OpError> {
        let mut feeds = BTreeMap::new();
        self.append(&mut feeds, signer, (name, None), action.clone(), host.now())?;
        let mut feed = feeds.remove(signer).unwrap_or_default();
        feed.head = head(&feed, Some(signer), host)?;
        self.expect_whole(signer, &feed, host)?;
        Ok(self.registry().set_feed(signer, &feed)?)
    }
}

impl Judge<'_> {
    /// Finds the owners of a package by what is known here; none if nobody has signed a release of it.
    pub(super) fn owners(&self, registry: &Registry, name: &PackageName) -> Result<Option<Owners>, OpError> {
        let first = registry.first_publisher(name)?;
        first.map(|first| self.owners_after(registry, &first, name)).transpose()
    }

    /// As [`Self::owners`], of a package whose first publisher is known.
    pub(super) fn owners_after(&self, registry: &Registry, first: &str, name: &PackageName) -> Result<Owners, OpError> {
        let steps = |feed: &CheckedFeed| -> Vec<OwnerStep> { feed.owner_steps(name).to_vec() };
        Owners::follow(first, |publisher| Ok(self.with_lasting(registry, publisher, steps)?.unwrap_or_default()))
    }

    /// Says whether a release that a statement is about is of an owner, or of one who was an owner then.
    pub(super) fn is_theirs(
        &self,
        registry: &Registry,
        owners: &Owners,
        (publisher, envelope): (&str, &[u8]),
    ) -> Result<bool, OpError> {
        if owners.has(publisher) || !owners.former().contains_key(publisher) {
            return Ok(owners.has(publisher));
        }
        let entry = self.with_lasting(registry, publisher, |feed| feed.find(envelope))?.flatten();
        Ok(owners.count(publisher, entry))
    }
}

/// Gives the owners that feeds name for packages.
pub(super) fn named_owners<'f>(
    feeds: impl Iterator<Item = &'f CheckedFeed>,
    packages: &BTreeSet<&str>,
) -> BTreeSet<String> {
    let named = feeds.flat_map(CheckedFeed::owners_named);
    named.filter(|(package, _)| packages.contains(package)).map(|(_, owner)| owner.to_owned()).collect()
}

/// Gives the domain of a publisher that is named by it, or by its namespace alone: `acme` is `acme.pub.trustchain`.
fn domain(word: &str) -> Result<String, OwnerError> {
    let named = if word.contains('.') { SubjectName::dns(word) } else { SubjectName::namespace(word) };
    Ok(named.map_err(|source| OwnerError::Domain { word: word.to_owned(), source })?.to_string())
}
