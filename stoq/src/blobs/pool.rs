//! Buffers of one group that are used again: fresh ones cost a page fault for every four kilobytes.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::GROUP_BYTES;

/// The most buffers that are kept while nobody uses them: 16 MiB.
pub(crate) const IDLE_MAX: usize = 64;

/// Where buffers come from and go to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Mutex<Vec<Box<[u8]>>>>);

impl Pool {
    /// Takes a buffer; what is in its `length` bytes is of no meaning. Whoever takes bounds how many there are.
    pub(crate) fn take(&self, length: usize) -> Buffer {
        assert!(length <= GROUP_BYTES, "no piece is longer than a group");
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = idle.unwrap_or_else(|| vec![0; GROUP_BYTES].into_boxed_slice());
        Buffer { bytes, length, pool: self.clone() }
    }

    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }
}

/// A buffer that goes back to its pool.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
    pool: Pool,
}

impl Buffer {
    /// Gives it away without a copy; it goes back when the last of the bytes is dropped.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut idle = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_up_to_a_bound() {
        let pool = Pool::default();
        let taken: Vec<Buffer> = (0..IDLE_MAX + 3).map(|_| pool.take(7)).collect();
        assert_eq!(taken[0].len(), 7);
        let frozen = pool.take(GROUP_BYTES).freeze();
        let part = frozen.slice(3..9);
        drop(frozen);
        assert_eq!(pool.idle(), 0);
        drop(part);
        assert_eq!(pool.idle(), 1);
        drop(taken);
        assert_eq!(pool.idle(), IDLE_MAX);
        assert_eq!(pool.take(1).len(), 1);
    }
}
