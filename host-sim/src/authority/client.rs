//! The side that asks.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hypermesh_abi::{Code, Error, Fault};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{ANSWER_BYTES_MAX, AUTHORITY_NAME, Answer, QUESTION_BYTES_MAX, Question, blocking, receive, send, tls};
use crate::trust::{Membership, Token, TrustHome, Unlock};

/// How long a question may take from the first packet to the whole answer.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes a home a member of an authority, which it will ask at this address from then on.
///
/// # Errors
/// A home that has a root; an authority that is not the token's or does not know it; whatever the connection says.
pub async fn join(home: &Path, address: SocketAddr, token: &Token, unlock: &Unlock) -> Result<Membership, Error> {
    let (name, kept) = (token.name().to_owned(), unlock.clone());
    let application = at_home(home, move |home| Ok(TrustHome::apply(home, &name, &kept)?)).await?;
    let question = Question::Join { token: token.secret(), application };
    let membership = membership(exchange(address, tls::stranger(token.root())?, &question).await?)?;
    let (given, kept) = (membership.clone(), unlock.clone());
    at_home(home, move |home| Ok(TrustHome::take(home, &given, &kept)?.set_authority(address)?)).await?;
    Ok(membership)
}

/// Asks the authority of a member for what it has now, and takes it.
///
/// # Errors
/// The home has joined nobody; whatever the connection or the authority says.
pub async fn fetch(home: &Path, unlock: &Unlock) -> Result<TrustHome, Error> {
    let (membership, kept) = (membership(ask(home, &Question::Membership, unlock).await?)?, unlock.clone());
    at_home(home, move |home| Ok(TrustHome::take(home, &membership, &kept)?)).await
}

/// Asks the authority of a member.
///
/// # Errors
/// The home has joined nobody; whatever the connection or the authority says.
pub async fn ask(home: &Path, question: &Question, unlock: &Unlock) -> Result<Answer, Error> {
    let kept = unlock.clone();
    let read = move |home: &Path| {
        let address = TrustHome::open(home)?.authority()?.ok_or_else(|| {
            Error::new(Code::NOT_FOUND, format!("the home `{}` is a member of no authority", home.display()))
                .help("`host-sim trust join` makes it one; a home with a root of its own has nobody to ask")
        })?;
        Ok((address, tls::member(home, &kept)?))
    };
    let (address, config) = at_home(home, read).await?;
    exchange(address, config, question).await
}

/// Reads or changes a home where that may wait.
async fn at_home<T: Send + 'static>(
    home: &Path,
    work: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let home = home.to_owned();
    blocking(move || work(&home)).await
}

/// Says whether a home has joined an authority over a connection.
pub fn is_member(home: &Path) -> bool {
    TrustHome::open(home).and_then(|trust| trust.authority()).is_ok_and(|address| address.is_some())
}

async fn exchange(address: SocketAddr, config: ClientConfig, question: &Question) -> Result<Answer, Error> {
    let asked = tokio::time::timeout(QUESTION_TIMEOUT, converse(address, config, question)).await;
    let answer = asked.map_err(|_| unreachable(address, "it takes longer than it may"))??;
    match answer {
        Answer::Refused(record) => Err((*record).into()),
        answer => Ok(answer),
    }
}

async fn converse(address: SocketAddr, config: ClientConfig, question: &Question) -> Result<Answer, Error> {
    let fault = |error: &std::io::Error| unreachable(address, &error.to_string());
    let stream = TcpStream::connect(address).await.map_err(|error| fault(&error))?;
    let name = ServerName::try_from(AUTHORITY_NAME).expect("the constant is a name");
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| not_believed(address, &error))?;
    send(&mut stream, question, QUESTION_BYTES_MAX).await?;
    // In TLS 1.3 this side is done before the other one has judged its certificate, and learns that with the answer.
    receive(&mut stream, ANSWER_BYTES_MAX).await.map_err(|error| Error {
        message: format!("the authority at `{address}` does not answer: {}", error.message),
        ..error
    })
}

fn membership(answer: Answer) -> Result<Membership, Error> {
    match answer {
        Answer::Membership(membership) => Ok(*membership),
        _ => Err(Error::new(Code::INVALID_ARGUMENT, "the authority answers something else").fault(Fault::PEER)),
    }
}

fn unreachable(address: SocketAddr, reason: &str) -> Error {
    let mut error = Error::new(Code::IO, format!("the authority at `{address}` cannot be reached")).fault(Fault::PEER);
    error.chain.push(reason.to_owned());
    error
}

fn not_believed(address: SocketAddr, error: &std::io::Error) -> Error {
    let message = format!("no connection to the authority at `{address}`");
    let mut wrapped = Error::new(Code::CERTIFICATE_VALIDATION_FAILED, message).fault(Fault::PEER);
    wrapped.chain.push(error.to_string());
    wrapped
}
