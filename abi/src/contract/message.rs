//! The values that cross the boundary: the call context, the growable bag, and the blob.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use abi_stable::StableAbi;
use abi_stable::std_types::RVec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What goes with every call: 64 bytes, passed by value, never grows.
///
/// Units: `deadline_mono_ns` is `CLOCK_MONOTONIC` in nanoseconds, 0 for none. `trace_parent` is a span id of the host
/// ([`super::host_services::HostServices::trace_span`]), 0 for none.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCtx {
    /// The request this call belongs to, as the two halves of a UUID, high half first.
    pub request: [u64; 2],
    /// When the caller stops waiting.
    pub deadline_mono_ns: u64,
    /// The host's span that the call runs under.
    pub trace_parent: u64,
    /// Who asks: an opaque number that the host gave out; 0 is the host itself.
    pub principal: u64,
    /// Reserved for flags; senders write 0, receivers ignore what they do not know.
    pub flags: u64,
    /// Reserved; senders write 0, receivers ignore it.
    pub reserved: [u64; 2],
}

/// A CBOR map (RFC 8949) whose unknown keys the receiver ignores: the only by-value message that may grow.
#[repr(transparent)]
#[derive(StableAbi, Clone, Debug, Default)]
pub struct Bag(pub RVec<u8>);

/// Says how a [`Blob`] carries its bytes; an open set.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobKind(pub u32);

/// Bytes of any length: inline, moved and never copied at the boundary, or a memory file sealed against change.
///
/// Owns: the receiver owns the blob and, where it has one, the file descriptor.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct Blob {
    kind: BlobKind,
    fd: i32,
    offset: u64,
    len: u64,
    inline: RVec<u8>,
}

/// A bag or a blob that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The bag is longer than [`Bag::SIZE_BYTES_MAX`].
    #[error("message of {size} bytes is longer than the limit of {} bytes", Bag::SIZE_BYTES_MAX)]
    TooLarge {
        /// Its length.
        size: usize,
    },
    /// The bag does not hold what the receiver expects.
    #[error("message is not a CBOR map of the expected shape: {0}")]
    Decode(String),
    /// The value cannot be written as CBOR.
    #[error("message cannot be encoded: {0}")]
    Encode(String),
    /// The blob is of a kind that a newer contract defines.
    #[error("blob kind {0} is not known to this version of the contract")]
    UnknownKind(u32),
    /// The memory file is not sealed, so its sender could still change it.
    #[error("blob's memory file is not sealed against writing and resizing")]
    Unsealed,
    /// The memory file cannot be read.
    #[error("blob's memory file cannot be read")]
    Read(#[source] io::Error),
}

impl Bag {
    /// The longest bag a receiver decodes: bags are messages; what is larger goes into a [`Blob`].
    pub const SIZE_BYTES_MAX: usize = 4 << 20;

    /// Encodes a record.
    ///
    /// # Errors
    /// [`MessageError::Encode`] if the value is not representable, [`MessageError::TooLarge`] above the bound.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, MessageError> {
        let mut bytes = Vec::with_capacity(128);
        ciborium::into_writer(value, &mut bytes).map_err(|error| MessageError::Encode(error.to_string()))?;
        within_bound(bytes.len())?;
        Ok(Self(bytes.into()))
    }

    /// Decodes a record. Unknown keys are ignored; an empty bag decodes as an empty map.
    ///
    /// # Errors
    /// [`MessageError::TooLarge`] above the bound, [`MessageError::Decode`] on another shape, on bytes after the map or
    /// on nesting deeper than 64.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, MessageError> {
        const DEPTH_MAX: usize = 64;
        within_bound(self.0.len())?;
        let mut rest: &[u8] = if self.0.is_empty() { &[0xa0] } else { self.0.as_slice() };
        let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX)
            .map_err(|error| MessageError::Decode(error.to_string()))?;
        if rest.is_empty() { Ok(value) } else { Err(MessageError::Decode("bytes follow the map".into())) }
    }
}

impl BlobKind {
    /// The bytes are inline.
    pub const INLINE: Self = Self(0);
    /// The bytes are in a memory file sealed with write, grow and shrink seals.
    pub const MEMFD: Self = Self(1);
}

impl Blob {
    /// Carries the bytes inline. The vector is moved.
    pub fn inline(bytes: impl Into<RVec<u8>>) -> Self {
        let inline = bytes.into();
        Self { kind: BlobKind::INLINE, fd: -1, offset: 0, len: inline.len() as u64, inline }
    }

    /// Carries `len` bytes of a memory file from `offset`. The receiver refuses it unless it is sealed.
    pub fn memfd(file: OwnedFd, offset: u64, len: u64) -> Self {
        Self { kind: BlobKind::MEMFD, fd: file.into_raw_fd(), offset, len, inline: RVec::new() }
    }

    /// Gives the number of bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Says whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Borrows the bytes if they are inline.
    pub fn as_inline(&self) -> Option<&[u8]> {
        (self.kind == BlobKind::INLINE).then_some(self.inline.as_slice())
    }

    /// Takes the bytes; copies them once, since the two sides have different allocators.
    ///
    /// # Errors
    /// [`MessageError::UnknownKind`], [`MessageError::Unsealed`] or [`MessageError::Read`].
    pub fn into_bytes(mut self) -> Result<Vec<u8>, MessageError> {
        match self.kind {
            BlobKind::INLINE => Ok(std::mem::take(&mut self.inline).into_vec()),
            BlobKind::MEMFD => self.take_fd().map_or(Err(MessageError::Unsealed), |fd| self.read_sealed(&fd)),
            BlobKind(other) => Err(MessageError::UnknownKind(other)),
        }
    }

    fn read_sealed(&self, fd: &OwnedFd) -> Result<Vec<u8>, MessageError> {
        use rustix::fs::SealFlags;
        let needed = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
        let seals = rustix::fs::fcntl_get_seals(fd).map_err(|_| MessageError::Unsealed)?;
        if !seals.contains(needed) {
            return Err(MessageError::Unsealed);
        }
        // The seals hold the length still, so the claim is checked against it before memory is reserved for it.
        let held = rustix::fs::fstat(fd).map_err(|error| MessageError::Read(error.into()))?.st_size as u64;
        if self.offset.checked_add(self.len).is_none_or(|end| end > held) {
            return Err(MessageError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut bytes = vec![0; self.len as usize];
        let mut done = 0;
        while done < bytes.len() {
            match rustix::io::pread(fd, &mut bytes[done..], self.offset + done as u64) {
                Ok(0) => return Err(MessageError::Read(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => done += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(MessageError::Read(error.into())),
            }
        }
        Ok(bytes)
    }

    #[expect(unsafe_code, reason = "a descriptor crosses the boundary as a number and becomes owned again here")]
    fn take_fd(&mut self) -> Option<OwnedFd> {
        let fd = std::mem::replace(&mut self.fd, -1);
        // SAFETY: the only constructor that stores a descriptor consumes an `OwnedFd`, and the number is replaced by -1
        // in the line above, so this is the one place that owns it.
        (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        drop(self.take_fd());
    }
}

/// Has a new memory file written and seals it, so that nobody can change it from then on.
///
/// # Errors
/// What the writer says, or the kernel when memory files or seals are not to be had.
pub fn sealed_memfd_with(name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know MFD_EXEC, and treat every memory file as executable.
    let fd =
        rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC).or_else(|_| rustix::fs::memfd_create(name, flags))?;
    let mut file = File::from(fd);
    write(&mut file)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

fn within_bound(size: usize) -> Result<(), MessageError> {
    if size > Bag::SIZE_BYTES_MAX { Err(MessageError::TooLarge { size }) } else { Ok(()) }
}
