//! Verified transfer: a blob is named by its BLAKE3, and every group of it is checked against that name as it arrives.
//!
//! | module | what it is for |
//! |---|---|
//! | [`fair`] | how fast and how much a peer is served |
//! | [`fetch`] | a download from many peers at once |
//! | [`part`] | a file that is not complete yet, and what of it is known to be right |
//! | [`schedule`] | who is asked for what, and when; no sockets, no clock |
//! | [`serve`] | the service `blobs/1` |
//! | [`tree`] | groups, and the hash tree above them |
//! | [`wire`] | the request and the answer |
//!
//! No byte reaches the caller that was not verified; no file is mapped into memory, since one that somebody truncates would
//! kill the process. What a peer says about a size is believed when the last group has proved it.

pub mod fair;
pub mod fetch;
mod groups;
pub mod part;
mod pool;
mod request;
pub mod schedule;
pub mod serve;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod wire;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use trustchain::digest::Blake3;

use crate::service::Caller;

/// The name of the service with its version.
pub const SERVICE: &str = "blobs/1";
/// The bytes of a group: what is verified, asked for and written as one. Larger groups save nothing that was measured, smaller
/// ones make the tree larger: 16 KiB groups need sixteen times as much.
pub const GROUP_BYTES: usize = 256 << 10;
/// The largest blob in bytes: a terabyte needs a tree of 256 MiB in memory.
pub const SIZE_BYTES_MAX: u64 = 1 << 40;

/// What of blobs this node has, and who may have them.
pub trait BlobSource: Send + Sync + 'static {
    /// Opens a blob that this node has. Blocks as opening a file does.
    ///
    /// # Errors
    /// The store cannot be read.
    fn open(&self, digest: &Blake3) -> io::Result<Option<Arc<dyn BlobFile>>>;

    /// Says whether a peer may have a blob. One that may not is told that there is none. Blocks as a look into the store does.
    fn may(&self, caller: &Caller, digest: &Blake3) -> bool;
}

/// A blob that can be read at any place, by several threads at once.
pub trait BlobFile: Send + Sync + 'static {
    /// Gives its size in bytes.
    fn size(&self) -> u64;

    /// Fills a buffer with the bytes from `offset` on. Blocks as reading a file does.
    ///
    /// # Errors
    /// The file cannot be read, or it ends earlier.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// A blob in a file.
#[derive(Debug)]
pub struct FileBlob {
    file: File,
    size: u64,
}

impl FileBlob {
    /// Takes an open file whose content does not change any more.
    ///
    /// # Errors
    /// Its size cannot be read.
    pub fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl BlobFile for FileBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}
