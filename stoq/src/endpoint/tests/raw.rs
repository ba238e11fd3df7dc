//! A client that keeps none of the rules, on quinn alone.

use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;
use crate::tls::{SERVER_NAME, certified};

/// What the client does.
#[derive(Clone)]
pub(super) struct Raw {
    pub(super) identity: Option<Arc<TestIdentity>>,
    pub(super) protocol: &'static [u8],
    pub(super) group: &'static dyn SupportedKxGroup,
}

impl Raw {
    /// Makes a client that would be let in.
    pub(super) fn of(identity: Arc<TestIdentity>) -> Self {
        let group = aws_lc_rs::kx_group::X25519MLKEM768;
        Self { identity: Some(identity), protocol: b"stoq-data/1", group }
    }

    /// Shakes hands and says no hello.
    pub(super) async fn connect(&self, to: SocketAddr) -> (quinn::Endpoint, Result<quinn::Connection, String>) {
        let endpoint = Self::endpoint();
        let connecting = endpoint.connect_with(self.config(), to, SERVER_NAME).expect("can be dialed");
        let made = soon(connecting).await.map_err(|error| error.to_string());
        (endpoint, made)
    }

    /// Opens a port that only dials.
    pub(super) fn endpoint() -> quinn::Endpoint {
        quinn::Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a port is free")
    }

    /// Gives what the client dials with; it would resume whatever it is let.
    pub(super) fn config(&self) -> quinn::ClientConfig {
        let provider = CryptoProvider { kx_groups: vec![self.group], ..aws_lc_rs::default_provider() };
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider));
        let builder = builder
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("has TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody));
        let mut config = match &self.identity {
            Some(identity) => {
                let identity = Arc::clone(identity) as Arc<dyn Identity>;
                let key = rustls::sign::SingleCertAndKey::from(certified(&identity));
                builder.with_client_cert_resolver(Arc::new(key))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![self.protocol.to_vec()];
        config.enable_early_data = true;
        let crypto = QuicClientConfig::try_from(config).expect("has AES-128-GCM");
        quinn::ClientConfig::new(Arc::new(crypto))
    }
}

/// Believes anybody.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
