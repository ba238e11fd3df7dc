//! What a node's home holds of TrustChain, in `HOME/trust/`: a root, an authority for each purpose, the certificates they
//! issued, encrypted keys, and signed revocation lists.
//!
//! | file | what |
//! |---|---|
//! | `root.pem`, `roots/*.pem` | the own root, and others that the administrator believes |
//! | `authorities/*.pem` | authorities of others, for who asks what the node knows |
//! | `root-sets/*.json` | root sets: what several roots, each in a home of its own, have decided |
//! | `PURPOSE-authority.pem` | the authority that issues for a purpose; `.1`, `.2` behind it are retired ones |
//! | `NAME.pem` | a leaf and the authorities above it but the root |
//! | `NAME.key` | the keys of a certificate, both or its one, encrypted, for the owner only |
//! | `lists/*.json`, `lists/*.crl.pem` | revocation lists of both kinds, one of each for every authority |
//! | `issued.json` | what was issued and what is revoked: the intent of which the lists are made |
//! | `authority`, `tokens.json` | the address that a member asks; tokens with which homes may join this one |
//! | `unlock.key` | what opens the keys where there is no passphrase |
//! | `cluster` | the name of the cluster |
//!
//! A home may also be a member below the root of another home ([`Membership`]): `root.pem` is that root then, the authorities
//! have no keys here, and only the keys of `node` and `local` are the home's own.
//!
//! Every file is made aside, made durable and renamed, and changes hold a lock, so that a crash or another command finds
//! the home as it was before or after. Secrets never come from arguments. Who believes what is in [`Anchors`]; what it
//! means for a certificate is `trustchain`'s to say.

mod anchors;
mod change;
mod error;
mod files;
mod init;
mod issue;
mod lists;
mod member;
mod record;
mod sets;
mod signer;
mod token;
mod unlock;
mod verdict;

use std::path::{Path, PathBuf};

use time::{Duration, OffsetDateTime};
use trustchain::certificate::{Authority, Certificate, Purpose};

pub use self::anchors::Anchors;
use self::anchors::LISTS_MAX;
pub use self::error::TrustError;
pub use self::init::InitOptions;
pub use self::issue::{IssueOptions, Issued, KeyKind, NewKeys};
pub use self::lists::ListState;
pub use self::member::{Application, Lists, Membership};
pub use self::record::{Record, Revoked};
pub use self::sets::{Certification, SetChange};
pub use self::signer::Signer;
pub(crate) use self::signer::Signers;
pub use self::token::{TOKENS_MAX, Token};
pub use self::unlock::Unlock;
pub use self::verdict::{Case, Profile, Verdict, usage_of};

/// How long a revocation list counts.
pub const LIST_LIFETIME: Duration = Duration::days(30);
/// How long before its end a revocation list is signed again.
pub const LIST_RENEWAL: Duration = Duration::days(10);
/// How long before its end the certificate of the node is renewed.
pub const NODE_RENEWAL: Duration = Duration::hours(6);
/// The publisher that signs if no other is named.
pub const DEFAULT_PUBLISHER: &str = "local";
/// The certificate of the node itself.
pub const NODE: &str = "node";
/// Validators that a new home has, enough for one faulty one.
pub const VALIDATORS: usize = 4;

/// The name of the root among the files.
const ROOT: &str = "root";
/// The domain of all publishers, nodes and validators.
const DOMAINS: [&str; 3] = ["pub.trustchain", "node.trustchain", "validator.trustchain"];

/// The trust of a home that has a root: one of its own, or, as a member, that of another home.
#[derive(Clone, Debug)]
pub struct TrustHome {
    directory: PathBuf,
}

impl TrustHome {
    /// Opens the trust of a home.
    ///
    /// # Errors
    /// [`TrustError::Uninitialized`] if it has no root of its own.
    pub fn open(home: &Path) -> Result<Self, TrustError> {
        let directory = directory(home);
        if directory.join("root.pem").exists() {
            Ok(Self { directory })
        } else {
            Err(TrustError::Uninitialized { directory })
        }
    }

    /// Opens the trust of a home, or makes one with the defaults. Says whether it was made.
    ///
    /// # Errors
    /// A file that cannot be used, no randomness, another command that does not end.
    pub fn open_or_init(home: &Path, unlock: &Unlock) -> Result<(Self, bool), TrustError> {
        match Self::open(home) {
            Err(TrustError::Uninitialized { .. }) => {}
            opened => return opened.map(|opened| (opened, false)),
        }
        match Self::init(home, &InitOptions::default(), unlock) {
            // Another command was faster.
            Err(TrustError::Initialized { .. }) => Self::open(home).map(|opened| (opened, false)),
            made => made.map(|made| (made, true)),
        }
    }

    /// Gives the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Gives the name of the cluster.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn cluster(&self) -> Result<String, TrustError> {
        Ok(files::read_text(&self.directory.join("cluster"))?.trim().to_owned())
    }

    /// Gives the root: the own one, or, if the root set has left that one out, the one above the node's certificate.
    ///
    /// # Errors
    /// A file cannot be read, or holds no certificate.
    pub fn root(&self) -> Result<Certificate, TrustError> {
        let own = self.chain(ROOT)?.swap_remove(0);
        let Some(set) = self.root_set()?.filter(|set| !set.roots().any(|root| *root == own)) else { return Ok(own) };
        let node = self.chain(NODE).unwrap_or_default();
        let above = set.roots().find(|root| node.iter().any(|one| one.is_issued_by(root)));
        Ok(above.cloned().unwrap_or(own))
    }

    /// Gives a certificate of this home and the authorities above it but the root.
    ///
    /// # Errors
    /// [`TrustError::Unknown`] with the names that there are; a file that holds no certificate.
    pub fn chain(&self, name: &str) -> Result<Vec<Certificate>, TrustError> {
        let path = self.certificate_file(name);
        if files::is_name(name) && path.exists() {
            return files::read_certificates(&path);
        }
        Err(TrustError::Unknown { name: name.to_owned(), known: self.names()? })
    }

    /// Gives every record of an issued certificate, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn records(&self) -> Result<Vec<Record>, TrustError> {
        Ok(record::Book::read(&self.directory)?.issued)
    }

    /// Gives the names of all certificates, authorities included, sorted.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>, TrustError> {
        let mut names = files::stems(&self.directory, ".pem")?;
        names.retain(|name| files::is_name(name));
        Ok(names)
    }

    /// Prepares a signer for a certificate of this home; keys are opened when something is signed.
    ///
    /// # Errors
    /// [`TrustError::Unknown`], or a certificate whose keys are elsewhere.
    pub fn signer(&self, name: &str, unlock: Unlock) -> Result<Signer, TrustError> {
        Signer::new(self.clone(), name, unlock)
    }

    /// Opens the root, to sign what only it may.
    ///
    /// # Errors
    /// Keys that do not open, or are elsewhere.
    pub(crate) fn root_authority(&self, unlock: &Unlock) -> Result<Authority, TrustError> {
        change::open_authority(self, ROOT, unlock)
    }

    /// Gives the names of authorities, retired ones included; the root comes first.
    fn authorities(&self) -> Result<Vec<String>, TrustError> {
        let is_authority =
            |name: &String| name == ROOT || name.split('.').next().is_some_and(|n| n.ends_with("-authority"));
        let mut names: Vec<String> = self.names()?.into_iter().filter(is_authority).collect();
        names.sort_by_key(|name| (name != ROOT, name.clone()));
        Ok(names)
    }

    fn certificate_file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.pem"))
    }

    fn key_file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.key"))
    }
}

/// Gives the directory of a home's trust, whether it is there or not.
pub fn directory(home: &Path) -> PathBuf {
    home.join("trust")
}

/// Gives the name of the authority that issues for a purpose.
fn authority_of(purpose: Purpose) -> String {
    format!("{purpose}-authority")
}

/// Gives the domain of everyone of a purpose.
fn domain_of(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Publisher => DOMAINS[0],
        Purpose::Node => DOMAINS[1],
        Purpose::Validator => DOMAINS[2],
    }
}

/// Gives the domain of a namespace, which may be written with or without that of everyone of its purpose.
fn domain_below(domain: &str, namespace: &str) -> String {
    let is_whole = namespace.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    if is_whole { namespace.to_owned() } else { format!("{namespace}.{domain}") }
}

/// Gives the present in whole seconds, as certificates have it.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now)
}

#[cfg(test)]
mod tests;
