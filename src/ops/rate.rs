//! `rate`: what the user of this node thinks of a package it has installed.

use super::{Catalog, OpError, judge, spec};
use crate::host::Host;
use crate::package::name::PackageName;
use crate::registry::{Opinion, Statistics};
use crate::trust::reputation::Event;

/// The longest comment, in bytes.
pub const COMMENT_BYTES_MAX: usize = 2_000;

/// What somebody thinks of a package.
#[derive(Clone, Debug)]
pub struct Rate {
    /// The package by name.
    pub package: String,
    /// 1 to 5.
    pub stars: u8,
    /// In words.
    pub comment: Option<String>,
    /// Who says so.
    pub rater: String,
}

impl Catalog {
    /// Notes an opinion about the installed version of a package; the rater's earlier one is replaced. The first opinion of a
    /// rater also counts for the publisher's reputation.
    ///
    /// # Errors
    /// [`OpError::NotInstalled`]: an opinion is worth something if the package was in use. [`OpError::Rating`].
    pub fn rate(&self, rate: &Rate, host: &dyn Host) -> Result<(PackageName, Statistics), OpError> {
        let _turn = self.writing();
        if !(1..=5).contains(&rate.stars) {
            return Err(OpError::Rating { reason: format!("{} stars; give 1 to 5", rate.stars) });
        }
        if let Some(comment) = rate.comment.as_ref().filter(|comment| comment.len() > COMMENT_BYTES_MAX) {
            let reason = format!("a comment of {} bytes; {COMMENT_BYTES_MAX} is the bound", comment.len());
            return Err(OpError::Rating { reason });
        }
        let (name, _) = spec::exact(&rate.package)?;
        let installed = self.installed(&host.platform())?;
        let version = &installed.get(&name).ok_or_else(|| self.not_installed(&name, &installed))?.version;
        let opinion = Opinion {
            rater: rate.rater.clone(),
            version: version.clone(),
            stars: rate.stars,
            comment: rate.comment.clone(),
            at: host.now(),
        };
        let mut registry = self.registry();
        registry.together(|registry| {
            if registry.rate(&name, &opinion)?.is_none() {
                judge::experience(registry, &name, version, Event::Rated(rate.stars), host.now())?;
            }
            Ok(())
        })?;
        let statistics = registry.statistics(&name)?;
        Ok((name, statistics))
    }
}
