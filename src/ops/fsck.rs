//! `fsck`: every invariant of a node's files, each by the number that `docs/formats.md` gives it, and what can be mended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use trustchain::feed::Entry;

use super::{Catalog, OpError};
use crate::digest::Digest;
use crate::lockfile::{LockedPackage, LockedSource};
use crate::registry::Kept;
use crate::store::{Flaw, Rule, Writer};

/// Whether anything is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// It is only said what is wrong.
    No,
    /// What can be made anew from what is whole is.
    Yes,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The store alone.
    Store,
    /// The databases, and what they say of the store, too.
    All,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The number of the invariant.
    pub invariant: &'static str,
    /// Where.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
    /// The package, as `name@version`, if it is about one.
    pub package: Option<String>,
    /// What has become of it.
    pub state: State,
}

/// What has become of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there, and this can be done.
    Open(&'static str),
    /// It was mended.
    Repaired,
    /// It harms nobody: the next writer clears it.
    Harmless,
}

/// Archives of published versions are kept, with the very bytes that were published.
const KEPT: &str = "R2";
const DATABASE: &str = "R1";
const FEED: &str = "R3";

impl Catalog {
    /// Looks at everything this node holds, and mends what can be mended.
    ///
    /// # Errors
    /// Another writer, or the file system; damage is a finding and no error.
    pub fn fsck(&self, scope: Scope, repair: Repair) -> Result<Vec<Fault>, OpError> {
        let _turn = self.writing();
        let mut writer = self.store.hold()?;
        let mut found = self.look(&mut writer, scope, repair)?;
        if repair == Repair::Yes && !found.is_empty() {
            drop(writer);
            let mut writer = self.store.writer()?;
            // What is still there after mending is open; two looks tell it from what is not.
            let left = self.look(&mut writer, scope, Repair::No)?;
            let is_left = |fault: &Fault| {
                left.iter().any(|other| (other.invariant, &other.path) == (fault.invariant, &fault.path))
            };
            for fault in &mut found {
                fault.state = if is_left(fault) { open(fault.invariant) } else { State::Repaired };
            }
        }
        Ok(found)
    }

    fn look(&self, writer: &mut Writer, scope: Scope, repair: Repair) -> Result<Vec<Fault>, OpError> {
        let kept = self.registry().kept()?;
        let blobs: BTreeMap<Digest, &Kept> = kept.iter().map(|kept| (kept.digest, kept)).collect();
        let mut found = Vec::new();
        for flaw in self.store.inspect()? {
            if let (Rule::Tree | Rule::Archive | Rule::Record, Some(package)) = (flaw.rule, &flaw.package) {
                self.store.doubt(package)?;
            }
            if repair == Repair::Yes {
                // Whether it worked is seen when everything is looked at again.
                let kept = archive_of(&flaw).and_then(|digest| blobs.get(&digest).copied());
                let _ = mend(writer, &flaw, kept);
            }
            found.push(Fault::of(&flaw));
        }
        if scope == Scope::Store {
            return Ok(found);
        }
        for kept in &kept {
            found.extend(self.look_at_kept(writer, kept, repair)?);
        }
        let path = self.registry_path();
        for reason in self.registry().faults()? {
            found.push(Fault::new(DATABASE, &path, reason));
        }
        if let Some(reasons) = self.advisories_faults()? {
            let path = self.home.join("advisories.sqlite");
            found.extend(reasons.into_iter().map(|reason| Fault::new(DATABASE, &path, reason)));
        }
        found.extend(self.look_at_feeds(&path)?);
        Ok(found)
    }

    /// Whether the archive of a published version is there with the bytes that were published.
    fn look_at_kept(&self, writer: &mut Writer, kept: &Kept, repair: Repair) -> Result<Option<Fault>, OpError> {
        let reason = match self.store.compressed(kept.digest)? {
            None => "the archive is missing".to_owned(),
            Some(bytes) if Digest::of(&bytes) == kept.blob => return Ok(None),
            Some(bytes) => format!("expected `{}`, found `{}`", kept.blob, Digest::of(&bytes)),
        };
        if repair == Repair::Yes {
            let _ = writer.mend(&locked(kept), Some(kept.blob));
        }
        let fault = Fault::new(KEPT, &self.store.archive_path(kept.digest), reason);
        Ok(Some(Fault { package: Some(format!("{}@{}", kept.name, kept.version)), ..fault }))
    }

    /// Whether every feed is one chain from its first entry to its last. Signatures are looked at when packages are.
    fn look_at_feeds(&self, path: &Path) -> Result<Vec<Fault>, OpError> {
        let registry = self.registry();
        let mut found = Vec::new();
        for publisher in registry.publishers()? {
            let Some(feed) = registry.feed(&publisher)? else { continue };
            let mut previous: Option<Entry> = None;
            for (index, bytes) in feed.entries.iter().enumerate() {
                let reason = match Entry::parse(bytes) {
                    Err(error) => Some(error.to_string()),
                    Ok(entry) => {
                        let before = previous.as_ref().map(Entry::digest).transpose()?;
                        let follows = entry.number == index as u64 + 1
                            && entry.publisher == publisher
                            && entry.previous == before;
                        previous = Some(entry);
                        (!follows).then(|| "it does not follow the one before".to_owned())
                    }
                };
                if let Some(reason) = reason {
                    found.push(Fault::new(FEED, path, format!("feed of `{publisher}`, entry {}: {reason}", index + 1)));
                    break;
                }
            }
        }
        Ok(found)
    }
}

impl Fault {
    fn new(invariant: &'static str, path: &Path, reason: String) -> Self {
        Self { invariant, path: path.to_owned(), reason, package: None, state: open(invariant) }
    }

    fn of(flaw: &Flaw) -> Self {
        let package = flaw.package.as_ref().map(|package| format!("{}@{}", package.name, package.version));
        let state = if flaw.is_harmless() { State::Harmless } else { open(flaw.rule.id()) };
        Self { invariant: flaw.rule.id(), path: flaw.path.clone(), reason: flaw.reason.clone(), package, state }
    }
}

/// Mends what is wrong, if anything that is whole can stand for it.
fn mend(writer: &mut Writer, flaw: &Flaw, kept: Option<&Kept>) -> Result<(), OpError> {
    match (flaw.rule, &flaw.package) {
        (Rule::Mode, _) => writer.seal(&flaw.path)?,
        (Rule::Tree | Rule::Archive | Rule::Record, Some(package)) => {
            writer.mend(package, kept.map(|kept| kept.blob))?;
        }
        (Rule::Archive, None) => {
            if let Some(kept) = kept {
                writer.mend(&locked(kept), Some(kept.blob))?;
            } else {
                writer.discard(&flaw.path)?;
            }
        }
        // Whoever needs the object writes it again; trees that share it were mended before it by their own rule.
        (Rule::Object | Rule::Record, None) => writer.discard(&flaw.path)?,
        _ => {}
    }
    Ok(())
}

/// Gives the archive that a flaw is about, if it is about one.
fn archive_of(flaw: &Flaw) -> Option<Digest> {
    let named = || format!("blake3:{}", flaw.path.file_name()?.to_str()?).parse().ok();
    flaw.package.as_ref().map(|package| package.digest).or_else(named)
}

fn locked(kept: &Kept) -> LockedPackage {
    LockedPackage {
        name: kept.name.clone(),
        version: kept.version.clone(),
        digest: kept.digest,
        source: LockedSource::Registry { registry: None },
        features: Vec::new(),
        dependencies: Vec::new(),
    }
}

/// Says what can be done about a fault that is not mended by itself.
fn open(invariant: &'static str) -> State {
    State::Open(match invariant {
        "S1" => "this is another store, or its first file is lost: compare it with a copy",
        "S2" => "`catalog rollback N` makes a generation that is kept current",
        "S3" => "`catalog rollback N` to another one, then `catalog cache prune --keep 1` forgets it",
        "S4" | "S6" | "S7" | "S9" => "`catalog fsck --repair` makes it anew from the kept archive",
        "S5" | "R2" => "`catalog fsck --repair`; if that does not help, publish the same package again",
        "S8" | "S10" => "nothing of Catalog's makes it: look at it, and remove it",
        "R1" => "restore the database from a copy",
        _ => "restore the registry from a copy, or ask its publisher for the feed",
    })
}
