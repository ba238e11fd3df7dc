//! Gets files of a registry over HTTP or from a directory, within bounds, a few times if need be.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ureq::Agent;
use ureq::http::StatusCode;
use ureq::http::header::{ETAG, IF_NONE_MATCH, LOCATION};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::RemoteError;
use super::address::{Address, Place};

/// How often a request that may succeed yet is made again.
pub const RETRIES_MAX: u32 = 3;
/// How often one request is sent on to elsewhere.
pub const REDIRECTS_MAX: u32 = 3;
/// The longest tag that is remembered, in bytes; a registry with longer ones sends its documents again.
const TAG_BYTES_MAX: usize = 256;
/// The largest file of authorities, in bytes; all public ones together take a quarter of it.
const AUTHORITIES_BYTES_MAX: u64 = 1 << 20;
/// What is read at once, and after how much progress is told.
const CHUNK_BYTES: usize = 256 << 10;

/// How long a registry is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the first byte of an answer.
    pub answer: Duration,
    /// For the whole of an answer.
    pub body: Duration,
    /// Before the first repetition; doubled before each further one.
    pub backoff: Duration,
}

/// What was at a path.
pub(super) enum Answer {
    Absent,
    Unchanged,
    Found { bytes: Vec<u8>, tag: Option<String> },
}

/// A client over one scheme.
#[derive(Debug)]
pub(super) struct Transport {
    agent: Agent,
    backoff: Duration,
}

/// Who may vouch for an address.
#[derive(Debug)]
pub(super) enum Authorities {
    /// Those of the public web, as they were when this was built.
    Public,
    /// These and nobody else.
    Own(Vec<Certificate<'static>>),
}

/// Why one attempt gave nothing.
pub(super) enum Failure {
    /// Another attempt may succeed.
    Passing(Box<dyn Error + Send + Sync>),
    Final(RemoteError),
}

/// Configures TLS for addresses of the web. The cryptography is named here, since the process has no default that a library
/// could rely on or may set.
pub(crate) fn tls(roots: RootCerts) -> TlsConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build()
}

impl Default for Patience {
    /// 10 s for a connection, 30 s for an answer to begin, 300 s for all of it, 200 ms before the first repetition.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            body: Duration::from_secs(300),
            backoff: Duration::from_millis(200),
        }
    }
}

impl Authorities {
    /// Reads certificates in PEM; at least one.
    pub(super) fn read(path: &Path) -> Result<Self, RemoteError> {
        let fault = |reason: String| RemoteError::Authorities { path: path.to_owned(), reason };
        let mut pem = Vec::new();
        let read = File::open(path).and_then(|file| file.take(AUTHORITIES_BYTES_MAX + 1).read_to_end(&mut pem));
        match read {
            Ok(length) if length as u64 > AUTHORITIES_BYTES_MAX => {
                return Err(fault(format!("is larger than {AUTHORITIES_BYTES_MAX} bytes")));
            }
            Ok(_) => {}
            Err(error) => return Err(fault(error.to_string())),
        }
        let mut certificates = Vec::new();
        for item in parse_pem(&pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|error| fault(error.to_string()))? {
                certificates.push(certificate);
            }
        }
        if certificates.is_empty() { Err(fault("holds no certificate".into())) } else { Ok(Self::Own(certificates)) }
    }
}

impl Transport {
    pub(super) fn new(address: &Address, patience: Patience, authorities: Authorities) -> Self {
        Self { agent: agent(address.as_str(), patience, authorities), backoff: patience.backoff }
    }

    /// Gets a file of at most `limit` bytes, or hears that it is still the one with the tag.
    pub(super) fn get(
        &self,
        address: &Address,
        path: &str,
        tag: Option<&str>,
        limit: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Answer, RemoteError> {
        let url = address.url_of(path);
        repeated(self.backoff, &url, || match address.place() {
            // A bucket has a client of its own; whoever asks for one of its objects by this one is told that it is no web address.
            Place::Web | Place::Bucket { .. } => self.ask(address, &url, tag, limit, progress),
            Place::Directory(root) => read(root, path, &url, tag, limit, progress),
        })
    }

    fn ask(
        &self,
        address: &Address,
        url: &str,
        tag: Option<&str>,
        limit: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Answer, Failure> {
        let mut at = url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.agent.get(&at);
            if let Some(tag) = tag {
                request = request.header(IF_NONE_MATCH, tag);
            }
            let response = request.call().map_err(|error| Failure::Passing(error.into()))?;
            let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
            match response.status() {
                StatusCode::OK => {
                    let tag = header(ETAG).filter(|tag| tag.len() <= TAG_BYTES_MAX).map(str::to_owned);
                    let length = response.body().content_length();
                    if length.is_some_and(|length| length > limit) {
                        return Err(Failure::Final(RemoteError::TooLarge { url: url.to_owned(), limit }));
                    }
                    let body = response.into_body().into_reader();
                    let bytes = bounded(body, url, limit, progress)?;
                    return Ok(Answer::Found { bytes, tag });
                }
                StatusCode::NOT_MODIFIED if tag.is_some() => return Ok(Answer::Unchanged),
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Answer::Absent),
                status if status.is_redirection() => {
                    let to = header(LOCATION).unwrap_or_default().to_owned();
                    at = address
                        .redirected(&at, &to)
                        .map_err(|reason| Failure::Final(RemoteError::Redirect { url: url.to_owned(), to, reason }))?;
                }
                status => return Err(of_status(url, status)),
            }
        }
        let reason = "it was sent on three times already";
        Err(Failure::Final(RemoteError::Redirect { url: url.to_owned(), to: at, reason }))
    }
}

/// Makes a client for addresses that begin as this one does. It follows no redirection.
pub(super) fn agent(address: &str, patience: Patience, authorities: Authorities) -> Agent {
    let roots = match authorities {
        Authorities::Public => RootCerts::WebPki,
        Authorities::Own(certificates) => RootCerts::new_with_certs(&certificates),
    };
    Agent::config_builder()
        .tls_config(tls(roots))
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_send_request(Some(patience.answer))
        .timeout_send_body(Some(patience.body))
        .timeout_recv_response(Some(patience.answer))
        .timeout_recv_body(Some(patience.body))
        // Redirections are followed here, by the rules of the address.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .https_only(address.starts_with("https://"))
        // Nothing outside the configuration decides where requests go.
        .proxy(None)
        .user_agent(concat!("hypermesh-catalog/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Makes attempts until one succeeds, or cannot, or there were enough.
pub(super) fn repeated<T>(
    backoff: Duration,
    url: &str,
    attempt: impl Fn() -> Result<T, Failure>,
) -> Result<T, RemoteError> {
    let (mut wait, mut attempts) = (backoff, 1);
    loop {
        match attempt() {
            Ok(answer) => return Ok(answer),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing(source)) if attempts > RETRIES_MAX => {
                return Err(RemoteError::Unreachable { url: url.to_owned(), attempts, source });
            }
            Err(Failure::Passing(source)) => tracing::debug!(%url, attempts, "is asked again: {source}"),
        }
        std::thread::sleep(wait);
        wait *= 2;
        attempts += 1;
    }
}

/// Says whether a server that answers so may answer otherwise soon.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

fn of_status(url: &str, status: StatusCode) -> Failure {
    let error = RemoteError::Status { url: url.to_owned(), status: status.as_u16() };
    if is_passing(status) { Failure::Passing(error.into()) } else { Failure::Final(error) }
}

/// Reads a file of a directory. Its tag is made of size and time, as web servers make theirs.
fn read(
    root: &Path,
    path: &str,
    url: &str,
    tag: Option<&str>,
    limit: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Answer, Failure> {
    let path = root.join(path);
    let metadata = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return Ok(Answer::Absent),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return absent_below(root, error),
        Err(error) => return Err(Failure::Passing(error.into())),
    };
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let found = modified.map(|time| format!("{:x}-{:x}", metadata.len(), time.as_nanos()));
    if tag.is_some() && tag == found.as_deref() {
        return Ok(Answer::Unchanged);
    }
    let file = File::open(path).map_err(|error| Failure::Passing(error.into()))?;
    Ok(Answer::Found { bytes: bounded(file, url, limit, progress)?, tag: found })
}

/// A file that is not there is absent only if the registry is: a disk that is not mounted is a registry that is down.
fn absent_below(root: &Path, error: io::Error) -> Result<Answer, Failure> {
    let has_registry = root.join(super::layout::HEALTH_PATH).is_file();
    if has_registry { Ok(Answer::Absent) } else { Err(Failure::Passing(error.into())) }
}

pub(super) fn bounded(
    mut from: impl Read,
    url: &str,
    limit: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    loop {
        let read = from.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut bytes);
        let read = read.map_err(|error| Failure::Passing(error.into()))?;
        if bytes.len() as u64 > limit {
            return Err(Failure::Final(RemoteError::TooLarge { url: url.to_owned(), limit }));
        }
        if read == 0 {
            return Ok(bytes);
        }
        progress(read as u64);
    }
}
