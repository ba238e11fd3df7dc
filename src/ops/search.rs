//! `search`: published packages by words, tags and type.

use std::sync::{MutexGuard, PoisonError};

use semver::Version;

use super::{Catalog, OpError};
use crate::package::name::PackageName;
use crate::search::{Document, Index, Query};

/// A package that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its name.
    pub name: PackageName,
    /// Its latest version.
    pub version: Version,
    /// How well it fits; only comparable within one search.
    pub score: f64,
    /// What it says of itself.
    pub description: Option<String>,
}

impl Catalog {
    /// Searches; answers the hits asked for and how many there are in all.
    ///
    /// # Errors
    /// The registry.
    pub fn search(&self, query: &Query) -> Result<(Vec<Found>, usize), OpError> {
        let found = {
            let mut index = self.index();
            match &mut *index {
                Some(index) => index.search(query),
                empty => empty.insert(self.build_index()?).search(query),
            }
        };
        let registry = self.registry();
        let mut hits = Vec::with_capacity(found.hits.len());
        for hit in found.hits {
            if let Some(record) = registry.latest(&hit.name)? {
                let release = record.release;
                let (version, description) = (release.version, release.description);
                hits.push(Found { name: hit.name, version, score: hit.score, description });
            }
        }
        Ok((hits, found.total))
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Option<Index>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn build_index(&self) -> Result<Index, OpError> {
        let registry = self.registry();
        let mut documents = Vec::new();
        for name in registry.names()? {
            if let Some(record) = registry.latest(&name)? {
                documents.push(Document::from(&record.release));
            }
        }
        Ok(documents.into_iter().collect())
    }
}
