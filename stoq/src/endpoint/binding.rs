//! The hello: the first stream of every connection, before anybody gets it.
//!
//! The dialer opens the stream and each side sends one frame: MessagePack of the version and, if its certificate has a FALCON
//! key, a signature over the exporter of this connection. TLS itself cannot say that with two keys; this can, and a
//! signature that was made for another connection, or for the other side of this one, says nothing here. To the dialer the
//! answer also is the proof that it was believed: TLS 1.3 tells a client that all is well before the server has looked at
//! its certificate.

use serde::{Deserialize, Serialize};
use trustchain::falcon::Signature;

use crate::frame;
use crate::identity::{BINDING_CONTEXT, BINDING_LABEL, Identity};
use crate::tls::{Peer, Refusal};

/// The largest hello in bytes: a signature has at most 1,462.
const HELLO_BYTES_MAX: usize = 2048;
/// The version of the hello.
const VERSION: u16 = 1;
/// Bytes of the exporter.
const EXPORTER_BYTES: usize = 32;

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

#[derive(Serialize, Deserialize)]
struct Hello {
    version: u16,
    #[serde(with = "serde_bytes", default, skip_serializing_if = "Option::is_none")]
    falcon: Option<Vec<u8>>,
}

/// Exchanges hellos.
pub(super) async fn exchange(
    quic: &quinn::Connection,
    peer: &Peer,
    own: Role,
    identity: &dyn Identity,
) -> Result<(), Refusal> {
    let lost = |error: &dyn std::error::Error| Refusal::Hello { reason: error.to_string() };
    match own {
        Role::Client => {
            let (mut send, mut receive) = quic.open_bi().await.map_err(|error| lost(&error))?;
            say(quic, &mut send, own, identity).await?;
            hear(quic, &mut receive, peer, Role::Server).await
        }
        Role::Server => {
            let (mut send, mut receive) = quic.accept_bi().await.map_err(|error| lost(&error))?;
            hear(quic, &mut receive, peer, Role::Client).await?;
            say(quic, &mut send, own, identity).await
        }
    }
}

async fn say(
    quic: &quinn::Connection,
    send: &mut quinn::SendStream,
    own: Role,
    identity: &dyn Identity,
) -> Result<(), Refusal> {
    let failed = |error: &dyn std::error::Error| Refusal::Hello { reason: error.to_string() };
    let has_falcon = identity.current().chain.first().is_some_and(|leaf| leaf.keys().is_some());
    let falcon = if has_falcon {
        let signature = identity.sign_binding(&binding(quic, own)?).await;
        Some(signature.map_err(|error| failed(&error))?)
    } else {
        None
    };
    let hello = rmp_serde::to_vec_named(&Hello { version: VERSION, falcon }).map_err(|error| failed(&error))?;
    frame::write(send, &hello).await.map_err(|error| failed(&error))?;
    // It is enough that the frame is written; the end of the stream carries nothing.
    let _ = send.finish();
    Ok(())
}

async fn hear(quic: &quinn::Connection, receive: &mut quinn::RecvStream, peer: &Peer, of: Role) -> Result<(), Refusal> {
    let refused = |error: &dyn std::error::Error| Refusal::Hello { reason: error.to_string() };
    let bytes = frame::read(receive, HELLO_BYTES_MAX).await.map_err(|error| refused(&error))?;
    let hello: Hello = rmp_serde::from_slice(&bytes).map_err(|error| refused(&error))?;
    if hello.version != VERSION {
        return Err(Refusal::Hello { reason: format!("version `{}` is not `{VERSION}`", hello.version) });
    }
    let Some(keys) = peer.certificates[0].keys() else { return Ok(()) };
    let unproven = |reason: String| Refusal::Unproven { reason };
    let signature = hello.falcon.ok_or_else(|| unproven("its hello has no signature".to_owned()))?;
    let signature = Signature::from_bytes(&signature).map_err(|error| unproven(error.to_string()))?;
    keys.falcon.verify(&binding(quic, of)?, &signature).map_err(|error| unproven(error.to_string()))
}

/// Gives what a side signs in this connection.
fn binding(quic: &quinn::Connection, role: Role) -> Result<Vec<u8>, Refusal> {
    let mut exporter = [0; EXPORTER_BYTES];
    let exported = quic.export_keying_material(&mut exporter, BINDING_LABEL, b"");
    exported.map_err(|_| Refusal::Hello { reason: "TLS exports no key".to_owned() })?;
    let role: &[u8] = match role {
        Role::Client => b"client",
        Role::Server => b"server",
    };
    Ok([BINDING_CONTEXT, b"\0", role, b"\0", &exporter].concat())
}
