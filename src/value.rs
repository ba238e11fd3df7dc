//! Typed values as programs take and give them, and their form in JSON.
//!
//! JSON has no bytes and no NaN, so those travel as one-key objects: `{"$bytes": "<base64>"}` and
//! `{"$float": "nan" | "inf" | "-inf"}`; an object of a program that has such a key itself is wrapped as
//! `{"$map": [[key, value], …]}`. Integers stay integers.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

/// A value that crosses between a program and its caller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Nothing: Lua `nil`, Julia `nothing`.
    Nil,
    /// A truth value.
    Bool(bool),
    /// A signed integer of 64 bits.
    Int(i64),
    /// An IEEE 754 double.
    Float(f64),
    /// Text in UTF-8.
    Str(String),
    /// Bytes that are not text.
    Bytes(#[serde(with = "bytes")] Vec<u8>),
    /// An ordered sequence.
    List(Vec<Value>),
    /// A map with text keys, in key order.
    Map(BTreeMap<String, Value>),
}

/// A JSON value that is no [`Value`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct FromJsonError {
    reason: String,
}

impl Value {
    /// Gives the JSON form.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::{Value as Json, json};
        match self {
            Self::Nil => Json::Null,
            Self::Bool(value) => json!(value),
            Self::Int(value) => json!(value),
            Self::Float(value) if value.is_finite() => json!(value),
            Self::Float(value) if value.is_nan() => json!({"$float": "nan"}),
            Self::Float(value) => json!({"$float": if *value > 0.0 { "inf" } else { "-inf" }}),
            Self::Str(value) => json!(value),
            Self::Bytes(value) => json!({"$bytes": BASE64.encode(value)}),
            Self::List(values) => Json::Array(values.iter().map(Self::to_json).collect()),
            Self::Map(entries) if entries.keys().any(|key| is_marker(key)) => {
                json!({"$map": entries.iter().map(|(key, value)| json!([key, value.to_json()])).collect::<Vec<_>>()})
            }
            Self::Map(entries) => {
                Json::Object(entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
            }
        }
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// A number beyond 64 bits, or a marker object whose content is not what the marker promises.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, FromJsonError> {
        use serde_json::Value as Json;
        Ok(match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Self::Int(value),
                (None, Some(value)) if !number.is_u64() => Self::Float(value),
                _ => return Err(fault(format!("number `{number}` does not fit in 64 signed bits"))),
            },
            Json::String(value) => Self::Str(value.clone()),
            Json::Array(values) => Self::List(values.iter().map(Self::from_json).collect::<Result<_, _>>()?),
            Json::Object(entries) => match entries.iter().next() {
                Some((key, value)) if entries.len() == 1 && is_marker(key) => from_marker(key, value)?,
                _ => Self::Map(
                    entries
                        .iter()
                        .map(|(key, value)| Ok((key.clone(), Self::from_json(value)?)))
                        .collect::<Result<_, _>>()?,
                ),
            },
        })
    }
}

fn is_marker(key: &str) -> bool {
    matches!(key, "$bytes" | "$float" | "$map")
}

fn from_marker(key: &str, json: &serde_json::Value) -> Result<Value, FromJsonError> {
    let text = json.as_str().unwrap_or_default();
    match key {
        "$bytes" => {
            BASE64.decode(text.as_bytes()).map(Value::Bytes).map_err(|error| fault(format!("`$bytes`: {error}")))
        }
        "$float" => match text {
            "nan" => Ok(Value::Float(f64::NAN)),
            "inf" => Ok(Value::Float(f64::INFINITY)),
            "-inf" => Ok(Value::Float(f64::NEG_INFINITY)),
            _ => Err(fault(format!("`$float` must be nan, inf or -inf, not `{json}`"))),
        },
        _ => serde_json::from_value::<Vec<(String, serde_json::Value)>>(json.clone())
            .map_err(|error| fault(format!("`$map`: {error}")))?
            .iter()
            .map(|(key, value)| Ok((key.clone(), Value::from_json(value)?)))
            .collect::<Result<_, _>>()
            .map(Value::Map),
    }
}

fn fault(reason: String) -> FromJsonError {
    FromJsonError { reason }
}

/// Writes bytes as one MessagePack `bin`, not as a list of numbers.
mod bytes {
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), -1e300..1e300_f64].prop_map(Value::Float),
            ".{0,8}".prop_map(Value::Str),
            proptest::collection::vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key = prop_oneof![Just("$bytes".to_owned()), Just("$map".to_owned()), "[a-z]{0,3}"];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                proptest::collection::btree_map(key, inner, 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_round_trips(value in any_value()) {
            let text = value.to_json().to_string();
            prop_assert_eq!(Value::from_json(&serde_json::from_str(&text).expect("is JSON")).expect("reads back"), value);
        }
    }

    #[test]
    fn refuses_what_would_lose_something() {
        for wrong in [r#"18446744073709551615"#, r#"{"$bytes": "?"}"#, r#"{"$float": "many"}"#, r#"{"$map": 1}"#] {
            assert!(Value::from_json(&serde_json::from_str(wrong).expect("is JSON")).is_err(), "{wrong}");
        }
    }
}
