//! Search over what is published and over descriptions that were imported: an inverted index, ranked by BM25F, with exact
//! filters.
//!
//! A word in the name weighs more than one among tags or keywords, and those more than one in the description. What is named
//! exactly as it was asked for comes first. A word that no document holds stands for those that begin with it, or else for
//! those that are nearly it. Filters are exact: every tag asked for must be there, and a filter that matches nothing gives
//! nothing. The same documents and query give the same hits in the same order, whatever the order in which documents came
//! and however often they changed.
//!
//! An [`Index`] is made of segments that never change. Changes make a small segment, and segments of one size are merged, so
//! a change costs little whatever the size of the index. [`Cache`] keeps them in files. Nothing here is the only copy of
//! anything: what does not read is made anew from the registry.
//!
//! Ranking: BM25F as in Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009),
//! equations 3.15 to 3.18, with the never negative inverse document frequency ln(1 + (N - n + 0.5) / (n + 0.5)).

mod build;
mod bytes;
mod cache;
mod highlight;
mod nearby;
mod part;
mod rank;
mod read;
mod segment;
mod text;

use std::ops::Range;

use semver::VersionReq;

use self::build::Builder;
pub use self::cache::{Cache, UNSAVED_MAX};
use self::part::Part;
use self::rank::Scratch;
pub use self::read::{ImportError, LINE_BYTES_MAX, LINES_MAX, Lines, NAME_BYTES_MAX, WORDS_MAX};
pub use self::segment::{DOCUMENTS_MAX, RESIDENT_BYTES_MAX};
use self::segment::{FIELDS, LENGTH_MAX, Segment};
pub use self::text::WORD_BYTES_MAX;
use crate::package::model::PackageType;
/// What is found.
pub use crate::registry::Listing as Document;
use crate::registry::RegistryError;

/// The longest query text that is looked at, in bytes; the rest is ignored.
pub const QUERY_BYTES_MAX: usize = 1024;
/// The most different words of a query that are looked at.
pub const QUERY_WORDS_MAX: usize = 32;
/// The most hits given at once.
pub const HITS_MAX: usize = 1_000;
/// The most words of one document that are indexed, field by field: name, tags, keywords, description, entry point, type.
pub const DOCUMENT_WORDS_MAX: usize = 10_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Words; without any, everything that the filters let through is found.
    pub text: String,
    /// Labels that must all be there.
    pub tags: Vec<String>,
    /// What the package must be.
    pub kind: Option<PackageType>,
    /// Who must have written it: the whole of it, or the name before an address in angle brackets, in any case.
    pub author: Option<String>,
    /// What its latest version must meet.
    pub version: Option<VersionReq>,
    /// When its latest version must have been published: in seconds since 1970, the end left out.
    pub updated: Range<i64>,
    /// What comes first.
    pub sort: Sort,
    /// How many of the best hits to leave out.
    pub offset: usize,
    /// How many hits to give, [`HITS_MAX`] at most.
    pub limit: usize,
}

/// What comes first; among equals, names in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// What fits best.
    #[default]
    Relevance,
    /// What was first published last.
    DateCreated,
    /// What was last published last.
    DateUpdated,
    /// What was downloaded most.
    Popularity,
    /// What is rated best; what nobody rated comes last.
    Rating,
    /// Names in order.
    Name,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The hits asked for.
    pub hits: Vec<Hit>,
    /// How many there are in all.
    pub total: usize,
}

/// One document that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The document.
    pub document: Document,
    /// How well it matches; only comparable within one answer, 0 without words.
    pub score: f64,
    /// Places in its name that match, in bytes.
    pub name_matches: Vec<Range<usize>>,
    /// Places in its description that match, in bytes.
    pub description_matches: Vec<Range<usize>>,
}

/// Why an index cannot answer; it is to be made anew then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// Its bytes are not what was written.
    #[error("the index of search is damaged")]
    Damaged,
    /// A file cannot be read.
    #[error("cannot read the index of search")]
    File(#[from] std::io::Error),
    /// More documents than one index holds.
    #[error("there are more documents than the index of search holds, {DOCUMENTS_MAX}")]
    TooMany,
    /// Documents came in another order than that of their names.
    #[error("documents did not come in order of name")]
    Order,
    /// The documents cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// The index. It holds one document for each name.
#[derive(Default)]
pub struct Index {
    /// From the oldest to the newest, which are the largest and the smallest.
    parts: Vec<Part>,
    /// What a word weighs by field and the field's length; follows from the lengths of all documents.
    weights: Vec<[f32; LENGTH_MAX + 1]>,
    scratch: Scratch,
}

/// What a word weighs in each field: name, tags, keywords, description, entry point, type.
const WEIGHTS: [f32; FIELDS] = [6.0, 3.0, 3.0, 1.0, 1.0, 1.0];
/// How much the length of a field counts against it: short ones are short by nature, descriptions are not.
const LENGTH_SHARE: [f32; FIELDS] = [0.3, 0.3, 0.3, 0.75, 0.3, 0.3];
/// How many times larger a segment is than the next one at least; smaller steps merge more often, larger ones search more
/// segments.
const STEP: u32 = 4;

/// Makes an index from nothing, of documents in order of name.
pub struct IndexBuilder(Builder);

impl IndexBuilder {
    /// Begins with no document.
    pub fn begin() -> Self {
        Self(Builder::new())
    }

    /// Takes in the next document.
    ///
    /// # Errors
    /// [`SearchError::Order`], [`SearchError::TooMany`].
    pub fn add(&mut self, document: &Document) -> Result<(), SearchError> {
        self.0.add(document)
    }

    /// Gives the index.
    ///
    /// # Errors
    /// [`SearchError::TooMany`].
    pub fn finish(self) -> Result<Index, SearchError> {
        let mut index = Index::default();
        index.push(self.0)?;
        index.weigh();
        Ok(index)
    }
}

impl Index {
    /// Takes in changes: a document takes the place of one of the same name, and a name without one goes. Of two changes of
    /// one name the last counts.
    ///
    /// # Errors
    /// A segment that is damaged; the index is of no use then.
    pub fn apply(&mut self, changes: Vec<(String, Option<Document>)>) -> Result<(), SearchError> {
        let changes: std::collections::BTreeMap<_, _> = changes.into_iter().collect();
        for name in changes.keys() {
            self.parts.iter_mut().try_for_each(|part| part.remove(name))?;
        }
        let mut builder = Builder::new();
        changes.values().flatten().try_for_each(|document| builder.add(document))?;
        self.push(builder)?;
        self.settle()?;
        self.weigh();
        Ok(())
    }

    /// Gives the number of documents.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.live() as usize).sum()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many documents are in no file yet.
    pub fn unsaved(&self) -> usize {
        let unsaved = self.parts.iter().filter(|part| part.file.is_none());
        unsaved.map(|part| part.live() as usize).sum()
    }

    /// How many bytes its segments have.
    pub fn segment_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.segment.size_bytes()).sum()
    }

    fn push(&mut self, builder: Builder) -> Result<(), SearchError> {
        let segment = Segment::from_bytes(builder.finish()?)?;
        if segment.documents() > 0 {
            self.parts.push(Part::new(segment));
        }
        Ok(())
    }

    /// Merges until every segment is [`STEP`] times larger than the next one, and none holds more dead documents than others.
    fn settle(&mut self) -> Result<(), SearchError> {
        self.parts.retain(|part| part.live() > 0);
        for part in &mut self.parts {
            if part.live() < part.segment.documents() / 2 {
                *part = part::merged(std::slice::from_ref(part))?;
            }
        }
        while let [.., before, last] = self.parts.as_slice()
            && before.live() < last.live().saturating_mul(STEP)
        {
            let at = self.parts.len() - 2;
            let merged = part::merged(&self.parts[at..])?;
            self.parts.truncate(at);
            self.parts.push(merged);
        }
        Ok(())
    }

    fn weigh(&mut self) {
        self.scratch.forget();
        let count = self.len() as f32;
        let mean = |field: usize| self.parts.iter().map(|part| part.totals[field]).sum::<u64>() as f32 / count;
        let weights = (0..FIELDS).map(|field| {
            let (mean, share) = (mean(field), LENGTH_SHARE[field]);
            std::array::from_fn(|length| WEIGHTS[field] / (1.0 - share + share * length as f32 / mean))
        });
        self.weights = weights.collect();
    }
}

impl Query {
    /// Asks for words alone.
    pub fn words(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tags: Vec::new(),
            kind: None,
            author: None,
            version: None,
            updated: i64::MIN..i64::MAX,
            sort: Sort::Relevance,
            offset: 0,
            limit: 20,
        }
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("documents", &self.len()).field("parts", &self.parts.len()).finish()
    }
}

/// Reads bytes as an import would, makes an index of what they describe and asks it, and reads them as a segment and a list
/// of documents, for a fuzzer: nothing comes of it.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let mut lines = Lines::new(bytes, "input".into());
    let mut changes = Vec::new();
    while let Ok(Some(described)) = lines.next_description() {
        let crate::registry::Description { name, version, description, tags, keywords } = described;
        let (author, entry, kind, rating) = (None, None, None, None);
        let (created, updated, downloads) = (0, 0, 0);
        changes.push((
            name.clone(),
            Some(Document {
                name,
                version,
                kind,
                description,
                tags,
                keywords,
                author,
                entry,
                created,
                updated,
                downloads,
                rating,
            }),
        ));
    }
    let texts: Vec<String> = changes.iter().take(16).map(|(name, _)| name.clone()).collect();
    let mut index = Index::default();
    if index.apply(changes).is_ok() {
        for text in texts {
            let found = index.search(&Query::words(text.as_str())).map(|found| found.total);
            // A name of signs alone has no word, and is found as a name all the same.
            assert!(
                found.is_ok_and(|total| total > 0) || text.len() > QUERY_BYTES_MAX,
                "`{text}` is found by its name"
            );
        }
    }
    let _ = Segment::from_bytes(bytes.to_vec());
    let _ = segment::read_list(bytes, DOCUMENTS_MAX, |_, _, _| ());
}

#[cfg(test)]
mod tests;
