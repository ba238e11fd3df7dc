//! What every port of this host that speaks HTTP has in common: bounded connections, who is answered at all, and answers.
//!
//! A browser lets any page ask any address, and a page whose name suddenly means 127.0.0.1 may read what comes back. So a request
//! is answered only if it names this node as nobody else can be named: by address, as `localhost`, or by a name that
//! whoever runs the node has given it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

/// How long the head of a request may take.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest head of a request in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 8 << 10;

/// The names under which a node may be asked, besides its addresses and `localhost`.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// Takes names without a port, as `node.example`.
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Gives the name that a request is for, with its port, if it is for this node.
    pub(crate) fn asked(&self, headers: &HeaderMap) -> Option<Authority> {
        let mut given = headers.get_all(HOST).iter();
        let (Some(host), None) = (given.next(), given.next()) else { return None };
        let authority: Authority = host.to_str().ok()?.parse().ok()?;
        let name = authority.host().to_ascii_lowercase();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        let is_ours = name == "localhost" || address.parse::<IpAddr>().is_ok() || self.0.contains(&name);
        (is_ours && !authority.as_str().contains('@')).then_some(authority)
    }
}

/// Serves the one request of a connection, no longer than `timeout` from its first byte to its last.
pub(crate) async fn connection<B, F>(stream: TcpStream, timeout: Duration, answer: impl Fn(Request<Incoming>) -> F)
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Future<Output = Response<B>>,
{
    let service = service_fn(|request| {
        let answered = answer(request);
        async { Ok::<_, Infallible>(answered.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(timeout, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("an HTTP connection: {error}"),
        Err(_) => tracing::debug!("an HTTP connection took longer than it may"),
    }
}

/// Makes an answer that nobody keeps.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    set(response.headers_mut(), CONTENT_TYPE, kind);
    set(response.headers_mut(), CACHE_CONTROL, "no-store");
    response
}

/// Makes an answer of plain text.
pub(crate) fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", body)
}

/// Makes the answer to a request that is not for this node.
pub(crate) fn misdirected() -> Response<Full<Bytes>> {
    text(
        StatusCode::MISDIRECTED_REQUEST,
        "this node is asked by its address, as localhost, or by a name given with --known-as\n",
    )
}

/// Sets a header.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_by_address_or_by_its_own_names() {
        let names = Names::new(&["Node.Example".into()]);
        let asked = |hosts: &[&str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, HeaderValue::from_str(host).expect("is a header"));
            }
            names.asked(&headers).is_some()
        };
        for ours in ["127.0.0.1:80", "127.0.0.1", "[::1]:8080", "[::1]", "localhost:1", "LOCALHOST", "10.0.0.7:9"] {
            assert!(asked(&[ours]), "{ours}");
        }
        assert!(asked(&["node.example:9090"]) && asked(&["NODE.example"]));
        for foreign in [
            "evil.example",
            "evil.example:80",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "user@127.0.0.1",
            "node.example.evil",
            "0x7f000001",
            "",
            "a b",
        ] {
            assert!(!asked(&[foreign]), "{foreign}");
        }
        assert!(!asked(&[]), "nobody is named");
        assert!(!asked(&["127.0.0.1", "evil.example"]), "two are named");
    }
}
