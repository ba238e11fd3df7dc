//! The side that answers: bounded connections, one question each, everything by what the home says at that moment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hypermesh_abi::records::ErrorRecord;
use hypermesh_abi::{Code, Error, Fault};
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;
use trustchain::certificate::{self, Certificate};
use trustchain::revocation::Reason;

use super::{ANSWER_BYTES_MAX, Answer, QUESTION_BYTES_MAX, Question, Standing, blocking, receive, send, tls};
use crate::accept;
use crate::trust::{KeyKind, Record, Signers, TrustHome, Unlock};

/// Connections at the same time; more wait.
pub const CONNECTIONS_MAX: usize = 64;
/// How long one connection may take from its first byte to its last.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);

/// How an authority answers.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The home whose authorities issue.
    pub home: PathBuf,
    /// What opens its keys.
    pub unlock: Unlock,
    /// The members that may revoke every certificate; all may revoke their own.
    pub revokers: Vec<String>,
    /// Which keys the certificates of nodes name.
    pub keys: KeyKind,
}

/// What all connections share.
struct Shared {
    options: ServeOptions,
    /// The keys of the node, opened once for each certificate.
    signers: Signers,
}

/// Who asks, behind a certificate that was believed.
struct Asker {
    /// The name that the certificate has in this home; none if another home has issued it.
    member: Option<String>,
    records: Vec<Record>,
}

/// Answers until the future that is given ends; what is being answered then is ended, too.
///
/// # Errors
/// The home has no certificate of a node, or its keys do not open.
pub async fn serve(listener: TcpListener, options: ServeOptions, until: impl Future<Output = ()>) -> Result<(), Error> {
    let shared = Arc::new(Shared { options, signers: Signers::default() });
    let at_once = Arc::clone(&shared);
    // Told at once, not to the first who connects.
    blocking(move || at_once.config()).await?;
    let answered = |(stream, address)| {
        let shared = Arc::clone(&shared);
        async move {
            match tokio::time::timeout(CONNECTION_TIMEOUT, connection(stream, &shared)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!("connection of {address}: {error}"),
                Err(_) => tracing::info!("connection of {address}: it took longer than it may"),
            }
        }
    };
    drop(accept::serve(&listener, CONNECTIONS_MAX, until, answered).await);
    Ok(())
}

async fn connection(stream: TcpStream, shared: &Arc<Shared>) -> Result<(), Error> {
    let broken = |error| super::broken(&error);
    // Who says nothing costs nothing: the home is read when a handshake begins.
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(broken)?;
    // The certificate of this node and the lists may be new since the last connection.
    let of_home = Arc::clone(shared);
    let config = blocking(move || of_home.config()).await?;
    let mut stream = hello.into_stream(Arc::new(config)).await.map_err(broken)?;
    let leaf = tls::leaf(stream.get_ref().1.peer_certificates());
    let answer = match receive::<Question>(&mut stream, QUESTION_BYTES_MAX).await {
        Ok(question) => {
            let shared = Arc::clone(shared);
            blocking(move || answer(&shared.options, leaf.as_ref(), question)).await
        }
        Err(error) => Err(error),
    };
    let answer = answer.unwrap_or_else(|error| Answer::Refused(Box::new(ErrorRecord::from(&error))));
    send(&mut stream, &answer, ANSWER_BYTES_MAX).await
}

fn answer(options: &ServeOptions, leaf: Option<&Certificate>, question: Question) -> Result<Answer, Error> {
    let trust = TrustHome::open(&options.home)?;
    let asker = || Asker::of(leaf, &trust);
    Ok(match question {
        Question::Join { token, application } => {
            let name = trust.redeem(&token)?;
            let membership = trust.admit(&name, &application, options.keys, &options.unlock)?;
            tracing::info!("`{name}` has joined");
            Answer::Membership(Box::new(membership))
        }
        Question::Membership => Answer::Membership(Box::new(trust.membership(asker()?.member()?, &options.unlock)?)),
        Question::Chain { name } => {
            asker()?;
            Answer::Chain(certificate::to_pem(&trust.chain(&name)?))
        }
        Question::Status { serial } => Answer::Status(standing(&asker()?.records, &serial)),
        Question::Lists => {
            asker()?;
            Answer::Lists(trust.signed_lists()?)
        }
        Question::Revoke { target, reason } => asker()?.revoke(options, &trust, &target, reason)?,
    })
}

impl Shared {
    /// Reads what this side shows to the next connection, and whom it believes.
    fn config(&self) -> Result<ServerConfig, Error> {
        tls::server(&self.options.home, &self.options.unlock, &self.signers)
    }
}

impl Asker {
    /// Finds out who asks. The certificate was believed when the connection began, and may be revoked since.
    fn of(leaf: Option<&Certificate>, trust: &TrustHome) -> Result<Self, Error> {
        let leaf = leaf.ok_or_else(|| denied("this is answered to who has a certificate, and a token joins only"))?;
        let (records, fingerprint) = (trust.records()?, leaf.fingerprint().to_string());
        let own = records.iter().find(|record| record.fingerprint == fingerprint);
        if own.is_some_and(|record| record.revoked.is_some()) {
            return Err(denied("the certificate of who asks is revoked"));
        }
        Ok(Self { member: own.map(|record| record.name.clone()), records })
    }

    fn member(&self) -> Result<&str, Error> {
        self.member.as_deref().ok_or_else(|| denied("only a member of this authority is answered that"))
    }

    fn revoke(&self, options: &ServeOptions, trust: &TrustHome, target: &str, reason: Reason) -> Result<Answer, Error> {
        let member = self.member()?;
        let named = self.records.iter().find(|record| record.serial == target);
        let owner = named.map_or(target, |record| record.name.as_str());
        if !options.revokers.iter().any(|revoker| revoker == member) && !TrustHome::is_of_member(owner, member) {
            return Err(denied(&format!("`{member}` may revoke its own certificates, and not `{target}`")));
        }
        let record = trust.revoke(target, reason, None, &options.unlock)?;
        tracing::info!("`{member}` has revoked `{target}`");
        let revoked = record.revoked.ok_or_else(|| Error::new(Code::INTERNAL, "a revocation left no trace"))?;
        Ok(Answer::Revoked { serial: record.serial, revoked })
    }
}

fn standing(records: &[Record], serial: &str) -> Standing {
    match records.iter().find(|record| record.serial.eq_ignore_ascii_case(serial)) {
        None => Standing::Unknown,
        Some(record) => record.revoked.map_or(Standing::Good, Standing::Revoked),
    }
}

fn denied(message: &str) -> Error {
    Error::new(Code::POLICY_DENIED, message).fault(Fault::POLICY)
}
