//! The memory behind a region.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};

/// Bytes that several threads read and change at one time. Offsets were checked by whoever calls; a fault of the system
/// is an error all the same.
///
/// Single words on multiples of eight change at once and in one order for all (sequentially consistent). Reads and writes
/// of several words may see each other half done, as memory has it.
pub trait Memory: Send + Sync {
    /// Gives the number of bytes.
    fn length(&self) -> u64;

    /// Fills a buffer from an offset on.
    ///
    /// # Errors
    /// The system does not give the bytes.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes bytes from an offset on.
    ///
    /// # Errors
    /// The system does not take the bytes.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Puts `new` into a word if it is `expected`; gives what was there.
    ///
    /// # Errors
    /// As for reading and writing.
    fn compare_and_swap(&self, offset: u64, expected: u64, new: u64) -> io::Result<u64>;

    /// Adds to a word, beyond its end from zero on; gives what was there.
    ///
    /// # Errors
    /// As for reading and writing.
    fn add(&self, offset: u64, amount: u64) -> io::Result<u64>;

    /// Orders everything before it before everything after it.
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    /// Brings changes to whatever stands behind the memory.
    ///
    /// # Errors
    /// They cannot be brought there.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Memory of this process, in words.
pub struct WordMemory {
    words: Box<[AtomicU64]>,
    length: u64,
}

/// A part of a file, such as the arena that a worker has mapped. Atomic operations are atomic among those who come by the
/// proxy; a worker that changes the same word meanwhile is not waited for.
pub struct FileMemory {
    file: File,
    start: u64,
    length: u64,
    /// Held by writers and atomic operations.
    changing: Mutex<()>,
}

impl WordMemory {
    /// Takes bytes as they are.
    pub fn new(bytes: &[u8]) -> Self {
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            AtomicU64::new(u64::from_le_bytes(word))
        };
        Self { words: bytes.chunks(8).map(word).collect(), length: bytes.len() as u64 }
    }

    fn word(&self, offset: u64) -> io::Result<&AtomicU64> {
        usize::try_from(offset / 8).ok().and_then(|at| self.words.get(at)).ok_or_else(outside)
    }

    /// Gives each word that bytes touch, with the part of it and the part of them.
    fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = offset + done as u64;
            let within = (at % 8) as usize;
            let taken = (8 - within).min(length - done);
            let part = (at, within, done..done + taken);
            done += taken;
            (taken > 0).then_some(part)
        })
    }
}

impl Memory for WordMemory {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.is_multiple_of(8) && buffer.len().is_multiple_of(8) {
            let first = usize::try_from(offset / 8).map_err(|_| outside())?;
            let words = self.words.get(first..).and_then(|words| words.get(..buffer.len() / 8)).ok_or_else(outside)?;
            for (word, bytes) in words.iter().zip(buffer.as_chunks_mut::<8>().0) {
                *bytes = word.load(Ordering::SeqCst).to_le_bytes();
            }
            return Ok(());
        }
        for (at, within, part) in Self::parts(offset, buffer.len()) {
            let word = self.word(at)?.load(Ordering::SeqCst).to_le_bytes();
            let length = part.len();
            buffer[part].copy_from_slice(&word[within..within + length]);
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for (at, within, part) in Self::parts(offset, bytes.len()) {
            let (word, bytes) = (self.word(at)?, &bytes[part]);
            let change = |old: u64| {
                let mut new = old.to_le_bytes();
                new[within..within + bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(new)
            };
            if bytes.len() == 8 {
                word.store(change(0), Ordering::SeqCst);
            } else {
                // The other bytes of the word may change meanwhile, and must not be put back.
                word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| Some(change(old)))
                    .map_err(|_| outside())?;
            }
        }
        Ok(())
    }

    fn compare_and_swap(&self, offset: u64, expected: u64, new: u64) -> io::Result<u64> {
        let changed = self.word(offset)?.compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst);
        Ok(changed.unwrap_or_else(|found| found))
    }

    fn add(&self, offset: u64, amount: u64) -> io::Result<u64> {
        Ok(self.word(offset)?.fetch_add(amount, Ordering::SeqCst))
    }
}

impl FileMemory {
    /// Takes a part of a file, which must not get shorter.
    ///
    /// # Errors
    /// The file does not have these bytes.
    pub fn new(file: File, start: u64, length: u64) -> io::Result<Self> {
        let end = start.checked_add(length).ok_or_else(outside)?;
        if file.metadata()?.len() < end {
            return Err(outside());
        }
        Ok(Self { file, start, length, changing: Mutex::new(()) })
    }

    fn change(&self, offset: u64, change: impl FnOnce(u64) -> u64) -> io::Result<u64> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, self.start + offset)?;
        let old = u64::from_le_bytes(word);
        self.file.write_all_at(&change(old).to_le_bytes(), self.start + offset)?;
        Ok(old)
    }
}

impl Memory for FileMemory {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, self.start + offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.write_all_at(bytes, self.start + offset)
    }

    fn compare_and_swap(&self, offset: u64, expected: u64, new: u64) -> io::Result<u64> {
        self.change(offset, |old| if old == expected { new } else { old })
    }

    fn add(&self, offset: u64, amount: u64) -> io::Result<u64> {
        self.change(offset, |old| old.wrapping_add(amount))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn outside() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the bytes lie outside the memory")
}
