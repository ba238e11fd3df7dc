//! Canonical JSON (RFC 8785) of what is signed: one form, so one digest, and no byte that can change unnoticed.
//!
//! Reading accepts nothing but that form: the text is parsed, written again and compared. Numbers are whole and below 2^53,
//! where every JSON library agrees on them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The largest number that every JSON library reads as it is written.
pub(crate) const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Why a text is not the canonical form of anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// Too many bytes.
    #[error("the document has `{actual}` bytes, at most `{most}` are read")]
    TooLarge {
        /// How many there are.
        actual: usize,
        /// How many are read.
        most: usize,
    },
    /// Not JSON, or fields that are missing, unknown or of the wrong type.
    #[error("the document is malformed")]
    Json(#[from] serde_json::Error),
    /// The same content in another form.
    #[error("the document is not in canonical form (RFC 8785), it differs at byte `{offset}`")]
    Form {
        /// The first byte that differs.
        offset: usize,
    },
    /// A number that has no exact form.
    #[error("`{number}` is not a whole number below 2^53")]
    Number {
        /// The number.
        number: String,
    },
}

/// Writes a value in canonical form.
pub(crate) fn write(value: &impl Serialize) -> Result<Vec<u8>, CanonicalError> {
    let mut to = Vec::new();
    write_value(&serde_json::to_value(value)?, &mut to)?;
    Ok(to)
}

/// Reads a value that is in canonical form.
pub(crate) fn read<T: Serialize + DeserializeOwned>(bytes: &[u8], most: usize) -> Result<T, CanonicalError> {
    if bytes.len() > most {
        return Err(CanonicalError::TooLarge { actual: bytes.len(), most });
    }
    let value: T = serde_json::from_slice(bytes)?;
    let canonical = write(&value)?;
    if canonical == bytes {
        return Ok(value);
    }
    let offset = canonical.iter().zip(bytes).position(|(a, b)| a != b).unwrap_or(canonical.len().min(bytes.len()));
    Err(CanonicalError::Form { offset })
}

fn write_value(value: &Value, to: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) if number.as_u64().is_none_or(|number| number > NUMBER_MAX) => {
            return Err(CanonicalError::Number { number: number.to_string() });
        }
        // serde_json writes these as RFC 8785 asks: the short escapes, `\u00xx` in lower case, everything else as it is.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => serde_json::to_writer(to, value)?,
        Value::Array(items) => write_list(b"[]", items, to, write_value)?,
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            write_list(b"{}", &fields, to, |(name, value), to| {
                serde_json::to_writer(&mut *to, name)?;
                to.push(b':');
                write_value(value, to)
            })?;
        }
    }
    Ok(())
}

fn write_list<T>(
    brackets: &[u8; 2],
    items: &[T],
    to: &mut Vec<u8>,
    mut write: impl FnMut(&T, &mut Vec<u8>) -> Result<(), CanonicalError>,
) -> Result<(), CanonicalError> {
    to.push(brackets[0]);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            to.push(b',');
        }
        write(item, to)?;
    }
    to.push(brackets[1]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_form_is_that_of_rfc_8785() {
        // Section 3.2.3 for the order of names, 3.2.2.2 for strings.
        let value = json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7});
        let text = String::from_utf8(write(&value).expect("writes")).expect("UTF-8");
        assert_eq!(text, "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}");
        let value = json!("\u{20ac}$\u{f}\nA'B\"\\\"/\u{7f}");
        let text = String::from_utf8(write(&value).expect("writes")).expect("UTF-8");
        assert_eq!(text, "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\"/\u{7f}\"");
    }

    #[test]
    fn another_form_is_refused_at_its_byte() {
        assert!(read::<Value>(br#"{"a":1,"b":[true,null]}"#, 100).is_ok());
        for (other, at) in [(&br#"{"a": 1}"#[..], 5), (br#"{"b":1,"a":2}"#, 2), (b"\"\\u0041\"", 1), (b"[1]\n", 3)] {
            let error = read::<Value>(other, 100).expect_err("is refused");
            assert!(matches!(error, CanonicalError::Form { offset } if offset == at), "{error}");
        }
        assert!(matches!(read::<Value>(b"[1,2]", 4), Err(CanonicalError::TooLarge { actual: 5, most: 4 })));
        for wrong in [&b"1.5"[..], b"-1", b"9007199254740992", b"1e3"] {
            assert!(matches!(read::<Value>(wrong, 100), Err(CanonicalError::Number { .. })), "{wrong:?}");
        }
        assert!(read::<Value>(b"9007199254740991", 100).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(texts in prop::collection::btree_map(".{0,8}", ".{0,8}", 0..6), n in 0..NUMBER_MAX) {
            let value = json!({"texts": texts, "n": n});
            let bytes = write(&value).expect("writes");
            prop_assert_eq!(read::<Value>(&bytes, 4096).expect("reads"), value);
        }
    }
}
