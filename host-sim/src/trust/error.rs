//! Every way in which a home's trust fails, and what to do about it.

use std::io;
use std::path::PathBuf;

use hypermesh_abi::{Code, Error};
use trustchain::certificate::{IssueError, PemError};
use trustchain::envelope::EnvelopeError;
use trustchain::feed::FeedError;
use trustchain::hybrid::HybridError;
use trustchain::keyfile::KeyfileError;
use trustchain::path::{PathError, RootError};
use trustchain::request::RequestError;
use trustchain::revocation::RevocationError;
use trustchain::rootset::RootSetError;

/// Why a home's trust cannot be used or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The home has no root of its own.
    #[error("the home has no certificates yet: `{}` is missing", directory.join("root.pem").display())]
    Uninitialized {
        /// Where they would be.
        directory: PathBuf,
    },
    /// The home has a root, which is never overwritten.
    #[error("the home has certificates already: `{}`", directory.join("root.pem").display())]
    Initialized {
        /// Where they are.
        directory: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot use `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any of its kind.
    #[error("`{}` has more than {most} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many are read.
        most: u64,
    },
    /// Others may read a secret.
    #[error("others may read the secret `{}` (mode {mode:03o}), expected mode 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file holds no certificates.
    #[error("cannot read the certificates in `{}`", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PemError,
    },
    /// The records are none.
    #[error("cannot read the records in `{}`", path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Keys are opened by a passphrase, or by a key file that is not there.
    #[error("the keys need a passphrase: there is no `{}`", path.display())]
    Locked {
        /// The key file.
        path: PathBuf,
    },
    /// Keys do not open.
    #[error("cannot open the keys in `{}`", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyfileError,
    },
    /// The keys of a certificate are not in this home.
    #[error("the keys of `{name}` are not in this home")]
    KeysElsewhere {
        /// The certificate.
        name: String,
    },
    /// Something needs both keys of a certificate that has one.
    #[error("the certificate `{name}` has one key, and both are needed")]
    OneKey {
        /// The certificate.
        name: String,
    },
    /// A certificate with one key was asked for where there is none.
    #[error("no certificate with one key can be asked for: {reason}")]
    Classical {
        /// Why not.
        reason: &'static str,
    },
    /// A passphrase is no text.
    #[error("the passphrase is not text in UTF-8")]
    Passphrase,
    /// A name that cannot be one of a certificate here.
    #[error("`{name}` cannot be the name of a certificate: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A certificate of that name exists.
    #[error("the home has a certificate `{name}` already")]
    Taken {
        /// The name.
        name: String,
    },
    /// No certificate of that name or serial number.
    #[error("the home has no certificate `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// The certificate is revoked already.
    #[error("the certificate `{name}` with serial number `{serial}` is revoked already, since `{since}`")]
    Revoked {
        /// The name.
        name: String,
        /// The serial number.
        serial: String,
        /// The effective time.
        since: String,
    },
    /// The root stands for itself: it is neither renewed nor revoked.
    #[error("a root is not {what}: it stands for itself, and whoever believes it holds a copy")]
    Root {
        /// What was asked for.
        what: &'static str,
    },
    /// A certificate has ended.
    #[error("the certificate `{name}` is not valid any more, its end was `{not_after}`")]
    Ended {
        /// The certificate.
        name: String,
        /// Its last second.
        not_after: time::OffsetDateTime,
    },
    /// A certificate has not begun.
    #[error(
        "the certificate `{name}` is not valid yet: it begins at `{not_before}`, and by the clock of this machine it is `{now}`"
    )]
    NotBegun {
        /// The certificate.
        name: String,
        /// Its first second.
        not_before: time::OffsetDateTime,
        /// The time here.
        now: time::OffsetDateTime,
    },
    /// A lifetime that nobody wants.
    #[error("a lifetime of `{hours}` hours is out of range, expected 1 hour to 10 years")]
    Lifetime {
        /// What was asked for.
        hours: i64,
    },
    /// A request asks for another purpose than the command.
    #[error("the request is for a {asked}, not for a {expected}")]
    Purpose {
        /// What it asks for.
        asked: trustchain::certificate::Purpose,
        /// What the command says.
        expected: trustchain::certificate::Purpose,
    },
    /// Another command holds the home for too long.
    #[error("another command is changing `{}`", directory.display())]
    Busy {
        /// The directory.
        directory: PathBuf,
    },
    /// Too many lists.
    #[error("`{}` holds more than {most} files", directory.display())]
    TooMany {
        /// The directory.
        directory: PathBuf,
        /// How many are read.
        most: usize,
    },
    /// An authority has issued as much as it can answer for.
    #[error("`{}` has {most} certificates that still count or are revoked, and there is room for no more", path.display())]
    BookFull {
        /// The book.
        path: PathBuf,
        /// How many there may be.
        most: usize,
    },
    /// A token lets nobody join.
    #[error("the token cannot be used: {reason}")]
    Token {
        /// Why not.
        reason: &'static str,
    },
    /// What a member was given is below another root than the one it has.
    #[error("the membership is below the root `{subject}`, and the home has another")]
    OtherRoot {
        /// The root of the membership.
        subject: String,
    },
    /// Nobody stands for a certificate that a member was given.
    #[error("the certificate `{name}` that the authority gave is not believed")]
    NotBelieved {
        /// Its name in the home.
        name: String,
        /// Why.
        #[source]
        source: PathError,
    },
    /// An authority that a root set and its roots do not both stand for.
    #[error("the authority `{name}` cannot count below the root set: {reason}")]
    Unnamed {
        /// The authority.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A root set is none, or not the next one.
    #[error(transparent)]
    Set(#[from] RootSetError),
    /// The roots are none.
    #[error(transparent)]
    Roots(#[from] RootError),
    /// A certificate is not issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A request is not granted.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A list is not made.
    #[error(transparent)]
    List(#[from] RevocationError),
    /// Nothing is signed.
    #[error(transparent)]
    Sign(#[from] EnvelopeError),
    /// No head of a feed is signed.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// No keys are made.
    #[error(transparent)]
    Generate(#[from] HybridError),
}

impl TrustError {
    fn code(&self) -> Code {
        match self {
            Self::Uninitialized { .. } => Code::NOT_FOUND,
            Self::Initialized { .. } | Self::Taken { .. } | Self::Revoked { .. } => Code::ALREADY_EXISTS,
            Self::File { .. } => Code::IO,
            Self::TooLarge { .. } | Self::TooMany { .. } | Self::Certificates { .. } | Self::Records { .. } => {
                Code::CORRUPT
            }
            Self::Exposed { .. }
            | Self::Keys { .. }
            | Self::Locked { .. }
            | Self::Ended { .. }
            | Self::NotBegun { .. }
            | Self::Token { .. }
            | Self::Unnamed { .. }
            | Self::Set(RootSetError::TooFew { .. } | RootSetError::Stranger { .. }) => Code::POLICY_DENIED,
            Self::KeysElsewhere { .. } | Self::Unknown { .. } => Code::NOT_FOUND,
            Self::Busy { .. } => Code::BUSY,
            Self::BookFull { .. } => Code::RESOURCE_LIMIT_EXCEEDED,
            Self::Roots(_) | Self::Set(_) | Self::OtherRoot { .. } | Self::NotBelieved { .. } => {
                Code::CERTIFICATE_VALIDATION_FAILED
            }
            Self::Request(RequestError::Document(_) | RequestError::Time { .. }) => Code::CERTIFICATE_VALIDATION_FAILED,
            Self::Generate(_) => Code::INTERNAL,
            _ => Code::INVALID_ARGUMENT,
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Uninitialized { .. } => "make them with `host-sim trust init`".to_owned(),
            Self::Initialized { directory } => {
                format!("`host-sim trust show` lists them; to begin again, move `{}` away", directory.display())
            }
            Self::Exposed { path, .. } => {
                format!("`chmod 600 {}`, and renew with --new-keys if others had access", path.display())
            }
            Self::Locked { .. }
            | Self::Keys {
                source: KeyfileError::OtherUnlock { .. } | KeyfileError::Locked | KeyfileError::Unlock { .. },
                ..
            } => "give the passphrase in HYPERMESH_PASSPHRASE or with --passphrase-file".to_owned(),
            Self::KeysElsewhere { .. } => "let whoever holds them sign, or issue another certificate".to_owned(),
            Self::Ended { name, .. } => format!("renew it with `host-sim trust renew {name}`"),
            Self::NotBegun { .. } => "set the clock of this machine".to_owned(),
            Self::Taken { name } => format!("`host-sim trust renew {name}` gives it a new certificate"),
            Self::Unknown { known, .. } => format!("there are: {}", known.join(", ")),
            Self::Root { .. } => "make another home, and let those who believe this root drop it".to_owned(),
            Self::Request(RequestError::Time { .. }) => "make the request again; it counts for ten minutes".to_owned(),
            Self::Issue(IssueError::Validity { .. }) => {
                "ask for a shorter time, or renew the authority first".to_owned()
            }
            Self::Set(RootSetError::TooFew { .. }) => {
                "let more roots sign it: `host-sim trust roots sign FILE` in their homes".to_owned()
            }
            Self::Set(RootSetError::NotNext { .. } | RootSetError::OtherBefore { .. }) => {
                "propose it again from the set that counts: `host-sim trust roots propose`".to_owned()
            }
            Self::Unnamed { .. } => {
                "`host-sim trust roots propose` names authorities, `host-sim trust roots certify` certifies them"
                    .to_owned()
            }
            Self::Busy { .. } => "wait for it to end".to_owned(),
            Self::BookFull { .. } => {
                "what was never revoked is forgotten once it has ended; issue for longer times, or from another home"
                    .to_owned()
            }
            _ => return None,
        })
    }
}

impl From<TrustError> for Error {
    fn from(error: TrustError) -> Self {
        let wrapped = Self::wrap(error.code(), &error);
        match error.help() {
            Some(help) => wrapped.help(help),
            None => wrapped,
        }
    }
}
