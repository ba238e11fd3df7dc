//! Memory that the host shares with one worker, for arrays too large to be worth a way through the socket.
//!
//! A memory file without a name, sealed before anybody else has it: a worker can neither cut it, which would kill whoever
//! has it mapped, nor let it grow, nor take the seals off. The host never maps it: it writes and reads copies, so a worker
//! that goes on writing changes nothing of what the host has checked.
//!
//! Invariant: what is read in answer to one question is never more than the arena holds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};

use crate::value::{Array, Struct, Value};

/// The size of an arena; only what is written takes memory. A worker can fill all of it, beyond its own limit.
pub const ARENA_BYTES: u64 = 256 << 20;
/// The part of it that the host writes, from the beginning; a worker's answers have the rest, so neither overwrites the
/// other's.
const HOST_BYTES: u64 = ARENA_BYTES / 2;
/// Arrays from this size on go by the arena: below, a copy through the socket is as fast.
pub const BY_REFERENCE_BYTES: u64 = 64 << 10;
/// Arrays begin at multiples of this, for vector instructions.
const ALIGN_BYTES: u64 = 64;

/// The arena of one worker.
#[derive(Debug)]
pub(crate) struct Arena {
    file: File,
    /// What the arrays of the present question take.
    used: u64,
    /// What arrays placed for later questions take, from the beginning.
    kept: u64,
}

impl Arena {
    /// Makes one.
    pub(crate) fn new() -> io::Result<Self> {
        let file = rustix::fs::memfd_create("catalog-arena", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&file, ARENA_BYTES)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW)?;
        Ok(Self { file: file.into(), used: 0, kept: 0 })
    }

    /// Moves large arrays of these values into the arena, which holds no others than those kept from now on. What finds
    /// no room stays where it is.
    pub(crate) fn place_all(&mut self, values: &[Value]) -> io::Result<Option<Vec<Value>>> {
        self.used = self.kept;
        if !values.iter().any(has_large) {
            return Ok(None);
        }
        values.iter().map(|value| self.placed(value)).collect::<Result<_, _>>().map(Some)
    }

    /// Gives a value with its large arrays in the arena; they are not copied anywhere else on the way.
    fn placed(&mut self, value: &Value) -> io::Result<Value> {
        let mut each = |values: &[Value]| values.iter().map(|value| self.placed(value)).collect::<io::Result<Vec<_>>>();
        Ok(match value {
            Value::Array(array) if is_large(array) => match self.place(array)? {
                Some(array) => Value::Array(Box::new(array)),
                None => value.clone(),
            },
            _ if !has_large(value) => value.clone(),
            Value::List(values) => Value::List(each(values)?),
            Value::Set(values) => Value::Set(each(values)?),
            Value::Map(entries) => Value::Map(self.placed_map(entries)?),
            Value::Struct(of) => {
                Value::Struct(Box::new(Struct { name: of.name.clone(), fields: self.placed_map(&of.fields)? }))
            }
            Value::Dict(pairs) => {
                let placed = pairs.iter().map(|(key, value)| Ok((self.placed(key)?, self.placed(value)?)));
                Value::Dict(placed.collect::<io::Result<_>>()?)
            }
            _ => value.clone(),
        })
    }

    fn placed_map(&mut self, entries: &BTreeMap<String, Value>) -> io::Result<BTreeMap<String, Value>> {
        entries.iter().map(|(key, value)| Ok((key.clone(), self.placed(value)?))).collect()
    }

    /// Writes one array, if there is room.
    fn place(&mut self, array: &Array) -> io::Result<Option<Array>> {
        let Some(bytes) = array.bytes() else { return Ok(None) };
        let offset = self.used.next_multiple_of(ALIGN_BYTES);
        if bytes.len() as u64 > HOST_BYTES.saturating_sub(offset) {
            return Ok(None);
        }
        self.file.write_all_at(bytes, offset)?;
        self.used = offset + bytes.len() as u64;
        Ok(Array::in_arena(array.dtype(), array.shape().to_vec(), offset).ok())
    }

    /// Writes an array that stays for all questions to come.
    pub(crate) fn keep(&mut self, array: &Array) -> io::Result<Option<Array>> {
        self.used = self.kept;
        let placed = self.place(array)?;
        self.kept = self.used;
        Ok(placed)
    }

    /// Copies what a worker's answer refers to. A vector of bytes becomes [`Value::Bytes`], as a small one is.
    ///
    /// # Errors
    /// An array beyond the arena, or more in all than it holds.
    pub(crate) fn fetch_all(&self, value: &mut Value) -> Result<(), String> {
        let mut budget = ARENA_BYTES;
        self.fetch_in(value, &mut budget)
    }

    fn fetch_in(&self, value: &mut Value, budget: &mut u64) -> Result<(), String> {
        if let Value::Array(array) = value {
            if let Some(offset) = array.arena_offset() {
                let bytes = array.size_bytes();
                if offset.checked_add(bytes).is_none_or(|end| end > ARENA_BYTES) || bytes > *budget {
                    return Err(format!("an array of {bytes} bytes at {offset} is beyond the arena"));
                }
                *budget -= bytes;
                let mut content = vec![0; usize::try_from(bytes).map_err(|error| error.to_string())?];
                self.file.read_exact_at(&mut content, offset).map_err(|error| error.to_string())?;
                **array =
                    Array::new(array.dtype(), array.shape().to_vec(), content).map_err(|error| error.to_string())?;
            }
            return Ok(());
        }
        value.children_mut().try_for_each(|child| self.fetch_in(child, budget))
    }

    /// Gives back the memory of everything in it.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        (self.used, self.kept) = (0, 0);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.file, flags, 0, ARENA_BYTES)?)
    }
}

impl AsFd for Arena {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Tells whether a value refers to an arena.
pub(crate) fn refers(value: &Value) -> bool {
    matches!(value, Value::Array(array) if array.bytes().is_none()) || value.children().any(refers)
}

fn is_large(array: &Array) -> bool {
    array.bytes().is_some_and(|bytes| bytes.len() as u64 >= BY_REFERENCE_BYTES)
}

fn has_large(value: &Value) -> bool {
    matches!(value, Value::Array(array) if is_large(array)) || value.children().any(has_large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Dtype;

    fn large(first: f64) -> Value {
        let mut values = vec![0.5; 10_000];
        values[0] = first;
        Value::Array(Box::new(Array::of_f64(&values)))
    }

    #[test]
    fn large_arrays_go_by_reference_and_come_back_wherever_they_stand() {
        let mut arena = Arena::new().expect("made");
        let small = Value::Array(Box::new(Array::of_f64(&[1.0])));
        let values = [small, large(1.0), Value::List(vec![large(2.0), Value::Dict(vec![(large(3.0), Value::Nil)])])];
        let mut placed = Value::List(arena.place_all(&values).expect("written").expect("some are large"));
        let frame = crate::vm::protocol::encode(&placed).expect("is small now");
        assert!(frame.len() < 300, "{}", frame.len());
        assert!(refers(&placed) && !refers(&Value::List(values.to_vec())));
        arena.fetch_all(&mut placed).expect("read");
        assert!(!refers(&placed));
        assert_eq!(placed, Value::List(values.into()));
        assert!(arena.place_all(&[Value::Nil]).expect("nothing to do").is_none());
        arena.clear().expect("cleared");
    }

    #[test]
    fn what_lies_beyond_is_refused_before_anything_is_allocated() {
        let arena = Arena::new().expect("made");
        let at = |length: u64, offset| {
            let array = Array::in_arena(Dtype::U64, vec![length], offset).expect("a shape");
            Value::Array(Box::new(array))
        };
        let all = ARENA_BYTES / 8;
        for wrong in [at(1, ARENA_BYTES), at(1, u64::MAX), at(all + 1, 0), Value::List(vec![at(all, 0), at(1, 0)])] {
            assert!(arena.fetch_all(&mut wrong.clone()).expect_err("is refused").contains("beyond the arena"));
        }
        arena.fetch_all(&mut at(1, ARENA_BYTES - 8)).expect("the last element");
    }

    #[test]
    fn the_seals_hold_and_a_full_arena_leaves_arrays_where_they_are() {
        let mut arena = Arena::new().expect("made");
        assert!(rustix::fs::ftruncate(&arena, 0).is_err() && rustix::fs::ftruncate(&arena, ARENA_BYTES * 2).is_err());
        assert!(rustix::fs::fcntl_add_seals(&arena, SealFlags::WRITE).is_err());
        let array = Array::of_f64(&[1.0; 100]);
        arena.used = HOST_BYTES - 799;
        assert!(arena.place(&array).expect("no fault").is_none());
        assert_eq!(arena.keep(&array).expect("written").and_then(|array| array.arena_offset()), Some(0));
        assert_eq!(arena.keep(&array).expect("written").and_then(|array| array.arena_offset()), Some(832));
    }
}
