//! Metrics and health of a node over HTTP, for those who watch it: `GET /metrics` and `GET /health`, and nothing else.
//!
//! It is off until somebody names an address. What it tells is read-only and names no secret, but says what runs here, so
//! the address should be one that only watchers reach. Connections, their time and what they may send are bounded; one
//! connection carries one answer.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::ALLOW;
use hyper::{Method, Request, Response, StatusCode};
use hypermesh_abi::{Code, Error};
use serde_json::json;
use tokio::net::TcpListener;

use crate::accept;
use crate::host::{Grade, Host};
use crate::http::{self, Names};

/// Connections at the same time; more wait.
pub const CONNECTIONS_MAX: usize = 16;
/// How long a connection may take from its first byte to its last.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// The type of the text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A port on which watchers are answered.
#[derive(Debug)]
pub struct Exporter {
    listener: TcpListener,
    address: SocketAddr,
    names: Names,
}

impl Exporter {
    /// Binds an address; its port 0 takes a free one.
    ///
    /// # Errors
    /// `IO` if the address cannot be had.
    pub async fn bind(address: SocketAddr, names: Names) -> Result<Self, Error> {
        let fault = |error: &std::io::Error| {
            Error::new(Code::IO, format!("cannot listen at `{address}` for metrics: {error}"))
                .help("give another address with --metrics, such as 127.0.0.1:0 for a free port")
        };
        let listener = TcpListener::bind(address).await.map_err(|error| fault(&error))?;
        let address = listener.local_addr().map_err(|error| fault(&error))?;
        Ok(Self { listener, address, names })
    }

    /// Gives the address that it has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the future that is given ends; what is being answered then is ended, too.
    pub async fn serve(self, host: Host, until: impl Future<Output = ()>) {
        let connection = |(stream, _)| {
            let (host, names) = (host.clone(), self.names.clone());
            let answer = move |request| answer(host.clone(), names.clone(), request);
            http::connection(stream, CONNECTION_TIMEOUT, answer)
        };
        drop(accept::serve(&self.listener, CONNECTIONS_MAX, until, connection).await);
    }
}

/// Answers by the head of a request alone; a body, if there is one, is never read.
async fn answer(host: Host, names: Names, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if names.asked(request.headers()).is_none() {
        return http::misdirected();
    }
    let is_get = [Method::GET, Method::HEAD].contains(request.method());
    match request.uri().path() {
        "/metrics" | "/health" if !is_get => {
            let mut refused = http::text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD are answered here\n");
            http::set(refused.headers_mut(), ALLOW, "GET, HEAD");
            refused
        }
        "/metrics" => http::answer(StatusCode::OK, TEXT_FORMAT, host.observe().await.to_prometheus()),
        "/health" => health(&host).await,
        _ => http::text(StatusCode::NOT_FOUND, "there are /metrics and /health\n"),
    }
}

/// Says how the node is: 200 while it works, 503 while it does not.
async fn health(host: &Host) -> Response<Full<Bytes>> {
    let condition = host.condition(&host.report().await);
    let status = if condition.health == Grade::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    http::answer(status, "application/json", format!("{}\n", json!(condition)))
}

#[cfg(test)]
mod tests;
