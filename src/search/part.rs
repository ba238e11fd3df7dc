//! A segment within an index: which of its documents still count, and the file that holds it.

use super::build::Builder;
use super::segment::{FIELDS, Segment};
use super::{Document, SearchError};

/// A segment and what has become of its documents.
pub(super) struct Part {
    pub(super) segment: Segment,
    /// A bit for each document that was replaced or has gone.
    dead: Vec<u64>,
    live: u32,
    /// The lengths of all documents that count, by field.
    pub(super) totals: [u64; FIELDS],
    /// The name of the file that holds the segment, if there is one.
    pub(super) file: Option<String>,
}

impl Part {
    pub(super) fn new(segment: Segment) -> Self {
        let (live, totals) = (segment.documents(), segment.totals());
        Self { dead: vec![0; live.div_ceil(64) as usize], live, totals, segment, file: None }
    }

    pub(super) fn live(&self) -> u32 {
        self.live
    }

    pub(super) fn is_dead(&self, number: u32) -> bool {
        self.dead[number as usize / 64] >> (number % 64) & 1 == 1
    }

    /// The numbers of documents that count no more.
    pub(super) fn dead(&self) -> Vec<u32> {
        if self.live == self.segment.documents() {
            return Vec::new();
        }
        (0..self.segment.documents()).filter(|number| self.is_dead(*number)).collect()
    }

    /// Takes a document out, if it is here.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), SearchError> {
        self.segment.number(name).map_or(Ok(()), |number| self.kill(number))
    }

    /// Takes a document out by its number.
    pub(super) fn kill(&mut self, number: u32) -> Result<(), SearchError> {
        if number >= self.segment.documents() {
            return Err(SearchError::Damaged);
        }
        if self.is_dead(number) {
            return Ok(());
        }
        let lengths = self.segment.lengths_of(number)?;
        for (total, length) in self.totals.iter_mut().zip(lengths) {
            *total = total.checked_sub(length.into()).ok_or(SearchError::Damaged)?;
        }
        self.dead[number as usize / 64] |= 1 << (number % 64);
        self.live -= 1;
        Ok(())
    }

    fn documents(&self) -> impl Iterator<Item = Result<Document, SearchError>> {
        let live = (0..self.segment.documents()).filter(|number| !self.is_dead(*number));
        live.map(|number| self.segment.document(number))
    }
}

/// Makes one part of the documents of several that count.
pub(super) fn merged(parts: &[Part]) -> Result<Part, SearchError> {
    let mut builder = Builder::new();
    let mut sources: Vec<_> = parts.iter().map(|part| part.documents().peekable()).collect();
    loop {
        let mut first: Option<(usize, &str)> = None;
        for (index, source) in sources.iter_mut().enumerate() {
            if let Some(Ok(document)) = source.peek()
                && first.is_none_or(|(_, name)| document.name.as_str() < name)
            {
                first = Some((index, &document.name));
            }
        }
        let index = first.map(|(index, _)| index);
        // Without a first document all have ended, or the next of one does not read.
        match index {
            Some(index) => {
                if let Some(document) = sources[index].next() {
                    builder.add(&document?)?;
                }
            }
            None => {
                for source in &mut sources {
                    source.next().transpose()?;
                }
                return Ok(Part::new(Segment::from_bytes(builder.finish()?)?));
            }
        }
    }
}
