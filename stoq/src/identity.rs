//! Who this node is and whom it believes.
//!
//! The secret keys of a node belong to its host: the transport asks for signatures and never sees a key. A certificate lives a
//! day; whoever implements [`Identity`] renews it, and the transport takes the new one for its next handshake.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use libp2p::PeerId;
use trustchain::certificate::Certificate;
use trustchain::path::{Crls, Roots};

/// A future that is sent between threads.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who this node is.
pub trait Identity: Send + Sync + 'static {
    /// Gives the certificate of this node as it is now, and what to believe of others. Cheap: what was fetched last.
    fn current(&self) -> Arc<Credentials>;

    /// Signs the content of a TLS 1.3 `CertificateVerify` (RFC 8446, 4.4.3) with the Ed25519 key of the leaf. Blocks for as
    /// long as the host takes, some milliseconds at most.
    ///
    /// # Errors
    /// The host refuses or cannot.
    fn sign_handshake(&self, content: &[u8]) -> Result<[u8; 64], SignError>;

    /// Signs the binding of a connection ([`BINDING_LABEL`]) with the FALCON-1024 key of the leaf, in its canonical wire form.
    ///
    /// # Errors
    /// The leaf has no such key; the host refuses or cannot.
    fn sign_binding<'a>(&'a self, binding: &'a [u8]) -> Pending<'a, Result<Vec<u8>, SignError>>;
}

/// A certificate, and what to believe of those of others.
#[derive(Debug)]
pub struct Credentials {
    /// This node's leaf and the authorities above it but the root.
    pub chain: Vec<Certificate>,
    /// The authorities that are believed, and whether those of nodes must be vouched for by both algorithms.
    pub roots: Roots,
    /// X.509 revocation lists: of the root and of every authority below it.
    pub crls: Crls,
    /// Whether a peer must have a FALCON key in its certificate and prove it in every connection. A peer that has one must prove
    /// it in any case.
    pub hybrid_peers_only: bool,
}

impl Credentials {
    /// Gives the id that the leaf makes; none without a leaf.
    pub fn peer_id(&self) -> Option<PeerId> {
        self.chain.first().map(crate::tls::peer_id)
    }
}

/// Nothing was signed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("this node cannot sign: {reason}")]
pub struct SignError {
    /// Why.
    pub reason: String,
}

/// The label of the exporter (RFC 8446, 7.5) whose 32 bytes bind a FALCON signature to one connection; what is signed is
/// [`BINDING_CONTEXT`], a zero byte, the role of the signer (`client` or `server`), a zero byte, and those 32 bytes.
pub const BINDING_LABEL: &[u8] = b"EXPORTER-stoq-falcon";
/// The beginning of what is signed, so that no signature of another kind can be taken for it.
pub const BINDING_CONTEXT: &[u8] = b"hypermesh stoq connection binding v1";
