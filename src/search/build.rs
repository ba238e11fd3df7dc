//! Makes a segment of documents that come in order of name.
//!
//! The same documents give the same bytes. Nothing of a segment is ever changed.

use std::collections::{BTreeMap, HashMap};

use fst::MapBuilder;

use super::bytes::{put_number, put_text};
use super::segment::{
    AUTHOR, BASE, COLUMN_BYTES, Counts, DOCUMENTS_MAX, FIELDS, Footer, LENGTH_MAX, LIST_BITS, Lengths, MAGIC, SECTIONS,
    Section, TAG, kind_number,
};
use super::text::{Terms, words};
use super::{DOCUMENT_WORDS_MAX, Document, SearchError};

/// A segment that is being made.
pub(super) struct Builder {
    terms: Terms,
    /// The number of the term of each word that was seen, so that a word loses its ending once.
    known: HashMap<String, Option<usize>>,
    numbers: HashMap<String, usize>,
    lists: Vec<List>,
    names: MapBuilder<Vec<u8>>,
    records: Vec<u8>,
    offsets: Vec<u8>,
    lengths: Vec<u8>,
    columns: Vec<u8>,
    totals: [u64; FIELDS],
    count: u32,
    /// What the document at hand holds, by number of term.
    counts: HashMap<usize, Counts>,
}

/// The documents that hold a term.
#[derive(Default)]
struct List {
    bytes: Vec<u8>,
    count: u64,
    next: u32,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            terms: Terms::new(),
            known: HashMap::new(),
            numbers: HashMap::new(),
            lists: Vec::new(),
            names: MapBuilder::memory(),
            records: Vec::new(),
            offsets: Vec::new(),
            lengths: Vec::new(),
            columns: Vec::new(),
            totals: [0; FIELDS],
            count: 0,
            counts: HashMap::new(),
        }
    }

    /// Takes in a document whose name comes after all before it.
    ///
    /// # Errors
    /// [`SearchError::TooMany`], or a name out of order.
    pub(super) fn add(&mut self, document: &Document) -> Result<(), SearchError> {
        let number = self.count;
        if number >= DOCUMENTS_MAX {
            return Err(SearchError::TooMany);
        }
        self.names.insert(&document.name, u64::from(number)).map_err(|_| SearchError::Order)?;
        let lengths = self.count_words(document);
        let mut counts: Vec<_> = self.counts.drain().collect();
        counts.sort_unstable_by_key(|(term, _)| *term);
        for (term, counts) in counts {
            self.lists[term].push(number, &counts);
        }
        for label in labels(document) {
            let term = self.term(label);
            self.lists[term].push(number, &[1, 0, 0, 0, 0, 0]);
        }
        self.lengths.extend(lengths);
        self.totals.iter_mut().zip(lengths).for_each(|(total, length)| *total += u64::from(length));
        self.offsets.extend((self.records.len() as u64).to_le_bytes());
        put_record(&mut self.records, document);
        self.put_columns(document);
        self.count += 1;
        Ok(())
    }

    /// Gives the bytes of the segment.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, SearchError> {
        self.offsets.extend((self.records.len() as u64).to_le_bytes());
        let mut terms = MapBuilder::memory();
        let mut postings = Vec::new();
        let sorted: BTreeMap<String, usize> = self.numbers.drain().collect();
        for (term, number) in sorted {
            let list = std::mem::take(&mut self.lists[number]);
            let start = postings.len();
            put_number(&mut postings, list.count);
            postings.extend_from_slice(&list.bytes);
            seal(&mut postings, start);
            let (offset, length) = (start as u64, (postings.len() - start) as u64);
            if length >> LIST_BITS != 0 || offset >> (64 - LIST_BITS) != 0 {
                return Err(SearchError::TooMany);
            }
            terms.insert(term, offset << LIST_BITS | length).map_err(|_| SearchError::Order)?;
        }
        let finished = |map: MapBuilder<Vec<u8>>| map.into_inner().map_err(|_| SearchError::Order);
        let (names, terms) = (finished(self.names)?, finished(terms)?);
        let parts: [(Section, Vec<u8>); SECTIONS] = [
            (Section::Names, names),
            (Section::Terms, terms),
            (Section::Lengths, self.lengths),
            (Section::Columns, self.columns),
            (Section::Offsets, self.offsets),
            (Section::Records, self.records),
            (Section::Postings, postings),
        ];
        let mut out = MAGIC.to_vec();
        let mut footer = Footer { documents: self.count, totals: self.totals, sections: [(0, 0, 0); SECTIONS] };
        for (part, bytes) in parts {
            footer.sections[part as usize] = (out.len() as u64, bytes.len() as u64, crc32fast::hash(&bytes));
            out.extend_from_slice(&bytes);
        }
        footer.put(&mut out);
        Ok(out)
    }

    /// Counts the words of a document into `counts`, and gives the lengths of its fields.
    fn count_words(&mut self, document: &Document) -> Lengths {
        let kind = document.kind.map_or("", |kind| kind.as_str());
        let entry = document.entry.as_deref().unwrap_or_default();
        let one = |text| std::slice::from_ref::<&str>(text).to_vec();
        let fields: [Vec<&str>; FIELDS] = [
            one(&document.name.as_str()),
            document.tags.iter().map(String::as_str).collect(),
            document.keywords.iter().map(String::as_str).collect(),
            one(&document.description.as_str()),
            one(&entry),
            one(&kind),
        ];
        let mut lengths = [0_usize; FIELDS];
        let mut left = DOCUMENT_WORDS_MAX;
        for (field, texts) in fields.iter().enumerate() {
            for (_, word) in texts.iter().flat_map(|text| words(text)) {
                if left == 0 {
                    break;
                }
                let term = match self.known.get(word) {
                    Some(known) => *known,
                    None => {
                        let term = self.terms.of(word).map(|term| self.term(term));
                        self.known.insert(word.to_owned(), term);
                        term
                    }
                };
                if let Some(term) = term {
                    let count = &mut self.counts.entry(term).or_default()[field];
                    *count = count.saturating_add(1);
                    lengths[field] += 1;
                    left -= 1;
                }
            }
        }
        lengths.map(|length| length.min(LENGTH_MAX) as u8)
    }

    fn term(&mut self, term: String) -> usize {
        let next = self.lists.len();
        let number = *self.numbers.entry(term).or_insert(next);
        if number == next {
            self.lists.push(List::default());
        }
        number
    }

    fn put_columns(&mut self, document: &Document) {
        let start = self.columns.len();
        self.columns.extend(document.created.to_le_bytes());
        self.columns.extend(document.updated.to_le_bytes());
        self.columns.extend(document.downloads.to_le_bytes());
        self.columns.extend(document.rating.unwrap_or(f32::NAN).to_le_bytes());
        self.columns.push(kind_number(document.kind));
        debug_assert_eq!(self.columns.len() - start, COLUMN_BYTES);
    }
}

impl List {
    /// Notes a document: how far it is from the one before, which fields hold the term, and how often where that is not
    /// once each.
    fn push(&mut self, number: u32, counts: &Counts) {
        put_number(&mut self.bytes, u64::from(number - self.next));
        let mut mask = 0;
        let mut once = 0x80;
        for (field, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            mask |= 1 << field;
            if *count > 1 {
                once = 0;
            }
        }
        self.bytes.push(mask | once);
        if once == 0 {
            counts.iter().filter(|count| **count > 0).for_each(|count| put_number(&mut self.bytes, (*count).into()));
        }
        self.count += 1;
        self.next = number + 1;
    }
}

/// What is found as a whole: tags, the author, and the name without its namespace or without capitals.
fn labels(document: &Document) -> Vec<String> {
    let mut labels: Vec<String> = document.tags.iter().map(|tag| format!("{TAG}{tag}")).collect();
    if let Some(author) = &document.author {
        let whole = author.trim().to_lowercase();
        let name = whole.split('<').next().unwrap_or_default().trim().to_owned();
        labels.push(format!("{AUTHOR}{whole}"));
        labels.push(format!("{AUTHOR}{name}"));
    }
    let lower = document.name.to_lowercase();
    if let Some((_, base)) = lower.split_once('/') {
        labels.push(format!("{BASE}{base}"));
    }
    if lower != document.name {
        labels.push(format!("{BASE}{lower}"));
    }
    // A list takes a document once.
    labels.sort_unstable();
    labels.dedup();
    labels
}

fn put_record(out: &mut Vec<u8>, document: &Document) {
    let start = out.len();
    put_text(out, &document.name);
    put_text(out, &document.version);
    put_text(out, &document.description);
    put_text(out, document.author.as_deref().unwrap_or_default());
    put_text(out, document.entry.as_deref().unwrap_or_default());
    for texts in [&document.tags, &document.keywords] {
        put_number(out, texts.len() as u64);
        texts.iter().for_each(|text| put_text(out, text));
    }
    seal(out, start);
}

/// Puts a checksum behind what was written since `start`.
fn seal(out: &mut Vec<u8>, start: usize) {
    let sum = crc32fast::hash(&out[start..]);
    out.extend(sum.to_le_bytes());
}
