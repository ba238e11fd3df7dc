//! Groups, and the hash tree above them.
//!
//! The tree is the one of BLAKE3 cut off at groups of [`GROUP_BYTES`], as `bao-tree` has it: its pairs of hashes in pre-order
//! are the *outboard*, its encoding of a range the *slice*. [`Slice`] is told what arrives and says what is right; it reads
//! nothing itself, so that it runs on streams, files and the inputs of a fuzzer alike.

use std::io::{self, Read};
use std::ops::Range;

use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::sync::{self, Outboard as _, OutboardMut as _};
use bao_tree::iter::{BaoChunk, ResponseIter};
use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges, TreeNode};
use blake3::Hash;
use blake3::hazmat::{self, HasherExt as _};
use trustchain::digest::Blake3;

use super::{BlobFile, GROUP_BYTES, SIZE_BYTES_MAX};

/// The bytes of a pair of hashes.
pub const PAIR_BYTES: usize = 64;
const GROUP: BlockSize = BlockSize::from_chunk_log(8);
const GROUP_CHUNKS: u64 = 1 << 8;
const _: () = assert!(GROUP.bytes() == GROUP_BYTES);

/// Bytes that are not those of the blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} does not match the digest of the blob")]
pub struct WrongBytes {
    /// What of it, as ``group `7` ``.
    pub what: String,
}

/// A part of a blob that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A pair of hashes of the tree.
    Pair(Pair),
    /// The group with this number: the bytes that were given.
    Group(u64),
}

/// A pair of hashes of the tree and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    node: TreeNode,
    hashes: [u8; PAIR_BYTES],
}

/// Verifies the encoding of ranges of groups, piece by piece.
#[derive(Debug)]
pub struct Slice {
    pieces: ResponseIter,
    next: Option<BaoChunk>,
    /// What the pieces to come must hash to, the next one last.
    expected: Vec<Hash>,
}

impl Slice {
    /// Expects these groups, in order and without overlap, of a blob of so many bytes.
    pub fn new(digest: &Blake3, size: u64, groups: &[Range<u64>]) -> Self {
        let mut pieces = ResponseIter::new(tree(size), chunks(size, groups));
        let next = pieces.next();
        Self { pieces, next, expected: vec![Hash::from_bytes(*digest.as_bytes())] }
    }

    /// Gives how many bytes the next piece has; `None` when all are verified.
    pub fn expects(&self) -> Option<usize> {
        match self.next.as_ref()? {
            BaoChunk::Parent { .. } => Some(PAIR_BYTES),
            BaoChunk::Leaf { size, .. } => Some(*size),
        }
    }

    /// Verifies the next piece; costs a hash of the bytes.
    ///
    /// # Errors
    /// The bytes are not those of the blob, or not so many as are expected; nothing that follows can be believed.
    pub fn verify(&mut self, bytes: &[u8]) -> Result<Piece, WrongBytes> {
        let (Some(next), Some(expected)) = (self.next.take(), self.expected.pop()) else {
            return Err(WrongBytes { what: "what follows the end".to_owned() });
        };
        self.next = self.pieces.next();
        let (piece, actual, name) = match next {
            BaoChunk::Parent { node, is_root, left, right, .. } => {
                let what = || format!("the pair of hashes at level `{}`", node.level());
                let hashes = bytes.try_into().map_err(|_| WrongBytes { what: what() })?;
                let (left_hash, right_hash) = pair(&hashes);
                let hash = parent(&left_hash, &right_hash, is_root);
                self.expected.extend(right.then_some(right_hash));
                self.expected.extend(left.then_some(left_hash));
                (Piece::Pair(Pair { node, hashes }), hash, Err(node.level()))
            }
            BaoChunk::Leaf { start_chunk, size, is_root, .. } => {
                let group = start_chunk.0 / GROUP_CHUNKS;
                if bytes.len() != size {
                    return Err(WrongBytes { what: format!("the length of group `{group}`") });
                }
                (Piece::Group(group), leaf(start_chunk, bytes, is_root), Ok(group))
            }
        };
        if actual == expected {
            return Ok(piece);
        }
        let what = match name {
            Ok(group) => format!("group `{group}`"),
            Err(level) => format!("the pair of hashes at level `{level}`"),
        };
        Err(WrongBytes { what })
    }
}

/// The hash tree of a blob, complete or not.
#[derive(Clone, Debug)]
pub struct Outboard(PreOrderMemOutboard);

impl Outboard {
    /// Makes one that knows nothing yet.
    pub fn unknown(digest: &Blake3, size: u64) -> Self {
        let tree = tree(size);
        let data = vec![0; outboard_len(size)];
        Self(PreOrderMemOutboard { root: Hash::from_bytes(*digest.as_bytes()), tree, data })
    }

    /// Reads a blob to its end and hashes it: about half a second for a gibibyte.
    ///
    /// # Errors
    /// It cannot be read, ends early, or is another one.
    pub fn compute(digest: &Blake3, file: &dyn BlobFile) -> io::Result<Self> {
        let mut outboard = Self::unknown(digest, file.size());
        let tree = outboard.0.tree;
        let root = sync::outboard(Reader { file, offset: 0 }, tree, &mut outboard.0)?;
        if root != Hash::from_bytes(*digest.as_bytes()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the file of blob `{digest}` has another content"),
            ));
        }
        Ok(outboard)
    }

    /// Takes one that may be incomplete or wrong; [`Outboard::has_valid`] believes nothing of it.
    pub(crate) fn partial(digest: &Blake3, size: u64, data: Vec<u8>) -> Self {
        assert_eq!(data.len(), outboard_len(size), "whoever reads a tree checks its length");
        Self(PreOrderMemOutboard { root: Hash::from_bytes(*digest.as_bytes()), tree: tree(size), data })
    }

    /// Takes a verified pair of hashes.
    pub fn insert(&mut self, pair_at: &Pair) {
        let hashes = pair(&pair_at.hashes);
        self.0.save(pair_at.node, &hashes).expect("a node of the tree has its place in memory");
    }

    /// Says whether a group of a file is what the tree and the digest say; costs a hash of it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn has_valid(&self, file: &std::fs::File, group: u64) -> io::Result<bool> {
        let ranges = chunks(self.size(), &one(group..group + 1));
        match sync::encode_ranges_validated(file, &self.0, &ranges, io::sink()) {
            Ok(()) => Ok(true),
            Err(bao_tree::io::EncodeError::Io(source)) if source.kind() != io::ErrorKind::UnexpectedEof => Err(source),
            Err(_) => Ok(false),
        }
    }

    /// Gives what is sent for ranges of groups: for each group the pairs of hashes before it, and its place and size.
    pub fn frames(&self, groups: &[Range<u64>]) -> Vec<Frame> {
        let ranges = chunks(self.size(), groups);
        let mut frames = Vec::new();
        let mut pairs = Vec::new();
        for piece in self.0.tree.ranges_pre_order_chunks_iter_ref(&ranges, 0) {
            match piece {
                BaoChunk::Parent { node, .. } => {
                    let (left, right) = self.0.load(node).ok().flatten().expect("a complete tree has all its nodes");
                    pairs.extend_from_slice(left.as_bytes());
                    pairs.extend_from_slice(right.as_bytes());
                }
                BaoChunk::Leaf { start_chunk, size, .. } => {
                    frames.push(Frame { pairs: std::mem::take(&mut pairs), offset: start_chunk.to_bytes(), size });
                }
            }
        }
        frames
    }

    /// Gives the size of the blob.
    pub fn size(&self) -> u64 {
        self.0.tree.size()
    }

    /// Gives the pairs of hashes in pre-order.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.data
    }
}

/// What is sent for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The pairs of hashes before it.
    pub pairs: Vec<u8>,
    /// Where it begins in the blob.
    pub offset: u64,
    /// How many bytes it has.
    pub size: usize,
}

/// Makes a list of one range.
pub fn one(groups: Range<u64>) -> [Range<u64>; 1] {
    [groups]
}

/// Gives how many groups a blob has; an empty one has one, which is empty.
pub fn group_count(size: u64) -> u64 {
    size.div_ceil(GROUP_BYTES as u64).max(1)
}

/// Gives the bytes of the hash tree of a blob.
pub(crate) fn outboard_len(size: u64) -> usize {
    usize::try_from(group_count(size) - 1).expect("blobs are bounded far below what fits") * PAIR_BYTES
}

/// Gives the bytes of a group.
pub(crate) fn group_len(size: u64, group: u64) -> u64 {
    size.saturating_sub(group * GROUP_BYTES as u64).min(GROUP_BYTES as u64)
}

fn tree(size: u64) -> BaoTree {
    assert!(size <= SIZE_BYTES_MAX, "sizes are bounded where they are read");
    BaoTree::new(size, GROUP)
}

/// The chunks of groups; whatever holds the last group is open at its end, as the library wants it.
fn chunks(size: u64, groups: &[Range<u64>]) -> ChunkRanges {
    let count = group_count(size);
    groups.iter().fold(ChunkRanges::empty(), |all, groups| {
        let first = ChunkNum(groups.start * GROUP_CHUNKS);
        if groups.end >= count {
            all | ChunkRanges::from(first..)
        } else {
            all | ChunkRanges::from(first..ChunkNum(groups.end * GROUP_CHUNKS))
        }
    })
}

fn pair(hashes: &[u8; PAIR_BYTES]) -> (Hash, Hash) {
    let (left, right) = hashes.split_at(PAIR_BYTES / 2);
    let hash = |bytes: &[u8]| Hash::from_bytes(bytes.try_into().expect("half of a pair is a hash"));
    (hash(left), hash(right))
}

fn parent(left: &Hash, right: &Hash, is_root: bool) -> Hash {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if is_root {
        hazmat::merge_subtrees_root(left, right, hazmat::Mode::Hash)
    } else {
        Hash::from_bytes(hazmat::merge_subtrees_non_root(left, right, hazmat::Mode::Hash))
    }
}

fn leaf(start: ChunkNum, bytes: &[u8], is_root: bool) -> Hash {
    if is_root {
        return blake3::hash(bytes);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start.to_bytes());
    hasher.update(bytes);
    Hash::from_bytes(hasher.finalize_non_root())
}

/// Reads a blob from its beginning to its end.
struct Reader<'a> {
    file: &'a dyn BlobFile,
    offset: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.file.size() - self.offset).unwrap_or(usize::MAX).min(buffer.len());
        self.file.read_at(self.offset, &mut buffer[..left])?;
        self.offset += left as u64;
        Ok(left)
    }
}

#[cfg(test)]
mod tests;
