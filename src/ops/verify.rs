//! `verify`: every byte of what is installed, against the archives, against their digests.

use super::{Catalog, OpError, spec};
use crate::host::{Host, Progress};
use crate::lockfile::LockedPackage;

/// What was found out about one installed package.
#[derive(Debug)]
pub struct Finding {
    /// The package.
    pub package: LockedPackage,
    /// What is wrong with it, if anything is.
    pub fault: Option<OpError>,
}

impl Catalog {
    /// Verifies installed packages; all of them if none is named.
    ///
    /// # Errors
    /// [`OpError::NotInstalled`]; damage is a finding and no error.
    pub fn verify(&self, words: &[String], host: &dyn Host) -> Result<Vec<Finding>, OpError> {
        let lockfile = self.installed(&host.platform())?;
        let mut packages: Vec<LockedPackage> = Vec::new();
        for word in words {
            let (name, _) = spec::exact(word)?;
            let package = lockfile.get(&name).ok_or_else(|| self.not_installed(&name, &lockfile))?;
            packages.push(package.clone());
        }
        if words.is_empty() {
            packages.extend(lockfile.packages().cloned());
        }
        let total = packages.len();
        let findings = packages.into_iter().enumerate().map(|(done, package)| {
            host.progress(Progress { stage: "verify", subject: package.name.to_string(), done, total });
            let checked = self.store.verify(&package).map_err(OpError::from);
            let checked = checked.and_then(|_| self.fetch(&package).map(drop));
            // The next installation reads every byte of it again, and mends it.
            let checked = checked.or_else(|error| self.store.doubt(&package).map_err(OpError::from).and(Err(error)));
            Finding { fault: checked.err(), package }
        });
        Ok(findings.collect())
    }
}
