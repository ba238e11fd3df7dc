//! Proof of space, WHERE: the prover keeps bytes that only whoever computed all of them has.
//!
//! What is kept are labels of 32 bytes. Each is the SHA-256 of the prover's seed, its place, the label before it and one
//! earlier label, which the label before it chooses; so no label can be computed without those it rests on. A Merkle tree
//! stands above them, and its root is the commitment. A challenge picks [`SAMPLES`] places; the prover shows the label of each
//! with the two it rests on, and their ways to the root. The verifier computes the label again, so a file of zeros, or a
//! file of another node, commits to nothing.
//!
//! Labels lie behind their tree in one array: node 1 is the root, node `k` stands above `2k` and `2k + 1`, and the labels are
//! the nodes from `n` on, for a power of two `n`. Node 0 holds the seed.
//!
//! **What it proves.** A prover that keeps a part must compute the rest again for each challenge, and one that cheated in a
//! share `s` of its labels passes with (1 - s)^16. At one mebibyte computing again takes milliseconds: there the proof shows
//! the mechanism and costs nothing; the sizes of the other profiles are what makes keeping cheaper than computing.

use std::convert::Infallible;

use ::time::{Duration, OffsetDateTime};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::digest::Sha256;
use crate::moment;

/// Bytes of a label and of every node of the tree.
pub const NODE_BYTES: usize = 32;
/// Places that a challenge picks.
pub const SAMPLES: usize = 16;
/// The least space: two labels.
pub const SPACE_BYTES_MIN: u64 = 2 * NODE_BYTES as u64;
/// The most space: 100 TiB.
pub const SPACE_BYTES_MAX: u64 = 100 << 40;
/// The longest path in characters.
pub const PATH_CHARS_MAX: usize = 1_000;
/// How old a proof may be.
pub const AGE_MAX: Duration = Duration::seconds(3_600);

/// One node of the tree.
pub type Node = [u8; NODE_BYTES];

/// The proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// The root of the tree.
    pub file_hash: Sha256,
    /// The prover, by the fingerprint of its keys.
    pub node_id: Sha256,
    /// The labels that the challenge picks, with what they rest on and their ways to the root; base64.
    pub openings: String,
    /// Where the prover keeps it, for people.
    pub storage_path: String,
    /// When the proof was made.
    #[serde(with = "moment")]
    pub timestamp: OffsetDateTime,
    /// Bytes of labels, a power of two.
    pub total_size: u64,
    /// Bytes of the storage in which they are kept.
    pub total_storage: u64,
}

/// Labels of one size, and where their nodes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plot {
    labels: u64,
}

/// Why a proof of space proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// A size that no plot has.
    #[error("`{size_bytes}` bytes are not a power of two from 64 to 100 TiB")]
    Size {
        /// The size.
        size_bytes: u64,
    },
    /// More is kept than there is room for, or there is more room than is believed.
    #[error("`{size_bytes}` bytes in a storage of `{storage_bytes}` are not believed")]
    Storage {
        /// The size.
        size_bytes: u64,
        /// The storage.
        storage_bytes: u64,
    },
    /// Less than is asked.
    #[error("`{size_bytes}` bytes are kept, at least `{least}` are asked")]
    TooSmall {
        /// The size.
        size_bytes: u64,
        /// What is asked.
        least: u64,
    },
    /// The path is empty or too long.
    #[error("a storage path has 1 to 1000 characters")]
    Path,
    /// It is another node's.
    #[error("the space is of another node than the requester")]
    OtherNode,
    /// It is too old, or from the future.
    #[error("the proof of space was made at `{}`, {reason}", moment::shown(.timestamp))]
    Age {
        /// When it was made.
        timestamp: OffsetDateTime,
        /// Why that is wrong.
        reason: &'static str,
    },
    /// The openings are no base64 of the right length.
    #[error("the openings are not those of a plot of this size")]
    Form,
    /// A label is not under the root.
    #[error("sample `{sample}` is not under the root")]
    NotCommitted {
        /// Which sample.
        sample: usize,
    },
    /// A label is not what its place and what it rests on make it.
    #[error("sample `{sample}` is not the label of its place: the space was not filled")]
    NotFilled {
        /// Which sample.
        sample: usize,
    },
}

impl Plot {
    /// Describes a plot of so many bytes of labels.
    ///
    /// # Errors
    /// [`SpaceError::Size`].
    pub fn new(size_bytes: u64) -> Result<Self, SpaceError> {
        let fits = (SPACE_BYTES_MIN..=SPACE_BYTES_MAX).contains(&size_bytes) && size_bytes.is_power_of_two();
        fits.then_some(Self { labels: size_bytes / NODE_BYTES as u64 }).ok_or(SpaceError::Size { size_bytes })
    }

    /// Describes the smallest plot of at least so many bytes.
    ///
    /// # Errors
    /// [`SpaceError::Size`].
    pub fn at_least(size_bytes: u64) -> Result<Self, SpaceError> {
        let wanted = size_bytes.max(SPACE_BYTES_MIN).checked_next_power_of_two();
        Self::new(wanted.ok_or(SpaceError::Size { size_bytes })?)
    }

    /// Gives the bytes of labels.
    pub fn size_bytes(self) -> u64 {
        self.labels * NODE_BYTES as u64
    }

    /// Gives the number of nodes that a prover keeps, node 0 included.
    pub fn nodes(self) -> u64 {
        self.labels * 2
    }

    /// Gives the seed of a prover, which is node 0.
    pub fn seed(self, node_id: Sha256) -> Node {
        *Sha256::tagged("TCv1 space seed", &[node_id.as_bytes(), &self.size_bytes().to_le_bytes()]).as_bytes()
    }

    /// Computes all nodes. Takes about 5 ms for a mebibyte.
    pub fn fill(self, node_id: Sha256) -> Vec<Node> {
        let (labels, seed) = (self.labels as usize, self.seed(node_id));
        let mut nodes = vec![[0; NODE_BYTES]; labels * 2];
        nodes[0] = seed;
        for place in 0..labels {
            let (before, earlier) = match place.checked_sub(1) {
                None => ([0; NODE_BYTES], [0; NODE_BYTES]),
                Some(last) => {
                    let before = nodes[labels + last];
                    (before, nodes[labels + earlier(&before, place as u64) as usize])
                }
            };
            nodes[labels + place] = label(&seed, place as u64, &before, &earlier);
        }
        for node in (1..labels).rev() {
            nodes[node] = inner(&nodes[2 * node], &nodes[2 * node + 1]);
        }
        nodes
    }

    /// Answers a challenge with nodes that the prover reads from where it keeps them.
    ///
    /// # Errors
    /// What reading says.
    pub fn answer<E>(self, challenge: Sha256, mut read: impl FnMut(u64) -> Result<Node, E>) -> Result<String, E> {
        let mut bytes = Vec::with_capacity(SAMPLES * self.sample_bytes());
        for sample in 0..SAMPLES {
            let place = self.place(challenge, sample);
            let before = read(self.labels + place - 1)?;
            for place in [place, place - 1, earlier(&before, place)] {
                let mut node = self.labels + place;
                bytes.extend(read(node)?);
                while node > 1 {
                    bytes.extend(read(node ^ 1)?);
                    node /= 2;
                }
            }
        }
        Ok(BASE64.encode(&bytes))
    }

    /// Answers a challenge with nodes in memory.
    pub fn answer_from(self, challenge: Sha256, nodes: &[Node]) -> String {
        match self.answer(challenge, |node| Ok::<_, Infallible>(nodes[node as usize])) {
            Ok(openings) => openings,
            Err(never) => match never {},
        }
    }

    /// Gives the place of a sample; the first label rests on nothing and is never asked for.
    fn place(self, challenge: Sha256, sample: usize) -> u64 {
        let drawn = Sha256::tagged("TCv1 space sample", &[challenge.as_bytes(), &(sample as u64).to_le_bytes()]);
        1 + first_number(drawn.as_bytes()) % (self.labels - 1)
    }

    fn depth(self) -> usize {
        self.labels.trailing_zeros() as usize
    }

    fn sample_bytes(self) -> usize {
        3 * (1 + self.depth()) * NODE_BYTES
    }
}

impl Space {
    /// Checks the proof for a challenge.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(super) fn check(
        &self,
        node_id: Sha256,
        challenge: Sha256,
        least: u64,
        now: OffsetDateTime,
    ) -> Result<(), SpaceError> {
        let (size_bytes, storage_bytes) = (self.total_size, self.total_storage);
        let plot = Plot::new(size_bytes)?;
        if size_bytes > storage_bytes || storage_bytes > SPACE_BYTES_MAX {
            return Err(SpaceError::Storage { size_bytes, storage_bytes });
        }
        if size_bytes < least {
            return Err(SpaceError::TooSmall { size_bytes, least });
        }
        if self.storage_path.is_empty() || self.storage_path.chars().count() > PATH_CHARS_MAX {
            return Err(SpaceError::Path);
        }
        if self.node_id != node_id {
            return Err(SpaceError::OtherNode);
        }
        super::expect_age(self.timestamp, now, AGE_MAX)
            .map_err(|reason| SpaceError::Age { timestamp: self.timestamp, reason })?;
        self.check_openings(plot, challenge)
    }

    fn check_openings(&self, plot: Plot, challenge: Sha256) -> Result<(), SpaceError> {
        let bytes = BASE64.decode(self.openings.as_bytes()).map_err(|_| SpaceError::Form)?;
        if bytes.len() != SAMPLES * plot.sample_bytes() {
            return Err(SpaceError::Form);
        }
        let (nodes, _) = bytes.as_chunks::<NODE_BYTES>();
        let seed = plot.seed(self.node_id);
        for (sample, openings) in nodes.chunks(3 * (1 + plot.depth())).enumerate() {
            let opening = |index: usize| &openings[index * (1 + plot.depth())..][..1 + plot.depth()];
            let (own, before, chosen) = (opening(0), opening(1), opening(2));
            let place = plot.place(challenge, sample);
            let places = [place, place - 1, earlier(&before[0], place)];
            for (place, opening) in places.into_iter().zip([own, before, chosen]) {
                if root(plot.labels + place, opening) != *self.file_hash.as_bytes() {
                    return Err(SpaceError::NotCommitted { sample });
                }
            }
            if label(&seed, place, &before[0], &chosen[0]) != own[0] {
                return Err(SpaceError::NotFilled { sample });
            }
        }
        Ok(())
    }
}

/// Gives the place, before this one, that the label before it chooses.
fn earlier(before: &Node, place: u64) -> u64 {
    first_number(before) % place
}

fn first_number(node: &Node) -> u64 {
    node.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn label(seed: &Node, place: u64, before: &Node, earlier: &Node) -> Node {
    let hash = sha2::Sha256::new().chain_update([0]).chain_update(seed).chain_update(place.to_le_bytes());
    hash.chain_update(before).chain_update(earlier).finalize().into()
}

fn inner(left: &Node, right: &Node) -> Node {
    sha2::Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Walks from a node up to the root.
fn root(mut node: u64, opening: &[Node]) -> Node {
    let mut hash = opening[0];
    for sibling in &opening[1..] {
        hash = if node & 1 == 0 { inner(&hash, sibling) } else { inner(sibling, &hash) };
        node /= 2;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;

    const SIZE: u64 = 64 * 1024;

    fn space(node_id: Sha256, challenge: Sha256, nodes: &[Node]) -> Space {
        let plot = Plot::new(SIZE).expect("a size");
        Space {
            file_hash: Sha256::from_bytes(nodes[1]),
            node_id,
            openings: plot.answer_from(challenge, nodes),
            storage_path: "space".into(),
            timestamp: NOW,
            total_size: SIZE,
            total_storage: 1 << 40,
        }
    }

    fn filled(node_id: Sha256) -> Vec<Node> {
        Plot::new(SIZE).expect("a size").fill(node_id)
    }

    #[test]
    fn what_was_filled_is_proved_and_only_for_its_challenge_and_node() {
        let (node, challenge) = (Sha256::of(b"node"), Sha256::of(b"challenge"));
        let nodes = filled(node);
        let proof = space(node, challenge, &nodes);
        proof.check(node, challenge, SIZE, NOW).expect("proves");
        let error = proof.check(node, Sha256::of(b"another"), SIZE, NOW).expect_err("refused");
        assert!(matches!(error, SpaceError::NotCommitted { .. }), "{error}");
        let other = Sha256::of(b"other");
        assert_eq!(proof.check(other, challenge, SIZE, NOW), Err(SpaceError::OtherNode));
        let renamed = Space { node_id: other, ..proof };
        let error = renamed.check(other, challenge, SIZE, NOW).expect_err("refused");
        assert!(matches!(error, SpaceError::NotFilled { .. }), "another's file is not one's own: {error}");
    }

    #[test]
    fn what_was_not_filled_is_refused() {
        let (node, challenge) = (Sha256::of(b"node"), Sha256::of(b"challenge"));
        let plot = Plot::new(SIZE).expect("a size");
        // A file of zeros with a right tree above it, and one of which a third of the labels was never computed.
        let mut zeros = vec![[0; NODE_BYTES]; plot.nodes() as usize];
        let mut partly = filled(node);
        for (place, node) in partly.iter_mut().skip(plot.labels as usize).enumerate() {
            if place % 3 == 2 {
                *node = [0; NODE_BYTES];
            }
        }
        for nodes in [&mut zeros, &mut partly] {
            for node in (1..plot.labels as usize).rev() {
                nodes[node] = inner(&nodes[2 * node], &nodes[2 * node + 1]);
            }
            let error = space(node, challenge, nodes).check(node, challenge, SIZE, NOW).expect_err("refused");
            assert!(matches!(error, SpaceError::NotFilled { .. }), "{error}");
        }
    }

    #[test]
    fn every_rule_refuses() {
        let (node, challenge) = (Sha256::of(b"node"), Sha256::of(b"challenge"));
        let good = space(node, challenge, &filled(node));
        let check = |change: fn(&mut Space), named: &str| {
            let mut proof = good.clone();
            change(&mut proof);
            let error = proof.check(node, challenge, SIZE, NOW).expect_err("refused").to_string();
            assert!(error.contains(named), "{error}");
        };
        check(|it| it.total_size -= 1, "power of two");
        check(|it| it.total_size = 0, "power of two");
        check(|it| it.total_size /= 2, "at least");
        check(|it| it.total_size *= 2, "openings");
        check(|it| it.total_storage = SIZE - 1, "storage");
        check(|it| it.total_storage = SPACE_BYTES_MAX + 1, "storage");
        check(|it| it.storage_path.clear(), "path");
        check(|it| it.storage_path = "x".repeat(PATH_CHARS_MAX + 1), "path");
        check(|it| it.timestamp -= AGE_MAX + Duration::SECOND, "too old");
        check(|it| it.timestamp += crate::SKEW + Duration::SECOND, "future");
        check(|it| it.file_hash = Sha256::of(b"x"), "root");
        check(|it| it.openings.truncate(4), "openings");
        check(|it| it.openings.push('!'), "openings");
    }
}
