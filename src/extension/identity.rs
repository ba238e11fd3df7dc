//! Who this node is to other nodes: its certificate comes from the host, and its keys stay there.

use std::sync::{Arc, PoisonError, RwLock};

use data_encoding::BASE64;
use hypermesh_abi::records::{TransportIdentity, TransportSignRequest, TransportSignature, TrustAnchors};
use hypermesh_abi::sdk::{self, Call, CallCtx};
use hypermesh_abi::{Code, Error, service};
use serde_json::json;
use stoq::identity::{Credentials, Identity, Pending, SignError};
use tokio::runtime::Handle;
use trustchain::certificate::{Certificate, crls_from_pem, from_pem};
use trustchain::path::{Crls, Hybrid, Roots};

/// The node's identity, as the host has it.
pub(super) struct HostIdentity {
    host: sdk::Host,
    /// Where the host's answers are waited for.
    runtime: Handle,
    hybrid_peers_only: bool,
    current: RwLock<Arc<Credentials>>,
}

impl HostIdentity {
    /// Asks the host who this node is.
    ///
    /// # Errors
    /// The host does not say, or what it says cannot be used.
    pub(super) async fn ask(host: &sdk::Host, hybrid_peers_only: bool) -> Result<Arc<Self>, Error> {
        let current = RwLock::new(Arc::new(credentials(host, hybrid_peers_only).await?));
        Ok(Arc::new(Self { host: host.clone(), runtime: Handle::current(), hybrid_peers_only, current }))
    }

    /// Asks the host again: certificates are renewed, and others revoked.
    ///
    /// # Errors
    /// As [`Self::ask`]; what was known still counts then, until it ends.
    pub(super) async fn renew(&self) -> Result<(), Error> {
        let renewed = Arc::new(credentials(&self.host, self.hybrid_peers_only).await?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }
}

impl Identity for HostIdentity {
    fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn sign_handshake(&self, content: &[u8]) -> Result<[u8; 64], SignError> {
        let signed = std::thread::scope(|scope| {
            // A handshake runs on a thread that drives a runtime, which must not wait inside it.
            let waiting = scope.spawn(|| self.runtime.block_on(sign(&self.host, "handshake", content)));
            waiting.join().unwrap_or_else(|_| Err(refused(&"the host's answer was not waited for")))
        })?;
        signed.try_into().map_err(|_| refused(&"the host's signature has not 64 bytes"))
    }

    fn sign_binding<'a>(&'a self, binding: &'a [u8]) -> Pending<'a, Result<Vec<u8>, SignError>> {
        Box::pin(sign(&self.host, "binding", binding))
    }
}

async fn sign(host: &sdk::Host, kind: &str, message: &[u8]) -> Result<Vec<u8>, SignError> {
    let request = TransportSignRequest { kind: kind.to_owned(), message: BASE64.encode(message) };
    let asked = call(host).invoke(service::TRANSPORT_SIGN, &request).await;
    let TransportSignature { signature } = asked.map_err(|error| refused(&error))?;
    BASE64.decode(signature.as_bytes()).map_err(|error| refused(&error))
}

async fn credentials(host: &sdk::Host, hybrid_peers_only: bool) -> Result<Credentials, Error> {
    let call = call(host);
    let identity: TransportIdentity = call.invoke(service::TRANSPORT_IDENTITY, &json!({})).await?;
    let anchors: TrustAnchors = call.invoke(service::TRUST_ANCHORS, &json!({})).await?;
    let roots = Roots::read(&anchors.roots, Hybrid::Required).map_err(|error| unusable(&error))?;
    let mut lists = Vec::new();
    for text in &identity.crls {
        lists.extend(crls_from_pem(text.as_bytes()).map_err(|error| unusable(&error))?);
    }
    let crls = Crls::parse(lists.iter().map(Vec::as_slice)).map_err(|error| unusable(&error))?;
    Ok(Credentials { chain: certificates(&identity.chain)?, roots, crls, hybrid_peers_only })
}

fn certificates(texts: &[String]) -> Result<Vec<Certificate>, Error> {
    let read: Result<Vec<_>, _> = texts.iter().map(|text| from_pem(text.as_bytes())).collect();
    Ok(read.map_err(|error| unusable(&error))?.concat())
}

/// What is asked outside of every request.
fn call(host: &sdk::Host) -> Call {
    Call { ctx: CallCtx::default(), host: host.clone() }
}

fn refused(reason: &dyn std::fmt::Display) -> SignError {
    SignError { reason: reason.to_string() }
}

fn unusable(error: &dyn std::error::Error) -> Error {
    let error = Error::new(Code::CERTIFICATE_VALIDATION_FAILED, format!("the node's identity cannot be used: {error}"));
    error.help("`host-sim trust show` lists the certificates of this node")
}
