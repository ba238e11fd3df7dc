//! The verifier of one handshake: it asks [`trustchain::path`] and keeps what it found.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::DigitallySignedStruct;
use rustls::DistinguishedName;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError as TlsCertificateError, PeerIncompatible, PeerMisbehaved, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;
use trustchain::certificate::{Certificate, Purpose, SubjectName};
use trustchain::ed25519::Signature;
use trustchain::path::{INTERMEDIATES_MAX, PathError, Request, Revocation};

use super::{Clock, Refusal, SERVER_NAME};
use crate::PeerId;
use crate::identity::{Credentials, Identity};

/// A peer whose certificate holds.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) name: String,
    /// What it sent, leaf first.
    pub(crate) certificates: Vec<Certificate>,
}

/// Verifies the peer of one handshake.
pub(crate) struct Verifier {
    identity: Arc<dyn Identity>,
    clock: Clock,
    expected: Option<PeerId>,
    verdict: Mutex<Option<Result<Peer, Refusal>>>,
}

impl Verifier {
    pub(crate) fn new(identity: &Arc<dyn Identity>, clock: &Clock, expected: Option<PeerId>) -> Arc<Self> {
        let (identity, clock) = (Arc::clone(identity), Arc::clone(clock));
        Arc::new(Self { identity, clock, expected, verdict: Mutex::new(None) })
    }

    pub(crate) fn identity(&self) -> &Arc<dyn Identity> {
        &self.identity
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Takes what was found; `None` before a certificate came.
    pub(crate) fn verdict(&self) -> Option<Result<Peer, Refusal>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let found = self.judge(leaf, intermediates, now);
        let answer = found.as_ref().map(|_| ()).map_err(Refusal::to_tls);
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        answer
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Peer, Refusal> {
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(Refusal::Count { actual: intermediates.len() + 1 });
        }
        let parse = |(position, der): (usize, &CertificateDer<'_>)| {
            Certificate::parse(der).map_err(|source| Refusal::Unreadable { position, source: Arc::new(source) })
        };
        let ders = std::iter::once(leaf).chain(intermediates).enumerate();
        let certificates = ders.map(parse).collect::<Result<Vec<_>, _>>()?;
        let credentials = self.identity.current();
        judge(&certificates, &credentials, moment(now))?;
        let id = peer_id(&certificates[0]);
        if let Some(expected) = self.expected
            && expected != id
        {
            return Err(Refusal::WrongPeer { expected: Box::new(expected), actual: Box::new(id) });
        }
        Ok(Peer { id, name: name(&certificates[0], id), certificates })
    }

    /// Checks that whoever sent the certificate has its key.
    fn verify_signature(
        &self,
        message: &[u8],
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Ok(peer)) = &*verdict else {
            return Err(TlsCertificateError::ApplicationVerificationFailure.into());
        };
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let signature = Signature::from_bytes(signed.signature());
        let valid = signature.and_then(|signature| peer.certificates[0].key().verify(message, &signature));
        valid.map(|()| HandshakeSignatureValid::assertion()).map_err(|_| TlsCertificateError::BadSignature.into())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        _certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        _certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

/// Judges the certificates of a peer, leaf first, by what is believed at a time.
pub(crate) fn judge(
    certificates: &[Certificate],
    credentials: &Credentials,
    at: OffsetDateTime,
) -> Result<(), Refusal> {
    let [leaf, intermediates @ ..] = certificates else { return Err(Refusal::Count { actual: 0 }) };
    let revocation = Revocation::Crls(&credentials.crls);
    let request = Request { leaf, intermediates, purpose: Purpose::Node, at, revocation };
    let refused = |source: PathError| Refusal::Path { source: Arc::new(source) };
    credentials.roots.validate(&request).map_err(refused)?;
    let classical = leaf.keys().is_none();
    if classical && credentials.hybrid_peers_only { Err(Refusal::Classical) } else { Ok(()) }
}

/// Gives the id of whoever has a certificate: that of its Ed25519 key.
pub(crate) fn peer_id(leaf: &Certificate) -> PeerId {
    let key = libp2p::identity::ed25519::PublicKey::try_from_bytes(leaf.key().as_bytes());
    let key = key.expect("the key of a certificate is a point in its canonical form");
    libp2p::identity::PublicKey::from(key).to_peer_id()
}

pub(crate) fn moment(time: UnixTime) -> OffsetDateTime {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::PrimitiveDateTime::MAX.assume_utc())
}

/// Gives the first domain that is not the one of all nodes; a peer without one is called by its id.
fn name(leaf: &Certificate, id: PeerId) -> String {
    let own = |name: &SubjectName| match name {
        SubjectName::Dns(domain) if domain != SERVER_NAME => Some(domain.clone()),
        _ => None,
    };
    leaf.names().iter().find_map(own).unwrap_or_else(|| id.to_string())
}
