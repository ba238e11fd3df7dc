//! Archives: the one byte form of a package, made the same way everywhere and read without trust.
//!
//! An archive is a ustar tar, compressed with zstd, or with LZ4 if its publisher wants that. The tar holds the canonical manifest as `package.json` and then every
//! file in byte order of its path, with time, owner and group zero and mode 0644, or 0755 for executables. [`read`]
//! takes exactly that form and nothing else, so a package has one tar and the tar's BLAKE3 digest is its identity. The
//! compressed bytes are named by a digest of their own, because another compression or zstd may find shorter ones.
//!
//! Nothing here writes files, and nothing here trusts: [`crate::trust`] compares digests.

pub mod codec;
pub mod delta;

mod beneath;
mod form;
mod frames;
mod listing;
mod tree;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use semver::Version;
use serde::Deserialize;

pub(crate) use self::beneath::open as open_beneath;
pub use self::codec::Compression;
use self::form::{END, Limits, Mode, Slot, check_count, check_path, index, put, room_of, within, within_file};
pub use self::listing::{ListedFile, Listing};
use crate::digest::{Digest, Digests, PARALLEL_BYTES_MIN, sha256_hex, sha512_hex};
use crate::package::name::PackageName;
use crate::{pages, parallel};

/// The path of the manifest in every archive.
pub const MANIFEST_PATH: &str = "package.json";
/// The most files an archive holds, the manifest included.
pub const ENTRIES_MAX: usize = 100_000;
/// The largest single file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
/// The largest tar, in bytes: it is held in memory once.
pub const TAR_BYTES_MAX: u64 = 1 << 30;
/// The largest archive that is read from a file, in bytes: what a tar that does not compress comes to.
pub const COMPRESSED_BYTES_MAX: u64 = TAR_BYTES_MAX + (TAR_BYTES_MAX >> 7);
/// The largest manifest, in bytes: room for the files that a manifest carries itself.
pub const MANIFEST_BYTES_MAX: u64 = 32 << 20;
/// The longest path, in bytes: what ustar's name and prefix hold together.
pub const PATH_BYTES_MAX: usize = 255;
/// The most components of a path.
pub const PATH_DEPTH_MAX: usize = 32;
/// How many bytes of tar one compressed byte may stand for; above it an archive is taken for a bomb.
pub const RATIO_MAX: u64 = 1_000;
/// The size of tar, in bytes, up to which the ratio is not asked.
pub const RATIO_FREE_BYTES: u64 = 16 << 20;
/// The largest back-reference window, as a power of two in bytes: 8 MiB. Level 3 uses 2 MiB at most.
pub const WINDOW_LOG_MAX: u32 = 23;

/// A package in its archived form, read or packed; its form is right, its origin is not yet known.
#[derive(Clone)]
pub struct Archive {
    name: PackageName,
    version: Version,
    compressed: Vec<u8>,
    blob: Digest,
    tar: Vec<u8>,
    digest: Digest,
    /// Hashed when somebody asks: an installation needs one of the two at most.
    sha256: OnceLock<String>,
    sha512: OnceLock<String>,
    index: Vec<Slot>,
}

/// One file of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The path, relative to the package.
    pub path: &'a str,
    /// Whether it may be run.
    pub executable: bool,
    /// Whether it may be changed where the package is installed.
    pub writable: bool,
    /// The content.
    pub bytes: &'a [u8],
}

/// One file to pack.
#[derive(Clone, Debug)]
pub struct SourceFile<'a> {
    /// The path, relative to the package.
    pub path: &'a str,
    /// Where the content comes from.
    pub content: Content<'a>,
}

/// Where the content of a file comes from.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// Memory.
    Bytes {
        /// The content.
        bytes: &'a [u8],
        /// Whether it may be run.
        executable: bool,
    },
    /// The file of the same path below a directory; links are not followed. It may be run if its owner may run it.
    Below(&'a Path),
}

/// Why an archive could not be packed or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A path that no package may hold.
    #[error("path `{path}` {reason}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two paths that are one on some file system.
    #[error("paths `{first}` and `{second}` collide: a file system may take them for the same")]
    Collision {
        /// The path that came first.
        first: String,
        /// The path that came second.
        second: String,
    },
    /// Something other than a regular file.
    #[error("`{path}` is a {found}, and packages hold only regular files")]
    NotRegular {
        /// The path.
        path: String,
        /// What it is.
        found: &'static str,
    },
    /// A bound was passed.
    #[error("{what} passes the bound of {limit} {unit}")]
    TooLarge {
        /// What.
        what: String,
        /// The bound.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The tar differs from the one form that packing makes.
    #[error("entry at byte {offset} of the tar is not in canonical form: {reason}")]
    NotCanonical {
        /// Where.
        offset: usize,
        /// How.
        reason: &'static str,
    },
    /// The manifest does not say which package this is.
    #[error("`package.json` gives no name and version")]
    Manifest(#[source] serde_json::Error),
    /// Not one whole frame.
    #[error("archive is not one whole zstd or LZ4 frame")]
    Compression(#[source] io::Error),
    /// Bytes after the frame.
    #[error("{bytes} bytes follow the end of the archive")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A file has another size than when it was looked at.
    #[error("`{path}` changed while it was packed", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read `{path}`", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Packs a manifest in canonical form and files into an archive.
///
/// The same manifest and files give the same tar on every machine. The order of `files` does not matter.
///
/// # Errors
/// A path, file or size that [`read`] would refuse, a manifest without name and version, or a file that cannot be read.
pub fn pack(manifest: &[u8], files: &[SourceFile<'_>]) -> Result<Archive, ArchiveError> {
    pack_with(Compression::default(), manifest, files)
}

/// Packs as [`pack`] does, in the compression that is wanted; the identity is the same in each.
///
/// # Errors
/// As [`pack`].
pub fn pack_with(compression: Compression, manifest: &[u8], files: &[SourceFile<'_>]) -> Result<Archive, ArchiveError> {
    pack_within(&Limits::ALL, compression, manifest, files)
}

/// Reads compressed bytes from anywhere.
///
/// Memory stays below the compressed bytes and [`TAR_BYTES_MAX`], and for small inputs below what [`RATIO_MAX`] allows.
///
/// # Errors
/// Everything that [`pack`] would not have made: other kinds of entries, extensions, orders, paths, sizes, or further bytes.
pub fn read(compressed: Vec<u8>) -> Result<Archive, ArchiveError> {
    read_within(&Limits::ALL, compressed)
}

impl Archive {
    /// Gives the name in the manifest.
    pub fn name(&self) -> &PackageName {
        &self.name
    }

    /// Gives the version in the manifest.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Gives the compressed bytes.
    pub fn compressed(&self) -> &[u8] {
        &self.compressed
    }

    /// Gives the compression.
    pub fn compression(&self) -> Compression {
        Compression::of(&self.compressed).unwrap_or_default()
    }

    /// Gives the same package in another compression.
    ///
    /// # Errors
    /// The compressor, for want of memory.
    pub fn recompressed(&self, compression: Compression) -> Result<Self, ArchiveError> {
        let codec::Compressed { bytes, blob } = compression.compress(&self.tar).map_err(ArchiveError::Compression)?;
        Ok(Self { blob, compressed: bytes, ..self.clone() })
    }

    /// Gives the same package in the compression that gives these compressed bytes, if one does.
    ///
    /// # Errors
    /// As [`Self::recompressed`].
    pub fn with_blob(&self, blob: Digest) -> Result<Option<Self>, ArchiveError> {
        if self.blob == blob {
            return Ok(Some(self.clone()));
        }
        for compression in Compression::ALL.into_iter().filter(|other| *other != self.compression()) {
            let other = self.recompressed(compression)?;
            if other.blob == blob {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Gives the BLAKE3 digest of the compressed bytes, which names them between nodes.
    pub fn blob(&self) -> Digest {
        self.blob
    }

    /// Gives the identity: the BLAKE3 digest of the tar.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Gives the SHA-256 of the tar in hexadecimal.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| sha256_hex(&self.tar))
    }

    /// Gives the SHA-512 of the tar in hexadecimal.
    pub fn sha512(&self) -> &str {
        self.sha512.get_or_init(|| sha512_hex(&self.tar))
    }

    /// Gives the digests of the tar under every algorithm.
    pub fn digests(&self) -> Digests {
        Digests { blake3: self.digest, sha256: self.sha256().to_owned(), sha512: self.sha512().to_owned() }
    }

    /// Gives the size of the tar in bytes.
    pub fn tar_bytes(&self) -> u64 {
        self.tar.len() as u64
    }

    /// Gives the manifest in canonical form.
    pub fn manifest(&self) -> &[u8] {
        &self.tar[self.index[0].range.clone()]
    }

    /// Gives every file in the order of the tar, the manifest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.index.iter().map(|slot| Entry {
            path: &slot.path,
            executable: slot.executable,
            writable: slot.writable,
            bytes: &self.tar[slot.range.clone()],
        })
    }
}

impl PartialEq for Archive {
    /// The tar is the package; everything but the compression follows from it.
    fn eq(&self, other: &Self) -> bool {
        self.tar == other.tar && self.compressed == other.compressed
    }
}

impl Eq for Archive {}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Archive({} {}, {:?}, {} files)", self.name, self.version, self.digest(), self.index.len())
    }
}

/// How many files are read in one go.
const PART_FILES: usize = 64;

fn pack_within(
    limits: &Limits,
    compression: Compression,
    manifest: &[u8],
    files: &[SourceFile<'_>],
) -> Result<Archive, ArchiveError> {
    check_count(limits, files.len() + 1)?;
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_unstable_by_key(|file| file.path);
    let manifest = SourceFile { path: MANIFEST_PATH, content: Content::Bytes { bytes: manifest, executable: false } };
    sorted.insert(0, &manifest);
    let tar = tar_of(limits, &sorted)?;
    let archive = finish(limits, compression, tar)?;
    within("the tar", archive.tar_bytes(), limits.tar(archive.compressed.len()))?;
    Ok(archive)
}

/// Makes a tar of files in this order. With their sizes asked for first each has its place, so all cores read files, and every
/// byte is written once.
fn tar_of(limits: &Limits, files: &[&SourceFile<'_>]) -> Result<Vec<u8>, ArchiveError> {
    let sizes =
        parallel::map(files.chunks(PART_FILES), |files| files.iter().map(|file| size_of(file)).collect::<Vec<_>>());
    let sizes = sizes.concat();
    let mut total = END as u64;
    for (file, size) in files.iter().zip(&sizes) {
        check_path(file.path)?;
        within_file(file.path, *size, limits)?;
        total += room_of(*size);
        within("the tar", total, limits.tar_bytes)?;
    }
    let mut tar = pages::zeros(usize::try_from(total).expect("memory reaches as far as the bound"));
    let mut rest = &mut tar[..];
    let places = files.iter().zip(&sizes).map(|(file, size)| {
        let room = rest.split_off_mut(..room_of(*size) as usize).expect("the sum of all is there");
        (*file, *size as usize, room)
    });
    let mut places = places.collect::<Vec<_>>();
    parallel::try_map(parallel::cores(), places.chunks_mut(PART_FILES), |places| {
        places.iter_mut().try_for_each(|(file, size, room)| {
            put(room, file.path, *size, |content| match file.content {
                Content::Bytes { bytes, executable } => {
                    content.copy_from_slice(bytes);
                    Ok(Mode::from_bit(executable))
                }
                Content::Below(root) => read_into(content, root, file.path),
            })
        })
    })?;
    Ok(tar)
}

/// Gives the size of a file; of one that cannot be looked at, which reading will tell, 0.
fn size_of(file: &SourceFile<'_>) -> u64 {
    match file.content {
        Content::Bytes { bytes, .. } => bytes.len() as u64,
        Content::Below(root) => {
            root.join(file.path).symlink_metadata().map_or(0, |found| if found.is_file() { found.len() } else { 0 })
        }
    }
}

fn read_within(limits: &Limits, compressed: Vec<u8>) -> Result<Archive, ArchiveError> {
    let limit = limits.tar(compressed.len());
    let (tar, rest) = Compression::unfold(&compressed, limit)?;
    within("the tar", tar.len() as u64, limit)?;
    if rest > 0 {
        return Err(ArchiveError::Trailing { bytes: rest });
    }
    // The tar is several times as long as what it was, so this is done when its digest is.
    let look = || (understand(limits, &tar), Digest::of(&compressed));
    let ((understood, blob), digest) = beside(tar.len(), look, || Digest::of(&tar));
    let (index, Metadata { name, version }) = understood?;
    let (sha256, sha512) = (OnceLock::new(), OnceLock::new());
    Ok(Archive { name, version, compressed, blob, tar, digest, sha256, sha512, index })
}

/// Compresses a tar, and checks it as one that was read is checked.
fn finish(limits: &Limits, compression: Compression, tar: Vec<u8>) -> Result<Archive, ArchiveError> {
    // Statements need both digests, and compressing takes longer than hashing. SHA-512 is for packages that ask.
    let look = || Ok::<_, ArchiveError>((understand(limits, &tar)?, Digest::of(&tar), sha256_hex(&tar)));
    let (compressed, looked) = beside(tar.len(), || compression.compress(&tar), look);
    let ((index, Metadata { name, version }), digest, sha256) = looked?;
    let codec::Compressed { bytes: compressed, blob } = compressed.map_err(ArchiveError::Compression)?;
    let (sha256, sha512) = (OnceLock::from(sha256), OnceLock::new());
    Ok(Archive { name, version, compressed, blob, tar, digest, sha256, sha512, index })
}

/// Does two things to so many bytes, at the same time if there are many.
fn beside<A, B: Send>(bytes: usize, here: impl FnOnce() -> A, there: impl FnOnce() -> B + Send) -> (A, B) {
    if bytes < PARALLEL_BYTES_MIN {
        return (here(), there());
    }
    std::thread::scope(|scope| {
        let there = scope.spawn(there);
        let here = here();
        (here, there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn understand(limits: &Limits, tar: &[u8]) -> Result<(Vec<Slot>, Metadata), ArchiveError> {
    let mut index = index(limits, tar)?;
    let Head { metadata, spec } =
        serde_json::from_slice(&tar[index[0].range.clone()]).map_err(ArchiveError::Manifest)?;
    let writable = spec.content.writable;
    for slot in index.iter_mut().skip(1) {
        slot.writable = writable.contains(&slot.path);
    }
    Ok((index, metadata))
}

/// Reads a file of a size that is known.
fn read_into(content: &mut [u8], root: &Path, path: &str) -> Result<Mode, ArchiveError> {
    use std::os::unix::fs::PermissionsExt;

    let fault = |source| ArchiveError::File { path: root.join(path), source };
    let mut file = open_beneath(root, path).map_err(fault)?;
    let metadata = file.metadata().map_err(fault)?;
    if !metadata.is_file() {
        return Err(ArchiveError::NotRegular { path: path.to_owned(), found: "directory or device" });
    }
    let read = file.read_exact(content).and_then(|()| file.read(&mut [0]));
    match read {
        Ok(0) => Ok(Mode::from_bit(metadata.permissions().mode() & 0o100 != 0)),
        Err(source) if source.kind() != io::ErrorKind::UnexpectedEof => Err(fault(source)),
        _ => Err(ArchiveError::Changed { path: root.join(path) }),
    }
}

/// The part of the manifest that names the package and says which files are whose; the rest is the caller's to read.
#[derive(Deserialize)]
struct Head {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    content: Files,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Files {
    writable: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: PackageName,
    version: Version,
}

#[cfg(test)]
pub(crate) mod hostile;
#[cfg(test)]
mod tests;
