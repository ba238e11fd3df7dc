//! TLS 1.3 between homes: who is believed is what a home believes when a connection begins, revocations included.
//!
//! A configuration is for one connection. Whoever makes it may wait for files and passphrases; the handshake then waits for
//! neither. There are no tickets and no resumption: a connection that was resumed would not ask again whether a certificate
//! still counts. The key exchange is post-quantum on both sides. Keys sign in the home's signer and never leave it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hypermesh_abi::{Code, Error};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, Signer as TlsSigner, SigningKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig,
    SignatureAlgorithm, SignatureScheme,
};
use time::OffsetDateTime;
use trustchain::certificate::{Certificate, Fingerprint, Purpose};
use trustchain::path::{Hybrid, INTERMEDIATES_MAX, Request, Revocation, Roots};

use super::AUTHORITY_NAME;
use crate::trust::{Anchors, NODE, Signer, Signers, TrustHome, Unlock};

/// The application protocol; its number changes with the messages.
const PROTOCOL: &[u8] = b"trustchain/1";

/// Whom a side believes.
#[derive(Debug)]
enum Believed {
    /// Whatever the home believed when it was read, by its lists.
    Home(Box<Anchors>),
    /// Whoever stands below the root of this fingerprint, which comes along: a home that is about to join has no lists.
    Root(Fingerprint),
}

/// Judges the certificates of the other side.
#[derive(Debug)]
struct Judge {
    believed: Believed,
    provider: Arc<CryptoProvider>,
}

/// The key of a node's certificate.
#[derive(Clone)]
struct NodeKey(Arc<Signer>);

/// Configures the side that answers. The root comes along for those who know its fingerprint only.
pub(super) fn server(home: &Path, unlock: &Unlock, signers: &Signers) -> Result<ServerConfig, Error> {
    let trust = TrustHome::open(home)?;
    let key = certified(signers.keep(trust.signer(NODE, unlock.clone())?), Some(&trust.root()?))?;
    let judge = Judge { believed: Believed::home(home)?, provider: provider() };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
    let mut config = builder.with_client_cert_verifier(Arc::new(judge)).with_cert_resolver(Arc::new(key));
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

/// Configures a member that asks.
pub(super) fn member(home: &Path, unlock: &Unlock) -> Result<ClientConfig, Error> {
    let signer = TrustHome::open(home)?.signer(NODE, unlock.clone())?;
    client(Believed::home(home)?, Some(certified(Arc::new(signer), None)?))
}

/// Configures a home that has no certificate yet.
pub(super) fn stranger(root: Fingerprint) -> Result<ClientConfig, Error> {
    client(Believed::Root(root), None)
}

/// Reads the certificate that the other side has shown and that was believed.
pub(super) fn leaf(certificates: Option<&[CertificateDer<'_>]>) -> Option<Certificate> {
    Certificate::parse(certificates?.first()?).ok()
}

fn client(believed: Believed, key: Option<SingleCertAndKey>) -> Result<ClientConfig, Error> {
    let judge = Arc::new(Judge { believed, provider: provider() });
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(judge);
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(key)),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![kx_group::X25519MLKEM768];
    Arc::new(provider)
}

fn certified(signer: Arc<Signer>, root: Option<&Certificate>) -> Result<SingleCertAndKey, Error> {
    signer.expect_valid(OffsetDateTime::now_utc())?;
    signer.open()?;
    let chain = signer.chain().iter().chain(root).map(|certificate| certificate.der().clone()).collect();
    Ok(CertifiedKey::new(chain, Arc::new(NodeKey(signer))).into())
}

impl Believed {
    fn home(home: &Path) -> Result<Self, Error> {
        Ok(Self::Home(Box::new(Anchors::read(home, OffsetDateTime::now_utc())?)))
    }
}

impl Judge {
    /// Judges a chain, leaf first.
    fn judge(&self, leaf: &[u8], intermediates: &[CertificateDer<'_>]) -> Result<Certificate, rustls::Error> {
        let bad = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(bad());
        }
        let leaf = Certificate::parse(leaf).map_err(|_| bad())?;
        let parse = |der: &CertificateDer<'_>| Certificate::parse(der).map_err(|_| bad());
        let given = intermediates.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let at = OffsetDateTime::now_utc();
        match &self.believed {
            Believed::Home(anchors) => {
                anchors.validate(&leaf, &given, Purpose::Node, at).map_err(refused)?;
            }
            Believed::Root(fingerprint) => {
                let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
                let root = given.iter().find(|one| one.fingerprint() == *fingerprint).ok_or_else(unknown)?;
                let roots = Roots::new(vec![root.clone()], Hybrid::Required).map_err(refused)?;
                let (purpose, revocation) = (Purpose::Node, Revocation::Unchecked);
                let request = Request { leaf: &leaf, intermediates: &given, purpose, at, revocation };
                roots.validate(&request).map_err(refused)?;
            }
        }
        Ok(leaf)
    }
}

/// What both traits ask for in the same words: signatures of TLS 1.3 with Ed25519, as the provider checks them.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("only TLS 1.3 is spoken here".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
    };
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let leaf = self.judge(end_entity, intermediates)?;
        // Every member is a node that is believed; only one of them is the authority.
        if leaf.speaks_for(AUTHORITY_NAME) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    signatures!();
}

impl ClientCertVerifier for Judge {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates).map(|_| ClientCertVerified::assertion())
    }

    signatures!();
}

impl SigningKey for NodeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn TlsSigner>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn TlsSigner>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl TlsSigner for NodeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signature = self.0.sign_classical(message);
        signature
            .map(|signature| signature.as_bytes().to_vec())
            .map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

#[cfg(test)]
pub(super) mod tests;
