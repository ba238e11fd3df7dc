//! `search` and `index import`: what can be found by words, tags, type, author, version and date.
//!
//! The index is a cache of the registry. Before every answer it catches up with what changed, whichever process changed it,
//! so it shows what was acknowledged and nothing else; an index that is lost or damaged is made anew.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Catalog, OpError};
use crate::host::{Host, Progress};
use crate::registry::{Changes, Earlier, ImportedCount, Mark, Registry};
use crate::search::{Cache, Found, ImportError, Index, IndexBuilder, Lines, Query, SearchError, UNSAVED_MAX};

/// The most queries of one batch.
pub const BATCH_MAX: usize = 100_000;
/// After how many lines progress is reported.
const LINES_A_REPORT: u64 = 10_000;
/// How many changes are taken in one by one, whatever the size of the index; above this, an eighth of it.
const CHANGES_MIN: usize = 1_024;

/// How many queries of a batch are answered before others may search.
const QUERIES_A_TURN: usize = 16;

/// The files of the index, below the home.
const DIRECTORY: &str = "cache/search";

/// An index and the state of the registry that it shows.
#[derive(Debug)]
pub(super) struct Current {
    index: Index,
    mark: Mark,
}

/// What was found, and how long it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Searched {
    /// The hits.
    pub found: Found,
    /// From the query to its hits; without opening the index and catching up.
    pub elapsed: Duration,
}

impl Catalog {
    /// Searches.
    ///
    /// # Errors
    /// The registry.
    pub fn search(&self, query: &Query) -> Result<Searched, OpError> {
        self.ask_index(|index| answer(index, query))
    }

    /// Searches many times and hands over each answer in turn, so that no more than a few are held. Others search in between.
    ///
    /// # Errors
    /// What `each` says, the registry, or more than [`BATCH_MAX`] queries.
    pub fn search_each(
        &self,
        queries: &[Query],
        each: &mut dyn FnMut(usize, &Searched) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        if queries.len() > BATCH_MAX {
            return Err(OpError::BatchTooLong { queries: queries.len() });
        }
        let mut number = 0;
        for share in queries.chunks(QUERIES_A_TURN) {
            let ask = |index: &mut Index| share.iter().map(|query| answer(index, query)).collect::<Result<Vec<_>, _>>();
            for searched in self.ask_index(ask)? {
                each(number, &searched)?;
                number += 1;
            }
        }
        Ok(())
    }

    /// Gives the number of documents of the index, once it shows the present state.
    ///
    /// # Errors
    /// The registry.
    pub fn indexed(&self) -> Result<usize, OpError> {
        self.ask_index(|index| Ok(index.len()))
    }

    /// Imports descriptions of things that are elsewhere, all or none: they are found, and never installed.
    ///
    /// # Errors
    /// [`ImportError`] with the line; the registry.
    pub fn import_descriptions(
        &self,
        path: &Path,
        earlier: Earlier,
        host: &dyn Host,
    ) -> Result<ImportedCount, OpError> {
        let _turn = self.writing();
        let fault = |source| ImportError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(fault)?;
        let metadata = file.metadata().map_err(fault)?;
        if !metadata.is_file() {
            return Err(fault(std::io::Error::other("it is not a file")).into());
        }
        let mut lines = Lines::new(BufReader::new(file), path.to_owned());
        let subject = path.display().to_string();
        let total = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        // A connection of its own: whoever reads goes on meanwhile, and the turn keeps other writers out.
        let mut registry = Registry::open(&self.registry_path())?;
        let counted = registry.import::<ImportError>(earlier, &mut || {
            let next = lines.next_description()?;
            if lines.number().is_multiple_of(LINES_A_REPORT) || next.is_none() {
                let done = usize::try_from(lines.bytes()).unwrap_or(usize::MAX);
                host.progress(Progress { stage: "import", subject: subject.clone(), done, total });
            }
            if next.is_none() && lines.found() == 0 && earlier == Earlier::Keep {
                return Err(ImportError::Empty { path: path.to_owned() });
            }
            Ok(next)
        })?;
        Ok(counted)
    }

    /// Asks the index of the present state; one that turns out to be damaged is made anew, once.
    fn ask_index<T>(&self, mut ask: impl FnMut(&mut Index) -> Result<T, SearchError>) -> Result<T, OpError> {
        let cache = Cache::new(&self.home.join(DIRECTORY));
        let mut kept = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut current = self.caught_up(&cache, kept.take())?;
        let answer = match ask(&mut current.index) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "the index of search is made anew");
                cache.clear();
                current = self.caught_up(&cache, None)?;
                ask(&mut current.index)?
            }
        };
        *kept = Some(current);
        Ok(answer)
    }

    /// Brings an index to the present state: what is in memory, or else what is saved, or else one made from nothing.
    fn caught_up(&self, cache: &Cache, kept: Option<Current>) -> Result<Current, OpError> {
        let kept = kept.or_else(|| cache.load().map(|(index, mark)| Current { index, mark }));
        let followed = kept.map(|current| self.follow(current)).transpose()?.flatten();
        let mut current = match followed {
            Some(current) => current,
            None => anew(&self.registry())?,
        };
        if current.index.unsaved() > UNSAVED_MAX {
            match cache.save(&mut current.index, current.mark) {
                Ok(_) => {}
                Err(SearchError::Damaged) => return Ok(anew(&self.registry())?),
                // The next process makes the index again; this one has it.
                Err(error) => tracing::debug!(%error, "the index of search is not saved"),
            }
        }
        Ok(current)
    }

    /// Takes in what changed; none if there is more of it than to make the index anew.
    fn follow(&self, current: Current) -> Result<Option<Current>, OpError> {
        let Current { mut index, mark } = current;
        let changes = self.registry().changes_since(mark, CHANGES_MIN.max(index.len() / 8))?;
        // Segments may be merged now, for which nobody waits at the registry.
        match changes {
            Changes::None => Ok(Some(Current { index, mark })),
            Changes::Unknown => Ok(None),
            Changes::Some(mark, changes) => Ok(index.apply(changes).is_ok().then_some(Current { index, mark })),
        }
    }
}

fn answer(index: &mut Index, query: &Query) -> Result<Searched, SearchError> {
    let start = Instant::now();
    index.search(query).map(|found| Searched { found, elapsed: start.elapsed() })
}

fn anew(registry: &Registry) -> Result<Current, SearchError> {
    let mut builder = IndexBuilder::begin();
    let mark = registry.listings(&mut |listing| builder.add(&listing))?;
    Ok(Current { index: builder.finish()?, mark })
}

#[cfg(test)]
mod tests;
