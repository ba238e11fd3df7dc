//! `install`, `remove` and `rollback`: the node goes from one whole generation to another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use semver::Version;

use super::judge::Candidate;
use super::publish::Mode;
use super::resolve::{LOCKFILE_NAME, write_lockfile};
use super::validate::read_manifest;
use super::{Catalog, OpError, judge, spec};
use crate::advisory::Rating;
use crate::archive::{Archive, Listing};
use crate::config::When;
use crate::digest::Digest;
use crate::host::{Host, Progress};
use crate::lockfile::merge::{self, Merged};
use crate::lockfile::{LockedPackage, LockedSource, Lockfile, Requirement};
use crate::package::Package;
use crate::package::model::HashAlgorithm;
use crate::package::name::PackageName;
use crate::parallel;
use crate::registry::{Release, StoredStatement};
use crate::store::{Generation, Installable, StoreError};
use crate::trust::policy::{Check, Confirmed, Use};
use crate::trust::reputation::Event;
use crate::trust::vouch::Subject;
use crate::trust::{self, Expected, Intact};

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
    /// The lockfile was not whole, as after a merge: what is in it was kept where it fits, and it is whole now.
    pub merged: bool,
}

/// From one set of packages to another.
pub(super) struct Target<'a> {
    pub(super) before: &'a Lockfile,
    pub(super) after: &'a Lockfile,
    /// What was just asked for.
    pub(super) named: Vec<PackageName>,
}

/// Everything that a set of packages needs before it can be current.
struct Ready {
    plan: Plan,
    /// What must be written.
    verified: Vec<Installable>,
    warnings: Vec<String>,
    /// Everything that the policy was asked about.
    judged: BTreeSet<Digest>,
    /// What was not there, or not whole.
    new: BTreeSet<Digest>,
    consensus: Consensus,
}

/// Packages that the policy let in.
struct Admitted {
    verified: Vec<Installable>,
    warnings: Vec<String>,
    consensus: Consensus,
}

/// Whether validators had to agree, which counts for one time only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Consensus {
    Asked,
    NotAsked,
}

/// How to install.
#[derive(Clone, Debug)]
pub struct InstallOptions {
    /// Whether anything is written.
    pub mode: Mode,
    /// Whether somebody said that what needs confirmation may be done.
    pub confirmed: Confirmed,
    /// Whether another choice than the one that is locked may be made.
    pub choice: Choice,
    /// A lockfile, or the directory of one, whose packages are installed and no others.
    pub lockfile: Option<PathBuf>,
}

/// A lockfile of the caller.
struct Locked {
    file: PathBuf,
    lockfile: Lockfile,
    /// It was not whole, and was resolved.
    is_merged: bool,
}

/// Whether packages may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// What is asked for is resolved, and what is locked kept where it fits.
    Free,
    /// What is locked is installed; anything else is refused.
    Frozen,
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
        let options = InstallOptions { mode, confirmed, choice: Choice::Free, lockfile: None };
        self.install_with(words, &options, host)
    }

    /// Installs packages as [`Catalog::install`] does, or exactly those of a lockfile.
    ///
    /// # Errors
    /// As [`Catalog::install`]; [`OpError::Frozen`] if something else than what is locked would be installed.
    pub fn install_with(
        &self,
        words: &[String],
        options: &InstallOptions,
        host: &dyn Host,
    ) -> Result<Installation, OpError> {
        let wanted = words.iter().map(|word| spec::requirement(word)).collect::<Result<Vec<_>, _>>()?;
        // Before the turn: nobody waits for a network that others wait for.
        let locked = options.lockfile.as_ref().map(|path| self.locked(path, options.choice, host)).transpose()?;
        let hold = self.hold();
        let mut warnings = match &locked {
            Some(locked) => self.prefetch_locked(&locked.lockfile, &hold, host)?,
            None => self.prefetch(&wanted, &hold, host)?,
        };
        let mut installation = match &locked {
            Some(locked) => self.install_locked(&locked.file, &locked.lockfile, options, host)?,
            None => self.install_wanted(wanted, options, host)?,
        };
        warnings.append(&mut installation.warnings);
        let merged = locked.filter(|locked| locked.is_merged);
        if options.mode == Mode::Commit
            && let Some(Locked { file, lockfile, .. }) = &merged
        {
            write_lockfile(file.parent().unwrap_or(Path::new(".")), lockfile)?;
        }
        Ok(Installation { warnings, merged: merged.is_some(), ..installation })
    }

    /// Installs the packages of a lockfile, which this node has or has just fetched.
    fn install_locked(
        &self,
        path: &Path,
        locked: &Lockfile,
        options: &InstallOptions,
        host: &dyn Host,
    ) -> Result<Installation, OpError> {
        if locked.platform() != host.platform() {
            let (locked, node) = (locked.platform().to_owned(), host.platform());
            return Err(OpError::OtherPlatform { path: path.to_owned(), locked, node });
        }
        let _turn = self.writing();
        let before = self.installed(&host.platform())?;
        let named = locked.roots().iter().map(|root| root.name.clone()).collect();
        let target = Target { before: &before, after: locked, named };
        self.reach(&target, options.mode, options.confirmed, host)
    }

    /// Installs what this node has or has just fetched.
    fn install_wanted(
        &self,
        wanted: Vec<Requirement>,
        options: &InstallOptions,
        host: &dyn Host,
    ) -> Result<Installation, OpError> {
        let _turn = self.writing();
        let before = self.installed(&host.platform())?;
        let mut roots: BTreeMap<PackageName, Requirement> =
            before.roots().iter().map(|root| (root.name.clone(), root.clone())).collect();
        let mut named = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            if !self.is_offered(&wanted.name)? {
                return Err(self.unknown(&wanted.name, host));
            }
            named.push(wanted.name.clone());
            roots.insert(wanted.name.clone(), wanted);
        }
        let roots: Vec<Requirement> = roots.into_values().collect();
        let after = self.resolve_roots(&roots, Some(&before), host)?.into_lockfile();
        if options.choice == Choice::Frozen {
            refuse_changes(&before, &after)?;
        }
        self.reach(&Target { before: &before, after: &after, named }, options.mode, options.confirmed, host)
    }

    /// Makes an earlier generation current again: the one before the current, or the one of a number.
    ///
    /// The pointer moves and no generation is made: rolling back twice goes two steps back and not to and fro, it needs next to
    /// no room on the disk, and the numbers go on to say in which order things were installed. What the current generation
    /// does not have is judged and verified as if it was installed now.
    ///
    /// # Errors
    /// [`OpError::NoEarlier`], a generation that is not kept, a package that the policy refuses by now, or one whose archive
    /// is lost. Nothing has changed then.
    pub fn rollback(
        &self,
        number: Option<u64>,
        mode: Mode,
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<Installation, OpError> {
        let _turn = self.writing();
        // With a number this also mends a node whose pointer does not read.
        let current = self.store.current().or_else(|error| if number.is_some() { Ok(None) } else { Err(error) })?;
        let before = match &current {
            Some(generation) => generation.lockfile.clone(),
            None => Lockfile::new(host.platform(), Vec::new(), Vec::new())?,
        };
        let kept = self.store.generations()?;
        let at = current.as_ref().map_or(u64::MAX, |generation| generation.number);
        let number = match number {
            Some(number) if !kept.contains(&number) => return Err(OpError::NoGeneration { number, kept }),
            Some(number) => number,
            None => kept.iter().copied().rfind(|number| *number < at).ok_or(OpError::NoEarlier { kept })?,
        };
        let lockfile = self.store.generation(number)?.lockfile;
        let target = Target { before: &before, after: &lockfile, named: Vec::new() };
        let ready = self.make_ready(&target, confirmed, host)?;
        if mode == Mode::DryRun || at == number {
            return Ok(Installation {
                generation: number,
                lockfile,
                plan: ready.plan,
                warnings: ready.warnings,
                merged: false,
            });
        }
        let mut writer = self.store.writer()?;
        writer.install_all(&ready.verified)?;
        let generation = writer.switch_back(number)?;
        Ok(Installation {
            generation: generation.number,
            lockfile: generation.lockfile,
            plan: ready.plan,
            warnings: ready.warnings,
            merged: false,
        })
    }

    /// Reads a lockfile, or that of a directory; if nothing may be chosen, it must still be what the package in the directory
    /// comes to. What a merge left of it is resolved for the package beside it.
    fn locked(&self, path: &Path, choice: Choice, host: &dyn Host) -> Result<Locked, OpError> {
        let file = if path.is_dir() { path.join(LOCKFILE_NAME) } else { path.to_path_buf() };
        let text = std::fs::read_to_string(&file).map_err(|source| OpError::File { path: file.clone(), source })?;
        let read = merge::read(&text).map_err(|source| OpError::GivenLockfile { path: file.clone(), source })?;
        let lockfile = match read {
            Merged::Whole(lockfile) => lockfile,
            Merged::Parts(_) => {
                let directory = file.parent().filter(|_| file.ends_with(LOCKFILE_NAME) && choice == Choice::Free);
                let directory = directory.ok_or_else(|| OpError::Unmerged { path: file.clone() })?;
                let lockfile = self.resolve_packed(&self.pack(directory)?, host)?.into_lockfile();
                return Ok(Locked { file, lockfile, is_merged: true });
            }
        };
        if choice == Choice::Frozen && path.is_dir() {
            let resolution = self.resolve_packed(&self.pack(path)?, host)?;
            refuse_changes(&lockfile, resolution.lockfile())?;
        }
        Ok(Locked { file, lockfile, is_merged: false })
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
        let target = Target { before: &before, after: after.lockfile(), named: Vec::new() };
        self.reach(&target, mode, Confirmed::No, host)
    }

    /// Goes to a set of packages: all of it is installed, or nothing has changed.
    pub(super) fn reach(
        &self,
        target: &Target<'_>,
        mode: Mode,
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<Installation, OpError> {
        let Target { before, after, .. } = *target;
        let current = self.store.current()?.map_or(0, |generation| generation.number);
        let is_same = before == after && current > 0;
        if is_same && let Some(warnings) = self.nothing_to_do(target, current, host)? {
            let (lockfile, plan) = (after.clone(), Plan::default());
            return Ok(Installation { generation: current, lockfile, plan, warnings, merged: false });
        }
        let circumstances = (mode == Mode::Commit).then(|| self.circumstances(host)).flatten();
        let ready = self.make_ready(target, confirmed, host)?;
        let Ready { plan, verified, warnings, judged, .. } = ready;
        if mode == Mode::DryRun {
            let lockfile = after.clone();
            return Ok(Installation { generation: current, lockfile, plan, warnings, merged: false });
        }
        let mut generation = Generation { number: current, lockfile: after.clone() };
        if !is_same || !verified.is_empty() {
            let mut writer = self.store.writer()?;
            let subject = format!("{} packages", verified.len());
            host.progress(Progress { stage: "install", subject, done: 0, total: verified.len() });
            writer.install_all(&verified).map_err(|error| match error {
                StoreError::NotInstalled { name, version } => self.no_archive(&name, &version),
                other => other.into(),
            })?;
            generation = writer.switch(after)?;
            self.keep_within_bound(&mut writer);
            drop(writer);
            let new = verified.iter().map(Installable::identity).filter(|(.., digest)| ready.new.contains(digest));
            let noted = self.note_installed(&new.collect::<Vec<_>>(), host);
            // What is installed is installed, whether it was counted or not.
            noted.unwrap_or_else(|error| tracing::warn!("the installation is not counted: {error}"));
        }
        // What came while the policy was asked was not looked at, so then nothing is remembered.
        let is_lasting = confirmed == Confirmed::No && ready.consensus == Consensus::NotAsked;
        if is_lasting && circumstances.is_some() && circumstances == self.circumstances(host) {
            self.remember(generation.number, after, judged, &warnings, host);
        }
        let Generation { number, lockfile } = generation;
        Ok(Installation { generation: number, lockfile, plan, warnings, merged: false })
    }

    /// Gives the warnings of the installation that made things as they are, if there is nothing to do: every tree was read
    /// before and nobody has doubted it since, and what is wanted was judged under the same circumstances.
    fn nothing_to_do(
        &self,
        target: &Target<'_>,
        current: u64,
        host: &dyn Host,
    ) -> Result<Option<Vec<String>>, OpError> {
        for package in target.after.packages() {
            if !self.store.is_believed(package)? {
                return Ok(None);
            }
        }
        let wanted = closure(target.after, &target.named);
        let wanted = wanted.into_iter().filter_map(|name| Some(target.after.get(name)?.digest)).collect();
        Ok(self.remembered(current, target.after, &wanted, host))
    }

    /// Verifies what is there, fetches what is not, and asks the policy about all that is new or wanted.
    fn make_ready(&self, target: &Target<'_>, confirmed: Confirmed, host: &dyn Host) -> Result<Ready, OpError> {
        self.check_licences(target.after)?;
        let mut plan = plan(target.before, target.after);
        let packages = target.after.dependency_order()?;
        let (mut to_write, mut new) = (Vec::new(), BTreeSet::new());
        for package in &packages {
            if self.store.is_believed(package)? {
                continue;
            }
            match self.store.verify(package) {
                // Whole, and nobody knew: it is read once more while others are kept from writing.
                Ok(_) => {}
                Err(StoreError::NotInstalled { .. }) => drop(new.insert(package.digest)),
                Err(StoreError::Damaged { .. } | StoreError::Archive(_)) => {
                    new.insert(package.digest);
                    plan.repaired.push((package.name.clone(), package.version.clone()));
                }
                Err(error) => return Err(error.into()),
            }
            to_write.push(*package);
        }
        // What is installed already is asked about again if something that is wanted now builds on it, and so is what the
        // generation before did not have.
        let wanted = closure(target.after, &target.named);
        let is_asked = |package: &&LockedPackage| {
            let before = target.before.get(&package.name);
            wanted.contains(&package.name) || before.is_none_or(|before| before.digest != package.digest)
        };
        let kept = packages.iter().copied().filter(|package| is_asked(package) && !to_write.contains(package));
        let kept = self.admit_all(&kept.collect::<Vec<_>>(), confirmed, host)?;
        let written = self.admit_all(&to_write, confirmed, host)?;
        let judged = kept.verified.iter().chain(&written.verified).map(|package| package.identity().2).collect();
        let mut warnings = kept.warnings;
        warnings.extend(written.warnings);
        let consensus = if kept.consensus == written.consensus { kept.consensus } else { Consensus::Asked };
        Ok(Ready { plan, verified: written.verified, warnings, judged, new, consensus })
    }

    /// Counts what was installed, for the packages and for their publishers.
    fn note_installed(&self, packages: &[(&PackageName, &Version, Digest)], host: &dyn Host) -> Result<(), OpError> {
        let mut events = Vec::with_capacity(packages.len());
        for (name, version, _) in packages {
            let known = self.advisories_affecting(name, version)?;
            let is_serious = known.iter().any(|finding| finding.level() >= Rating::High);
            events.push(if is_serious { Event::Vulnerable } else { Event::Installed });
        }
        self.registry().together(|registry| {
            for ((name, version, _), event) in packages.iter().zip(events) {
                registry.add_downloads(name, version, 1)?;
                judge::experience(registry, name, version, event, host.now())?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Asks the policy about each package; also gives what it warns of. An archive is fetched and unfolded, unless the store has
    /// taken it apart before and says what is in it.
    fn admit_all(
        &self,
        packages: &[&LockedPackage],
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<Admitted, OpError> {
        let mut consensus = Consensus::NotAsked;
        if packages.is_empty() {
            return Ok(Admitted { verified: Vec::new(), warnings: Vec::new(), consensus });
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
            let listed = self.listed(package)?;
            let (manifest, accepted, admitted) = match listed {
                Some((sha256, listing, manifest)) => {
                    let candidate = candidate(&sha256, &listing, &manifest);
                    let accepted = judge.decide_about(&candidate, statement)?.require(confirmed)?;
                    let admitted = Installable::Listed(trust::admit(listing, &accepted)?);
                    (manifest, accepted, admitted)
                }
                None => {
                    let archive = self.fetch(package)?;
                    let manifest = read_manifest(archive.manifest())?;
                    let accepted = judge.decide(&manifest, &archive, statement)?.require(confirmed)?;
                    let admitted = Installable::Whole(trust::admit(archive, &accepted)?);
                    (manifest, accepted, admitted)
                }
            };
            let warnings: Vec<String> = accepted.decision().warnings().collect();
            Ok::<_, OpError>((admitted, warnings, manifest.security.consensus_required))
        };
        let work = packages.iter().copied().zip(statements.iter().map(Option::as_ref));
        let admitted = parallel::try_map(parallel::cores(), work, admit);
        // Whatever comes of it, what was seen was seen.
        let admitted = judge.note().and(admitted)?;
        let by_all = self.policy.requires(Check::Consensus) || self.config.consensus.install == When::Always;
        if by_all || admitted.iter().any(|(.., requires)| *requires) {
            consensus = Consensus::Asked;
        }
        let (verified, warnings): (_, Vec<_>) = admitted.into_iter().map(|(archive, told, _)| (archive, told)).unzip();
        Ok(Admitted { verified, warnings: warnings.concat(), consensus })
    }

    /// Gives what the store knows of an archive that it has taken apart before, with its SHA-256 and its manifest, if that is
    /// enough: not where the archive is not whole any more, where a rule of the policy looks at files, or where the package asks
    /// for another digest, which only its bytes have.
    fn listed(&self, package: &LockedPackage) -> Result<Option<(String, Intact<Listing>, Package)>, OpError> {
        if self.policy.looks_inside() {
            return Ok(None);
        }
        let Some(listing) = self.store.listing(package)? else { return Ok(None) };
        let manifest = read_manifest(listing.manifest())?;
        if manifest.security.hash_validation != HashAlgorithm::Blake3 {
            return Ok(None);
        }
        let LockedPackage { name, version, digest, .. } = package;
        let release = self.registry().get(name, version)?.map(|record| record.release);
        let Some(release) = release.filter(|release| release.digests.blake3 == *digest) else { return Ok(None) };
        if !self.is_archive_whole(package, self.form_of(&release)?.0)? {
            return Ok(None);
        }
        let (name, version) = (name.clone(), version.clone());
        let expected = Expected { name, version, digest: *digest, blob: None, sha256: None, sha512: None };
        Ok(Some((release.digests.sha256, trust::check_listing(listing, &expected)?, manifest)))
    }

    /// Whether the archive of a package lies here as its compressed bytes were made; hashes those and unfolds nothing.
    pub(super) fn is_archive_whole(&self, package: &LockedPackage, blob: Digest) -> Result<bool, OpError> {
        Ok(self.store.blob(package.digest)? == Some(blob))
    }

    /// Gives the archive of a release, from the remote registry if it came from there and is not kept.
    pub(super) fn archive_of(&self, release: Release, host: &dyn Host) -> Result<Intact<Archive>, OpError> {
        let package = LockedPackage {
            name: release.name,
            version: release.version,
            digest: release.digests.blake3,
            source: LockedSource::Registry { registry: None },
            features: Vec::new(),
            dependencies: Vec::new(),
        };
        let hold = self.hold();
        self.download(&[&package], &hold, host)?;
        self.fetch(&package)
    }

    /// Gives the archive of a published package, checked against every digest the registry has and the package asks for.
    pub(super) fn fetch(&self, package: &LockedPackage) -> Result<Intact<Archive>, OpError> {
        let expected = self.expected(package)?;
        let compressed = self.store.compressed(package.digest)?;
        let compressed = compressed.ok_or_else(|| self.no_archive(&package.name, &package.version))?;
        Ok(trust::check_archive(compressed, &expected)?)
    }
}

/// Describes a release by what the store says of it, and by the SHA-256 of its tar.
fn candidate<'a>(sha256: &'a str, listing: &'a Listing, package: &'a Package) -> Candidate<'a> {
    let subject = Subject {
        name: listing.name(),
        version: listing.version(),
        digest: listing.digest(),
        sha256,
        tar_bytes: listing.tar_bytes(),
        manifest: listing.manifest(),
    };
    let files = listing.files().iter().map(|file| file.path.as_str()).collect();
    Candidate { package, subject, files, archive: None }
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

/// Refuses another set of packages than the one that is locked.
fn refuse_changes(locked: &Lockfile, after: &Lockfile) -> Result<(), OpError> {
    if locked == after {
        return Ok(());
    }
    let Plan { added, changed, removed, .. } = plan(locked, after);
    let mut changes: Vec<String> = added.iter().map(|(name, version)| format!("+ {name} {version}")).collect();
    changes.extend(changed.iter().map(|(name, from, to)| format!("~ {name} {from} -> {to}")));
    changes.extend(removed.iter().map(|(name, version)| format!("- {name} {version}")));
    if changes.is_empty() {
        changes.push("what is asked for".to_owned());
    }
    Err(OpError::Frozen { changes })
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
