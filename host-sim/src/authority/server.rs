//! The side that answers: bounded connections, one question each, everything by what the home says at that moment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hypermesh_abi::records::ErrorRecord;
use hypermesh_abi::{Code, Error, Fault};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use trustchain::certificate::{self, Certificate};
use trustchain::revocation::Reason;

use super::{ANSWER_BYTES_MAX, Answer, QUESTION_BYTES_MAX, Question, Standing, receive, send, tls};
use crate::trust::{KeyKind, Record, TrustHome, Unlock};

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

/// Answers until the future that is given ends; what is being answered then is ended, too.
///
/// # Errors
/// The home has no certificate of a node, or its keys do not open.
pub async fn serve(listener: TcpListener, options: ServeOptions, until: impl Future<Output = ()>) -> Result<(), Error> {
    let options = Arc::new(options);
    // Told at once, not to the first who connects.
    tls::server(&options.home, &options.unlock)?;
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    let mut until = std::pin::pin!(until);
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await;
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, address)) = accepted else { continue };
                let options = Arc::clone(&options);
                tasks.spawn(async move {
                    let _permit = permit;
                    let done = tokio::time::timeout(CONNECTION_TIMEOUT, connection(stream, &options)).await;
                    match done {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::info!("connection of {address}: {error}"),
                        Err(_) => tracing::info!("connection of {address}: it took longer than it may"),
                    }
                });
            }
            () = &mut until => return Ok(()),
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

async fn connection(stream: TcpStream, options: &Arc<ServeOptions>) -> Result<(), Error> {
    // The certificate of this node and the lists may be new since the last connection.
    let of_home = Arc::clone(options);
    let config = blocking(move || tls::server(&of_home.home, &of_home.unlock)).await?;
    let accepted = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
    let mut stream = accepted.map_err(|error| super::broken(&error))?;
    let leaf = tls::leaf(stream.get_ref().1.peer_certificates());
    let answer = match receive::<Question>(&mut stream, QUESTION_BYTES_MAX).await {
        Ok(question) => {
            let options = Arc::clone(options);
            blocking(move || answer(&options, leaf.as_ref(), question)).await
        }
        Err(error) => Err(error),
    };
    let answer = answer.unwrap_or_else(|error| Answer::Refused(Box::new(ErrorRecord::from(&error))));
    send(&mut stream, &answer, ANSWER_BYTES_MAX).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::wrap(Code::INTERNAL, &error))?
}

fn answer(options: &ServeOptions, leaf: Option<&Certificate>, question: Question) -> Result<Answer, Error> {
    let trust = TrustHome::open(&options.home)?;
    let question = match question {
        Question::Join { token, application } => {
            let name = trust.redeem(&token)?;
            let membership = trust.admit(&name, &application, options.keys, &options.unlock)?;
            tracing::info!("`{name}` has joined");
            return Ok(Answer::Membership(Box::new(membership)));
        }
        question => question,
    };
    let records = trust.records()?;
    let member = member_of(leaf, &records)?;
    let member = || member.ok_or_else(|| denied("only a member of this authority is answered that"));
    Ok(match question {
        Question::Join { .. } | Question::Membership => {
            Answer::Membership(Box::new(trust.membership(&member()?, &options.unlock)?))
        }
        Question::Chain { name } => Answer::Chain(certificate::to_pem(&trust.chain(&name)?)),
        Question::Status { serial } => Answer::Status(standing(&records, &serial)),
        Question::Lists => Answer::Lists(trust.signed_lists()?),
        Question::Revoke { target, reason } => revoke(options, &trust, &member()?, &target, reason)?,
    })
}

/// Gives the name that the certificate of who asks has in this home; none if another home has issued it.
fn member_of(leaf: Option<&Certificate>, records: &[Record]) -> Result<Option<String>, Error> {
    let leaf = leaf.ok_or_else(|| denied("this is answered to who has a certificate, and a token joins only"))?;
    let fingerprint = leaf.fingerprint().to_string();
    let own = records.iter().find(|record| record.fingerprint == fingerprint);
    Ok(own.map(|record| record.name.clone()))
}

fn standing(records: &[Record], serial: &str) -> Standing {
    match records.iter().find(|record| record.serial.eq_ignore_ascii_case(serial)) {
        None => Standing::Unknown,
        Some(record) => record.revoked.map_or(Standing::Good, Standing::Revoked),
    }
}

fn revoke(
    options: &ServeOptions,
    trust: &TrustHome,
    member: &str,
    target: &str,
    reason: Reason,
) -> Result<Answer, Error> {
    let records = trust.records()?;
    let owner = records.iter().find(|record| record.serial == target).map_or(target, |record| record.name.as_str());
    if !options.revokers.iter().any(|revoker| revoker == member) && !TrustHome::is_of_member(owner, member) {
        return Err(denied(&format!("`{member}` may revoke its own certificates, and not `{target}`")));
    }
    let record = trust.revoke(target, reason, None, &options.unlock)?;
    tracing::info!("`{member}` has revoked `{target}`");
    let revoked = record.revoked.ok_or_else(|| Error::new(Code::INTERNAL, "a revocation left no trace"))?;
    Ok(Answer::Revoked { serial: record.serial, revoked })
}

fn denied(message: &str) -> Error {
    Error::new(Code::POLICY_DENIED, message).fault(Fault::POLICY)
}
