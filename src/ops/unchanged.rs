//! Remembers what was installed and judged, so that an installation that changes nothing costs next to nothing.
//!
//! What is remembered counts for the generation it was made for, while everything that the policy looks at is the same (roots,
//! revocation lists, settings, advisories, feeds, reputations), and for [`REMEMBERED_FOR`]: that is how late an installation
//! notices what only the passing of time changes. It lets nothing in: the packages are there already, and before each run the
//! policy is asked and every byte hashed, whatever is remembered here.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Catalog, OpError};
use crate::digest::Digest;
use crate::host::{Host, TrustAnchors, wait};
use crate::lockfile::Lockfile;

/// How long a judgement counts, in seconds.
pub const REMEMBERED_FOR: i64 = 600;

/// The version of the file.
const FORMAT_VERSION: u32 = 1;
/// The largest file that is read, in bytes: a digest for each package of the largest lockfile, and warnings.
const BYTES_MAX: u64 = 4 << 20;

/// A judgement about a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    version: u32,
    generation: u64,
    /// The digest of the lockfile's text.
    lockfile: Digest,
    /// The digest of everything that the policy looked at.
    inputs: Digest,
    /// When it was judged, in seconds since 1970.
    at: i64,
    /// The packages that were judged.
    judged: BTreeSet<Digest>,
    /// What the policy warned of.
    warnings: Vec<String>,
}

impl Catalog {
    /// Gives the warnings of an earlier judgement about these packages, if it counts.
    pub(super) fn remembered(
        &self,
        generation: u64,
        lockfile: &Lockfile,
        wanted: &BTreeSet<Digest>,
        host: &dyn Host,
    ) -> Option<Vec<String>> {
        let known = self.read_remembered()?;
        let age = host.now().unix_timestamp().checked_sub(known.at)?;
        let counts = known.generation == generation
            && (0..REMEMBERED_FOR).contains(&age)
            && wanted.is_subset(&known.judged)
            && known.lockfile == Digest::of(lockfile.to_string().as_bytes())
            && Some(known.inputs) == self.inputs(host);
        counts.then_some(known.warnings)
    }

    /// Remembers a judgement. Nothing depends on it, so a failure is only traced.
    pub(super) fn remember(
        &self,
        generation: u64,
        lockfile: &Lockfile,
        judged: BTreeSet<Digest>,
        warnings: &[String],
        host: &dyn Host,
    ) {
        let Some(inputs) = self.inputs(host) else { return };
        let lockfile = Digest::of(lockfile.to_string().as_bytes());
        let (at, warnings) = (host.now().unix_timestamp(), warnings.to_vec());
        let new = Remembered { version: FORMAT_VERSION, generation, lockfile, inputs, at, judged, warnings };
        if let Err(error) = self.write_remembered(&new) {
            tracing::warn!("what was installed is not remembered: {error}");
        }
    }

    fn read_remembered(&self) -> Option<Remembered> {
        let path = self.remembered_path();
        let is_small = std::fs::symlink_metadata(&path).ok()?.len() <= BYTES_MAX;
        let known: Remembered = serde_json::from_slice(&is_small.then(|| std::fs::read(&path).ok())??).ok()?;
        (known.version == FORMAT_VERSION).then_some(known)
    }

    fn write_remembered(&self, new: &Remembered) -> Result<(), OpError> {
        let path = self.remembered_path();
        let fault = |source| OpError::File { path: path.clone(), source };
        let directory = self.home.join("trust");
        let write = || {
            std::fs::create_dir_all(&directory)?;
            let mut file = tempfile::NamedTempFile::new_in(&directory)?;
            serde_json::to_writer(&mut file, new)?;
            file.persist(&path).map(drop).map_err(|error| error.error)
        };
        write().map_err(fault)
    }

    fn remembered_path(&self) -> PathBuf {
        self.home.join("trust").join("installed.json")
    }

    /// Gives the digest of everything that the policy looks at besides the packages and the time; nothing if the host does not
    /// say what it believes.
    fn inputs(&self, host: &dyn Host) -> Option<Digest> {
        let reputations = self.registry().reputations().ok()?;
        Some(digest(&[self.circumstances(host)?.to_hex(), format!("{reputations:?}")]))
    }

    /// Gives the digest of what an installation changes nothing of: what is believed, configured, listed and known.
    pub(super) fn circumstances(&self, host: &dyn Host) -> Option<Digest> {
        let TrustAnchors { cluster, roots, authorities, revocations, validators, genesis } =
            wait(host.anchors()).ok()?;
        let mut parts = vec![cluster, genesis];
        for list in [roots, authorities, revocations, validators] {
            parts.push(list.len().to_string());
            parts.extend(list);
        }
        parts.push(format!("{:?} {:?} {:?}", self.config.trust, self.config.consensus, self.config.licenses));
        parts.push(format!("{:?}", self.advisories_status().ok()?));
        for (publisher, head) in self.registry().feed_heads().ok()? {
            parts.push(format!("{publisher} {}", Digest::of(&head)));
        }
        Some(digest(&parts))
    }
}

fn digest(parts: &[String]) -> Digest {
    let text: Vec<String> = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    Digest::of(text.concat().as_bytes())
}
