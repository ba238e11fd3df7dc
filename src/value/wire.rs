//! Values as MessagePack, which has nil, truth values, integers, doubles, text, bytes, arrays and maps of its own; the
//! other kinds are its extensions by [`tag`]. Lengths and numbers inside extensions are little endian.
//!
//! Reading is for bytes whose depth and objects have been bounded before (`vm::protocol`); sizes are checked here.

use std::borrow::Cow;
use std::fmt;

use num_bigint::{BigInt, Sign};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, Serializer};

use super::array::{Array, DIMENSIONS_MAX, Dtype};
use super::{Opaque, Struct, Value};

/// The most bytes of an integer's magnitude, some 79,000 decimal digits: writing it as text takes time that grows with
/// their square.
const BIG_INT_BYTES_MAX: usize = 32 << 10;

/// The numbers of the extensions.
pub(crate) mod tag {
    /// An array: type (u8), dimensions (u8), the length of each (u64), elements.
    pub(crate) const ARRAY: i8 = 1;
    /// An array in the arena: as above, with an offset (u64) in place of the elements.
    pub(crate) const ARRAY_IN_ARENA: i8 = 2;
    /// Real and imaginary part (f64, f64).
    pub(crate) const COMPLEX: i8 = 3;
    /// 1 for negative, else 0 (u8), then the magnitude.
    pub(crate) const BIG_INT: i8 = 4;
    /// Two objects, each of them [`BIG_INT`].
    pub(crate) const RATIONAL: i8 = 5;
    /// UTF-8.
    pub(crate) const SYMBOL: i8 = 6;
    /// Two objects: the type and how it is shown.
    pub(crate) const OPAQUE: i8 = 8;
    /// Two objects: the type and a map of fields.
    pub(crate) const STRUCT: i8 = 9;
    /// Nothing.
    pub(crate) const MISSING: i8 = 10;
    /// One array of values.
    pub(crate) const SET: i8 = 11;
    /// One array of keys and values in turn.
    pub(crate) const DICT: i8 = 12;

    /// Gives how many objects an extension is made of; nothing if it is bytes of its own.
    pub(crate) fn objects(tag: i8) -> Option<u64> {
        match tag {
            RATIONAL | OPAQUE | STRUCT => Some(2),
            SET | DICT => Some(1),
            _ => None,
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Str(value) => serializer.serialize_str(value),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::List(values) => serializer.collect_seq(values),
            Self::Map(entries) => serializer.collect_map(entries),
            Self::Missing => extension(serializer, tag::MISSING, &[]),
            Self::Symbol(name) => extension(serializer, tag::SYMBOL, name.as_bytes()),
            Self::BigInt(value) => extension(serializer, tag::BIG_INT, &big_int_bytes(value)),
            Self::Complex(real, imaginary) => {
                extension(serializer, tag::COMPLEX, [real.to_le_bytes(), imaginary.to_le_bytes()].as_flattened())
            }
            Self::Rational(ratio) => {
                objects(serializer, tag::RATIONAL, &[&BigIntObject(&ratio.0), &BigIntObject(&ratio.1)])
            }
            Self::Array(array) => {
                let tag = if array.bytes().is_some() { tag::ARRAY } else { tag::ARRAY_IN_ARENA };
                extension(serializer, tag, &array_bytes(array))
            }
            Self::Set(values) => objects(serializer, tag::SET, &[values]),
            Self::Dict(pairs) => {
                let flat: Vec<&Self> = pairs.iter().flat_map(|(key, value)| [key, value]).collect();
                objects(serializer, tag::DICT, &[&flat])
            }
            Self::Struct(value) => objects(serializer, tag::STRUCT, &[&value.name, &value.fields]),
            Self::Opaque(value) => objects(serializer, tag::OPAQUE, &[&value.name, &value.shown]),
        }
    }
}

fn extension<S: Serializer>(serializer: S, tag: i8, content: &[u8]) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(rmp_serde::MSGPACK_EXT_STRUCT_NAME, &(tag, Content(Cow::Borrowed(content))))
}

fn objects<S: Serializer>(serializer: S, tag: i8, parts: &[&dyn ErasedPart]) -> Result<S::Ok, S::Error> {
    let mut content = Vec::new();
    for part in parts {
        part.write(&mut content).map_err(ser::Error::custom)?;
    }
    extension(serializer, tag, &content)
}

/// Something that is written as one object.
trait ErasedPart {
    fn write(&self, content: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error>;
}

impl<T: Serialize> ErasedPart for T {
    fn write(&self, content: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
        rmp_serde::encode::write_named(content, self)
    }
}

struct BigIntObject<'a>(&'a BigInt);

impl Serialize for BigIntObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        extension(serializer, tag::BIG_INT, &big_int_bytes(self.0))
    }
}

fn big_int_bytes(value: &BigInt) -> Vec<u8> {
    let (sign, magnitude) = value.to_bytes_le();
    let magnitude = if sign == Sign::NoSign { &[][..] } else { &magnitude };
    [&[u8::from(sign == Sign::Minus)], magnitude].concat()
}

fn array_bytes(array: &Array) -> Vec<u8> {
    let dimensions = u8::try_from(array.shape().len()).expect("an array has 32 dimensions at most");
    let offset = array.arena_offset().map(u64::to_le_bytes);
    let content = array.bytes().or(offset.as_ref().map(<[u8; 8]>::as_slice)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(2 + 8 * array.shape().len() + content.len());
    bytes.extend([array.dtype() as u8, dimensions]);
    bytes.extend(array.shape().iter().flat_map(|length| length.to_le_bytes()));
    bytes.extend_from_slice(content);
    bytes
}

/// The bytes of an extension.
struct Content<'a>(Cow<'a, [u8]>);

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Content<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Content<'de>, E> {
                Ok(Content(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Content<'de>, E> {
                Ok(Content(Cow::Owned(bytes.to_vec())))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Value::BigInt(Box::new(value.into())), Value::Int))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(value.to_owned()))
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(value.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut entries = std::collections::BTreeMap::new();
        while let Some((key, value)) = items.next_entry()? {
            entries.insert(key, value);
        }
        Ok(Value::Map(entries))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let (tag, content) = <(i8, Content<'de>)>::deserialize(deserializer)?;
        read_extension(tag, &content.0).map_err(de::Error::custom)
    }
}

fn read_extension(tag: i8, content: &[u8]) -> Result<Value, String> {
    Ok(match tag {
        tag::MISSING if content.is_empty() => Value::Missing,
        tag::SYMBOL => Value::Symbol(str::from_utf8(content).map_err(|error| format!("symbol: {error}"))?.to_owned()),
        tag::BIG_INT => Value::BigInt(Box::new(read_big_int(content)?)),
        tag::COMPLEX => match content.as_chunks::<8>() {
            ([real, imaginary], []) => Value::Complex(f64::from_le_bytes(*real), f64::from_le_bytes(*imaginary)),
            _ => return Err("a complex number of other than 16 bytes".into()),
        },
        tag::ARRAY | tag::ARRAY_IN_ARENA => read_array(tag, content)?,
        tag::RATIONAL => match read_two::<Value, Value>(content)? {
            (Value::BigInt(numerator), Value::BigInt(denominator)) => {
                Value::Rational(Box::new((*numerator, *denominator)))
            }
            _ => return Err("a ratio of other than two integers".into()),
        },
        tag::STRUCT => {
            let (name, fields) = read_two(content)?;
            Value::Struct(Box::new(Struct { name, fields }))
        }
        tag::OPAQUE => {
            let (name, shown) = read_two(content)?;
            Value::Opaque(Box::new(Opaque { name, shown }))
        }
        tag::SET => Value::Set(read_one(content)?),
        tag::DICT => {
            let mut flat = read_one::<Vec<Value>>(content)?.into_iter();
            let mut pairs = Vec::with_capacity(flat.len() / 2);
            while let Some(key) = flat.next() {
                pairs.push((key, flat.next().ok_or("a map with a key and no value")?));
            }
            Value::Dict(pairs)
        }
        _ => return Err(format!("extension {tag} is not used here")),
    })
}

fn read_one<T: for<'a> Deserialize<'a>>(content: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(content).map_err(|error| error.to_string())
}

fn read_two<T, U>(content: &[u8]) -> Result<(T, U), String>
where
    T: for<'a> Deserialize<'a>,
    U: for<'a> Deserialize<'a>,
{
    let mut objects = rmp_serde::Deserializer::from_read_ref(content);
    let first = T::deserialize(&mut objects).map_err(|error| error.to_string())?;
    Ok((first, U::deserialize(&mut objects).map_err(|error| error.to_string())?))
}

fn read_big_int(content: &[u8]) -> Result<BigInt, String> {
    let (sign, magnitude) = content.split_first().ok_or("an integer without a sign")?;
    if magnitude.len() > BIG_INT_BYTES_MAX {
        return Err(format!("an integer of more than {BIG_INT_BYTES_MAX} bytes"));
    }
    let sign = if *sign == 0 { Sign::Plus } else { Sign::Minus };
    Ok(BigInt::from_bytes_le(sign, magnitude))
}

fn read_array(tag: i8, content: &[u8]) -> Result<Value, String> {
    let cut = "an array that ends in its head";
    let ([dtype, dimensions], rest) = content.split_first_chunk::<2>().ok_or(cut)?;
    if usize::from(*dimensions) > DIMENSIONS_MAX {
        return Err(format!("an array of {dimensions} dimensions"));
    }
    let (shape, rest) = rest.split_at_checked(8 * usize::from(*dimensions)).ok_or(cut)?;
    let shape: Vec<u64> = shape.as_chunks::<8>().0.iter().map(|length| u64::from_le_bytes(*length)).collect();
    let dtype = Dtype::of_code(*dtype).map_err(|error| error.to_string())?;
    let array = if tag == tag::ARRAY {
        Array::new(dtype, shape, rest.to_vec())
    } else {
        let offset = *<&[u8; 8]>::try_from(rest).map_err(|_| "an array whose offset is not 8 bytes")?;
        Array::in_arena(dtype, shape, u64::from_le_bytes(offset))
    };
    Ok(Value::Array(Box::new(array.map_err(|error| error.to_string())?)))
}
