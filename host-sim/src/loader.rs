//! From a file to code: read once, verify those bytes, map exactly them.
//!
//! A path can change between a check and `dlopen`. So the file is read once, into a memory file that is sealed against
//! change; digest and signature are checked over what is in there, and that is what the dynamic linker maps.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use hypermesh_abi::host::{OpenError, Root};
use hypermesh_abi::records::Description;
use object::elf::FileHeader64;
use object::read::elf::{ElfFile64, FileHeader};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, Object, ObjectSection, elf};
use rustix::io::{DupFlags, dup3, fcntl_dupfd_cloexec};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::child::{ChildCommand, Ending};
use crate::manifest::Digest;

/// The bytes of a library file, read once into a sealed memory file.
pub struct LibraryBytes {
    path: PathBuf,
    sealed: File,
    digest: blake3::Hash,
}

/// A library in a sealed memory file, under a number of its own. Stays open for the life of the process once mapped.
#[derive(Debug)]
pub struct Image {
    file: OwnedFd,
}

/// A number for an image that is still to come: what names it names nothing that could be started until then.
#[derive(Debug)]
pub struct Place(OwnedFd);

/// What a child found out about a library without the host having touched it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Probed {
    /// The id in its root module.
    pub id: String,
    /// The version in its root module.
    pub version: String,
    /// The contract it was built with.
    pub build_info: String,
    /// What it says of itself, or why it could not be constructed.
    pub description: Result<Description, String>,
}

/// What a library is constructed with in a trial.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Trial {
    /// The configuration.
    pub config: Json,
}

/// A task for a child: open this file, construct what is in it and say what it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProbeTask {
    pub(crate) library: PathBuf,
    pub(crate) trial: Trial,
}

/// A file that is not loaded, and why, in one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read library `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any library should be.
    #[error("library `{}` has more than {} MiB", path.display(), LIBRARY_BYTES_MAX >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The bytes are not those the manifest names.
    #[error("library `{}` has digest blake3:{actual}, the manifest names {expected}", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What the bytes have.
        actual: String,
    },
    /// The bytes are no library for this machine.
    #[error("`{}` is no loadable library: {reason}", path.display())]
    NotLibrary {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No sealed memory file is to be had.
    #[error("cannot make a sealed memory file for the library")]
    Image(#[source] std::io::Error),
    /// A child that tried the library first did not survive or refused it.
    #[error("library refused by a trial in a child process: {reason}")]
    Probe {
        /// What happened.
        reason: String,
    },
    /// The process cannot map another library.
    #[error("this process has mapped {LIBRARIES_MAX} extension libraries, as many as it can")]
    TooMany,
    /// The library is no extension for this host.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// The largest library that is read into memory.
pub const LIBRARY_BYTES_MAX: u64 = 512 << 20;

/// Extension libraries a process maps in its life. Each copy of the standard library takes one of glibc's 1,024 keys for
/// thread-local data (`PTHREAD_KEYS_MAX`) and ends the process if there is none; the rest is for the host itself.
pub const LIBRARIES_MAX: u32 = 1_008;

static LIBRARIES: AtomicU32 = AtomicU32::new(0);

/// Descriptor numbers from here up are given to images, each once: glibc takes a name it has seen before for the library
/// it has mapped already, so a number must never come back.
static NEXT_FD: AtomicI32 = AtomicI32::new(FIRST_FD);
const FIRST_FD: i32 = 300;

/// Has the kernel make room for the numbers of images. A program may call it while it has one thread: with more, the kernel waits
/// at the first image until no processor can still look at the table that it replaces (`synchronize_rcu`), which takes some ten
/// milliseconds.
pub fn make_room_for_images() {
    // Without room here, the first image says so.
    let _ = File::open("/dev/null").and_then(|file| Ok(fcntl_dupfd_cloexec(&file, FIRST_FD)?));
}

impl LibraryBytes {
    /// Reads a file once.
    ///
    /// # Errors
    /// [`LoadError::Read`], [`LoadError::TooLarge`] or [`LoadError::Image`].
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let fault = |source| LoadError::Read { path: path.into(), source };
        let file = File::open(path).map_err(fault)?;
        let mut copied = Ok((0, blake3::Hasher::new().finalize()));
        let sealed = hypermesh_abi::sealed_memfd_with("hypermesh-extension", |memory| {
            copied = copy_and_hash(file, memory);
            Ok(())
        });
        let (length, digest) = copied.map_err(fault)?;
        if length > LIBRARY_BYTES_MAX {
            return Err(LoadError::TooLarge { path: path.into() });
        }
        Ok(Self { path: path.into(), sealed: sealed.map_err(LoadError::Image)?.into(), digest })
    }

    /// Gives the digest as `blake3:<hex>`.
    pub fn digest(&self) -> String {
        format!("blake3:{}", self.digest.to_hex())
    }

    /// Gives the digest as manifests have it.
    pub fn blake3(&self) -> Digest {
        Digest::from_bytes(*self.digest.as_bytes())
    }

    /// Checks the bytes against the digest a manifest names.
    ///
    /// # Errors
    /// [`LoadError::Digest`].
    pub fn expect(&self, digest: &str) -> Result<(), LoadError> {
        if digest == self.digest() {
            return Ok(());
        }
        let actual = self.digest.to_hex().to_string();
        Err(LoadError::Digest { path: self.path.clone(), expected: digest.into(), actual })
    }

    /// Checks that the bytes are a complete shared library for this machine, and gives them a number of their own.
    ///
    /// The linker maps all images of one reading as one library.
    ///
    /// # Errors
    /// [`LoadError::NotLibrary`] or [`LoadError::Image`].
    pub fn image(&self) -> Result<Image, LoadError> {
        self.image_at(Place::reserve()?)
    }

    /// Does as [`Self::image`], with the number of a place.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn image_at(&self, Place(mut file): Place) -> Result<Image, LoadError> {
        check_elf(&self.sealed).map_err(|reason| LoadError::NotLibrary { path: self.path.clone(), reason })?;
        dup3(&self.sealed, &mut file, DupFlags::CLOEXEC).map_err(|error| LoadError::Image(error.into()))?;
        Ok(Image { file })
    }
}

impl Place {
    /// Takes a number.
    ///
    /// # Errors
    /// [`LoadError::Image`].
    pub fn reserve() -> Result<Self, LoadError> {
        let number = NEXT_FD.fetch_add(1, Ordering::Relaxed);
        let nothing = File::open("/dev/null").and_then(|file| Ok(fcntl_dupfd_cloexec(&file, number)?));
        let file = nothing.map_err(LoadError::Image)?;
        NEXT_FD.fetch_max(file.as_raw_fd() + 1, Ordering::Relaxed);
        Ok(Self(file))
    }

    /// Gives the path that will name the image, as [`Image::path_for_children`].
    pub fn path_for_children(&self) -> PathBuf {
        for_children(&self.0)
    }
}

fn for_children(file: &OwnedFd) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

impl Image {
    /// Gives the path that names the sealed bytes, in this process and its children of the same user.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// Gives the path that names the sealed bytes in other processes of the same user, while this one lives.
    pub fn path_for_children(&self) -> PathBuf {
        for_children(&self.file)
    }

    /// Keeps the image open for ever.
    pub fn keep(self) {
        std::mem::forget(self);
    }

    /// Tries the library in a child, so that whatever its initialisers and its constructor do, they do not do it to the
    /// host. Blocks.
    ///
    /// # Errors
    /// [`LoadError::Probe`] with what became of the child.
    pub fn probe(&self, child: &ChildCommand, trial: Trial) -> Result<Probed, LoadError> {
        let library = self.path_for_children();
        let report = child
            .run::<Result<Probed, String>>(&crate::child_main::Task::Probe(ProbeTask { library, trial }))
            .map_err(|error| LoadError::Probe { reason: format!("cannot start it: {error}") })?;
        match (report.answer, report.ending) {
            (Some(Ok(probed)), Ending::Exit(0)) => Ok(probed),
            (Some(Err(reason)), _) => Err(LoadError::Probe { reason }),
            (_, ending) => {
                let words = if report.stderr.is_empty() { String::new() } else { format!(": {}", report.stderr) };
                Err(LoadError::Probe { reason: format!("it {}{words}", ending.describe()) })
            }
        }
    }

    /// Maps the library and checks its contract. Keeps the image open for ever.
    ///
    /// # Errors
    /// [`LoadError::Open`], or [`LoadError::TooMany`] when [`LIBRARIES_MAX`] are mapped.
    pub fn open(self) -> Result<Root, LoadError> {
        let one_more = |mapped: u32| (mapped < LIBRARIES_MAX).then_some(mapped + 1);
        LIBRARIES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).map_err(|_| LoadError::TooMany)?;
        let path = self.path();
        std::mem::forget(self);
        Ok(hypermesh_abi::host::open(&path)?)
    }
}

/// Copies a file into memory, by the kernel and without a buffer of ours, and hashes what has arrived there while more comes.
/// Reads one byte beyond the bound at most.
fn copy_and_hash(file: File, memory: &File) -> std::io::Result<(u64, blake3::Hash)> {
    let mut rest = file.take(LIBRARY_BYTES_MAX + 1);
    std::thread::scope(|scope| {
        let (arrived, pieces) = std::sync::mpsc::sync_channel(PIECES_AHEAD_MAX);
        let hashing = scope.spawn(move || {
            let (mut hasher, mut piece, mut offset) = (blake3::Hasher::new(), vec![0; PIECE_BYTES as usize], 0);
            for bytes in pieces {
                let piece = &mut piece[..bytes];
                memory.read_exact_at(piece, offset)?;
                hasher.update(piece);
                offset += bytes as u64;
            }
            Ok((offset, hasher.finalize()))
        });
        let mut sink = memory;
        loop {
            let bytes = std::io::copy(&mut rest.by_ref().take(PIECE_BYTES), &mut sink)? as usize;
            if bytes == 0 || arrived.send(bytes).is_err() {
                break;
            }
        }
        drop(arrived);
        hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// How much is copied before it is hashed: it stays in the processor's cache.
const PIECE_BYTES: u64 = 256 << 10;
/// How many pieces may wait to be hashed.
const PIECES_AHEAD_MAX: usize = 64;

/// Looks at an ELF file as the dynamic linker would, and at what it does not look at: whether the file is all there.
fn check_elf(file: &File) -> Result<(), String> {
    let data = &ReadCache::new(file);
    let length = data.len().map_err(|()| "its size is not to be had".to_owned())?;
    let header = FileHeader64::<Endianness>::parse(data).map_err(|error| format!("not an ELF file ({error})"))?;
    let endian = header.endian().map_err(|error| format!("not an ELF file ({error})"))?;
    if header.e_type(endian) != elf::ET_DYN {
        return Err("not a shared library".into());
    }
    let machine = if cfg!(target_arch = "x86_64") { elf::EM_X86_64 } else { elf::EM_AARCH64 };
    if header.e_machine(endian) != machine {
        return Err(format!("built for machine {}, this one is {machine}", header.e_machine(endian)));
    }
    let is_here = |offset: u64, bytes: u64| offset.checked_add(bytes).is_some_and(|end| end <= length);
    let sections = u64::from(header.e_shentsize(endian)) * u64::from(header.e_shnum(endian));
    if !is_here(header.e_shoff(endian), sections) {
        return Err("the file is truncated".into());
    }
    let library =
        ElfFile64::<Endianness, _>::parse(data).map_err(|error| format!("its sections are damaged ({error})"))?;
    if library.sections().filter_map(|section| section.file_range()).any(|(offset, bytes)| !is_here(offset, bytes)) {
        return Err("the file is truncated".into());
    }
    if library.dynamic_symbols().next().is_none() {
        return Err("it exports nothing".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("lib.so");
        std::fs::write(&path, bytes).expect("written");
        LibraryBytes::read(&path).expect("read").image().expect_err("refused").to_string()
    }

    #[test]
    fn what_is_no_library_is_refused_in_one_line() {
        assert!(refusal(b"text").contains("not an ELF file"));
        let own = std::fs::read("/proc/self/exe").expect("own program");
        assert!(refusal(&own[..own.len() / 2]).contains("truncated"));
    }

    #[test]
    fn a_digest_that_differs_is_refused_with_both() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("lib.so");
        std::fs::write(&path, b"x").expect("written");
        let library = LibraryBytes::read(&path).expect("read");
        library.expect(&library.digest()).expect("its own digest");
        let error = library.expect("blake3:00").expect_err("another digest").to_string();
        assert!(error.contains("blake3:00") && error.contains(&library.digest()), "{error}");
    }

    #[test]
    fn descriptor_numbers_are_never_used_twice() {
        let own = std::env::current_exe().expect("own program");
        let library = LibraryBytes::read(&own).expect("read");
        let numbers: Vec<_> =
            (0..3).map(|_| library.image().expect("test programs are position independent").path()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "{numbers:?}");
    }
}
