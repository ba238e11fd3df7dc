//! `install` and `remove`: the node goes from one whole generation to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use semver::Version;

use super::publish::Mode;
use super::validate::read_manifest;
use super::{Catalog, OpError, inspect, judge, spec};
use crate::advisory::Rating;
use crate::archive::Archive;
use crate::host::{Host, Progress};
use crate::lockfile::{LockedPackage, Lockfile, Requirement};
use crate::package::model::HashAlgorithm;
use crate::package::name::PackageName;
use crate::registry::StoredStatement;
use crate::store::StoreError;
use crate::trust::policy::{Confirmed, Use};
use crate::trust::reputation::Event;
use crate::trust::{self, Expected, Intact, Verified};

/// What changes from one generation to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Packages that were not there before.
    pub added: Vec<(PackageName, Version)>,
    /// Packages in another version than before.
    pub changed: Vec<(PackageName, Version, Version)>,
    /// Packages that are not there any more.
    pub removed: Vec<(PackageName, Version)>,
    /// Packages whose files were not as installed, and are made anew.
    pub repaired: Vec<(PackageName, Version)>,
}

/// What an installation gave.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The number of the generation; the one before if nothing changed or nothing was written.
    pub generation: u64,
    /// Everything that is installed.
    pub lockfile: Lockfile,
    /// What changed.
    pub plan: Plan,
    /// What the policy warns of.
    pub warnings: Vec<String>,
}

/// From one generation to the next.
struct Change<'a> {
    before: &'a Lockfile,
    /// What is to be installed.
    roots: Vec<Requirement>,
    /// What of that was just asked for.
    named: Vec<PackageName>,
}

impl Catalog {
    /// Installs packages and what they need, keeping everything else as it is where that is possible.
    ///
    /// # Errors
    /// A package that is not published, requirements that cannot be met, an archive that is not the one published.
    /// Nothing has changed then.
    pub fn install(
        &self,
        words: &[String],
        mode: Mode,
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<Installation, OpError> {
        let _turn = self.writing();
        let before = self.installed(&host.platform())?;
        let mut roots: BTreeMap<PackageName, Requirement> =
            before.roots().iter().map(|root| (root.name.clone(), root.clone())).collect();
        let mut named = Vec::with_capacity(words.len());
        for word in words {
            let wanted = spec::requirement(word)?;
            self.require_published(&wanted.name)?;
            named.push(wanted.name.clone());
            roots.insert(wanted.name.clone(), wanted);
        }
        let change = Change { before: &before, roots: roots.into_values().collect(), named };
        self.switch_to(&change, mode, confirmed, host)
    }

    /// Removes packages, and what only they needed.
    ///
    /// # Errors
    /// [`OpError::NotInstalled`], or [`OpError::Needed`] for one that others need. Nothing has changed then.
    pub fn remove(&self, words: &[String], mode: Mode, host: &dyn Host) -> Result<Installation, OpError> {
        let _turn = self.writing();
        let before = self.installed(&host.platform())?;
        let names = words.iter().map(|word| Ok(spec::exact(word)?.0)).collect::<Result<Vec<_>, OpError>>()?;
        for name in &names {
            if before.get(name).is_none() {
                return Err(self.not_installed(name, &before));
            }
        }
        let roots: Vec<Requirement> =
            before.roots().iter().filter(|root| !names.contains(&root.name)).cloned().collect();
        let after = self.resolve_roots(&roots, Some(&before), host)?;
        for name in &names {
            if after.lockfile().get(name).is_some() {
                let needs = |package: &&LockedPackage| package.dependencies.contains(name);
                let dependents = after.packages().filter(needs).map(|package| package.name.clone()).collect();
                return Err(OpError::Needed { name: name.clone(), dependents });
            }
        }
        self.switch_to(&Change { before: &before, roots, named: Vec::new() }, mode, Confirmed::No, host)
    }

    fn switch_to(
        &self,
        change: &Change<'_>,
        mode: Mode,
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<Installation, OpError> {
        let before = change.before;
        let resolution = self.resolve_roots(&change.roots, Some(before), host)?;
        let mut plan = plan(before, resolution.lockfile());
        let packages: Vec<LockedPackage> = resolution.packages().cloned().collect();
        self.check_licences(resolution.lockfile())?;
        let mut to_write = Vec::new();
        for package in &packages {
            match self.store.verify(package) {
                Ok(_) => continue,
                Err(StoreError::NotInstalled { .. }) => {}
                Err(StoreError::Damaged { .. } | StoreError::Archive(_)) => {
                    plan.repaired.push((package.name.clone(), package.version.clone()));
                }
                Err(error) => return Err(error.into()),
            }
            to_write.push(package);
        }
        // What is installed already is asked about again if something that is wanted now builds on it.
        let wanted = closure(resolution.lockfile(), &change.named);
        let kept = packages.iter().filter(|package| wanted.contains(&package.name) && !to_write.contains(package));
        let (_, mut warnings) = self.admit_all(&kept.collect::<Vec<_>>(), confirmed, host)?;
        let (verified, further) = self.admit_all(&to_write, confirmed, host)?;
        warnings.extend(further);
        let current = self.store.current()?.map_or(0, |generation| generation.number);
        let is_same = *before == *resolution.lockfile() && current > 0;
        if mode == Mode::DryRun || (is_same && to_write.is_empty()) {
            return Ok(Installation { generation: current, lockfile: resolution.into_lockfile(), plan, warnings });
        }
        let mut writer = self.store.writer()?;
        for (done, archive) in verified.iter().enumerate() {
            let subject = format!("{} {}", archive.name(), archive.version());
            host.progress(Progress { stage: "install", subject, done, total: to_write.len() });
            writer.install(archive)?;
        }
        let generation = writer.switch(resolution.lockfile())?;
        self.note_installed(&verified, host)?;
        Ok(Installation { generation: generation.number, lockfile: generation.lockfile, plan, warnings })
    }

    /// Counts what was installed, for the packages and for their publishers.
    fn note_installed(&self, archives: &[Verified<Archive>], host: &dyn Host) -> Result<(), OpError> {
        let mut events = Vec::with_capacity(archives.len());
        for archive in archives {
            let known = self.advisories_affecting(archive.name(), archive.version())?;
            let is_serious = known.iter().any(|finding| finding.level() >= Rating::High);
            events.push(if is_serious { Event::Vulnerable } else { Event::Installed });
        }
        self.registry().together(|registry| {
            for (archive, event) in archives.iter().zip(events) {
                registry.add_downloads(archive.name(), archive.version(), 1)?;
                judge::experience(registry, archive.name(), archive.version(), event, host.now())?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Fetches archives and asks the policy about each; also gives what it warns of.
    fn admit_all(
        &self,
        packages: &[&LockedPackage],
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<(Vec<Verified<Archive>>, Vec<String>), OpError> {
        if packages.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut judge = self.judge(Use::Install, host)?;
        let mut statements = Vec::with_capacity(packages.len());
        for package in packages {
            let statement = self.registry().statement(&package.name, &package.version)?;
            judge.with_feed_of(statement.as_ref())?;
            statements.push(statement);
        }
        let (judge, done) = (&judge, AtomicUsize::new(0));
        let admit = |(package, statement): (&LockedPackage, Option<&StoredStatement>)| {
            let subject = format!("{} {}", package.name, package.version);
            let done = done.fetch_add(1, Ordering::Relaxed);
            host.progress(Progress { stage: "verify", subject, done, total: packages.len() });
            let archive = self.fetch(package)?;
            let decision = judge.decide(&read_manifest(archive.manifest())?, &archive, statement)?;
            let accepted = decision.require(confirmed)?;
            let warnings: Vec<String> = accepted.decision().warnings().collect();
            Ok((trust::admit(archive, &accepted)?, warnings))
        };
        let work: Vec<_> = packages.iter().copied().zip(statements.iter().map(Option::as_ref)).collect();
        let admitted: Result<Vec<_>, OpError> = in_parallel(&work, admit).into_iter().collect();
        // Whatever comes of it, what was seen was seen.
        let (verified, warnings): (_, Vec<_>) = judge.note().and(admitted)?.into_iter().unzip();
        Ok((verified, warnings.concat()))
    }

    /// Gives the archive of a published package, checked against every digest the registry has and the package asks for.
    pub(super) fn fetch(&self, package: &LockedPackage) -> Result<Intact<Archive>, OpError> {
        let registry = self.registry();
        let published = registry.get(&package.name, &package.version)?;
        let record = published.ok_or_else(|| {
            let (name, version) = (package.name.clone(), package.version.clone());
            OpError::NoVersion { name, version, latest: None }
        })?;
        let manifest = registry.manifest(&package.name, &package.version)?.unwrap_or_default();
        drop(registry);
        let asked = read_manifest(&manifest)?.security.hash_validation;
        let digests = record.release.digests;
        let compressed = self.store.compressed(package.digest)?.ok_or_else(|| {
            let (name, version) = (package.name.clone(), package.version.clone());
            OpError::ArchiveMissing { name, version }
        })?;
        let expected = Expected {
            name: package.name.clone(),
            version: package.version.clone(),
            digest: package.digest,
            blob: Some(record.release.blob),
            sha256: (asked == HashAlgorithm::Sha256).then_some(digests.sha256),
            sha512: (asked == HashAlgorithm::Sha512).then_some(digests.sha512),
        };
        Ok(trust::check_archive(compressed, &expected)?)
    }

    fn require_published(&self, name: &PackageName) -> Result<(), OpError> {
        let registry = self.registry();
        if registry.versions(name)?.is_empty() {
            return Err(inspect::not_published(name, &registry.names()?));
        }
        Ok(())
    }
}

/// The most threads that check archives at the same time: reading and hashing them is as much work as their signatures.
const THREADS_MAX: usize = 8;

/// Does the same to all items on as many threads as there are cores; the results are in the order of the items.
fn in_parallel<T: Copy + Sync, R: Send>(items: &[T], work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(cores.min(THREADS_MAX)).max(1);
    let shares = items.chunks(share);
    if shares.len() < 2 {
        return items.iter().map(|item| work(*item)).collect();
    }
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            shares.map(|share| scope.spawn(move || share.iter().map(|item| work(*item)).collect::<Vec<R>>())).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<R>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).collect()
    })
}

/// Gives packages and everything they depend on.
pub(super) fn closure<'a>(lockfile: &'a Lockfile, names: &[PackageName]) -> BTreeSet<&'a PackageName> {
    let mut waiting: Vec<&LockedPackage> = names.iter().filter_map(|name| lockfile.get(name)).collect();
    let mut found = BTreeSet::new();
    while let Some(package) = waiting.pop() {
        if found.insert(&package.name) {
            waiting.extend(package.dependencies.iter().filter_map(|name| lockfile.get(name)));
        }
    }
    found
}

fn plan(before: &Lockfile, after: &Lockfile) -> Plan {
    let mut plan = Plan::default();
    for package in after.packages() {
        let (name, version) = (package.name.clone(), package.version.clone());
        match before.get(&package.name) {
            None => plan.added.push((name, version)),
            Some(old) if old.version != version => plan.changed.push((name, old.version.clone(), version)),
            Some(_) => {}
        }
    }
    let gone = before.packages().filter(|package| after.get(&package.name).is_none());
    plan.removed = gone.map(|package| (package.name.clone(), package.version.clone())).collect();
    plan
}
