//! What a program keeps beyond one call: values under keys, asked of the host in the middle of a call, since workers have no
//! files. Here are the questions, the answers and their bounds; who keeps the values is the caller's business.
//!
//! A worker that asks counts as hostile: keys and values are bounded before anything is kept, and the number of questions is
//! bounded by the wall time of the call, in which each waits for its answer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::value::Value;

/// The most bytes of a key.
pub const KEY_BYTES_MAX: usize = 512;
/// The most bytes of one value in MessagePack.
pub const VALUE_BYTES_MAX: usize = 4 << 20;
/// The most keys of one package.
pub const KEYS_MAX: usize = 10_000;

/// What a program asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StorageAsk {
    /// The value under a key.
    Get {
        /// The key.
        key: String,
    },
    /// Keeps a value under a key, instead of the one before.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: Value,
    },
    /// Forgets a key.
    Remove {
        /// The key.
        key: String,
    },
    /// The keys, in their order.
    Keys,
}

/// What a program is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StorageAnswer {
    /// The value; nil if there is none, or nothing was asked for.
    Value(Value),
    /// It was not done, and why.
    Refused(String),
}

/// Keeps what a program stores.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Answers a question. Blocks.
    fn ask(&self, ask: StorageAsk) -> StorageAnswer;
}

/// Keeps values in memory, for one run.
#[derive(Debug)]
pub struct Scratch {
    quota_bytes: u64,
    values: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl StorageAnswer {
    /// Answers that something is not done.
    pub fn refused(reason: impl fmt::Display) -> Self {
        Self::Refused(reason.to_string())
    }
}

/// Checks a key.
///
/// # Errors
/// It is empty or too long.
pub fn check_key(key: &str) -> Result<(), String> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(format!("a key has 1 to {KEY_BYTES_MAX} bytes, not {}", key.len()));
    }
    Ok(())
}

/// Gives the form in which a value is kept: MessagePack.
///
/// # Errors
/// It is too large.
pub fn encode(value: &Value) -> Result<Vec<u8>, String> {
    let bytes = rmp_serde::to_vec(value).map_err(|error| error.to_string())?;
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(format!("a value has at most {VALUE_BYTES_MAX} bytes, not {}", bytes.len()));
    }
    Ok(bytes)
}

/// Reads a value in the form in which it is kept.
///
/// # Errors
/// The bytes are not of that form.
pub fn decode(bytes: &[u8]) -> Result<Value, String> {
    rmp_serde::from_slice(bytes).map_err(|error| format!("what is kept cannot be read: {error}"))
}

/// Says that a quota does not suffice.
pub fn over_quota(used: u64, quota_bytes: u64) -> String {
    format!(
        "the storage of the package is full: {used} bytes would be kept, and `spec.resources.storage_mb` allows {quota_bytes}"
    )
}

impl Scratch {
    /// Keeps so many bytes of keys and values at most.
    pub fn new(quota_bytes: u64) -> Self {
        Self { quota_bytes, values: Mutex::default() }
    }

    fn answer(&self, ask: StorageAsk) -> Result<Value, String> {
        // A change of the map is one call of it.
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        match ask {
            StorageAsk::Get { key } => values.get(&key).map_or(Ok(Value::Nil), |bytes| decode(bytes)),
            StorageAsk::Set { key, value } => {
                check_key(&key)?;
                let bytes = encode(&value)?;
                let others = values.iter().filter(|(other, _)| **other != key);
                let size = |key: &str, bytes: &[u8]| (key.len() + bytes.len()) as u64;
                let used = others.map(|(key, bytes)| size(key, bytes)).sum::<u64>() + size(&key, &bytes);
                if used > self.quota_bytes {
                    return Err(over_quota(used, self.quota_bytes));
                }
                if values.len() >= KEYS_MAX && !values.contains_key(&key) {
                    return Err(format!("a package keeps at most {KEYS_MAX} keys"));
                }
                values.insert(key, bytes);
                Ok(Value::Nil)
            }
            StorageAsk::Remove { key } => {
                values.remove(&key);
                Ok(Value::Nil)
            }
            StorageAsk::Keys => Ok(Value::List(values.keys().cloned().map(Value::Str).collect())),
        }
    }
}

impl Storage for Scratch {
    fn ask(&self, ask: StorageAsk) -> StorageAnswer {
        self.answer(ask).map_or_else(StorageAnswer::Refused, StorageAnswer::Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(storage: &dyn Storage, key: &str, value: Value) -> StorageAnswer {
        storage.ask(StorageAsk::Set { key: key.into(), value })
    }

    #[test]
    fn a_scratch_keeps_values_up_to_its_quota() {
        let storage = Scratch::new(64);
        assert_eq!(set(&storage, "b", Value::Int(7)), StorageAnswer::Value(Value::Nil));
        assert_eq!(set(&storage, "a", Value::Str("x".into())), StorageAnswer::Value(Value::Nil));
        let get = |key: &str| storage.ask(StorageAsk::Get { key: key.into() });
        assert_eq!(get("b"), StorageAnswer::Value(Value::Int(7)));
        assert_eq!(get("c"), StorageAnswer::Value(Value::Nil));
        let keys = Value::List(vec![Value::Str("a".into()), Value::Str("b".into())]);
        assert_eq!(storage.ask(StorageAsk::Keys), StorageAnswer::Value(keys));
        for (key, value) in [("c", Value::Str("y".repeat(60))), ("", Value::Nil), (&*"k".repeat(513), Value::Nil)] {
            assert!(matches!(set(&storage, key, value), StorageAnswer::Refused(_)), "{key}");
        }
        assert_eq!(get("c"), StorageAnswer::Value(Value::Nil), "what is refused changes nothing");
        storage.ask(StorageAsk::Remove { key: "b".into() });
        assert_eq!(get("b"), StorageAnswer::Value(Value::Nil));
    }

    #[test]
    fn a_value_that_is_too_large_is_refused() {
        let storage = Scratch::new(u64::MAX);
        let large = Value::Bytes(vec![0; VALUE_BYTES_MAX + 1]);
        assert!(matches!(set(&storage, "a", large), StorageAnswer::Refused(reason) if reason.contains("at most")));
    }
}
