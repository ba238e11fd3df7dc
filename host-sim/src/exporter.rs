//! Metrics and health of a node over HTTP, for those who watch it: `GET /metrics` and `GET /health`, and nothing else.
//!
//! It is off until somebody names an address. What it tells is read-only and names no secret, but says what runs here, so
//! the address should be one that only watchers reach. Connections, their time and what they may send are bounded; one
//! connection carries one answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hypermesh_abi::records::Health;
use hypermesh_abi::{Code, Error};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::host::{Grade, Host};

/// Connections at the same time; more wait.
pub const CONNECTIONS_MAX: usize = 16;
/// How long a connection may take from its first byte to its last.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest head of a request in bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// How long nobody is accepted after a connection could not be, as when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The type of the text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A port on which watchers are answered.
#[derive(Debug)]
pub struct Exporter {
    listener: TcpListener,
    address: SocketAddr,
}

impl Exporter {
    /// Binds an address; its port 0 takes a free one.
    ///
    /// # Errors
    /// `IO` if the address cannot be had.
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let fault = |error: &std::io::Error| {
            Error::new(Code::IO, format!("cannot listen at `{address}` for metrics: {error}"))
                .help("give another address with --metrics, such as 127.0.0.1:0 for a free port")
        };
        let listener = TcpListener::bind(address).await.map_err(|error| fault(&error))?;
        let address = listener.local_addr().map_err(|error| fault(&error))?;
        Ok(Self { listener, address })
    }

    /// Gives the address that it has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the future that is given ends; what is being answered then is ended, too.
    pub async fn serve(self, host: Host, until: impl Future<Output = ()>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut tasks = JoinSet::new();
        let mut until = std::pin::pin!(until);
        loop {
            tokio::select! {
                (permit, accepted) = self.next(&connections) => match accepted {
                    Ok(stream) => {
                        let host = host.clone();
                        tasks.spawn(async move {
                            let _permit = permit;
                            connection(stream, &host).await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!("cannot accept who asks for metrics: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = &mut until => return,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
    }

    /// Waits for room and then for whoever comes next.
    async fn next(&self, room: &Arc<Semaphore>) -> (Option<OwnedSemaphorePermit>, std::io::Result<TcpStream>) {
        // Nobody closes the semaphore, so there is a permit in the end.
        let permit = Arc::clone(room).acquire_owned().await.ok();
        (permit, self.listener.accept().await.map(|(stream, _)| stream))
    }
}

async fn connection(stream: TcpStream, host: &Host) {
    let service = service_fn(|request| answer(host, request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("who asked for metrics: {error}"),
        Err(_) => tracing::debug!("who asked for metrics took longer than it may"),
    }
}

async fn answer(host: &Host, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // The body, if there is one, is never read.
    let is_get = [Method::GET, Method::HEAD].contains(request.method());
    Ok(match request.uri().path() {
        "/metrics" | "/health" if !is_get => {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD are answered here\n");
            refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            refused
        }
        "/metrics" => with_type(StatusCode::OK, TEXT_FORMAT, host.observe().await.to_prometheus()),
        "/health" => health(host).await,
        _ => text(StatusCode::NOT_FOUND, "there are /metrics and /health\n"),
    })
}

/// Says how the node is: 200 while it works, 503 while it does not.
async fn health(host: &Host) -> Response<Full<Bytes>> {
    let reports = host.report().await;
    let grade = Grade::worst(&reports);
    let extensions: Vec<_> = reports
        .iter()
        .map(|report| {
            let reason = match &report.health {
                Some(Health::Degraded(reason) | Health::Unhealthy(reason)) => Some(reason),
                _ => None,
            };
            json!({"id": report.id, "health": Grade::of(report), "reason": reason})
        })
        .collect();
    let status = if grade == Grade::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    with_type(status, "application/json", format!("{}\n", json!({"health": grade, "extensions": extensions})))
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body.to_owned())
}

fn with_type(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
