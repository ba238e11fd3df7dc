//! TrustChain over a connection: a home that issues certificates answers other homes, and they ask it.
//!
//! One connection carries one question and one answer, each a JSON text behind its length, over TLS 1.3 with the
//! certificates of nodes on both sides, judged by [`trustchain::path`] like any other. Who has none yet joins with a token
//! that counts once. What is answered proves itself (certificates, signed lists), so a listener learns nothing secret and
//! an impostor can keep news back but not make any; only a token and a revocation rely on the connection.

mod client;
mod server;
mod tls;

use std::collections::BTreeMap;

use hypermesh_abi::records::ErrorRecord;
use hypermesh_abi::{Code, Error, Fault};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use trustchain::revocation::Reason;

use crate::trust::{Application, Lists, Membership, Revoked};

pub use self::client::{ask, fetch, is_member, join};
pub use self::server::{CONNECTION_TIMEOUT, CONNECTIONS_MAX, ServeOptions, serve};

/// The name that the authority's own node speaks for, and no member does: none may have the name `node`.
pub const AUTHORITY_NAME: &str = "node.node.trustchain";
/// The largest question in bytes: two requests for certificates.
pub const QUESTION_BYTES_MAX: usize = 2 * trustchain::request::REQUEST_BYTES_MAX + 4096;
/// The largest answer in bytes; lists that revoke as many certificates as the book of a home holds, 24,000, have 10 MB.
pub const ANSWER_BYTES_MAX: usize = 32 << 20;

/// What is asked of an authority.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Question {
    /// To become a member. Needs no certificate.
    Join {
        /// A token of the authority.
        token: String,
        /// The requests.
        application: Application,
    },
    /// What a member has now; what is due is renewed.
    Membership,
    /// The chain of a certificate.
    Chain {
        /// Its name in the home of the authority.
        name: String,
    },
    /// Whether a certificate counts.
    Status {
        /// Its serial number in hexadecimal.
        serial: String,
    },
    /// Every revocation list.
    Lists,
    /// That a certificate counts no more: one of the member itself, or any if the authority lets the member do that.
    Revoke {
        /// Its name or serial number.
        target: String,
        /// Why.
        reason: Reason,
    },
}

/// What an authority answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Answer {
    /// To [`Question::Join`] and [`Question::Membership`].
    Membership(Box<Membership>),
    /// To [`Question::Chain`]: leaf first, in PEM.
    Chain(String),
    /// To [`Question::Status`].
    Status(Standing),
    /// To [`Question::Lists`], by the names of their authorities.
    Lists(BTreeMap<String, Lists>),
    /// To [`Question::Revoke`].
    Revoked {
        /// The serial number.
        serial: String,
        /// Why and since when.
        revoked: Revoked,
    },
    /// To whatever is refused.
    Refused(Box<ErrorRecord>),
}

/// What an authority says of a serial number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Standing {
    /// It has issued it, and it counts until its end.
    Good,
    /// It counts no more.
    Revoked(Revoked),
    /// It is none of this authority, or one that ended long ago.
    Unknown,
}

/// Works on a thread that may wait for files, keys and other commands.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::wrap(Code::INTERNAL, &error))?
}

/// Writes a message behind its length: 4 bytes, the most significant first.
async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize, most: usize) -> Result<(), Error> {
    let bytes = serde_json::to_vec(message).map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
    let length =
        u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= most).ok_or_else(|| too_large(bytes.len(), most))?;
    let written = async {
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    };
    written.await.map_err(|error| broken(&error))
}

/// Reads a message of at most so many bytes.
async fn receive<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin), most: usize) -> Result<T, Error> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.map_err(|error| broken(&error))?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > most {
        return Err(too_large(length, most));
    }
    // What is announced is not what is there: the buffer grows with what comes.
    let mut bytes = Vec::new();
    let read = stream.take(length as u64).read_to_end(&mut bytes).await.map_err(|error| broken(&error))?;
    if read < length {
        return Err(broken(&std::io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error).fault(Fault::PEER))
        .map_err(|error| Error { message: format!("the message cannot be read: {}", error.message), ..error })
}

fn too_large(actual: usize, most: usize) -> Error {
    let message = format!("a message has {actual} bytes, expected at most {most}");
    Error::new(Code::RESOURCE_LIMIT_EXCEEDED, message).fault(Fault::PEER)
}

fn broken(error: &std::io::Error) -> Error {
    let mut wrapped = Error::new(Code::IO, "the connection to the other side is lost").fault(Fault::PEER);
    wrapped.chain.push(error.to_string());
    wrapped
}

#[cfg(test)]
mod tests;
