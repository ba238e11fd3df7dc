//! Values that peers keep for a node: small, signed by it, under keys that only it can write.
//!
//! A record carries the certificate chain of its signer, so that whoever holds it can judge it without asking anybody. Nothing
//! is kept or believed that was not judged against the roots of this node. A key is made from the signer and a name: a
//! certified peer can write as many records as it likes, but none of another's.

use std::time::Duration;

use libp2p::PeerId;
use libp2p::kad::RecordKey;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use trustchain::certificate::{Certificate, CertificateError, Purpose};
use trustchain::path::{INTERMEDIATES_MAX, PathError, Request, Revocation};

use crate::identity::{Credentials, Identity, SignError};
use crate::tls::peer_id;

/// The largest value in bytes.
pub const VALUE_BYTES_MAX: usize = 4 << 10;
/// The longest name in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The largest record in bytes: a value, and a chain of which every certificate has both keys and both signatures (about
/// 5 KiB each).
pub const RECORD_BYTES_MAX: usize = 24 << 10;
/// How long a record counts at most; its signer renews it every hour.
pub const RECORD_LIFETIME: Duration = Duration::from_hours(24);
/// How far the clock of a signer may be ahead.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_mins(5);
/// The beginning of what is signed, where TLS 1.3 has the name of the handshake message (RFC 8446, 4.4.3): a record can not be
/// taken for a handshake, nor a handshake for a record.
pub const RECORD_CONTEXT: &[u8] = b"hypermesh stoq record v1";
/// What every key is made under, so that it is no digest of anything else.
const KEY_CONTEXT: &str = "hypermesh stoq record key v1";
const VERSION: u8 = 1;

/// A record that was judged: it is the signer's, and its certificate holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who wrote it.
    pub signer: PeerId,
    /// Under which name.
    pub name: Vec<u8>,
    /// What.
    pub value: Vec<u8>,
    /// The higher one counts.
    pub sequence: u64,
    /// Until when it counts.
    pub expires: OffsetDateTime,
}

/// What is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// Under which name.
    pub name: &'a [u8],
    /// What.
    pub value: &'a [u8],
    /// The higher one counts.
    pub sequence: u64,
    /// Until when it counts.
    pub expires: OffsetDateTime,
}

/// A record cannot be believed, or cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It is too large.
    #[error("the `{part}` of a record has at most `{limit}` bytes, not `{actual}`")]
    TooLarge {
        /// `name`, `value` or `whole`.
        part: &'static str,
        /// The bound.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
    /// It cannot be read.
    #[error("a record cannot be read: {reason}")]
    Malformed {
        /// Why.
        reason: String,
    },
    /// It is of another version.
    #[error("records have version `1`, not `{version}`")]
    Version {
        /// Which.
        version: u8,
    },
    /// It lies under a key that its signer cannot write.
    #[error("the record of `{signer}` does not belong under this key")]
    WrongKey {
        /// The signer.
        signer: PeerId,
    },
    /// It counts no more, or for longer than records may.
    #[error("the record of `{signer}` has to expire within 24 hours from `{now}`, not at `{expires}`")]
    Expiry {
        /// The signer.
        signer: PeerId,
        /// When it expires.
        expires: OffsetDateTime,
        /// The time of this node.
        now: OffsetDateTime,
    },
    /// Its signature is not that of its certificate.
    #[error("the record of `{signer}` is not signed by its certificate")]
    Signature {
        /// The signer.
        signer: PeerId,
    },
    /// A certificate in it cannot be read.
    #[error("a certificate of a record cannot be read")]
    Certificate(#[source] Box<CertificateError>),
    /// Nobody stands for its signer.
    #[error("the certificate of `{signer}` does not hold")]
    Path {
        /// The signer.
        signer: PeerId,
        /// Why.
        #[source]
        source: Box<PathError>,
    },
    /// This node cannot sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl RecordError {
    /// Says whether whoever sent it must have known better; a clock that is off and a list that is late excuse the others.
    pub(crate) fn is_forgery(&self) -> bool {
        matches!(self, Self::Malformed { .. } | Self::TooLarge { .. } | Self::WrongKey { .. } | Self::Signature { .. })
    }
}

/// What lies in a record: MessagePack, byte strings as such.
#[derive(Serialize, Deserialize)]
struct Wire {
    version: u8,
    #[serde(with = "serde_bytes")]
    name: Vec<u8>,
    #[serde(with = "serde_bytes")]
    value: Vec<u8>,
    sequence: u64,
    /// Seconds since 1970.
    expires: i64,
    /// Leaf first, without the root.
    chain: Vec<serde_bytes::ByteBuf>,
    #[serde(with = "serde_bytes")]
    signature: Vec<u8>,
}

/// What a store needs to know of a record to keep the right one; judges nothing.
pub(crate) struct Summary {
    pub(crate) signer: PeerId,
    pub(crate) sequence: u64,
    pub(crate) expires: i64,
}

/// Gives the key under which a peer writes a name.
pub fn key(signer: PeerId, name: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
    for part in [&signer.to_bytes()[..], name] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize().into()
}

/// Signs a record with the key of this node. Blocks as long as [`Identity::sign_handshake`] does.
///
/// # Errors
/// The name or value is too large; this node cannot sign.
pub fn sign(identity: &dyn Identity, draft: &Draft<'_>) -> Result<Vec<u8>, RecordError> {
    let mut wire = Wire {
        version: VERSION,
        name: draft.name.to_vec(),
        value: draft.value.to_vec(),
        sequence: draft.sequence,
        expires: draft.expires.unix_timestamp(),
        chain: identity.current().chain.iter().map(|c| serde_bytes::ByteBuf::from(&c.der()[..])).collect(),
        signature: Vec::new(),
    };
    wire.check_sizes()?;
    wire.signature = identity.sign_handshake(&wire.signed_content())?.to_vec();
    let bytes = rmp_serde::to_vec(&wire).map_err(|e| RecordError::Malformed { reason: e.to_string() })?;
    bounded("whole", bytes.len(), RECORD_BYTES_MAX).map(|()| bytes)
}

/// Judges a record that was found under a key. Takes about 0.5 ms.
///
/// # Errors
/// Why it is not believed.
pub fn open(bytes: &[u8], key: &[u8], believe: &Credentials, now: OffsetDateTime) -> Result<Record, RecordError> {
    let (wire, chain) = read(bytes)?;
    let (leaf, intermediates) = chain.split_first().expect("a chain that was read has a leaf");
    let signer = peer_id(leaf);
    if key != self::key(signer, &wire.name) {
        return Err(RecordError::WrongKey { signer });
    }
    let expires = OffsetDateTime::from_unix_timestamp(wire.expires)
        .map_err(|e| RecordError::Malformed { reason: e.to_string() })?;
    if expires <= now || expires > now + RECORD_LIFETIME + CLOCK_SKEW_MAX {
        return Err(RecordError::Expiry { signer, expires, now });
    }
    let signature = trustchain::ed25519::Signature::from_bytes(&wire.signature);
    let signature = signature.map_err(|_| RecordError::Signature { signer })?;
    leaf.key().verify(&wire.signed_content(), &signature).map_err(|_| RecordError::Signature { signer })?;
    let revocation = Revocation::Crls(&believe.crls);
    let request = Request { leaf, intermediates, purpose: Purpose::Node, at: now, revocation };
    believe.roots.validate(&request).map_err(|e| RecordError::Path { signer, source: Box::new(e) })?;
    Ok(Record { signer, name: wire.name, value: wire.value, sequence: wire.sequence, expires })
}

/// Reads what a store goes by.
///
/// # Errors
/// It is no record.
pub(crate) fn summary(bytes: &[u8]) -> Result<Summary, RecordError> {
    let (wire, chain) = read(bytes)?;
    Ok(Summary { signer: peer_id(&chain[0]), sequence: wire.sequence, expires: wire.expires })
}

/// Gives the key as the tables of libp2p have it.
pub(crate) fn table_key(key: &[u8; 32]) -> RecordKey {
    RecordKey::new(key)
}

/// Reads a record with at least one certificate.
fn read(bytes: &[u8]) -> Result<(Wire, Vec<Certificate>), RecordError> {
    bounded("whole", bytes.len(), RECORD_BYTES_MAX)?;
    let malformed = |reason: String| RecordError::Malformed { reason };
    let wire: Wire = rmp_serde::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
    if wire.version != VERSION {
        return Err(RecordError::Version { version: wire.version });
    }
    wire.check_sizes()?;
    if wire.chain.is_empty() || wire.chain.len() > INTERMEDIATES_MAX + 1 {
        return Err(malformed(format!("a chain has 1 to {} certificates", INTERMEDIATES_MAX + 1)));
    }
    let chain = wire.chain.iter().map(|der| Certificate::parse(der)).collect::<Result<_, _>>();
    Ok((wire, chain.map_err(|e| RecordError::Certificate(Box::new(e)))?))
}

impl Wire {
    fn check_sizes(&self) -> Result<(), RecordError> {
        bounded("name", self.name.len(), NAME_BYTES_MAX)?;
        bounded("value", self.value.len(), VALUE_BYTES_MAX)
    }

    /// What is signed, in the shape of what TLS 1.3 signs: 64 spaces, a context, a zero byte, a digest.
    fn signed_content(&self) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new();
        for part in [&self.name, &self.value] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.update(&self.sequence.to_le_bytes()).update(&self.expires.to_le_bytes());
        [&[0x20; 64][..], RECORD_CONTEXT, &[0], hasher.finalize().as_bytes()].concat()
    }
}

fn bounded(part: &'static str, actual: usize, limit: usize) -> Result<(), RecordError> {
    if actual > limit { Err(RecordError::TooLarge { part, limit, actual }) } else { Ok(()) }
}
