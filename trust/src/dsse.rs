//! Signed documents: a DSSE envelope with exactly two signatures, `ed25519` and `falcon-1024-r3`, over the same bytes.
//!
//! DSSE lets an envelope carry any number of signatures of which a reader picks. Here there are two, in this order, and both
//! must hold: nothing can be stripped, doubled, renamed, added or swapped. The envelope itself is canonical JSON and its
//! base64 is strict, so that no byte of it can change unnoticed.
//!
//! [`Envelope::read_signed`] also takes the one form that a signer with one key makes, `ed25519` alone. It gives another type,
//! whose signatures are checked against a certificate ([`crate::envelope::expect_signed`]); only release statements and
//! documents of leaves are read so.
//!
//! A [`Cosigned`] document is the third form: several signers with two signatures each, `SIGNER/ed25519` and
//! `SIGNER/falcon-1024-r3`, sorted by the fingerprints of their key pairs. Who must have signed is for its reader to say.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, CanonicalError};
use crate::digest::Sha256;
use crate::ed25519;
use crate::falcon;
use crate::hybrid::{self, ALGORITHMS, HybridError, PublicKey};
use crate::signer::{PublicKeys, Signature, SignerKeys};

/// Why a document is not signed as it must be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DsseError {
    /// The envelope is not canonical JSON with the fields of DSSE.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// A field is not base64.
    #[error("`{field}` is not base64 in its one form")]
    Base64 {
        /// Which field.
        field: &'static str,
    },
    /// It is a document of another kind.
    #[error("the document is of type `{actual}`, expected `{expected}`")]
    Type {
        /// What it says.
        actual: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Not the two signatures that there must be.
    #[error("the document is signed by {}, expected exactly `ed25519` and then `falcon-1024-r3`", list(.actual))]
    Signatures {
        /// The algorithms of the signatures that are there.
        actual: Vec<String>,
    },
    /// A signature is not right.
    #[error(transparent)]
    Signature(#[from] HybridError),
    /// The document has a chain where none belongs.
    #[error("the document carries certificates and must not")]
    Chain,
}

/// The JSON of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Envelope {
    /// The digest of the signer's chain, if the chain travels apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chain: Option<String>,
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Entry>,
    /// The signer's chain, if it travels along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) x5c: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    keyid: String,
    sig: String,
}

/// A document whose form is right and whose signatures nobody has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document<S = hybrid::Signature> {
    /// What is signed.
    pub(crate) payload: Vec<u8>,
    /// Both signatures, or those of a leaf.
    pub(crate) signature: S,
}

impl Envelope {
    /// Signs a payload with every key.
    pub(crate) fn seal<'a>(
        payload_type: &str,
        payload: &[u8],
        keys: impl Into<SignerKeys<'a>>,
    ) -> Result<Self, HybridError> {
        let signature = keys.into().sign(&pae(payload_type, payload))?;
        let signatures: Vec<&[u8]> = match &signature {
            Signature::Hybrid(both) => vec![both.ed25519.as_bytes(), both.falcon.as_bytes()],
            Signature::Classical(one) => vec![one.as_bytes()],
        };
        let entry = |(keyid, sig): (&str, &[u8])| Entry { keyid: keyid.to_owned(), sig: BASE64.encode(sig) };
        Ok(Self {
            chain: None,
            payload: BASE64.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: ALGORITHMS.into_iter().zip(signatures).map(entry).collect(),
            x5c: None,
        })
    }

    /// Reads an envelope of this type with both signatures.
    pub(crate) fn read(bytes: &[u8], most: usize, expected: &'static str) -> Result<(Self, Document), DsseError> {
        let envelope: Self = canonical::read(bytes, most)?;
        let document = envelope.open(expected)?;
        Ok((envelope, document))
    }

    /// Reads an envelope of this type with the signatures of a leaf: both, or `ed25519` alone.
    pub(crate) fn read_signed(
        bytes: &[u8],
        most: usize,
        expected: &'static str,
    ) -> Result<(Self, Document<Signature>), DsseError> {
        let envelope: Self = canonical::read(bytes, most)?;
        let document = envelope.open_signed(expected)?;
        Ok((envelope, document))
    }

    /// Gives what is inside an envelope of this type that was part of a larger document.
    pub(crate) fn open(&self, expected: &'static str) -> Result<Document, DsseError> {
        let Document { payload, signature } = self.open_signed(expected)?;
        match signature {
            Signature::Hybrid(signature) => Ok(Document { payload, signature }),
            Signature::Classical(_) => Err(self.wrong_signatures()),
        }
    }

    /// Refuses certificates where none belong.
    pub(crate) fn expect_bare(&self) -> Result<(), DsseError> {
        if self.x5c.is_some() || self.chain.is_some() { Err(DsseError::Chain) } else { Ok(()) }
    }

    /// Writes the envelope.
    pub(crate) fn write(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::write(self)
    }

    fn open_signed(&self, expected: &'static str) -> Result<Document<Signature>, DsseError> {
        self.expect_type(expected)?;
        let names: Vec<&str> = self.signatures.iter().map(|entry| &*entry.keyid).collect();
        let signature = match &self.signatures[..] {
            [ed25519, falcon] if names == ALGORITHMS => {
                Signature::Hybrid(hybrid::Signature { ed25519: ed25519.ed25519()?, falcon: falcon.falcon()? })
            }
            [ed25519] if names == ALGORITHMS[..1] => Signature::Classical(ed25519.ed25519()?),
            _ => return Err(self.wrong_signatures()),
        };
        Ok(Document { payload: decode(&self.payload, "payload")?, signature })
    }

    fn expect_type(&self, expected: &'static str) -> Result<(), DsseError> {
        if self.payload_type == expected {
            return Ok(());
        }
        let actual = self.payload_type.chars().take(80).collect();
        Err(DsseError::Type { actual, expected })
    }

    fn wrong_signatures(&self) -> DsseError {
        let shown = |entry: &Entry| entry.keyid.chars().take(40).collect();
        DsseError::Signatures { actual: self.signatures.iter().take(8).map(shown).collect() }
    }
}

impl Entry {
    fn ed25519(&self) -> Result<ed25519::Signature, DsseError> {
        Ok(ed25519::Signature::from_bytes(&decode(&self.sig, "sig")?).map_err(HybridError::from)?)
    }

    fn falcon(&self) -> Result<falcon::Signature, DsseError> {
        Ok(falcon::Signature::from_bytes(&decode(&self.sig, "sig")?).map_err(HybridError::from)?)
    }
}

impl Document<Signature> {
    /// Checks every signature; there must be one for each key.
    pub(crate) fn verify(&self, payload_type: &str, keys: &PublicKeys) -> Result<(), DsseError> {
        let message = pae(payload_type, &self.payload);
        match (keys, &self.signature) {
            (PublicKeys::Hybrid(keys), Signature::Hybrid(both)) => Ok(keys.verify(&message, both)?),
            (PublicKeys::Classical(key), Signature::Classical(one)) => {
                Ok(key.verify(&message, one).map_err(HybridError::from)?)
            }
            (_, signature) => Err(DsseError::Signatures {
                actual: signature.algorithms().iter().map(|&name| name.to_owned()).collect(),
            }),
        }
    }
}

impl Document {
    /// Checks both signatures.
    pub(crate) fn verify(&self, payload_type: &str, keys: &PublicKey) -> Result<(), HybridError> {
        keys.verify(&pae(payload_type, &self.payload), &self.signature)
    }
}

/// What several have signed; nobody has checked their signatures.
#[derive(Clone, Debug)]
pub(crate) struct Cosigned {
    /// What is signed.
    pub(crate) payload: Vec<u8>,
    /// Both signatures of each signer, by the fingerprint of its key pair.
    pub(crate) signatures: BTreeMap<Sha256, hybrid::Signature>,
}

/// Signs a payload as one of several.
pub(crate) fn cosign(
    payload_type: &str,
    payload: &[u8],
    keys: &hybrid::SecretKey,
) -> Result<hybrid::Signature, HybridError> {
    keys.sign(&pae(payload_type, payload))
}

/// Checks both signatures of one of several.
pub(crate) fn verify_cosigned(
    payload_type: &str,
    payload: &[u8],
    signature: &hybrid::Signature,
    keys: &PublicKey,
) -> Result<(), HybridError> {
    keys.verify(&pae(payload_type, payload), signature)
}

/// Writes what several have signed.
pub(crate) fn write_cosigned(
    payload_type: &str,
    payload: &[u8],
    signatures: &BTreeMap<Sha256, hybrid::Signature>,
) -> Result<Vec<u8>, CanonicalError> {
    let entries = signatures.iter().flat_map(|(signer, both)| {
        let sigs: [&[u8]; 2] = [both.ed25519.as_bytes(), both.falcon.as_bytes()];
        let entry = |(name, sig)| Entry { keyid: format!("{signer}/{name}"), sig: BASE64.encode(sig) };
        ALGORITHMS.into_iter().zip(sigs).map(entry).collect::<Vec<_>>()
    });
    let (payload, payload_type) = (BASE64.encode(payload), payload_type.to_owned());
    canonical::write(&Envelope { chain: None, payload, payload_type, signatures: entries.collect(), x5c: None })
}

/// Reads what several have signed.
pub(crate) fn read_cosigned(bytes: &[u8], most: usize, expected: &'static str) -> Result<Cosigned, DsseError> {
    let envelope: Envelope = canonical::read(bytes, most)?;
    envelope.expect_bare()?;
    envelope.expect_type(expected)?;
    let mut signatures = BTreeMap::new();
    for pair in envelope.signatures.chunks(2) {
        let [ed25519, falcon] = pair else { return Err(envelope.wrong_signatures()) };
        let named = |entry: &Entry, algorithm| entry.keyid.strip_suffix(algorithm)?.strip_suffix('/')?.parse().ok();
        let (Some(signer), Some(again)) = (named(ed25519, ALGORITHMS[0]), named(falcon, ALGORITHMS[1])) else {
            return Err(envelope.wrong_signatures());
        };
        let is_next = signatures.last_key_value().is_none_or(|(last, _)| *last < signer);
        if again != signer || !is_next {
            return Err(envelope.wrong_signatures());
        }
        signatures.insert(signer, hybrid::Signature { ed25519: ed25519.ed25519()?, falcon: falcon.falcon()? });
    }
    Ok(Cosigned { payload: decode(&envelope.payload, "payload")?, signatures })
}

/// Decodes base64 in its one form.
pub(crate) fn decode(text: &str, field: &'static str) -> Result<Vec<u8>, DsseError> {
    BASE64.decode(text.as_bytes()).map_err(|_| DsseError::Base64 { field })
}

/// The pre-authentication encoding of DSSE 1.0: type and payload, each behind its length.
fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn list(algorithms: &[String]) -> String {
    match algorithms {
        [] => "nobody".to_owned(),
        algorithms => algorithms.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_signature_is_read_as_a_leafs_only() {
        let key = ed25519::SecretKey::generate().expect("generates");
        let bytes = Envelope::seal("type", b"{}", &key).expect("signs").write().expect("writes");
        // Lists, proofs, attestations, requests and the genesis are read so.
        let error = Envelope::read(&bytes, 1024, "type").expect_err("is refused");
        assert!(matches!(error, DsseError::Signatures { actual } if actual == ["ed25519"]));
        let (_, document) = Envelope::read_signed(&bytes, 1024, "type").expect("reads");
        document.verify("type", &PublicKeys::Classical(key.public())).expect("verifies");
        let both = crate::testing::keys().public();
        let stripped = document.verify("type", &PublicKeys::Hybrid(both)).expect_err("is refused");
        assert!(matches!(stripped, DsseError::Signatures { .. }), "{stripped}");
    }

    #[test]
    fn the_encoding_is_that_of_dsse() {
        // The example of the DSSE protocol document.
        let encoded = pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
