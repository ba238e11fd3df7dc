//! Proof that bytes are what somebody vouched for, and that this node's policy lets them in.
//!
//! There are two proofs, made here and nowhere else. [`Intact`] says that an archive is, to the bit, the one that a lockfile or
//! a registry names; of a [`Listing`] it says that the store made it of that archive, which is worth as much as the store's
//! records are. [`Verified`] says besides that a policy looked at its publisher's signatures, chain and feed and let it
//! through: [`admit`] joins the two, and the store installs nothing else, so installing before verifying does not compile. A
//! proof never leaves the process.
//!
//! Bytes are hashed before they are parsed wherever their digest is known.

pub mod anchors;
pub mod freshness;
pub mod policy;
pub mod reputation;
pub mod vouch;

#[cfg(test)]
pub(crate) mod testing;

use std::ops::Deref;

use semver::Version;

use self::policy::Accepted;
use crate::archive::{self, Archive, ArchiveError, Listing};
use crate::digest::Digest;
use crate::package::name::PackageName;

/// A value that is to the bit what was expected; only this module makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intact<T>(T);

/// An intact value that the policy accepted; only this module makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(Intact<T>);

impl<T> Intact<T> {
    /// Gives the value without its proof.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Intact<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = Intact<T>;

    fn deref(&self) -> &Intact<T> {
        &self.0
    }
}

/// What is of one package: an archive, or the list of its files.
pub trait OfPackage {
    /// Gives the name, the version and the digest of the tar.
    fn identity(&self) -> (&PackageName, &Version, Digest);
}

impl OfPackage for Archive {
    fn identity(&self) -> (&PackageName, &Version, Digest) {
        (self.name(), self.version(), self.digest())
    }
}

impl OfPackage for Listing {
    fn identity(&self) -> (&PackageName, &Version, Digest) {
        (self.name(), self.version(), self.digest())
    }
}

/// What an archive must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// BLAKE3 of the tar: the identity.
    pub digest: Digest,
    /// BLAKE3 of the compressed bytes, if known; checked before anything is decompressed.
    pub blob: Option<Digest>,
    /// SHA-256 of the tar in hexadecimal, if known.
    pub sha256: Option<String>,
    /// SHA-512 of the tar in hexadecimal, if known.
    pub sha512: Option<String>,
}

/// Why bytes are not what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A digest differs.
    #[error("{of} of package `{package}` has {algorithm} `{actual}`, expected `{expected}`")]
    Digest {
        /// The package as `name@version`.
        package: String,
        /// Which bytes.
        of: &'static str,
        /// The algorithm.
        algorithm: &'static str,
        /// What was expected.
        expected: String,
        /// What the bytes have.
        actual: String,
    },
    /// The archive is of another package.
    #[error("archive holds package `{actual}`, expected `{expected}`")]
    Identity {
        /// The package expected, as `name@version`.
        expected: String,
        /// The package found, as `name@version`.
        actual: String,
    },
    /// The bytes are no archive.
    #[error(
        "archive of package `{package}` cannot be read; the bytes have BLAKE3 `{actual}`, expected a tar of `{expected}`"
    )]
    Unreadable {
        /// The package as `name@version`.
        package: String,
        /// The digest of the tar that was expected.
        expected: Digest,
        /// The digest of the bytes given.
        actual: Digest,
        /// Why.
        #[source]
        source: Box<ArchiveError>,
    },
}

/// Checks that compressed bytes are the archive expected.
///
/// # Errors
/// Bytes of another digest, package or version, or that are no archive; the error names both digests.
pub fn check_archive(compressed: Vec<u8>, expected: &Expected) -> Result<Intact<Archive>, TrustError> {
    let package = format!("{}@{}", expected.name, expected.version);
    let differs = |of, algorithm, expected: &dyn ToString, actual: &dyn ToString| {
        let (expected, actual) = (expected.to_string(), actual.to_string());
        if expected == actual {
            return Ok(());
        }
        Err(TrustError::Digest { package: package.clone(), of, algorithm, expected, actual })
    };
    let blob = Digest::of(&compressed);
    if let Some(expected) = &expected.blob {
        differs("archive", "BLAKE3", expected, &blob)?;
    }
    let archive = archive::read(compressed).map_err(|source| TrustError::Unreadable {
        package: package.clone(),
        expected: expected.digest,
        actual: blob,
        source: Box::new(source),
    })?;
    differs("tar", "BLAKE3", &expected.digest, &archive.digest())?;
    if let Some(expected) = &expected.sha256 {
        differs("tar", "SHA-256", expected, &archive.sha256())?;
    }
    if let Some(expected) = &expected.sha512 {
        differs("tar", "SHA-512", expected, &archive.sha512())?;
    }
    expect_name(&archive, expected)?;
    Ok(Intact(archive))
}

/// Checks that a listing, which the store made of an archive that was intact then, is of the archive expected.
///
/// # Errors
/// A listing of another digest, package or version.
pub fn check_listing(listing: Listing, expected: &Expected) -> Result<Intact<Listing>, TrustError> {
    expect_digest(&listing, expected.digest)?;
    expect_name(&listing, expected)?;
    Ok(Intact(listing))
}

/// Joins an archive, or a listing, and what the policy decided about it.
///
/// # Errors
/// The decision is about another archive.
pub fn admit<T: OfPackage>(of: Intact<T>, accepted: &Accepted) -> Result<Verified<T>, TrustError> {
    expect_digest(&*of, accepted.digest())?;
    Ok(Verified(of))
}

fn expect_digest(found: &impl OfPackage, expected: Digest) -> Result<(), TrustError> {
    let (name, version, actual) = found.identity();
    if actual == expected {
        return Ok(());
    }
    let (expected, actual) = (expected.to_string(), actual.to_string());
    Err(TrustError::Digest { package: format!("{name}@{version}"), of: "tar", algorithm: "BLAKE3", expected, actual })
}

fn expect_name(found: &impl OfPackage, expected: &Expected) -> Result<(), TrustError> {
    let (name, version, _) = found.identity();
    if (name, version) == (&expected.name, &expected.version) {
        return Ok(());
    }
    let (expected, actual) = (format!("{}@{}", expected.name, expected.version), format!("{name}@{version}"));
    Err(TrustError::Identity { expected, actual })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Archive {
        archive::pack(br#"{"metadata":{"name":"app","version":"1.0.0"}}"#, &[]).expect("packs")
    }

    fn expected(archive: &Archive) -> Expected {
        Expected {
            name: archive.name().clone(),
            version: archive.version().clone(),
            digest: archive.digest(),
            blob: Some(archive.blob()),
            sha256: Some(archive.sha256().to_owned()),
            sha512: Some(archive.sha512().to_owned()),
        }
    }

    #[test]
    fn the_archive_expected_is_intact() {
        let archive = archive();
        let verified = check_archive(archive.compressed().to_vec(), &expected(&archive)).expect("verifies");
        assert_eq!(verified.into_inner(), archive);
    }

    #[test]
    fn one_flipped_bit_is_refused_with_both_digests() {
        let archive = archive();
        for known in [Some(archive.blob()), None] {
            let expected = Expected { blob: known, ..expected(&archive) };
            for at in 0..archive.compressed().len() {
                let mut bytes = archive.compressed().to_vec();
                bytes[at] ^= 1;
                let actual = Digest::of(&bytes);
                let Err(error) = check_archive(bytes, &expected) else {
                    // Some bits of a frame's header mean nothing, and the tar is what was vouched for.
                    assert!(known.is_none());
                    continue;
                };
                let message = error.to_string();
                let (of_blob, of_tar) = (known.unwrap_or(actual).to_string(), archive.digest().to_string());
                assert!(message.contains(&of_blob) || message.contains(&of_tar), "{at}: {message}");
                assert_eq!(message.matches("blake3:").count(), 2, "{at}: {message}");
            }
        }
    }

    #[test]
    fn a_decision_counts_for_its_own_archive() {
        let archive = archive();
        let intact = || check_archive(archive.compressed().to_vec(), &expected(&archive)).expect("is intact");
        let accepted = |digest| policy::testing::accepted(archive.name(), digest);
        assert_eq!(**admit(intact(), &accepted(archive.digest())).expect("is admitted"), archive);
        let error = admit(intact(), &accepted(Digest::of(b"another"))).expect_err("is refused");
        assert!(matches!(error, TrustError::Digest { .. }), "{error}");
    }

    #[test]
    fn every_expectation_is_checked() {
        let archive = archive();
        let good = expected(&archive);
        let other = Digest::of(b"other");
        for wrong in [
            Expected { name: "lib".parse().expect("valid"), ..good.clone() },
            Expected { version: Version::new(1, 0, 1), ..good.clone() },
            Expected { digest: other, ..good.clone() },
            Expected { blob: Some(other), ..good.clone() },
            Expected { sha256: Some("00".into()), ..good.clone() },
            Expected { sha512: Some("00".into()), ..good.clone() },
        ] {
            assert!(check_archive(archive.compressed().to_vec(), &wrong).is_err(), "{wrong:?}");
        }
        let renamed = Expected { name: "lib".parse().expect("valid"), ..good };
        insta::assert_snapshot!(
            check_archive(archive.compressed().to_vec(), &renamed).expect_err("is refused"),
            @"archive holds package `app@1.0.0`, expected `lib@1.0.0`"
        );
    }
}
