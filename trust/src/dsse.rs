//! Signed documents: a DSSE envelope with exactly two signatures, `ed25519` and `falcon-1024-r3`, over the same bytes.
//!
//! DSSE lets an envelope carry any number of signatures of which a reader picks. Here there are two, in this order, and both
//! must hold: nothing can be stripped, doubled, renamed, added or swapped. The envelope itself is canonical JSON and its
//! base64 is strict, so that no byte of it can change unnoticed.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, CanonicalError};
use crate::ed25519;
use crate::falcon;
use crate::hybrid::{self, ALGORITHMS, HybridError, PublicKey, SecretKey};

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
pub(crate) struct Document {
    /// What is signed.
    pub(crate) payload: Vec<u8>,
    signature: hybrid::Signature,
}

impl Envelope {
    /// Signs a payload.
    pub(crate) fn seal(payload_type: &str, payload: &[u8], keys: &SecretKey) -> Result<Self, HybridError> {
        let signature = keys.sign(&pae(payload_type, payload))?;
        let signatures: [&[u8]; 2] = [signature.ed25519.as_bytes(), signature.falcon.as_bytes()];
        let entry = |(keyid, sig): (&str, &[u8])| Entry { keyid: keyid.to_owned(), sig: BASE64.encode(sig) };
        Ok(Self {
            chain: None,
            payload: BASE64.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: ALGORITHMS.into_iter().zip(signatures).map(entry).collect(),
            x5c: None,
        })
    }

    /// Reads an envelope of this type.
    pub(crate) fn read(bytes: &[u8], most: usize, expected: &'static str) -> Result<(Self, Document), DsseError> {
        let envelope: Self = canonical::read(bytes, most)?;
        let document = envelope.open(expected)?;
        Ok((envelope, document))
    }

    /// Gives what is inside an envelope of this type that was part of a larger document.
    pub(crate) fn open(&self, expected: &'static str) -> Result<Document, DsseError> {
        if self.payload_type != expected {
            let actual = self.payload_type.chars().take(80).collect();
            return Err(DsseError::Type { actual, expected });
        }
        self.document()
    }

    /// Refuses certificates where none belong.
    pub(crate) fn expect_bare(&self) -> Result<(), DsseError> {
        if self.x5c.is_some() || self.chain.is_some() { Err(DsseError::Chain) } else { Ok(()) }
    }

    /// Writes the envelope.
    pub(crate) fn write(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::write(self)
    }

    fn document(&self) -> Result<Document, DsseError> {
        let [ed25519, falcon] = &self.signatures[..] else { return Err(self.wrong_signatures()) };
        if [&*ed25519.keyid, &*falcon.keyid] != ALGORITHMS {
            return Err(self.wrong_signatures());
        }
        let ed25519 = ed25519::Signature::from_bytes(&decode(&ed25519.sig, "sig")?).map_err(HybridError::from)?;
        let falcon = falcon::Signature::from_bytes(&decode(&falcon.sig, "sig")?).map_err(HybridError::from)?;
        let payload = decode(&self.payload, "payload")?;
        Ok(Document { payload, signature: hybrid::Signature { ed25519, falcon } })
    }

    fn wrong_signatures(&self) -> DsseError {
        let shown = |entry: &Entry| entry.keyid.chars().take(40).collect();
        DsseError::Signatures { actual: self.signatures.iter().take(8).map(shown).collect() }
    }
}

impl Document {
    /// Checks both signatures.
    pub(crate) fn verify(&self, payload_type: &str, keys: &PublicKey) -> Result<(), HybridError> {
        keys.verify(&pae(payload_type, &self.payload), &self.signature)
    }
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
    fn the_encoding_is_that_of_dsse() {
        // The example of the DSSE protocol document.
        let encoded = pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
