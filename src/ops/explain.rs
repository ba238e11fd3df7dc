//! `verify --explain`: what the policy looks at in a package, what it finds, and what follows.

use super::validate::read_manifest;
use super::{Catalog, OpError, spec};
use crate::archive;
use crate::host::Host;
use crate::trust::policy::{Decision, Use};

impl Catalog {
    /// Explains the decision about an archive that somebody hands over: only what is published here has anybody who vouches
    /// for it.
    ///
    /// # Errors
    /// Bytes that are no archive of a package.
    pub fn explain_archive(&self, compressed: Vec<u8>, host: &dyn Host) -> Result<Decision, OpError> {
        let archive = archive::read(compressed)?;
        let mut judge = self.judge(Use::Install, host)?;
        let statement = self.registry().statement(archive.name(), archive.version())?;
        judge.with_feed_of(statement.as_ref())?;
        let decision = judge.decide(&read_manifest(archive.manifest())?, &archive, statement.as_ref())?;
        judge.note()?;
        Ok(decision)
    }

    /// Explains the decision about packages, as an installation would take it: the installed version, or the latest that is
    /// published here, or the one that is named. All installed packages if none is named.
    ///
    /// # Errors
    /// A package that is not published here; an archive that is not the one published.
    pub fn explain(&self, words: &[String], host: &dyn Host) -> Result<Vec<Decision>, OpError> {
        let lockfile = self.installed(&host.platform())?;
        let all: Vec<String> =
            lockfile.packages().map(|package| format!("{}@{}", package.name, package.version)).collect();
        let mut judge = self.judge(Use::Install, host)?;
        let mut decisions = Vec::new();
        for word in if words.is_empty() { &all } else { words } {
            let (name, version) = spec::exact(word)?;
            let version = version.or_else(|| lockfile.get(&name).map(|package| package.version.clone()));
            self.pull_name(&name, host)?;
            let record = match &version {
                Some(version) => self.registry().get(&name, version)?,
                None => self.registry().latest(&name)?,
            };
            let Some(record) = record else {
                return Err(self.unknown(&name, host));
            };
            let archive = self.archive_of(record.release, host)?;
            let statement = self.registry().statement(archive.name(), archive.version())?;
            judge.with_feed_of(statement.as_ref())?;
            decisions.push(judge.decide(&read_manifest(archive.manifest())?, &archive, statement.as_ref())?);
        }
        judge.note()?;
        Ok(decisions)
    }
}
