//! What a module is made of: text in most languages, bytes in WebAssembly.

use std::borrow::Cow;
use std::fmt;

use super::Language;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The content of one module. In MessagePack text is `str` and bytes are `bin`, so an engine in another program sees at
/// once what it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Text in UTF-8.
    Text(String),
    /// Bytes, as WebAssembly modules are.
    Binary(Vec<u8>),
}

impl Source {
    /// Takes the bytes of a file in a language: text where it has a text form, with what is no UTF-8 replaced.
    pub fn of(language: Language, bytes: Vec<u8>) -> Self {
        match language {
            Language::Wasm => Self::Binary(bytes),
            Language::Lua | Language::Julia | Language::Probe => Self::Text(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            }),
        }
    }

    /// Gives the bytes of either.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Gives the text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Binary(bytes) => String::from_utf8_lossy(bytes),
        }
    }
}

impl From<String> for Source {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Source {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Binary(bytes) => serializer.serialize_bytes(bytes),
        }
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Source;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Source, E> {
                Ok(Source::Text(text.to_owned()))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Source, E> {
                Ok(Source::Binary(bytes.to_vec()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Writes bytes as one MessagePack `bin`, not as a list of numbers.
pub(crate) mod bytes {
    use super::{Deserialize as _, Deserializer, Serializer, Source};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Ok(match Source::deserialize(deserializer)? {
            Source::Text(text) => text.into_bytes(),
            Source::Binary(bytes) => bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_stay_apart_on_the_wire() {
        for source in [Source::from("return 1"), Source::from(vec![0, b'a', b's', b'm', 0xff])] {
            let wire = rmp_serde::to_vec_named(&source).expect("has a form");
            assert_eq!(rmp_serde::from_slice::<Source>(&wire).expect("reads back"), source);
        }
        assert_eq!(Source::from(vec![0xff]).text(), "\u{fffd}");
    }
}
