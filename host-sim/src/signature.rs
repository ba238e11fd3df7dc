//! Signatures of publishers over extension libraries, and the proof that one was checked.
//!
//! A publisher signs a [`Subject`]: id, version, contract version, the BLAKE3 digests of the library and of every worker.
//! The signature travels as a [`Bundle`], a small JSON file with a list of signatures by algorithm. [`Verifier::verify`]
//! hashes the bytes that will be loaded, compares them with manifest and bundle, checks the signatures and gives a
//! [`Verified`], the only thing a loader accepts. Nothing here opens the library.
//!
//! # The seam
//! [`Algorithm`] is what a second signature algorithm (`falcon-1024-r3`) extends, and [`Verifier`] is what certificate
//! chains replace or feed: it only needs to know which public keys may sign. The bundle's format does not change for
//! either: entries of algorithms this host does not know are skipped, never counted.

mod bundle;
mod key;

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;
use semver::Version;

use crate::manifest::{Digest, Manifest, Trust};

pub use self::bundle::{Algorithm, Bundle, Signature, Subject};
pub use self::key::{KeyError, KeyId, PublicKey, Signer};

/// The largest bundle in bytes; one with 16 workers and two signatures is below 8 KiB.
pub const BUNDLE_BYTES_MAX: usize = 64 * 1024;
/// The most signatures in one bundle.
pub const SIGNATURES_MAX: usize = 8;

/// The keys whose signatures count.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    keys: BTreeMap<KeyId, VerifyingKey>,
}

/// The proof that these bytes are the ones the manifest means and that someone the host trusts stands for them.
///
/// Only [`Verifier::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    library: Digest,
    voucher: Voucher,
}

/// Who stands for a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voucher {
    /// A publisher's signature over this subject.
    Publisher {
        /// The key that signed.
        key: KeyId,
        /// The version of the extension contract the publisher built against.
        contract: Version,
    },
    /// The administrator, by the digest in a manifest with `trust: basic`.
    Administrator,
}

/// Why a library is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The library is not the one of the manifest.
    #[error("the library is `{actual}`, and the manifest names `{expected}`")]
    WrongDigest {
        /// The digest in the manifest.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// There is no bundle, and the manifest requires one.
    #[error("the library of `{id}` is not signed, and its manifest requires a signature")]
    Unsigned {
        /// The extension.
        id: String,
    },
    /// The bundle is not one.
    #[error("the signature bundle is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// The signature is over something else.
    #[error("the signature is for {field} `{signed}`, expected `{expected}`")]
    WrongSubject {
        /// What differs.
        field: &'static str,
        /// What was signed.
        signed: String,
        /// What the manifest says.
        expected: String,
    },
    /// No key the host trusts signed it.
    #[error("no trusted key signed the library, it is signed by {}", key_list(.keys))]
    UnknownKey {
        /// The keys that claim to have signed.
        keys: Vec<String>,
    },
    /// A trusted key is named, and the signature is not its own.
    #[error("the signature by `{key}` is wrong: it was made by another key or over other data")]
    Forged {
        /// The key.
        key: KeyId,
    },
}

impl Verifier {
    /// Trusts these keys; none trusts nobody.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self { keys: keys.into_iter().map(|key| (key.id(), *key.as_dalek())).collect() }
    }

    /// Checks a library against its manifest and, unless the manifest says `trust: basic`, its signature bundle.
    ///
    /// With `trust: basic` a bundle is not looked at: a wrong one is not better than none. Digests of workers are covered
    /// by the signature; the bytes of a worker are checked against the manifest when it is started.
    ///
    /// # Errors
    /// The first reason not to trust the library.
    pub fn verify(
        &self,
        manifest: &Manifest,
        library: &[u8],
        bundle: Option<&[u8]>,
    ) -> Result<Verified, SignatureError> {
        let (expected, actual) = (manifest.library.digest, Digest::of(library));
        if actual != expected {
            return Err(SignatureError::WrongDigest { expected, actual });
        }
        let voucher = match (manifest.trust, bundle) {
            (Trust::Basic, _) => Voucher::Administrator,
            (Trust::Required, None) => return Err(SignatureError::Unsigned { id: manifest.id.to_string() }),
            (Trust::Required, Some(bundle)) => self.publisher(manifest, &Bundle::parse(bundle)?)?,
        };
        Ok(Verified { library: actual, voucher })
    }

    fn publisher(&self, manifest: &Manifest, bundle: &Bundle) -> Result<Voucher, SignatureError> {
        bundle.subject.expect_manifest(manifest)?;
        let mut known = bundle
            .signatures
            .iter()
            .filter(|signature| signature.algorithm == Algorithm::Ed25519.id())
            .filter_map(|signature| Some((signature, self.keys.get_key_value(&*signature.key)?)));
        let Some((signature, (key, public))) = known.next() else {
            let keys = bundle.signatures.iter().map(|signature| signature.key.clone()).collect();
            return Err(SignatureError::UnknownKey { keys });
        };
        let forged = || SignatureError::Forged { key: key.clone() };
        let bytes = ed25519_dalek::Signature::from_slice(&signature.signature).map_err(|_| forged())?;
        public.verify_strict(&bundle.subject.to_be_signed(Algorithm::Ed25519), &bytes).map_err(|_| forged())?;
        Ok(Voucher::Publisher { key: key.clone(), contract: bundle.subject.contract.clone() })
    }
}

impl Verified {
    /// Gives the digest of the bytes that may be loaded.
    pub fn library(&self) -> Digest {
        self.library
    }

    /// Says who stands for them.
    pub fn voucher(&self) -> &Voucher {
        &self.voucher
    }
}

fn key_list(keys: &[String]) -> String {
    match keys {
        [] => "nobody".to_owned(),
        keys => keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::parse;

    const LIBRARY: &[u8] = b"\x7fELF library";

    fn manifest(rest: &str) -> Manifest {
        let (library, worker) = (Digest::of(LIBRARY), Digest::of(b"worker"));
        let text = format!(
            "{{apiVersion: extension.hypermesh/v1, id: catalog, version: 1.0.0, workers: [{{path: w, digest: '{worker}'}}],
              library: {{path: x.so, digest: '{library}', signature: x.sig}}{rest}}}"
        );
        parse(&text, "x").expect("valid")
    }

    fn subject() -> Subject {
        Subject::of(&manifest(""), Version::new(1, 0, 0))
    }

    fn signed(signer: &Signer) -> Vec<u8> {
        signer.sign(subject()).to_json().into_bytes()
    }

    fn refusal(verifier: &Verifier, bundle: &[u8]) -> SignatureError {
        verifier.verify(&manifest(""), LIBRARY, Some(bundle)).expect_err("refused")
    }

    #[test]
    fn a_library_signed_by_a_trusted_key_is_verified() {
        let signer = Signer::generate().expect("random");
        let verifier = Verifier::new([signer.public()]);
        let verified = verifier.verify(&manifest(""), LIBRARY, Some(&signed(&signer))).expect("verified");
        assert_eq!(verified.library(), Digest::of(LIBRARY));
        let contract = Version::new(1, 0, 0);
        assert_eq!(verified.voucher(), &Voucher::Publisher { key: signer.public().id(), contract });
    }

    #[test]
    fn every_reason_not_to_trust_has_its_name() {
        let (signer, stranger) = (Signer::generate().expect("random"), Signer::generate().expect("random"));
        let verifier = Verifier::new([signer.public()]);
        let good = signed(&signer);
        let check = |manifest: &Manifest, library: &[u8], bundle| {
            verifier.verify(manifest, library, bundle).expect_err("refused")
        };
        assert!(matches!(check(&manifest(""), b"other", Some(&good)), SignatureError::WrongDigest { .. }));
        assert!(matches!(check(&manifest(""), LIBRARY, None), SignatureError::Unsigned { .. }));
        let stranger_id = stranger.public().id().to_string();
        assert_eq!(
            refusal(&verifier, &signed(&stranger)),
            SignatureError::UnknownKey { keys: vec![stranger_id.clone()] }
        );
        let forged =
            String::from_utf8(signed(&stranger)).expect("text").replace(&stranger_id, signer.public().id().as_str());
        assert_eq!(refusal(&verifier, forged.as_bytes()), SignatureError::Forged { key: signer.public().id() });
        assert!(matches!(refusal(&Verifier::default(), &good), SignatureError::UnknownKey { .. }));
    }

    #[test]
    fn a_bundle_for_something_else_is_refused_by_the_field_that_differs() {
        let signer = Signer::generate().expect("random");
        let verifier = Verifier::new([signer.public()]);
        type Change = fn(&mut Subject);
        let changes: [(&str, Change); 4] = [
            ("id", |subject| subject.id = "other".parse().expect("valid")),
            ("version", |subject| subject.version = Version::new(1, 0, 1)),
            ("library", |subject| subject.library = Digest::of(b"other")),
            ("workers", |subject| subject.workers.clear()),
        ];
        for (field, change) in changes {
            let mut other = subject();
            change(&mut other);
            let found = refusal(&verifier, signer.sign(other).to_json().as_bytes());
            assert!(matches!(found, SignatureError::WrongSubject { field: named, .. } if named == field), "{found}");
        }
    }

    #[test]
    fn no_field_of_a_signed_bundle_can_be_changed() {
        let signer = Signer::generate().expect("random");
        let verifier = Verifier::new([signer.public()]);
        let good = String::from_utf8(signed(&signer)).expect("text");
        let other_contract = good.replace("\"contract\": \"1.0.0\"", "\"contract\": \"1.0.1\"");
        assert_ne!(good, other_contract);
        assert_eq!(refusal(&verifier, other_contract.as_bytes()), SignatureError::Forged { key: signer.public().id() });
        let bundle = Bundle::parse(good.as_bytes()).expect("parses");
        for byte in 0..bundle.signatures[0].signature.len() {
            let mut forged = bundle.clone();
            forged.signatures[0].signature[byte] ^= 1;
            assert_eq!(
                refusal(&verifier, forged.to_json().as_bytes()),
                SignatureError::Forged { key: signer.public().id() }
            );
        }
    }

    #[test]
    fn an_unknown_algorithm_is_skipped_and_never_counts() {
        let signer = Signer::generate().expect("random");
        let verifier = Verifier::new([signer.public()]);
        let mut bundle = signer.sign(subject());
        let later = Signature { algorithm: "falcon-1024-r3".to_owned(), ..bundle.signatures[0].clone() };
        bundle.signatures.insert(0, later.clone());
        assert!(verifier.verify(&manifest(""), LIBRARY, Some(bundle.to_json().as_bytes())).is_ok());
        bundle.signatures = vec![later];
        assert!(matches!(refusal(&verifier, bundle.to_json().as_bytes()), SignatureError::UnknownKey { .. }));
    }

    #[test]
    fn the_administrator_may_vouch_for_the_digest_and_for_nothing_else() {
        let basic = manifest(", trust: basic");
        let verified = Verifier::default().verify(&basic, LIBRARY, None).expect("verified");
        assert_eq!(verified.voucher(), &Voucher::Administrator);
        assert!(matches!(Verifier::default().verify(&basic, b"x", None), Err(SignatureError::WrongDigest { .. })));
    }
}
