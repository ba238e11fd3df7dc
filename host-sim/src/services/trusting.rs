//! The services of TrustChain: what the node believes, who vouches for bytes, and a publisher's signatures.
//!
//! Keys stay with the host; an extension says what is to be signed and gets the envelope. Everything is read from the home
//! at each call, so that a revocation counts at once, and runs on a thread of its own, since opening keys may take 0.2 s.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hypermesh_abi::host::Answer;
use hypermesh_abi::records::{ReleaseSubject, SignRequest, Signed, TrustAnchors, TrustQuery, TrustVerdict};
use hypermesh_abi::{Code, Error};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use trustchain::certificate::{self, Certificate, Purpose};
use trustchain::digest::Artifact;
use trustchain::envelope::{ChainForm, ChainReference, Envelope, Release, VerifyOptions};
use trustchain::feed::publisher_of;
use trustchain::offer::Offer;
use trustchain::path::Revocation;
use trustchain::receipt::Receipt;

use crate::trust::{Anchors, DEFAULT_PUBLISHER, Signer, Signers, TrustHome, Unlock};

/// The most certificates of a chain in a request.
const CHAIN_MAX: usize = 1 + trustchain::path::INTERMEDIATES_MAX;

/// The trust of a node as its extensions use it. Keys that were opened stay open while their certificate is the same.
pub(crate) struct Trusting {
    pub(super) home: PathBuf,
    pub(super) signers: Signers,
    /// When the certificates and lists of the home were last looked at for what is due.
    pub(super) renewal_checked: Mutex<Option<Instant>>,
}

/// What was done, for the audit log.
pub(super) struct Done<T> {
    pub(super) answer: T,
    /// What it was about.
    pub(super) resource: String,
}

impl Trusting {
    pub(crate) fn new(home: &Path) -> Self {
        Self { home: home.to_owned(), signers: Signers::default(), renewal_checked: Mutex::default() }
    }

    /// Gives what the node believes, its consensus included.
    pub(super) fn anchors(&self, consensus: Option<TrustAnchors>) -> Result<Done<TrustAnchors>, Error> {
        let anchors = Anchors::read(&self.home, OffsetDateTime::now_utc())?;
        let pem = |certificates: &[Certificate]| certificates.iter().map(|one| certificate::to_pem([one])).collect();
        let cluster = TrustHome::open(&self.home).and_then(|home| home.cluster()).unwrap_or_default();
        let TrustAnchors { validators, genesis, .. } = consensus.unwrap_or_default();
        let answer = TrustAnchors {
            cluster,
            validators,
            genesis,
            roots: anchors.roots().texts(),
            authorities: pem(anchors.authorities()),
            revocations: anchors.documents(),
        };
        Ok(Done { answer, resource: "trust anchors".to_owned() })
    }

    /// Says who vouches for bytes.
    pub(super) fn verify(&self, bytes: &[u8], query: &TrustQuery) -> Result<Done<TrustVerdict>, Error> {
        let now = OffsetDateTime::now_utc();
        let at = query.at.as_deref().map_or(Ok(now), |text| OffsetDateTime::parse(text, &Rfc3339));
        let at = at.map_err(|error| {
            Error::wrap(Code::INVALID_ARGUMENT, &error).help("`at` is a time as in 2030-01-01T00:00:00Z")
        })?;
        let anchors = Anchors::read(&self.home, now)?;
        let refused = |error: &dyn std::error::Error| Error::wrap(Code::CERTIFICATE_VALIDATION_FAILED, error);
        let envelope = Envelope::parse(query.envelope.as_bytes()).map_err(|error| refused(&error))?;
        let given = read_chain(&query.chain)?;
        let chain = match envelope.chain() {
            ChainReference::Inline(chain) => chain,
            ChainReference::Digest(_) => &given,
        };
        let lists = anchors.lists(chain.get(1..).unwrap_or_default());
        let revocation = Revocation::Lists { lists: &lists, now };
        let options = VerifyOptions { roots: anchors.roots(), chain: Some(&given), at, revocation };
        let verified = envelope.verify(&options).map_err(|error| refused(&error))?;
        verified.expect_artifact(&Artifact::of(bytes)).map_err(|error| refused(&error))?;
        let (release, signer) = (verified.release(), verified.signer());
        let answer = TrustVerdict {
            package: release.package.clone(),
            version: release.version.to_string(),
            signer: signer.subject().to_owned(),
            certificate: signer.fingerprint().to_string(),
            path: verified.chain().certificates().iter().map(|one| one.subject().to_owned()).collect(),
            algorithms: verified.algorithms().iter().map(|&name| name.to_owned()).collect(),
            signed_at: release.signed_at.format(&Rfc3339).unwrap_or_default(),
        };
        let resource = format!("release {release} by {}", answer.certificate);
        Ok(Done { answer, resource })
    }

    /// Signs with a publisher's keys.
    pub(super) fn sign(&self, request: &SignRequest) -> Result<Done<Signed>, Error> {
        let signer = self.signer(&self.publisher(request.publisher.as_deref())?)?;
        let certificate = signer.certificate().fingerprint();
        let invalid = |error: &dyn std::error::Error| Error::wrap(Code::INVALID_ARGUMENT, error);
        let (envelope, what) = match (&request.release, &request.feed, &request.receipt, &request.offer) {
            (None, None, None, Some(offer)) => {
                let offer: Offer = serde_json::from_value(offer.clone()).map_err(|error| invalid(&error))?;
                offer.check().map_err(|error| invalid(&error))?;
                let envelope = signer.seal_offer(&offer, now())?;
                (envelope, format!("offer of {}@{}", offer.package, offer.version))
            }
            (None, None, Some(receipt), None) => {
                let receipt: Receipt = serde_json::from_value(receipt.clone()).map_err(|error| invalid(&error))?;
                receipt.check().map_err(|error| invalid(&error))?;
                let envelope = signer.seal_receipt(&receipt, now())?;
                (envelope, format!("receipt of execution {}", receipt.execution))
            }
            (Some(subject), None, None, None) => {
                let release = release(subject)?;
                (signer.seal_release(&release, ChainForm::Digest)?, format!("release {release}"))
            }
            (None, Some(head), None, None) => {
                let entry = head.entry.parse().map_err(|error| invalid(&error))?;
                (signer.seal_feed(head.number, entry, now())?, format!("entry {} of the feed", head.number))
            }
            _ => {
                return Err(Error::new(
                    Code::INVALID_ARGUMENT,
                    "exactly one of `release`, `feed`, `receipt` and `offer` is signed at a time",
                ));
            }
        };
        let envelope = String::from_utf8(envelope).map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
        let apart = request.receipt.is_none() && request.offer.is_none();
        let chain = signer.chain().iter().filter(|_| apart).map(|one| certificate::to_pem([one])).collect();
        Ok(Done { answer: Signed { envelope, chain }, resource: format!("{what} by {certificate}") })
    }

    /// Gives the name of a publisher's certificate, which may also be called by the domain that it speaks for.
    fn publisher(&self, asked: Option<&str>) -> Result<String, Error> {
        let asked = asked.unwrap_or(DEFAULT_PUBLISHER);
        if !asked.ends_with(certificate::PUBLISHER_DOMAIN) {
            return Ok(asked.to_owned());
        }
        let home = TrustHome::open(&self.home)?;
        let speaks = |name: &String| home.chain(name).is_ok_and(|chain| publisher_of(&chain[0]) == Some(asked));
        home.names()?.into_iter().find(speaks).ok_or_else(|| {
            Error::new(Code::NOT_FOUND, format!("no publisher of this node speaks for `{asked}`"))
                .help("`host-sim trust show` lists the certificates of this node")
        })
    }

    /// Gives the signer of a publisher; no other certificate signs for extensions.
    fn signer(&self, name: &str) -> Result<Arc<Signer>, Error> {
        let fresh = TrustHome::open(&self.home)?.signer(name, Unlock::from_environment(None)?)?;
        let certificate = fresh.certificate();
        let is_publisher = Purpose::Publisher
            .extended_usages()
            .iter()
            .all(|oid| certificate.usage().extended.iter().any(|usage| usage == oid));
        if !is_publisher || certificate.usage().certificates {
            let message = format!("`{name}` is not a publisher's certificate");
            return Err(Error::new(Code::POLICY_DENIED, message)
                .help("publishers are issued by `host-sim trust issue publisher`"));
        }
        Ok(self.signers.keep(fresh))
    }
}

/// Works on a thread of its own, whoever polls.
pub(super) fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Answer<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let started = std::thread::Builder::new().name("host-trust".to_owned()).spawn(move || drop(sender.send(work())));
    Box::pin(async move {
        started.map_err(|error| Error::wrap(Code::RESOURCE_UNAVAILABLE, &error))?;
        receiver.await.map_err(|_| Error::new(Code::INTERNAL, "the thread of a trust service panicked"))?
    })
}

fn release(subject: &ReleaseSubject) -> Result<Release, Error> {
    fn read<T: std::str::FromStr<Err: std::error::Error>>(text: &str, field: &str) -> Result<T, Error> {
        text.parse().map_err(|error| {
            let error = Error::wrap(Code::INVALID_ARGUMENT, &error);
            Error { message: format!("`{field}` of the release cannot be signed: {}", error.message), ..error }
        })
    }
    Ok(Release {
        package: subject.package.clone(),
        version: read(&subject.version, "version")?,
        artifact: Artifact {
            sha256: read(&subject.sha256, "sha256")?,
            blake3: read(&subject.blake3, "blake3")?,
            size_bytes: subject.size_bytes,
        },
        manifest: read(&subject.manifest, "manifest")?,
        lock: subject.lock.as_deref().map(|lock| read(lock, "lock")).transpose()?,
        signed_at: now(),
        tool: subject.tool.clone(),
    })
}

/// Gives the present in whole seconds, as documents have it.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now)
}

fn read_chain(texts: &[String]) -> Result<Vec<Certificate>, Error> {
    if texts.len() > CHAIN_MAX {
        return Err(Error::new(Code::INVALID_ARGUMENT, format!("`chain` has more than {CHAIN_MAX} certificates")));
    }
    let read = |text: &String| certificate::from_pem(text.as_bytes());
    let read: Result<Vec<_>, _> = texts.iter().map(read).collect();
    Ok(read.map_err(|error| Error::wrap(Code::CERTIFICATE_VALIDATION_FAILED, &error))?.concat())
}
