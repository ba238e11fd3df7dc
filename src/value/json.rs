//! Values as JSON, which has neither bytes nor NaN nor the kinds beside them: they are objects with one key.
//!
//! | kind | form |
//! |---|---|
//! | bytes | `{"$bytes": "<base64>"}` |
//! | NaN and the infinities | `{"$float": "nan" \| "inf" \| "-inf"}` |
//! | integer beyond 64 signed bits, or of that kind | `{"$int": "<decimal>"}` |
//! | ratio | `{"$rational": ["<decimal>", "<decimal>"]}` |
//! | complex number | `{"$complex": [real, imaginary]}` |
//! | symbol | `{"$symbol": "name"}` |
//! | array | `{"$array": {"dtype": "f64", "shape": [2, 3], "data": […]}}`, elements in the order of memory, real and imaginary part each an element; or data in base64 |
//! | map whose keys are no text, or like these here | `{"$map": [[key, value], …]}` |
//! | set | `{"$set": […]}` |
//! | struct | `{"$struct": {"type": "…", "fields": {…}}}` |
//! | missing | `{"$missing": true}` |
//! | opaque | `{"$opaque": {"type": "…", "repr": "…"}}` |
//!
//! Integers stay integers. What is written reads back as the same value.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use num_bigint::BigInt;
use serde_json::{Value as Json, json};

use super::array::{Array, Dtype};
use super::{Opaque, Struct, Value};

/// The most elements that an array is written with one by one; more are written as bytes.
const ELEMENTS_WRITTEN_MAX: u64 = 4096;

/// A JSON value that is no [`Value`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct FromJsonError {
    reason: String,
}

const MARKERS: [&str; 12] = [
    "$array",
    "$bytes",
    "$complex",
    "$float",
    "$int",
    "$map",
    "$missing",
    "$opaque",
    "$rational",
    "$set",
    "$struct",
    "$symbol",
];

impl Value {
    /// Gives the JSON form.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Nil => Json::Null,
            Self::Missing => json!({"$missing": true}),
            Self::Bool(value) => json!(value),
            Self::Int(value) => json!(value),
            Self::BigInt(value) => json!({"$int": value.to_string()}),
            Self::Rational(ratio) => json!({"$rational": [ratio.0.to_string(), ratio.1.to_string()]}),
            Self::Float(value) => float_to_json(*value),
            Self::Complex(real, imaginary) => json!({"$complex": [float_to_json(*real), float_to_json(*imaginary)]}),
            Self::Str(value) => json!(value),
            Self::Symbol(name) => json!({"$symbol": name}),
            Self::Bytes(value) => json!({"$bytes": BASE64.encode(value)}),
            Self::Array(array) => json!({"$array": array_to_json(array)}),
            Self::List(values) => list_to_json(values),
            Self::Set(values) => json!({"$set": list_to_json(values)}),
            Self::Map(entries) if entries.keys().any(|key| is_marker(key)) => {
                json!({"$map": entries.iter().map(|(key, value)| json!([key, value.to_json()])).collect::<Vec<_>>()})
            }
            Self::Map(entries) => map_to_json(entries),
            // A map with text keys only is another kind; `[[key]]` is one, too, so it has a place of its own.
            Self::Dict(pairs) => {
                let pairs: Vec<Json> =
                    pairs.iter().map(|(key, value)| json!([[key.to_json()], value.to_json()])).collect();
                json!({ "$map": pairs })
            }
            Self::Struct(value) => json!({"$struct": {"type": value.name, "fields": map_to_json(&value.fields)}}),
            Self::Opaque(value) => json!({"$opaque": {"type": value.name, "repr": value.shown}}),
        }
    }

    /// Reads the JSON form. A number beyond 64 signed bits without a point is an integer of any size.
    ///
    /// # Errors
    /// A marker object whose content is not what the marker promises.
    pub fn from_json(json: &Json) -> Result<Self, FromJsonError> {
        Ok(match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(value), ..) => Self::Int(value),
                (None, Some(value), _) => Self::BigInt(Box::new(value.into())),
                (None, None, Some(value)) => Self::Float(value),
                _ => return Err(fault(format!("number `{number}` is no double"))),
            },
            Json::String(value) => Self::Str(value.clone()),
            Json::Array(values) => Self::List(list_from_json(values)?),
            Json::Object(entries) => match entries.iter().next() {
                Some((key, value)) if entries.len() == 1 && is_marker(key) => {
                    from_marker(key, value).map_err(|error| fault(format!("`{key}`: {error}")))?
                }
                _ => Self::Map(map_from_json(entries)?),
            },
        })
    }
}

fn is_marker(key: &str) -> bool {
    MARKERS.contains(&key)
}

fn float_to_json(value: f64) -> Json {
    match value {
        _ if value.is_finite() => json!(value),
        _ if value.is_nan() => json!({"$float": "nan"}),
        _ => json!({"$float": if value > 0.0 { "inf" } else { "-inf" }}),
    }
}

fn list_to_json(values: &[Value]) -> Json {
    values.iter().map(Value::to_json).collect()
}

fn map_to_json(entries: &BTreeMap<String, Value>) -> Json {
    Json::Object(entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
}

fn list_from_json(values: &[Json]) -> Result<Vec<Value>, FromJsonError> {
    values.iter().map(Value::from_json).collect()
}

fn map_from_json(entries: &serde_json::Map<String, Json>) -> Result<BTreeMap<String, Value>, FromJsonError> {
    entries.iter().map(|(key, value)| Ok((key.clone(), Value::from_json(value)?))).collect()
}

fn array_to_json(array: &Array) -> Json {
    let bytes = array.bytes().unwrap_or_default();
    let elements = array.size_bytes() / array.dtype().size_bytes() as u64;
    let written = if elements <= ELEMENTS_WRITTEN_MAX { elements_to_json(array.dtype(), bytes) } else { None };
    let data = written.map_or_else(|| json!(BASE64.encode(bytes)), Json::Array);
    json!({"dtype": array.dtype().as_str(), "shape": array.shape(), "data": data})
}

/// Gives the elements one by one, unless that would lose something: the bits of a NaN.
fn elements_to_json(dtype: Dtype, bytes: &[u8]) -> Option<Vec<Json>> {
    fn each<const N: usize>(bytes: &[u8], read: fn([u8; N]) -> Option<Json>) -> Option<Vec<Json>> {
        bytes.as_chunks::<N>().0.iter().map(|element| read(*element)).collect()
    }
    fn canonical(value: f64, bits_kept: bool) -> Option<Json> {
        (bits_kept || !value.is_nan()).then(|| float_to_json(value))
    }
    match dtype {
        Dtype::Bool => each::<1>(bytes, |[byte]| (byte < 2).then(|| json!(byte == 1))),
        Dtype::I8 => each(bytes, |element| Some(json!(i8::from_le_bytes(element)))),
        Dtype::I16 => each(bytes, |element| Some(json!(i16::from_le_bytes(element)))),
        Dtype::I32 => each(bytes, |element| Some(json!(i32::from_le_bytes(element)))),
        Dtype::I64 => each(bytes, |element| Some(json!(i64::from_le_bytes(element)))),
        Dtype::U8 => each::<1>(bytes, |[byte]| Some(json!(byte))),
        Dtype::U16 => each(bytes, |element| Some(json!(u16::from_le_bytes(element)))),
        Dtype::U32 => each(bytes, |element| Some(json!(u32::from_le_bytes(element)))),
        Dtype::U64 => each(bytes, |element| Some(json!(u64::from_le_bytes(element)))),
        Dtype::F32 | Dtype::C64 => each(bytes, |element| {
            let value = f32::from_le_bytes(element);
            canonical(value.into(), value.to_bits() == f32::NAN.to_bits())
        }),
        Dtype::F64 | Dtype::C128 => each(bytes, |element| {
            let value = f64::from_le_bytes(element);
            canonical(value, value.to_bits() == f64::NAN.to_bits())
        }),
    }
}

fn array_from_json(json: &Json) -> Result<Array, FromJsonError> {
    let dtype: Dtype = text(&json["dtype"])?.parse().map_err(|error| fault(format!("`dtype`: {error}")))?;
    let shape: Vec<u64> =
        serde_json::from_value(json["shape"].clone()).map_err(|error| fault(format!("`shape`: {error}")))?;
    let bytes = match &json["data"] {
        Json::String(text) => {
            BASE64.decode(text.as_bytes()).map_err(|error| fault(format!("`data` as base64: {error}")))?
        }
        Json::Array(elements) => {
            let mut bytes = Vec::with_capacity(elements.len() * dtype.size_bytes());
            for element in elements {
                element_from_json(dtype, element, &mut bytes)
                    .ok_or_else(|| fault(format!("`data`: `{element}` is no element of type {dtype}")))?;
            }
            bytes
        }
        other => return Err(fault(format!("`data` must be a list or base64, not `{other}`"))),
    };
    Array::new(dtype, shape, bytes).map_err(|error| fault(error.to_string()))
}

fn element_from_json(dtype: Dtype, json: &Json, bytes: &mut Vec<u8>) -> Option<()> {
    fn integer<T: TryFrom<i128>>(json: &Json) -> Option<T> {
        let value = json.as_i64().map(i128::from).or(json.as_u64().map(i128::from))?;
        T::try_from(value).ok()
    }
    let float = || match Value::from_json(json) {
        Ok(Value::Float(value)) => Some(value),
        // A person writes 1 for 1.0.
        Ok(Value::Int(value)) if value.unsigned_abs() <= 1 << 53 => Some(value as f64),
        _ => None,
    };
    match dtype {
        Dtype::Bool => bytes.push(u8::from(json.as_bool()?)),
        Dtype::I8 => bytes.extend(integer::<i8>(json)?.to_le_bytes()),
        Dtype::I16 => bytes.extend(integer::<i16>(json)?.to_le_bytes()),
        Dtype::I32 => bytes.extend(integer::<i32>(json)?.to_le_bytes()),
        Dtype::I64 => bytes.extend(integer::<i64>(json)?.to_le_bytes()),
        Dtype::U8 => bytes.push(integer(json)?),
        Dtype::U16 => bytes.extend(integer::<u16>(json)?.to_le_bytes()),
        Dtype::U32 => bytes.extend(integer::<u32>(json)?.to_le_bytes()),
        Dtype::U64 => bytes.extend(integer::<u64>(json)?.to_le_bytes()),
        Dtype::F32 | Dtype::C64 => bytes.extend((float()? as f32).to_le_bytes()),
        Dtype::F64 | Dtype::C128 => bytes.extend(float()?.to_le_bytes()),
    }
    Some(())
}

fn from_marker(key: &str, json: &Json) -> Result<Value, FromJsonError> {
    Ok(match key {
        "$bytes" => Value::Bytes(BASE64.decode(text(json)?.as_bytes()).map_err(|error| fault(error.to_string()))?),
        "$float" => match text(json)? {
            "nan" => Value::Float(f64::NAN),
            "inf" => Value::Float(f64::INFINITY),
            "-inf" => Value::Float(f64::NEG_INFINITY),
            _ => return Err(fault(format!("must be nan, inf or -inf, not `{json}`"))),
        },
        "$int" => Value::BigInt(Box::new(big_int(json)?)),
        "$rational" => {
            let [numerator, denominator] = pair(json)?;
            Value::Rational(Box::new((big_int(numerator)?, big_int(denominator)?)))
        }
        "$complex" => {
            let [real, imaginary] = pair(json)?;
            match (Value::from_json(real)?, Value::from_json(imaginary)?) {
                (Value::Float(real), Value::Float(imaginary)) => Value::Complex(real, imaginary),
                _ => return Err(fault(format!("must be two floats, not `{json}`"))),
            }
        }
        "$symbol" => Value::Symbol(text(json)?.to_owned()),
        "$array" => Value::Array(Box::new(array_from_json(json)?)),
        "$set" => Value::Set(list_from_json(list(json)?)?),
        "$struct" => {
            let fields = json["fields"].as_object().ok_or_else(|| fault("has no map `fields`".into()))?;
            Value::Struct(Box::new(Struct { name: text(&json["type"])?.to_owned(), fields: map_from_json(fields)? }))
        }
        "$missing" if *json == Json::Bool(true) => Value::Missing,
        "$opaque" => Value::Opaque(Box::new(Opaque {
            name: text(&json["type"])?.to_owned(),
            shown: text(&json["repr"])?.to_owned(),
        })),
        "$map" => pairs_from_json(list(json)?)?,
        _ => return Err(fault(format!("must be true, not `{json}`"))),
    })
}

/// Reads a map: with text as keys one of text keys, with every key in a list of its own one of any keys.
fn pairs_from_json(pairs: &[Json]) -> Result<Value, FromJsonError> {
    let pairs = pairs.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    if pairs.iter().any(|[key, _]| key.is_array()) || pairs.is_empty() {
        let read = pairs.iter().map(|[key, value]| match key.as_array().map(Vec::as_slice) {
            Some([key]) => Ok((Value::from_json(key)?, Value::from_json(value)?)),
            _ => Err(fault(format!("key `{key}` must be in a list of its own"))),
        });
        return read.collect::<Result<_, _>>().map(Value::Dict);
    }
    let read = pairs.iter().map(|[key, value]| Ok((text(key)?.to_owned(), Value::from_json(value)?)));
    read.collect::<Result<_, _>>().map(Value::Map)
}

fn pair(json: &Json) -> Result<&[Json; 2], FromJsonError> {
    let both = json.as_array().and_then(|list| <&[Json; 2]>::try_from(list.as_slice()).ok());
    both.ok_or_else(|| fault(format!("must be two in a list, not `{json}`")))
}

fn list(json: &Json) -> Result<&[Json], FromJsonError> {
    json.as_array().map(Vec::as_slice).ok_or_else(|| fault(format!("must be a list, not `{json}`")))
}

fn text(json: &Json) -> Result<&str, FromJsonError> {
    json.as_str().ok_or_else(|| fault(format!("must be text, not `{json}`")))
}

/// The most digits of an integer: reading them takes time that grows with their square, and messages hold no more.
const DIGITS_MAX: usize = 78_000;

fn big_int(json: &Json) -> Result<BigInt, FromJsonError> {
    let digits = text(json)?;
    let number = if digits.len() <= DIGITS_MAX { digits.parse().ok() } else { None };
    number.ok_or_else(|| fault(format!("must be an integer of at most {DIGITS_MAX} digits")))
}

fn fault(reason: String) -> FromJsonError {
    FromJsonError { reason }
}
