//! Numbers and texts as segments hold them: little-endian base 128, and texts after their length.
//!
//! Reading checks every bound, so bytes of any kind are read or refused.

use super::SearchError;

pub(super) const DAMAGED: SearchError = SearchError::Damaged;

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Reads from the front of some bytes.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, SearchError> {
        let (first, rest) = self.bytes.split_first().ok_or(DAMAGED)?;
        self.bytes = rest;
        Ok(*first)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, SearchError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(first.into());
        }
        let mut number = u64::from(first & 0x7F);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(DAMAGED)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, SearchError> {
        let length = usize::try_from(self.number()?).map_err(|_| DAMAGED)?;
        let (text, rest) = self.bytes.split_at_checked(length).ok_or(DAMAGED)?;
        self.bytes = rest;
        std::str::from_utf8(text).map_err(|_| DAMAGED)
    }

    pub(super) fn texts(&mut self) -> Result<Vec<String>, SearchError> {
        let count = self.number()?;
        // Each takes a byte at least, so the bytes bound the list.
        if count > self.bytes.len() as u64 {
            return Err(DAMAGED);
        }
        (0..count).map(|_| self.text().map(str::to_owned)).collect()
    }
}

/// Reads eight bytes at a place.
pub(super) fn number_at(bytes: &[u8], at: usize) -> Result<u64, SearchError> {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).ok_or(DAMAGED)?;
    Ok(u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64, text: String) {
            let mut out = Vec::new();
            put_number(&mut out, number);
            put_text(&mut out, &text);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.number().expect("reads"), number);
            prop_assert_eq!(reader.text().expect("reads"), &text);
            prop_assert!(reader.byte().is_err());
            for end in 0..out.len() {
                let mut reader = Reader::new(&out[..end]);
                prop_assert!(reader.number().and_then(|_| reader.text().map(drop)).is_err());
            }
        }
    }
}
