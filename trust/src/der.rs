//! Strict DER, as much as cutting a certificate on its raw bytes needs.
//!
//! Never decodes and encodes again: every part is a slice of the input, with the offset at which it began. Lengths must be
//! definite and minimal, tags must be of one byte.

/// The deepest nesting that is followed; certificates of ours reach 8.
const DEPTH_MAX: usize = 24;
/// The tag of a SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// The tag of an INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// The tag of a BOOLEAN.
pub(crate) const BOOLEAN: u8 = 0x01;
/// The tag of a BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// The tag of an OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// The tag of an OBJECT IDENTIFIER.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
const CONSTRUCTED: u8 = 0x20;
const LONG_TAG: u8 = 0x1f;

/// Gives the constructed, context-specific tag `[n]`.
pub(crate) const fn context(n: u8) -> u8 {
    0xa0 | n
}

/// Where bytes stop being DER, or the DER that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed DER at byte `{offset}`: {reason}")]
pub struct DerError {
    /// The offset of the element at fault, in bytes from the beginning.
    pub offset: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// One element.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    /// The tag.
    pub(crate) tag: u8,
    /// Header and content.
    pub(crate) raw: &'a [u8],
    /// The content.
    pub(crate) content: &'a [u8],
    /// Where `raw` begins.
    pub(crate) offset: usize,
}

/// What is left of a run of elements.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Element<'a> {
    /// Reads the content as elements.
    pub(crate) fn children(&self) -> Reader<'a> {
        Reader { rest: self.content, offset: self.offset + (self.raw.len() - self.content.len()) }
    }

    /// Makes an error about this element.
    pub(crate) fn fault(&self, reason: &'static str) -> DerError {
        DerError { offset: self.offset, reason }
    }
}

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    /// Takes the next element, whatever it is.
    pub(crate) fn any(&mut self) -> Result<Element<'a>, DerError> {
        let (header, length) = header(self.rest).map_err(|reason| DerError { offset: self.offset, reason })?;
        let end = header.checked_add(length).filter(|end| *end <= self.rest.len());
        let end = end.ok_or(DerError { offset: self.offset, reason: "it is longer than what holds it" })?;
        let (raw, rest) = self.rest.split_at(end);
        let element = Element { tag: raw[0], raw, content: &raw[header..], offset: self.offset };
        (self.rest, self.offset) = (rest, self.offset + end);
        Ok(element)
    }

    /// Takes the next element, which has this tag.
    pub(crate) fn next(&mut self, tag: u8, reason: &'static str) -> Result<Element<'a>, DerError> {
        let at = self.offset;
        self.any()
            .and_then(|element| if element.tag == tag { Ok(element) } else { Err(DerError { offset: at, reason }) })
    }

    /// Takes the next element if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, DerError> {
        if self.rest.first() == Some(&tag) { self.any().map(Some) } else { Ok(None) }
    }

    /// Says whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Expects that nothing is left.
    pub(crate) fn end(&self) -> Result<(), DerError> {
        let reason = "there is more than expected";
        if self.is_empty() { Ok(()) } else { Err(DerError { offset: self.offset, reason }) }
    }
}

/// Checks that bytes are one element, well formed all the way down.
pub(crate) fn check(bytes: &[u8]) -> Result<(), DerError> {
    let mut reader = Reader::new(bytes);
    let whole = reader.any()?;
    reader.end()?;
    check_inside(&whole, DEPTH_MAX)
}

/// Writes one element.
pub(crate) fn write(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut element = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => element.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let digits = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1)..];
            element.push(0x80 | u8::try_from(digits.len()).expect("a length has at most 8 bytes"));
            element.extend_from_slice(digits);
        }
    }
    parts.iter().for_each(|part| element.extend_from_slice(part));
    element
}

fn check_inside(element: &Element<'_>, depth: usize) -> Result<(), DerError> {
    if element.tag & CONSTRUCTED == 0 {
        return Ok(());
    }
    let depth = depth.checked_sub(1).ok_or(element.fault("it is nested too deeply"))?;
    let mut children = element.children();
    while !children.is_empty() {
        check_inside(&children.any()?, depth)?;
    }
    Ok(())
}

/// Gives the length of the header and that of the content.
fn header(bytes: &[u8]) -> Result<(usize, usize), &'static str> {
    let [tag, first, digits @ ..] = bytes else { return Err("a tag and a length are missing") };
    if tag & LONG_TAG == LONG_TAG {
        return Err("its tag has more than one byte");
    }
    match first {
        0..=0x7f => Ok((2, usize::from(*first))),
        0x81..=0x84 => {
            let count = usize::from(first & 0x7f);
            let digits = digits.get(..count).ok_or("its length is cut off")?;
            let length = digits.iter().fold(0_usize, |length, digit| (length << 8) | usize::from(*digit));
            let minimal = digits[0] != 0 && length > 0x7f;
            if minimal { Ok((2 + count, length)) } else { Err("its length is not in the shortest form") }
        }
        _ => Err("its length is indefinite or too long"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reason(bytes: &[u8]) -> (usize, &'static str) {
        let error = check(bytes).expect_err("is refused");
        (error.offset, error.reason)
    }

    #[test]
    fn faults_are_found_where_they_are() {
        assert_eq!(check(&[0x30, 0x03, 0x02, 0x01, 0x05]), Ok(()));
        assert_eq!(reason(&[]), (0, "a tag and a length are missing"));
        assert_eq!(reason(&[0x30, 0x03, 0x02, 0x02, 0x05]), (2, "it is longer than what holds it"));
        assert_eq!(reason(&[0x30, 0x00, 0x00]), (2, "there is more than expected"));
        assert_eq!(reason(&[0x30, 0x81, 0x01, 0x00]), (0, "its length is not in the shortest form"));
        assert_eq!(reason(&[0x30, 0x82, 0x00, 0x80]), (0, "its length is not in the shortest form"));
        assert_eq!(reason(&[0x30, 0x82, 0x01]), (0, "its length is cut off"));
        assert_eq!(reason(&[0x30, 0x80, 0x00, 0x00]), (0, "its length is indefinite or too long"));
        assert_eq!(reason(&[0x3f, 0x01, 0x00]), (0, "its tag has more than one byte"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| (0..depth).fold(vec![0x05, 0x00], |inner, _| write(SEQUENCE, &[&inner]));
        assert_eq!(check(&nested(DEPTH_MAX)), Ok(()));
        assert_eq!(reason(&nested(DEPTH_MAX + 1)).1, "it is nested too deeply");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(content in prop_oneof![prop::collection::vec(any::<u8>(), 0..300), Just(vec![7; 0xffff]), Just(vec![7; 0x1_0000])]) {
            let bytes = write(OCTET_STRING, &[&content]);
            prop_assert_eq!(check(&bytes), Ok(()));
            let element = Reader::new(&bytes).next(OCTET_STRING, "").expect("reads");
            prop_assert_eq!(element.content, &content[..]);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Err(error) = check(&bytes) {
                prop_assert!(error.offset <= bytes.len());
            }
        }
    }
}
