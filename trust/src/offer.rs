//! Offers: where a publisher's release is found among nodes, signed by the publisher.
//!
//! A release statement says what a release is, and not in which compressed form it travels. Among nodes that nobody orders
//! somebody else could say so, and lead all of them to an archive that nobody has. So the publisher says it.
//!
//! An offer travels as a signed document ([`crate::document`]), and names the release by the digest of its statement's envelope,
//! as feeds do.

use semver::Version;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::certificate::{Certificate, Purpose};
use crate::digest::{Blake3, Sha256};
use crate::document::{self, Document, Verified};
use crate::envelope::{EnvelopeError, VerifyOptions};
use crate::feed::publisher_of;
use crate::signer::SignerKeys;

/// The kind of document that an offer is; its version changes when a field does.
pub const OFFER_KIND: &str = "application/vnd.hypermesh.offer.v1+json";
/// The longest name of a package that is offered, in bytes.
pub const PACKAGE_BYTES_MAX: usize = 256;

/// What a publisher says of the form in which a release travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The digest of the compressed archive.
    pub blob: Blake3,
    /// Its size in bytes.
    pub blob_bytes: u64,
    /// The package, `[namespace/]name`.
    pub package: String,
    /// The digest of the envelope of its release statement.
    pub release: Sha256,
    /// The SHA-512 of the tar in hexadecimal, which release statements do not have.
    pub sha512: String,
    /// The version of the package.
    pub version: Version,
}

/// An offer that cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` of the offer {reason}")]
pub struct OfferError {
    field: &'static str,
    reason: &'static str,
}

impl Offer {
    /// Checks the forms of its fields.
    ///
    /// # Errors
    /// The first that is none.
    pub fn check(&self) -> Result<(), OfferError> {
        if self.package.is_empty() || self.package.len() > PACKAGE_BYTES_MAX {
            return Err(OfferError { field: "package", reason: "has not from 1 to 256 bytes" });
        }
        let is_hex = self.sha512.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if self.sha512.len() != 128 || !is_hex {
            return Err(OfferError { field: "sha512", reason: "has not 128 digits of lower-case hexadecimal" });
        }
        Ok(())
    }
}

/// Signs an offer with every key of a leaf; `chain` is the leaf and the intermediates above it, without the root.
///
/// # Errors
/// Keys that are not the leaf's, a chain that is empty or too long, no randomness.
pub fn seal<'a>(
    offer: &Offer,
    signed_at: OffsetDateTime,
    chain: &[Certificate],
    keys: impl Into<SignerKeys<'a>>,
) -> Result<Vec<u8>, EnvelopeError> {
    document::seal(OFFER_KIND, offer, signed_at, chain, keys)
}

/// Reads an offer that nobody has checked.
///
/// # Errors
/// Anything but an envelope of this kind.
pub fn parse(bytes: &[u8]) -> Result<Document<Offer>, EnvelopeError> {
    Document::parse(bytes, OFFER_KIND)
}

/// Gives the domain of the publisher whose certificate travels with an offer; nobody has checked it.
pub fn claimed_publisher(offer: &Document<Offer>) -> Option<&str> {
    publisher_of(offer.chain().first()?)
}

/// Checks who signed an offer: a publisher below the roots of the options.
///
/// # Errors
/// The first reason not to believe it.
pub fn verify(offer: Document<Offer>, options: &VerifyOptions<'_>) -> Result<Verified<Offer>, EnvelopeError> {
    offer.verify(Purpose::Publisher, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{Hybrid, Revocation, Roots};
    use crate::testing::{NOW, Pki};

    fn offer() -> Offer {
        Offer {
            blob: Blake3::of(b"compressed"),
            blob_bytes: 10,
            package: "acme/vec".into(),
            release: Sha256::of(b"envelope"),
            sha512: "0".repeat(128),
            version: Version::new(1, 2, 3),
        }
    }

    #[test]
    fn an_offer_verifies_and_one_that_was_changed_does_not() {
        let pki = Pki::new();
        let chain = [vec![pki.leaf.clone()], pki.intermediates()].concat();
        let bytes = seal(&offer(), NOW, &chain, &pki.publisher).expect("signs");
        let roots = Roots::new(vec![pki.root.certificate().clone()], Hybrid::Required).expect("a root");
        let options = VerifyOptions { roots: &roots, chain: None, at: NOW, revocation: Revocation::Unchecked };
        let read = parse(&bytes).expect("reads");
        assert_eq!(claimed_publisher(&read), publisher_of(&pki.leaf));
        assert_eq!(verify(read, &options).expect("verifies").value(), &offer());
        let other = seal(&Offer { blob_bytes: 11, ..offer() }, NOW, &chain, &pki.publisher).expect("signs");
        let payload = |bytes: &[u8]| {
            let envelope: serde_json::Value = serde_json::from_slice(bytes).expect("is JSON");
            envelope["payload"].as_str().expect("has a payload").to_owned()
        };
        let forged = String::from_utf8(bytes.clone()).expect("is text").replace(&payload(&bytes), &payload(&other));
        verify(parse(forged.as_bytes()).expect("reads"), &options).expect_err("the signatures are of another offer");
    }

    #[test]
    fn fields_have_forms() {
        offer().check().expect("is one");
        for wrong in [
            Offer { package: String::new(), ..offer() },
            Offer { package: "p".repeat(PACKAGE_BYTES_MAX + 1), ..offer() },
            Offer { sha512: "0".repeat(127), ..offer() },
            Offer { sha512: "G".repeat(128), ..offer() },
        ] {
            wrong.check().expect_err("is none");
        }
    }
}
