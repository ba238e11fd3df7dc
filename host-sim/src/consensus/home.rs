//! The consensus of a home: its validators and its publisher, and the genesis that its own root signs.
//!
//! `HOME/consensus/genesis.json` is made when it is missing, and again, as the next epoch, when the validators or the
//! requester have other keys than it names. Where a root set decides, a new one waits in `genesis.next.json` until the set names it.
//! A home without the keys of its root cannot do that and takes the genesis that was
//! put there.

use std::path::Path;

use time::OffsetDateTime;
use trustchain::certificate::Certificate;
use trustchain::digest::Sha256;
use trustchain::genesis::{Allotment, GENESIS_BYTES_MAX, Genesis, GenesisError};
use trustchain::hybrid::SecretKey;
use trustchain::path::Roots;
use trustchain::proof::Profile;

use super::{ConsensusError, ConsensusOptions};
use crate::trust::{Anchors, DEFAULT_PUBLISHER, TrustError, TrustHome, Unlock};

/// What the publisher of a new home has at stake: enough for every profile.
pub const STAKE: u64 = 100_000;
/// The genesis that counts, in `HOME/consensus/`.
const GENESIS: &str = "genesis.json";
/// One that waits for the root set to name it.
const GENESIS_NEXT: &str = "genesis.next.json";

/// How the names of validators begin; a number follows.
const VALIDATOR: &str = "validator-";

impl ConsensusOptions {
    /// Reads what a home has; `None` is a home without validators.
    ///
    /// # Errors
    /// A file that cannot be used, keys that do not open.
    pub fn of_home(home: &Path, unlock: &Unlock, profile: Profile) -> Result<Option<Self>, ConsensusError> {
        let trust = match TrustHome::open(home) {
            Err(TrustError::Uninitialized { .. }) => return Ok(None),
            opened => opened?,
        };
        let mut validators = Vec::new();
        let names = trust.names()?;
        // The authority of validators has a name that begins the same.
        let is_validator =
            |name: &&String| name.strip_prefix(VALIDATOR).is_some_and(|rest| rest.parse::<u32>().is_ok());
        for name in names.iter().filter(is_validator) {
            match open(&trust, name, unlock) {
                Err(TrustError::KeysElsewhere { .. }) => {}
                opened => validators.push(opened?),
            }
        }
        if validators.is_empty() {
            return Ok(None);
        }
        let requester = open(&trust, DEFAULT_PUBLISHER, unlock)?;
        let anchors = Anchors::read(home, OffsetDateTime::now_utc())?;
        let directory = home.join("consensus");
        let wanted = wanted(&trust.cluster()?, &validators, &requester.1);
        let genesis = genesis(&trust, &directory, anchors.roots(), wanted, unlock)?;
        Ok(Some(Self {
            roots: anchors.roots().clone(),
            genesis,
            lists: anchors.lists(&[]),
            validators,
            requester,
            directory,
            profile,
            clock: std::sync::Arc::new(OffsetDateTime::now_utc),
        }))
    }
}

fn open(trust: &TrustHome, name: &str, unlock: &Unlock) -> Result<(Vec<Certificate>, SecretKey), TrustError> {
    let signer = trust.signer(name, unlock.clone())?;
    let keys = signer.with_keys(|keys| Ok(keys.clone()))?;
    Ok((signer.chain().to_vec(), keys))
}

fn wanted(cluster: &str, validators: &[(Vec<Certificate>, SecretKey)], requester: &SecretKey) -> Genesis {
    let id = |keys: &SecretKey| Sha256::from_bytes(keys.public().fingerprint());
    let mut ids: Vec<Sha256> = validators.iter().map(|(_, keys)| id(keys)).collect();
    ids.sort();
    let stakes = vec![Allotment { amount: STAKE, holder: DEFAULT_PUBLISHER.to_owned(), id: id(requester) }];
    Genesis { cluster: cluster.to_owned(), epoch: 1, stakes, validators: ids }
}

/// Gives the genesis that there is, if it is for these keys, and else the one of the next epoch. Where a root set decides, a new
/// one waits in [`GENESIS_NEXT`] until the set names it.
fn genesis(
    trust: &TrustHome,
    directory: &Path,
    roots: &Roots,
    mut wanted: Genesis,
    unlock: &Unlock,
) -> Result<Vec<u8>, ConsensusError> {
    let mut unnamed = None;
    for name in [GENESIS, GENESIS_NEXT] {
        match read(&directory.join(name), roots)? {
            None => {}
            Some((bytes, Ok(found))) => {
                let serves = found.cluster == wanted.cluster
                    && found.stake_of(wanted.stakes[0].id).is_some()
                    && wanted.validators.iter().all(|id| found.validators.contains(id));
                if serves {
                    return Ok(bytes);
                }
                wanted.epoch = found.epoch + 1;
            }
            // It waits for the set to name it.
            Some((_, Err(error @ GenesisError::NotInRootSet { .. }))) => unnamed = Some(error),
            Some((_, Err(_))) => {}
        }
    }
    if let Some(error) = unnamed {
        return Err(error.into());
    }
    let bytes = trust.root_authority(unlock)?.genesis(&wanted)?;
    let judged = Genesis::verify(&bytes, roots);
    let path = directory.join(if judged.is_ok() { GENESIS } else { GENESIS_NEXT });
    let io = |source| ConsensusError::File { path: path.clone(), source };
    std::fs::create_dir_all(directory).map_err(io)?;
    let mut aside = tempfile::NamedTempFile::new_in(directory).map_err(io)?;
    std::io::Write::write_all(&mut aside, &bytes).and_then(|()| aside.as_file().sync_all()).map_err(io)?;
    aside.persist(&path).map_err(|error| io(error.error))?;
    judged?;
    Ok(bytes)
}

/// A genesis as it is in its file, and what is believed of it.
type Judged = (Vec<u8>, Result<Genesis, GenesisError>);

/// Reads a genesis and judges it.
fn read(path: &Path, roots: &Roots) -> Result<Option<Judged>, ConsensusError> {
    let io = |source| ConsensusError::File { path: path.to_owned(), source };
    let Ok(about) = std::fs::metadata(path) else { return Ok(None) };
    let fits = about.len() <= GENESIS_BYTES_MAX as u64;
    let bytes = if fits { std::fs::read(path).map_err(io)? } else { Vec::new() };
    let judged = Genesis::verify(&bytes, roots);
    Ok(Some((bytes, judged)))
}

/// Gives the digests of the starts of a cluster that a home has or waits for, by which a root set names them. One that is
/// missing is made first.
///
/// # Errors
/// A file that cannot be used, keys that do not open.
pub fn geneses(home: &Path, unlock: &Unlock) -> Result<Vec<Sha256>, ConsensusError> {
    match ConsensusOptions::of_home(home, unlock, Profile::LOCALHOST) {
        Err(ConsensusError::Genesis(GenesisError::NotInRootSet { .. })) => {}
        opened => drop(opened?),
    }
    let directory = home.join("consensus");
    let files = [GENESIS, GENESIS_NEXT].map(|name| std::fs::read(directory.join(name)));
    Ok(files.into_iter().flatten().filter_map(|bytes| Genesis::digest(&bytes).ok()).collect())
}
