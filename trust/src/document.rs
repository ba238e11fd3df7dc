//! Signed documents of any kind: who vouches for a value, when, under which certificate.
//!
//! A value is written as canonical JSON inside a statement that also names the signer's certificate and the time, and is
//! signed by every key of a leaf in a DSSE envelope; the chain travels along. The kind, a media type, is part of what is
//! signed, so that a document of one kind is never taken for one of another.
//!
//! [`Document::verify`] is the only maker of a [`Verified`]. A leaf with both keys signs with both, whatever the roots say; a
//! leaf with one key is believed only below roots that are pinned with [`Hybrid::IfPresent`].

use data_encoding::BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::canonical;
use crate::certificate::{Certificate, Fingerprint, Purpose};
use crate::dsse;
use crate::envelope::{
    EnvelopeError, VerifyOptions, expect_chain, expect_keys, expect_signed, expect_time, read_chain,
};
use crate::moment;
use crate::path::{Chain, Hybrid, Request};
use crate::signer::{Signature, SignerKeys};

/// The largest document in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// A document whose form is right and whose signatures nobody has checked.
#[derive(Clone, Debug)]
pub struct Document<T> {
    kind: &'static str,
    signed: dsse::Document<Signature>,
    chain: Vec<Certificate>,
    statement: Statement<T>,
}

/// A value that its signer vouches for.
#[derive(Clone, Debug)]
pub struct Verified<T> {
    value: T,
    signed_at: OffsetDateTime,
    chain: Chain,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Statement<T> {
    #[serde(with = "moment")]
    signed_at: OffsetDateTime,
    signer: String,
    value: T,
}

/// Signs a value with every key of a leaf; `chain` is the leaf and the intermediates above it, without the root.
///
/// # Errors
/// A value that has no canonical form, keys that are not the leaf's, a chain that is empty or too long, no randomness.
pub fn seal<'a, T: Serialize>(
    kind: &str,
    value: &T,
    signed_at: OffsetDateTime,
    chain: &[Certificate],
    keys: impl Into<SignerKeys<'a>>,
) -> Result<Vec<u8>, EnvelopeError> {
    let keys = keys.into();
    let leaf = expect_keys(chain, keys)?;
    let statement = Statement { signed_at, signer: leaf.fingerprint().to_string(), value };
    let mut envelope = dsse::Envelope::seal(kind, &canonical::write(&statement)?, keys)?;
    envelope.x5c = Some(chain.iter().map(|certificate| BASE64.encode(certificate.der())).collect());
    Ok(envelope.write()?)
}

impl<T: Serialize + DeserializeOwned> Document<T> {
    /// Reads a document of a kind.
    ///
    /// # Errors
    /// Anything but the one form of an envelope of this kind with both signatures, or `ed25519` alone, a chain and a statement.
    pub fn parse(bytes: &[u8], kind: &'static str) -> Result<Self, EnvelopeError> {
        let (envelope, signed) = dsse::Envelope::read_signed(bytes, DOCUMENT_BYTES_MAX, kind)?;
        let chain = match (&envelope.x5c, &envelope.chain) {
            (Some(x5c), None) => read_chain(x5c)?,
            _ => return Err(EnvelopeError::Chain { reason: "it does not travel along" }),
        };
        let statement = canonical::read(&signed.payload, DOCUMENT_BYTES_MAX)?;
        Ok(Self { kind, signed, chain, statement })
    }

    /// Gives what is claimed; nobody has checked it.
    pub fn claimed(&self) -> &T {
        &self.statement.value
    }

    /// Gives the certificates that travel along, leaf first; nobody has checked them.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// Checks every signature and the signer's chain for a purpose. The chain of the options is not looked at.
    ///
    /// # Errors
    /// The first reason not to believe it.
    pub fn verify(self, purpose: Purpose, options: &VerifyOptions<'_>) -> Result<Verified<T>, EnvelopeError> {
        let leaf = expect_chain(&self.chain)?;
        let named = self.statement.signer.parse::<Fingerprint>();
        let named = named.map_err(|_| EnvelopeError::Chain { reason: "the statement names no certificate" })?;
        if named != leaf.fingerprint() {
            return Err(EnvelopeError::OtherSigner { named, actual: leaf.fingerprint() });
        }
        // Publishers alone may have one key.
        let hybrid = if purpose == Purpose::Publisher { options.roots.hybrid() } else { Hybrid::Required };
        expect_signed(&self.signed, self.kind, leaf, hybrid)?;
        let chain = options.roots.validate(&Request {
            leaf,
            intermediates: &self.chain[1..],
            purpose,
            at: options.at,
            revocation: options.revocation,
        })?;
        let signed_at = self.statement.signed_at;
        expect_time(signed_at, leaf, options.at)?;
        Ok(Verified { value: self.statement.value, signed_at, chain })
    }
}

impl<T> Verified<T> {
    /// Gives what is vouched for.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Gives what is vouched for.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Says when it was signed, by the signer's clock.
    pub fn signed_at(&self) -> OffsetDateTime {
        self.signed_at
    }

    /// Gives the certificate that signed.
    pub fn signer(&self) -> &Certificate {
        self.chain.leaf()
    }

    /// Gives the chain, leaf to root.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;
    use crate::DsseError;
    use crate::path::{PathError, Revocation, Roots};
    use crate::testing::{NOW, Pki, keys};

    const KIND: &str = "application/vnd.hypermesh.test.v1+json";

    fn verify(pki: &Pki, bytes: &[u8], kind: &'static str) -> Result<Verified<String>, EnvelopeError> {
        verify_by(pki, bytes, kind, Hybrid::Required)
    }

    fn verify_by(
        pki: &Pki,
        bytes: &[u8],
        kind: &'static str,
        hybrid: Hybrid,
    ) -> Result<Verified<String>, EnvelopeError> {
        let roots = Roots::new(vec![pki.root.certificate().clone()], hybrid).expect("a root");
        let options = VerifyOptions { roots: &roots, chain: None, at: NOW, revocation: Revocation::Unchecked };
        Document::<String>::parse(bytes, kind)?.verify(Purpose::Publisher, &options)
    }

    fn chain(pki: &Pki) -> Vec<Certificate> {
        [vec![pki.leaf.clone()], pki.intermediates()].concat()
    }

    #[test]
    fn a_value_is_vouched_for_by_both_keys_of_a_leaf() {
        let pki = Pki::new();
        let bytes = seal(KIND, &"value", NOW, &chain(&pki), &pki.publisher).expect("signs");
        let verified = verify(&pki, &bytes, KIND).expect("verifies");
        assert_eq!((verified.value().as_str(), verified.signed_at()), ("value", NOW));
        assert_eq!(verified.signer(), &pki.leaf);
        let other = verify(&pki, &bytes, "application/vnd.hypermesh.other.v1+json").expect_err("is refused");
        assert!(matches!(other, EnvelopeError::Document(DsseError::Type { .. })), "{other}");
    }

    #[test]
    fn one_key_vouches_only_where_the_roots_are_content_with_one_and_for_publishers() {
        let pki = Pki::new();
        let (key, leaf) = pki.classical();
        let chain = [leaf.clone(), pki.publishers.certificate().clone()];
        let bytes = seal(KIND, &"value", NOW, &chain, &key).expect("signs");
        assert_eq!(verify_by(&pki, &bytes, KIND, Hybrid::IfPresent).expect("verifies").signer(), &leaf);
        let error = verify(&pki, &bytes, KIND).expect_err("is refused");
        assert!(matches!(error, EnvelopeError::ClassicalSigner { .. }), "{error:?}");
        let roots = Roots::new(vec![pki.root.certificate().clone()], Hybrid::IfPresent).expect("a root");
        let options = VerifyOptions { roots: &roots, chain: None, at: NOW, revocation: Revocation::Unchecked };
        let document = Document::<String>::parse(&bytes, KIND).expect("reads");
        let error = document.verify(Purpose::Validator, &options).expect_err("is refused");
        assert!(matches!(error, EnvelopeError::ClassicalSigner { .. }), "{error:?}");
        // Whoever has both keys signs with both.
        let bytes = seal(KIND, &"value", NOW, &self::chain(&pki), &pki.publisher).expect("signs");
        let mut envelope: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        envelope["signatures"].as_array_mut().expect("a list").truncate(1);
        let stripped = canonical::write(&envelope).expect("writes");
        for hybrid in [Hybrid::Required, Hybrid::IfPresent] {
            let error = verify_by(&pki, &stripped, KIND, hybrid).expect_err("is refused");
            assert!(matches!(error, EnvelopeError::Document(DsseError::Signatures { .. })), "{error:?}");
        }
    }

    #[test]
    fn strangers_other_keys_and_other_times_are_refused() {
        let (pki, stranger) = (Pki::new(), Pki::new());
        let error = seal(KIND, &"value", NOW, &chain(&pki), &keys()).expect_err("is refused");
        assert!(matches!(error, EnvelopeError::Keys { .. }));
        let bytes = seal(KIND, &"value", NOW, &chain(&stranger), &stranger.publisher).expect("signs");
        let error = verify(&pki, &bytes, KIND).expect_err("is refused");
        assert!(matches!(error, EnvelopeError::Untrusted(PathError::Forged { .. })), "{error:?}");
        let signed_at =
            |at| verify(&pki, &seal(KIND, &"value", at, &chain(&pki), &pki.publisher).expect("signs"), KIND);
        assert!(matches!(signed_at(NOW + Duration::hours(1)), Err(EnvelopeError::Ahead { .. })));
        assert!(matches!(signed_at(NOW - Duration::days(30)), Err(EnvelopeError::SignedAt { .. })));
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let pki = Pki::new();
        let bytes = seal(KIND, &"value", NOW, &chain(&pki), &pki.publisher).expect("signs");
        for at in (0..bytes.len()).step_by(3) {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << (at % 7);
            assert!(verify(&pki, &altered, KIND).is_err(), "byte {at}");
        }
    }
}
