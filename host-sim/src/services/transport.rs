//! The services of the transport: who this node is to other nodes, and the signatures that a connection between them needs.
//!
//! Keys stay with the host. It signs two forms of bytes and nothing else, so that an extension cannot have a node sign
//! what would count elsewhere: the content of a TLS 1.3 `CertificateVerify`, and what binds a connection of STOQ.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use hypermesh_abi::records::{TransportIdentity, TransportSignRequest, TransportSignature};
use hypermesh_abi::{Code, Error};
use time::OffsetDateTime;
use trustchain::certificate::{self, Purpose};

use super::trusting::{Done, Trusting};
use crate::trust::{NODE, TrustError, TrustHome, Unlock};

/// How often it is looked whether the certificate of the node or a list is due; certificates are renewed hours before.
const RENEWAL_CHECK: Duration = Duration::from_secs(10 * 60);
/// The longest message in characters of base64; the longest that is signed has 146 bytes.
const MESSAGE_CHARS_MAX: usize = 256;
/// What the content of a `CertificateVerify` begins with (RFC 8446, 4.4.3).
const PADDING: [u8; 64] = [0x20; 64];
/// What follows: whose it is, and a zero byte.
const HANDSHAKE_CONTEXTS: [&[u8]; 2] = [b"TLS 1.3, server CertificateVerify\0", b"TLS 1.3, client CertificateVerify\0"];
/// The lengths of the hash at its end: of the cipher suites with SHA-256 and SHA-384.
const HASH_BYTES: [usize; 2] = [32, 48];
/// What a binding of STOQ begins with, and who signs.
const BINDING_CONTEXTS: [&[u8]; 2] =
    [b"hypermesh stoq connection binding v1\0client\0", b"hypermesh stoq connection binding v1\0server\0"];
/// The length of the exported secret at its end.
const EXPORTED_BYTES: usize = 32;

impl Trusting {
    /// Says who this node is to others.
    pub(super) fn transport_identity(&self) -> Result<Done<TransportIdentity>, Error> {
        let home = TrustHome::open(&self.home)?;
        let unlock = Unlock::from_environment(None)?;
        self.renew_what_is_due(&home, &unlock);
        let node = home.signer(NODE, unlock)?;
        node.expect_valid(OffsetDateTime::now_utc())?;
        let chain = node.chain().iter().map(|one| certificate::to_pem([one])).collect();
        let crls = home.crls(Purpose::Node)?;
        let resource = format!("identity of {}", node.certificate().fingerprint());
        Ok(Done { answer: TransportIdentity { chain, crls }, resource })
    }

    /// Signs for a connection.
    pub(super) fn transport_sign(&self, request: &TransportSignRequest) -> Result<Done<TransportSignature>, Error> {
        let message = decode(&request.message)?;
        let node = TrustHome::open(&self.home)?.signer(NODE, Unlock::from_environment(None)?)?;
        let node = self.signers.keep(node);
        let signature = match request.kind.as_str() {
            "handshake" if is_handshake(&message) => BASE64.encode(node.sign_classical(&message)?.as_bytes()),
            "binding" if is_binding(&message) => {
                let signature = node.sign_post_quantum(&message).map_err(|error| match error {
                    TrustError::OneKey { .. } => {
                        Error::from(error).help("`host-sim trust renew node --hybrid` names its FALCON key, too")
                    }
                    other => other.into(),
                })?;
                BASE64.encode(signature.as_bytes())
            }
            "handshake" => return Err(refused("the content of a TLS 1.3 `CertificateVerify`")),
            "binding" => return Err(refused("what binds a connection of STOQ")),
            other => {
                let message = format!("`{other}` is no kind of signature, expected `handshake` or `binding`");
                return Err(Error::new(Code::INVALID_ARGUMENT, message));
            }
        };
        let resource = format!("{} by {}", request.kind, node.certificate().fingerprint());
        Ok(Done { answer: TransportSignature { signature }, resource })
    }

    /// Renews what this home can renew itself; what it cannot is told and is no reason not to go on.
    fn renew_what_is_due(&self, home: &TrustHome, unlock: &Unlock) {
        // Whoever comes while another one renews goes on with what is there, and waits for nothing.
        if !self.is_renewal_to_be_checked() {
            return;
        }
        match home.keep_fresh(unlock) {
            Ok(renewed) if renewed.is_empty() => {}
            Ok(renewed) => tracing::info!("renewed {}", renewed.join(", ")),
            Err(error) => tracing::warn!("cannot renew certificates or revocation lists that are due: {error}"),
        }
    }

    /// Says so to one caller each time.
    fn is_renewal_to_be_checked(&self) -> bool {
        let mut checked = self.renewal_checked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = checked.is_none_or(|at| at.elapsed() >= RENEWAL_CHECK);
        if due {
            *checked = Some(Instant::now());
        }
        due
    }
}

fn decode(message: &str) -> Result<Vec<u8>, Error> {
    if message.len() > MESSAGE_CHARS_MAX {
        let message = format!("`message` has {} characters, expected at most {MESSAGE_CHARS_MAX}", message.len());
        return Err(Error::new(Code::INVALID_ARGUMENT, message));
    }
    BASE64.decode(message.as_bytes()).map_err(|error| {
        Error::wrap(Code::INVALID_ARGUMENT, &error).help("`message` is base64 with padding (RFC 4648, section 4)")
    })
}

fn is_handshake(message: &[u8]) -> bool {
    let rest = message.strip_prefix(&PADDING);
    let hash = rest.and_then(|rest| HANDSHAKE_CONTEXTS.iter().find_map(|context| rest.strip_prefix(*context)));
    hash.is_some_and(|hash| HASH_BYTES.contains(&hash.len()))
}

fn is_binding(message: &[u8]) -> bool {
    let exported = BINDING_CONTEXTS.iter().find_map(|context| message.strip_prefix(*context));
    exported.is_some_and(|exported| exported.len() == EXPORTED_BYTES)
}

fn refused(expected: &str) -> Error {
    Error::new(Code::POLICY_DENIED, format!("a node signs only {expected}, and this is something else"))
}

#[cfg(test)]
mod tests;
