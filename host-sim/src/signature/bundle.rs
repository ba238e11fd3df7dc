//! What is signed, byte by byte, and the file a signature travels in.

use data_encoding::BASE64;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::{BUNDLE_BYTES_MAX, SIGNATURES_MAX, SignatureError};
use crate::manifest::{Digest, ExtensionId, Manifest};

/// What a publisher signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The id of the extension.
    pub id: ExtensionId,
    /// Its version.
    pub version: Version,
    /// The version of the extension contract it was built against.
    pub contract: Version,
    /// BLAKE3 of the library.
    pub library: Digest,
    /// BLAKE3 of every worker, sorted.
    pub workers: Vec<Digest>,
}

/// A signature bundle: a subject and signatures over it, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    format: Format,
    /// What is signed.
    pub subject: Subject,
    /// Who signed it, at most [`SIGNATURES_MAX`].
    pub signatures: Vec<Signature>,
}

/// One signature of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The id of the algorithm.
    pub algorithm: String,
    /// The id of the key that signed.
    pub key: String,
    /// The signature itself; base64 in JSON.
    #[serde(with = "base64")]
    pub signature: Vec<u8>,
}

/// A signature algorithm this host can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032), checked strictly: canonical encodings, no point of small order, no cofactor.
    Ed25519,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "hypermesh.extension-signature/1")]
    V1,
}

impl Subject {
    /// Takes the subject from a manifest whose digests are those of the files.
    pub fn of(manifest: &Manifest, contract: Version) -> Self {
        Self {
            id: manifest.id.clone(),
            version: manifest.version.clone(),
            contract,
            library: manifest.library.digest,
            workers: workers(manifest),
        }
    }

    /// Gives the bytes a signature is over.
    ///
    /// The domain, then algorithm, id, version and contract, each behind its length (u32, little endian); the library's
    /// digest; the number of workers (u32) and their digests. No two subjects or algorithms give the same bytes.
    pub fn to_be_signed(&self, algorithm: Algorithm) -> Vec<u8> {
        let mut out = DOMAIN.to_vec();
        let mut text = |text: &str| {
            out.extend(length(text.len()));
            out.extend(text.as_bytes());
        };
        text(algorithm.id());
        text(self.id.as_str());
        text(&self.version.to_string());
        text(&self.contract.to_string());
        out.extend(self.library.as_bytes());
        out.extend(length(self.workers.len()));
        out.extend(self.workers.iter().flat_map(|worker| worker.as_bytes()));
        out
    }

    /// Checks that the subject is the extension of a manifest.
    pub(super) fn expect_manifest(&self, manifest: &Manifest) -> Result<(), SignatureError> {
        let list = |digests: &[Digest]| digests.iter().map(Digest::to_string).collect::<Vec<_>>().join(" ");
        let fields = [
            ("id", self.id.to_string(), manifest.id.to_string()),
            ("version", self.version.to_string(), manifest.version.to_string()),
            ("library", self.library.to_string(), manifest.library.digest.to_string()),
            ("workers", list(&self.workers), list(&workers(manifest))),
        ];
        match fields.into_iter().find(|(_, signed, expected)| signed != expected) {
            Some((field, signed, expected)) => Err(SignatureError::WrongSubject { field, signed, expected }),
            None => Ok(()),
        }
    }
}

impl Bundle {
    pub(super) fn new(subject: Subject, signatures: Vec<Signature>) -> Self {
        Self { format: Format::V1, subject, signatures }
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// It is too large, no such JSON, of another format, or has no or too many signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let malformed = |reason| SignatureError::Malformed { reason };
        if bytes.len() > BUNDLE_BYTES_MAX {
            return Err(malformed(format!("it has {} bytes, expected at most {BUNDLE_BYTES_MAX}", bytes.len())));
        }
        let bundle: Self = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if !(1..=SIGNATURES_MAX).contains(&bundle.signatures.len()) {
            return Err(malformed(format!("{} signatures, expected 1 to {SIGNATURES_MAX}", bundle.signatures.len())));
        }
        Ok(bundle)
    }

    /// Gives the JSON text, with a line feed at its end.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("a bundle has only text keys and finite values");
        format!("{json}\n")
    }
}

impl Algorithm {
    /// Gives the id that stands in bundles.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
        }
    }
}

/// Keeps these signatures apart from every other use of the same keys.
const DOMAIN: &[u8] = b"hypermesh.extension-signature/1\0";

fn workers(manifest: &Manifest) -> Vec<Digest> {
    let mut digests: Vec<_> = manifest.workers.iter().map(|worker| worker.digest).collect();
    digests.sort();
    digests
}

fn length(length: usize) -> [u8; 4] {
    // The manifest's bounds keep every length far below 4 GiB; a longer one would only fail to verify.
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// Writes bytes as base64.
mod base64 {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use super::BASE64;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Signer;
    use super::*;

    fn subject() -> Subject {
        Subject {
            id: "a".parse().expect("valid"),
            version: Version::new(1, 0, 0),
            contract: Version::new(2, 0, 0),
            library: Digest::of(b""),
            workers: vec![Digest::of(b"w")],
        }
    }

    #[test]
    fn the_signed_bytes_are_those_of_the_contract() {
        let bytes = subject().to_be_signed(Algorithm::Ed25519);
        let mut expected =
            b"hypermesh.extension-signature/1\0\x07\0\0\0ed25519\x01\0\0\0a\x05\0\0\x001.0.0\x05\0\0\x002.0.0".to_vec();
        expected.extend(Digest::of(b"").as_bytes());
        expected.extend([1, 0, 0, 0]);
        expected.extend(Digest::of(b"w").as_bytes());
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_bundle_reads_back_and_a_malformed_one_says_why() {
        let bundle = Signer::generate().expect("random").sign(subject());
        assert_eq!(Bundle::parse(bundle.to_json().as_bytes()), Ok(bundle.clone()));
        let reason = |text: &str| Bundle::parse(text.as_bytes()).expect_err("refused").to_string();
        assert!(reason("").starts_with("the signature bundle is malformed: EOF"));
        assert!(reason(&bundle.to_json().replace("signature/1", "signature/2")).contains("unknown variant"));
        assert!(
            reason(&bundle.to_json().replace("\"subject\"", "\"x\": 1, \"subject\"")).contains("unknown field `x`")
        );
        assert!(reason(&bundle.to_json()[..100]).contains("EOF"));
        let with = |count| Bundle { signatures: vec![bundle.signatures[0].clone(); count], ..bundle.clone() }.to_json();
        assert!(Bundle::parse(with(SIGNATURES_MAX).as_bytes()).is_ok());
        assert!(reason(&with(SIGNATURES_MAX + 1)).contains("9 signatures, expected 1 to 8"));
        assert!(reason(&with(0)).contains("0 signatures"));
        let padded = |bytes: usize| format!("{:<bytes$}", bundle.to_json());
        assert!(Bundle::parse(padded(BUNDLE_BYTES_MAX / 2).as_bytes()).is_ok());
        assert!(
            reason(&(padded(BUNDLE_BYTES_MAX / 2) + &" ".repeat(BUNDLE_BYTES_MAX))).contains("expected at most 65536")
        );
    }
}
