//! Mutual TLS between nodes: what is offered, and who is believed.
//!
//! TLS 1.3 with X25519MLKEM768 and nothing else; no tickets, no resumption and no early data, since with any of them a peer
//! whose certificate was revoked in between would be accepted. Certificates are judged by [`trustchain::path`] and not by the
//! usual verifier, so that its stricter profile and the alternative signatures hold here, too. The time is injected.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ServerConfig, SignatureAlgorithm, SignatureScheme};

use crate::PeerId;
use crate::identity::Identity;

mod refusal;
mod verify;

pub use self::refusal::Refusal;
pub(crate) use self::verify::{Peer, Verifier, judge, moment, peer_id};

/// The time by which certificates are judged.
pub type Clock = Arc<dyn TimeProvider>;

/// What a connection is for; each has its own protocol name (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// `stoq/1.0`: finding each other, announcing, asking.
    Control,
    /// `stoq-data/1`: services, bulk above all.
    Data,
}

impl Lane {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Control, Self::Data];

    /// Gives the protocol name.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Control => "stoq/1.0",
            Self::Data => "stoq-data/1",
        }
    }

    pub(crate) fn of_protocol(protocol: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.protocol().as_bytes() == protocol)
    }
}

/// The name that is dialed: it says nothing about the peer, whose key does.
pub(crate) const SERVER_NAME: &str = "node.trustchain";

/// The one provider: AES-128-GCM first, which costs least where there is hardware for it, and one key exchange that stands
/// with either of its halves.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    use aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    Arc::new(CryptoProvider {
        cipher_suites: vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    })
});

/// Configures one handshake that a stranger began.
pub(crate) fn server(verifier: &Arc<Verifier>) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_details(Arc::clone(&PROVIDER), Arc::clone(verifier.clock()));
    let mut config = builder
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::clone(verifier) as _)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified(verifier.identity()))));
    config.alpn_protocols = Lane::ALL.map(|lane| lane.protocol().into()).to_vec();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// Configures one handshake that this node begins.
pub(crate) fn client(verifier: &Arc<Verifier>, lane: Lane) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_details(Arc::clone(&PROVIDER), Arc::clone(verifier.clock()));
    let mut config = builder
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as _)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified(verifier.identity()))));
    config.alpn_protocols = vec![lane.protocol().into()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

pub(crate) fn certified(identity: &Arc<dyn Identity>) -> CertifiedKey {
    let chain = identity.current().chain.iter().map(|certificate| certificate.der().clone()).collect();
    CertifiedKey::new(chain, Arc::new(HandshakeKey(Arc::clone(identity))))
}

/// The key of the leaf, which stays with whoever implements [`Identity`].
struct HandshakeKey(Arc<dyn Identity>);

impl SigningKey for HandshakeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(Self(Arc::clone(&self.0))) as _)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for HandshakeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signature = self.0.sign_handshake(message);
        signature.map(|signature| signature.to_vec()).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl fmt::Debug for HandshakeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandshakeKey")
    }
}

/// Gives the id of this node.
pub(crate) fn own_id(identity: &dyn Identity) -> Option<PeerId> {
    identity.current().chain.first().map(peer_id)
}
