//! A segment: documents and their words in one run of bytes that never changes, in memory or in a file.
//!
//! What is looked up by name or word are two finite-state maps; they are in memory. Of a large file everything else is read
//! when it is asked for, by positions and not by a mapping. Every section, record and list has a checksum, and what does
//! not read is [`SearchError::Damaged`]: a segment is a cache, so whoever meets that makes it anew.
//!
//! Layout: `MAGIC`, the sections in the order of [`Section`], the footer (documents, totals, and offset, length and CRC-32 of each
//! section), and the CRC-32 of the footer. Fixed numbers are little-endian.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use fst::Map;

use super::bytes::{DAMAGED, Reader, number_at};
use super::{Document, SearchError};
use crate::package::model::PackageType;

/// The most documents of one segment.
pub const DOCUMENTS_MAX: u32 = 2_500_000;
/// The largest file that is held in memory as a whole, in bytes; of larger ones only the maps and what was asked for are.
pub const RESIDENT_BYTES_MAX: u64 = 64 << 20;

pub(super) const MAGIC: &[u8; 8] = b"CTLGSEG\x01";
/// Name, tags, keywords, description, entry point, type.
pub(super) const FIELDS: usize = 6;
/// The most words of a field that count as its length.
pub(super) const LENGTH_MAX: usize = 255;
pub(super) const COLUMN_BYTES: usize = 29;
pub(super) const SECTIONS: usize = 7;
/// How many bits of the value of a term are the length of its list; the others are its offset.
pub(super) const LIST_BITS: u32 = 28;
/// What begins a term that is a whole tag, author or base name; no word does.
pub(super) const TAG: char = '\u{1}';
pub(super) const AUTHOR: char = '\u{2}';
pub(super) const BASE: char = '\u{4}';

const FOOTER_BYTES: usize = 4 + 8 * FIELDS + 20 * SECTIONS;
const SUM_BYTES: usize = 4;
/// The number of the type of what cannot be installed.
const NO_KIND: u8 = u8::MAX;

/// How often a term is in each field of a document.
pub(super) type Counts = [u32; FIELDS];
/// How many words each field of a document has.
pub(super) type Lengths = [u8; FIELDS];

/// The sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Names,
    Terms,
    Lengths,
    Columns,
    Offsets,
    Records,
    Postings,
}

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) documents: u32,
    /// The lengths of all documents together, by field.
    pub(super) totals: [u64; FIELDS],
    pub(super) sections: [(u64, u64, u32); SECTIONS],
}

/// A segment that can be asked.
pub(super) struct Segment {
    source: Source,
    footer: Footer,
    names: Map<Vec<u8>>,
    terms: Map<Vec<u8>>,
    lengths: OnceLock<Vec<u8>>,
    columns: OnceLock<Vec<u8>>,
}

enum Source {
    Memory(Vec<u8>),
    File(File),
}

/// What filters and orders look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Columns {
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) downloads: u64,
    pub(super) rating: Option<f32>,
    pub(super) kind: u8,
}

impl Segment {
    /// Reads a segment that was just made, or a file as a whole.
    ///
    /// # Errors
    /// [`SearchError::Damaged`].
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Result<Self, SearchError> {
        let segment = Self::new(Source::Memory(bytes))?;
        for part in [Section::Lengths, Section::Columns, Section::Offsets, Section::Records, Section::Postings] {
            segment.checked(part)?;
        }
        Ok(segment)
    }

    /// Opens a file; a small one is read as a whole.
    ///
    /// # Errors
    /// The file system, or [`SearchError::Damaged`].
    pub(super) fn open(file: File, resident_max: u64) -> Result<Self, SearchError> {
        let length = file.metadata()?.len();
        if length > resident_max {
            return Self::new(Source::File(file));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| DAMAGED)?];
        file.read_exact_at(&mut bytes, 0)?;
        Self::from_bytes(bytes)
    }

    fn new(source: Source) -> Result<Self, SearchError> {
        let footer = Footer::read(&source)?;
        let map = |part: Section| -> Result<Map<Vec<u8>>, SearchError> {
            let bytes = footer.section(&source, part)?.into_owned();
            Map::new(bytes).map_err(|_| DAMAGED)
        };
        let (names, terms) = (map(Section::Names)?, map(Section::Terms)?);
        if names.len() as u64 != u64::from(footer.documents) {
            return Err(DAMAGED);
        }
        Ok(Self { source, footer, names, terms, lengths: OnceLock::new(), columns: OnceLock::new() })
    }

    pub(super) fn documents(&self) -> u32 {
        self.footer.documents
    }

    pub(super) fn totals(&self) -> [u64; FIELDS] {
        self.footer.totals
    }

    /// The bytes of it, if they are in memory: what a file of it holds.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match &self.source {
            Source::Memory(bytes) => Some(bytes),
            Source::File(_) => None,
        }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        let end = |(offset, length, _): &(u64, u64, u32)| offset + length;
        self.footer.sections.iter().map(end).max().unwrap_or_default() + (FOOTER_BYTES + SUM_BYTES) as u64
    }

    pub(super) fn names(&self) -> &Map<Vec<u8>> {
        &self.names
    }

    pub(super) fn terms(&self) -> &Map<Vec<u8>> {
        &self.terms
    }

    /// Gives the number of the document of a name.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.names.get(name).and_then(|number| u32::try_from(number).ok()).filter(|number| *number < self.documents())
    }

    /// Gives the lengths of the fields of every document, [`FIELDS`] bytes each.
    pub(super) fn lengths(&self) -> Result<&[u8], SearchError> {
        self.whole(Section::Lengths, &self.lengths, FIELDS)
    }

    /// Gives the lengths of the fields of one document.
    pub(super) fn lengths_of(&self, number: u32) -> Result<Lengths, SearchError> {
        let rows = self.lengths()?.as_chunks::<FIELDS>().0;
        rows.get(number as usize).copied().ok_or(DAMAGED)
    }

    /// Gives what filters and orders need of every document.
    pub(super) fn columns(&self) -> Result<Table<'_>, SearchError> {
        Ok(Table(self.whole(Section::Columns, &self.columns, COLUMN_BYTES)?))
    }

    /// Gives the list of documents of a term, if there is one.
    pub(super) fn list(&self, term: &str) -> Result<Option<Cow<'_, [u8]>>, SearchError> {
        let Some(value) = self.terms.get(term) else { return Ok(None) };
        let (offset, length) = (value >> LIST_BITS, value & ((1 << LIST_BITS) - 1));
        self.sealed(Section::Postings, offset, length).map(Some)
    }

    /// Gives a document.
    pub(super) fn document(&self, number: u32) -> Result<Document, SearchError> {
        let record = self.record(number)?;
        let mut reader = Reader::new(&record);
        let mut text = || reader.text().map(str::to_owned);
        let (name, version, description) = (text()?, text()?, text()?);
        let (author, entry) = (text()?, text()?);
        let (tags, keywords) = (reader.texts()?, reader.texts()?);
        let some = |text: String| (!text.is_empty()).then_some(text);
        let Columns { created, updated, downloads, rating, kind } = self.columns_of(number)?;
        let (author, entry) = (some(author), some(entry));
        let kind = kind_of(kind)?;
        Ok(Document {
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
        })
    }

    /// Gives name and version of a document.
    pub(super) fn title(&self, number: u32) -> Result<(String, String), SearchError> {
        let record = self.record(number)?;
        let mut reader = Reader::new(&record);
        Ok((reader.text()?.to_owned(), reader.text()?.to_owned()))
    }

    fn record(&self, number: u32) -> Result<Cow<'_, [u8]>, SearchError> {
        let (start, length, _) = self.footer.sections[Section::Offsets as usize];
        let at = u64::from(number) * 8;
        if at + 16 > length {
            return Err(DAMAGED);
        }
        let pair = self.source.read(start + at, 16)?;
        let (from, to) = (number_at(&pair, 0)?, number_at(&pair, 8)?);
        self.sealed(Section::Records, from, to.checked_sub(from).ok_or(DAMAGED)?)
    }

    fn columns_of(&self, number: u32) -> Result<Columns, SearchError> {
        let (start, length, _) = self.footer.sections[Section::Columns as usize];
        let at = u64::from(number) * COLUMN_BYTES as u64;
        if at + COLUMN_BYTES as u64 > length {
            return Err(DAMAGED);
        }
        Table(&self.source.read(start + at, COLUMN_BYTES as u64)?).get(0)
    }

    /// Reads what a checksum stands behind. In memory it was checked with everything else.
    fn sealed(&self, part: Section, offset: u64, length: u64) -> Result<Cow<'_, [u8]>, SearchError> {
        let (start, available, _) = self.footer.sections[part as usize];
        let fits = offset.checked_add(length).is_some_and(|end| end <= available) && length >= SUM_BYTES as u64;
        if !fits {
            return Err(DAMAGED);
        }
        let bytes = self.source.read(start + offset, length)?;
        let end = bytes.len() - SUM_BYTES;
        match bytes {
            Cow::Borrowed(bytes) => Ok(Cow::Borrowed(&bytes[..end])),
            Cow::Owned(mut bytes) => {
                let sum = crc32fast::hash(&bytes[..end]).to_le_bytes();
                if bytes[end..] != sum {
                    return Err(DAMAGED);
                }
                bytes.truncate(end);
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// Gives a section that is kept once it was read, of so many bytes for each document.
    fn whole<'s>(&'s self, part: Section, kept: &'s OnceLock<Vec<u8>>, row: usize) -> Result<&'s [u8], SearchError> {
        if let Some(bytes) = kept.get() {
            return Ok(bytes);
        }
        let bytes = match self.footer.section_unchecked(&self.source, part)? {
            Cow::Borrowed(bytes) => bytes,
            Cow::Owned(bytes) => {
                self.footer.check(part, &bytes)?;
                kept.get_or_init(|| bytes)
            }
        };
        if bytes.len() == self.documents() as usize * row { Ok(bytes) } else { Err(DAMAGED) }
    }

    fn checked(&self, part: Section) -> Result<(), SearchError> {
        self.footer.section(&self.source, part).map(drop)
    }
}

impl Source {
    fn length(&self) -> Result<u64, SearchError> {
        match self {
            Self::Memory(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => Ok(file.metadata()?.len()),
        }
    }

    fn read(&self, offset: u64, length: u64) -> Result<Cow<'_, [u8]>, SearchError> {
        let length = usize::try_from(length).map_err(|_| DAMAGED)?;
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(|_| DAMAGED)?;
                let end = start.checked_add(length).ok_or(DAMAGED)?;
                bytes.get(start..end).map(Cow::Borrowed).ok_or(DAMAGED)
            }
            Self::File(file) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, offset)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

impl Footer {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(self.documents.to_le_bytes());
        out.extend(self.totals.iter().flat_map(|total| total.to_le_bytes()));
        for (offset, length, sum) in self.sections {
            out.extend(offset.to_le_bytes());
            out.extend(length.to_le_bytes());
            out.extend(sum.to_le_bytes());
        }
        let sum = crc32fast::hash(&out[start..]);
        out.extend(sum.to_le_bytes());
    }

    fn read(source: &Source) -> Result<Self, SearchError> {
        let end = source.length()?.checked_sub((FOOTER_BYTES + SUM_BYTES) as u64).ok_or(DAMAGED)?;
        if *source.read(0, MAGIC.len() as u64)? != *MAGIC {
            return Err(DAMAGED);
        }
        let bytes = source.read(end, (FOOTER_BYTES + SUM_BYTES) as u64)?;
        let (bytes, sum) = bytes.split_at(FOOTER_BYTES);
        if crc32fast::hash(bytes).to_le_bytes() != sum {
            return Err(DAMAGED);
        }
        let word = |at: usize| -> Result<u32, SearchError> {
            let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or(DAMAGED)?;
            Ok(u32::from_le_bytes(*bytes))
        };
        let mut footer = Self { documents: word(0)?, totals: [0; FIELDS], sections: [(0, 0, 0); SECTIONS] };
        for (field, total) in footer.totals.iter_mut().enumerate() {
            *total = number_at(bytes, 4 + 8 * field)?;
        }
        for (index, section) in footer.sections.iter_mut().enumerate() {
            let at = 4 + 8 * FIELDS + 20 * index;
            *section = (number_at(bytes, at)?, number_at(bytes, at + 8)?, word(at + 16)?);
            if section.0.checked_add(section.1).is_none_or(|section_end| section_end > end) {
                return Err(DAMAGED);
            }
        }
        Ok(footer)
    }

    fn section_unchecked<'s>(&self, source: &'s Source, part: Section) -> Result<Cow<'s, [u8]>, SearchError> {
        let (offset, length, _) = self.sections[part as usize];
        source.read(offset, length)
    }

    fn section<'s>(&self, source: &'s Source, part: Section) -> Result<Cow<'s, [u8]>, SearchError> {
        let bytes = self.section_unchecked(source, part)?;
        self.check(part, &bytes)?;
        Ok(bytes)
    }

    fn check(&self, part: Section, bytes: &[u8]) -> Result<(), SearchError> {
        if crc32fast::hash(bytes) == self.sections[part as usize].2 { Ok(()) } else { Err(DAMAGED) }
    }
}

/// The columns of every document.
#[derive(Clone, Copy)]
pub(super) struct Table<'a>(&'a [u8]);

impl Table<'_> {
    pub(super) fn get(&self, number: u32) -> Result<Columns, SearchError> {
        let start = number as usize * COLUMN_BYTES;
        let row = self.0.get(start..start + COLUMN_BYTES).ok_or(DAMAGED)?;
        let rating = row[24..].first_chunk::<4>().map_or(f32::NAN, |bytes| f32::from_le_bytes(*bytes));
        Ok(Columns {
            created: number_at(row, 0)?.cast_signed(),
            updated: number_at(row, 8)?.cast_signed(),
            downloads: number_at(row, 16)?,
            rating: (!rating.is_nan()).then_some(rating),
            kind: row[28],
        })
    }
}

/// Reads a list: for each document its number and how often the term is in each of its fields.
///
/// # Errors
/// What `take` says, or [`SearchError::Damaged`].
pub(super) fn read_list(
    list: &[u8],
    documents: u32,
    mut take: impl FnMut(u32, u8, &Counts),
) -> Result<(), SearchError> {
    let mut reader = Reader::new(list);
    let count = reader.number()?;
    let mut next = 0_u64;
    for _ in 0..count {
        let number = reader.number()?.checked_add(next).filter(|number| *number < documents.into()).ok_or(DAMAGED)?;
        let mask = reader.byte()?;
        let mut counts = [1; FIELDS];
        if mask & 0x80 == 0 {
            for (field, count) in counts.iter_mut().enumerate() {
                if mask >> field & 1 == 1 {
                    *count = u32::try_from(reader.number()?).map_err(|_| DAMAGED)?;
                }
            }
        }
        take(number as u32, mask & 0x7F, &counts);
        next = number + 1;
    }
    Ok(())
}

pub(super) fn kind_number(kind: Option<PackageType>) -> u8 {
    let number = kind.and_then(|kind| PackageType::all().position(|other| other == kind));
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(NO_KIND)
}

fn kind_of(number: u8) -> Result<Option<PackageType>, SearchError> {
    if number == NO_KIND {
        return Ok(None);
    }
    PackageType::all().nth(number.into()).map(Some).ok_or(DAMAGED)
}
