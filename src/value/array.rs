//! Arrays of numbers: their bytes as they lie in memory, with type and shape.

use std::fmt;
use std::str::FromStr;

use super::Value;

/// The most dimensions of an array.
pub(crate) const DIMENSIONS_MAX: usize = 32;

/// The type of an array's elements; the number of a variant is its code in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Dtype {
    /// One byte each, 0 or 1.
    Bool,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// IEEE 754, 32 bits.
    F32,
    /// IEEE 754, 64 bits.
    F64,
    /// Two [`Dtype::F32`]: real and imaginary part.
    C64,
    /// Two [`Dtype::F64`]: real and imaginary part.
    C128,
}

/// Numbers of one type in any number of dimensions, the first index running fastest, little endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    dtype: Dtype,
    shape: Vec<u64>,
    place: Place,
}

/// Where an array's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Here(Vec<u8>),
    /// At this offset of the arena that a host shares with one worker.
    Arena(u64),
}

/// A type, shape or length that makes no array.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayError {
    /// The code or name of no type.
    #[error("`{0}` is no type of an array's elements")]
    Dtype(String),
    /// Too many dimensions, or more bytes than an address can count.
    #[error("shape {shape:?} has more than {DIMENSIONS_MAX} dimensions or too many elements")]
    Shape {
        /// The shape.
        shape: Vec<u64>,
    },
    /// The bytes do not fill the shape.
    #[error("{bytes} bytes are no array of {dtype} in shape {shape:?}")]
    Length {
        /// How many there are.
        bytes: usize,
        /// The type.
        dtype: Dtype,
        /// The shape.
        shape: Vec<u64>,
    },
}

impl Dtype {
    const ALL: [(Self, &'static str, usize); 13] = [
        (Self::Bool, "bool", 1),
        (Self::I8, "i8", 1),
        (Self::I16, "i16", 2),
        (Self::I32, "i32", 4),
        (Self::I64, "i64", 8),
        (Self::U8, "u8", 1),
        (Self::U16, "u16", 2),
        (Self::U32, "u32", 4),
        (Self::U64, "u64", 8),
        (Self::F32, "f32", 4),
        (Self::F64, "f64", 8),
        (Self::C64, "c64", 8),
        (Self::C128, "c128", 16),
    ];

    /// Gives every type.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.iter().map(|(dtype, ..)| *dtype)
    }

    /// Gives the name.
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Gives the size of one element in bytes.
    pub fn size_bytes(self) -> usize {
        Self::ALL[self as usize].2
    }

    pub(super) fn of_code(code: u8) -> Result<Self, ArrayError> {
        Self::all().nth(usize::from(code)).ok_or_else(|| ArrayError::Dtype(code.to_string()))
    }
}

impl Array {
    /// Makes an array of its bytes.
    ///
    /// # Errors
    /// The bytes do not fill the shape, or there are more than `DIMENSIONS_MAX` dimensions.
    pub fn new(dtype: Dtype, shape: Vec<u64>, bytes: Vec<u8>) -> Result<Self, ArrayError> {
        if size_bytes(dtype, &shape)? != bytes.len() as u64 {
            return Err(ArrayError::Length { bytes: bytes.len(), dtype, shape });
        }
        Ok(Self { dtype, shape, place: Place::Here(bytes) })
    }

    /// Makes an array in one dimension of doubles.
    pub fn of_f64(values: &[f64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: Dtype::F64, shape: vec![values.len() as u64], place: Place::Here(bytes) }
    }

    /// Makes an array that lies in the arena of the worker it is for.
    pub(crate) fn in_arena(dtype: Dtype, shape: Vec<u64>, offset: u64) -> Result<Self, ArrayError> {
        size_bytes(dtype, &shape)?;
        Ok(Self { dtype, shape, place: Place::Arena(offset) })
    }

    /// Gives the type of the elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Gives the length of every dimension.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Gives the size of all elements in bytes.
    pub fn size_bytes(&self) -> u64 {
        size_bytes(self.dtype, &self.shape).expect("the shape was counted when the array was made")
    }

    /// Gives the bytes, unless they lie in the arena of a worker.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.place {
            Place::Here(bytes) => Some(bytes),
            Place::Arena(_) => None,
        }
    }

    /// Gives the elements of an array in one dimension that is here and has no complex numbers.
    pub fn elements(&self) -> Option<Vec<Value>> {
        fn each<const N: usize>(bytes: &[u8], read: fn([u8; N]) -> Value) -> Vec<Value> {
            bytes.as_chunks::<N>().0.iter().map(|element| read(*element)).collect()
        }
        let unsigned =
            |value: u64| i64::try_from(value).map_or_else(|_| Value::BigInt(Box::new(value.into())), Value::Int);
        let bytes = self.bytes().filter(|_| self.shape.len() == 1)?;
        Some(match self.dtype {
            Dtype::Bool => each::<1>(bytes, |[byte]| Value::Bool(byte != 0)),
            Dtype::I8 => each(bytes, |element| Value::Int(i8::from_le_bytes(element).into())),
            Dtype::I16 => each(bytes, |element| Value::Int(i16::from_le_bytes(element).into())),
            Dtype::I32 => each(bytes, |element| Value::Int(i32::from_le_bytes(element).into())),
            Dtype::I64 => each(bytes, |element| Value::Int(i64::from_le_bytes(element))),
            Dtype::U8 => each::<1>(bytes, |[byte]| Value::Int(byte.into())),
            Dtype::U16 => each(bytes, |element| Value::Int(u16::from_le_bytes(element).into())),
            Dtype::U32 => each(bytes, |element| Value::Int(u32::from_le_bytes(element).into())),
            Dtype::U64 => bytes.as_chunks().0.iter().map(|element| unsigned(u64::from_le_bytes(*element))).collect(),
            Dtype::F32 => each(bytes, |element| Value::Float(f32::from_le_bytes(element).into())),
            Dtype::F64 => each(bytes, |element| Value::Float(f64::from_le_bytes(element))),
            Dtype::C64 | Dtype::C128 => return None,
        })
    }

    /// Gives the offset in the arena of a worker, if it lies there.
    pub(crate) fn arena_offset(&self) -> Option<u64> {
        match self.place {
            Place::Here(_) => None,
            Place::Arena(offset) => Some(offset),
        }
    }

    /// Gives the bytes, with nothing around them.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self.place {
            Place::Here(bytes) => Some(bytes),
            Place::Arena(_) => None,
        }
    }

    /// Gives the doubles of an array of them, whatever its shape; nothing for another type.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        let bytes = self.bytes().filter(|_| self.dtype == Dtype::F64)?;
        let (doubles, _) = bytes.as_chunks::<8>();
        Some(doubles.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
    }
}

fn size_bytes(dtype: Dtype, shape: &[u64]) -> Result<u64, ArrayError> {
    let bytes = shape.iter().try_fold(dtype.size_bytes() as u64, |bytes, length| bytes.checked_mul(*length));
    bytes
        .filter(|bytes| shape.len() <= DIMENSIONS_MAX && usize::try_from(*bytes).is_ok())
        .ok_or_else(|| ArrayError::Shape { shape: shape.to_vec() })
}

impl FromStr for Dtype {
    type Err = ArrayError;

    fn from_str(text: &str) -> Result<Self, ArrayError> {
        Self::all().find(|dtype| dtype.as_str() == text).ok_or_else(|| ArrayError::Dtype(text.to_owned()))
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
