//! Typed values as programs take and give them. Their form in JSON is [`json`](Value::to_json), in messages `wire`.
//!
//! Invariant: a value keeps its type on every way: an integer never becomes a float, text never bytes, and what a
//! language has no form for is [`Value::Opaque`], never something else that looks like it.

mod array;
mod json;
mod wire;

use std::collections::BTreeMap;

use num_bigint::BigInt;

pub use array::{Array, ArrayError, Dtype};
pub use json::FromJsonError;
pub(crate) use wire::tag;

/// A value that crosses between a program and its caller.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing: Lua `nil`, Julia `nothing`.
    Nil,
    /// A value that is not known: Julia `missing`.
    Missing,
    /// A truth value.
    Bool(bool),
    /// A signed integer of 64 bits.
    Int(i64),
    /// An integer of any size: Julia `BigInt`, and what does not fit into 64 signed bits.
    BigInt(Box<BigInt>),
    /// Numerator and denominator, as they were given.
    Rational(Box<(BigInt, BigInt)>),
    /// An IEEE 754 double.
    Float(f64),
    /// Real and imaginary part.
    Complex(f64, f64),
    /// Text in UTF-8.
    Str(String),
    /// A name: Julia `Symbol`.
    Symbol(String),
    /// Bytes that are not text, and arrays of bytes in one dimension.
    Bytes(Vec<u8>),
    /// Numbers of one type in any number of dimensions.
    Array(Box<Array>),
    /// An ordered sequence.
    List(Vec<Value>),
    /// A map with text keys, in key order.
    Map(BTreeMap<String, Value>),
    /// A map whose keys are not all text, in the order of whoever gave it.
    Dict(Vec<(Value, Value)>),
    /// Different values without order, in that of whoever gave them.
    Set(Vec<Value>),
    /// A value of a type that the program defines.
    Struct(Box<Struct>),
    /// A value without a form outside its program, such as a function.
    Opaque(Box<Opaque>),
}

/// A value of a type that a program defines.
#[derive(Clone, Debug, PartialEq)]
pub struct Struct {
    /// The type, as the program names it.
    pub name: String,
    /// The fields by name.
    pub fields: BTreeMap<String, Value>,
}

/// What is known of a value that stays in its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// The type, as the program names it.
    pub name: String,
    /// How the program shows it, 4 KiB at most.
    pub shown: String,
}

impl Value {
    /// Names the kind of value, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Missing => "a missing value",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "an integer",
            Self::BigInt(_) => "an integer beyond 64 bits",
            Self::Rational(_) => "a ratio",
            Self::Float(_) => "a float",
            Self::Complex(..) => "a complex number",
            Self::Str(_) => "text",
            Self::Symbol(_) => "a symbol",
            Self::Bytes(_) => "bytes",
            Self::Array(_) => "an array",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Dict(_) => "a map",
            Self::Set(_) => "a set",
            Self::Struct(_) => "a struct",
            Self::Opaque(_) => "an opaque value",
        }
    }

    /// Gives the values that this one holds directly, keys of a [`Value::Dict`] included.
    pub fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match self {
            Self::List(values) | Self::Set(values) => Box::new(values.iter()),
            Self::Map(entries) => Box::new(entries.values()),
            Self::Struct(value) => Box::new(value.fields.values()),
            Self::Dict(pairs) => Box::new(pairs.iter().flat_map(|(key, value)| [key, value])),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// Gives the values that this one holds directly, to be changed.
    pub fn children_mut(&mut self) -> Box<dyn Iterator<Item = &mut Self> + '_> {
        match self {
            Self::List(values) | Self::Set(values) => Box::new(values.iter_mut()),
            Self::Map(entries) => Box::new(entries.values_mut()),
            Self::Struct(value) => Box::new(value.fields.values_mut()),
            Self::Dict(pairs) => Box::new(pairs.iter_mut().flat_map(|(key, value)| [key, value])),
            _ => Box::new(std::iter::empty()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
