//! Metrics and spans of a node sent to an OpenTelemetry collector, as OTLP over HTTP with protobuf.
//!
//! It is off until somebody names a collector. What is sent has no secrets ([`crate::redaction`]) and is bounded: spans wait in
//! a buffer of [`spans::SPANS_MAX`], those beyond are counted and dropped, and a collector that does not answer in time loses
//! a batch and never holds up the node.

mod message;
pub mod spans;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hypermesh_abi::records::NodeIdentity;
use hypermesh_abi::{Code, Error};
use prost::Message as _;
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};

use self::spans::Spans;
use crate::host::Host;

/// How long one message may take to be sent and answered.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How often messages are sent if nobody says otherwise.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// The shortest time between two messages.
pub const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The variables of the environment that are read, as the OpenTelemetry specification names them.
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const SERVICE: &str = "OTEL_SERVICE_NAME";
const EXPORT_INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";

/// Where metrics and spans go, and how often.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of the collector, below which are `v1/metrics` and `v1/traces`.
    endpoint: String,
    /// Sent with every message, such as an authorization.
    headers: Vec<(String, String)>,
    service: String,
    interval: Duration,
}

impl Settings {
    /// Reads them from the environment; `endpoint` goes before what stands there. Nothing if neither names a collector.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, if the collector's address is no `http` or `https` address, a header is no pair, or the interval is
    /// no number of milliseconds.
    pub fn read(endpoint: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let set = |name: &str| variable(name).filter(|text| !text.trim().is_empty());
        let Some(endpoint) = endpoint.map(str::to_owned).or_else(|| set(ENDPOINT)) else { return Ok(None) };
        let wrong = |message: String, help: &str| Error::new(Code::INVALID_ARGUMENT, message).help(help);
        let uri = endpoint.parse::<Uri>().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()) {
            let message = format!("`{}` is no address of a collector", crate::redaction::redact(&endpoint));
            return Err(wrong(message, "give it as http://127.0.0.1:4318"));
        }
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().to_owned())).filter(|(name, _)| !name.is_empty())
        };
        let headers = set(HEADERS).unwrap_or_default();
        let headers: Option<Vec<_>> = headers.split(',').filter(|text| !text.trim().is_empty()).map(pair).collect();
        let headers = headers.ok_or_else(|| wrong(format!("`{HEADERS}` is no list"), "write NAME=VALUE,NAME=VALUE"))?;
        let interval = match set(EXPORT_INTERVAL) {
            None => INTERVAL,
            Some(text) => match text.trim().parse() {
                Ok(milliseconds) => Duration::from_millis(milliseconds).max(INTERVAL_MIN),
                Err(_) => return Err(wrong(format!("`{EXPORT_INTERVAL}` is no number"), "give milliseconds")),
            },
        };
        let service = set(SERVICE).unwrap_or_else(|| "hypermesh-node".into());
        Ok(Some(Self { endpoint: endpoint.trim_end_matches('/').to_owned(), headers, service, interval }))
    }

    /// Gives the address of the collector, as it may be shown.
    pub fn shown(&self) -> String {
        crate::redaction::redact(&self.endpoint)
    }

    /// Sends what the node measures and what its spans were, until the future that is given ends, and once more then.
    pub async fn export(self, host: Host, spans: Arc<Spans>, until: impl Future<Output = ()>) {
        let sender = Sender::new(self.clone(), host.identity());
        let mut until = std::pin::pin!(until);
        let mut failing = false;
        loop {
            let over = tokio::select! {
                () = tokio::time::sleep(self.interval) => false,
                () = &mut until => true,
            };
            let metrics = sender.metrics(&host).await;
            let (ended, dropped) = spans.take();
            if dropped > 0 {
                tracing::warn!("{dropped} spans were not kept for the collector: it takes fewer than there are");
            }
            let sender = Arc::clone(&sender);
            let sent = tokio::task::spawn_blocking(move || {
                let spans = (!ended.is_empty()).then(|| message::spans(&sender.resource, &ended).encode_to_vec());
                let messages = [("v1/metrics", Some(metrics)), ("v1/traces", spans)];
                messages.into_iter().try_for_each(|(path, bytes)| sender.send(path, &bytes.unwrap_or_default()))
            });
            match sent.await {
                // Told when it begins and when it is over, and not every time.
                Ok(Err(reason)) if !failing => {
                    tracing::warn!("the collector at {} takes nothing: {reason}", self.shown());
                    failing = true;
                }
                Ok(Ok(())) if failing => {
                    tracing::warn!("the collector at {} takes messages again", self.shown());
                    failing = false;
                }
                _ => {}
            }
            if over {
                return;
            }
        }
    }
}

struct Sender {
    settings: Settings,
    agent: Agent,
    resource: message::Origin,
    started: SystemTime,
}

impl Sender {
    fn new(settings: Settings, node: &NodeIdentity) -> Arc<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls =
            TlsConfig::builder().root_certs(RootCerts::WebPki).unversioned_rustls_crypto_provider(provider).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(SEND_TIMEOUT))
            .max_redirects(0)
            .user_agent(&*node.host)
            .build()
            .into();
        let resource = message::Origin { service: settings.service.clone(), node: node.clone() };
        Arc::new(Self { settings, agent, resource, started: SystemTime::now() })
    }

    async fn metrics(&self, host: &Host) -> Vec<u8> {
        let snapshot = host.observe().await;
        message::metrics(&self.resource, &snapshot, self.started, SystemTime::now()).encode_to_vec()
    }

    /// Sends one message; an empty one is none.
    fn send(&self, path: &str, message: &[u8]) -> Result<(), String> {
        if message.is_empty() {
            return Ok(());
        }
        let mut request = self.agent.post(format!("{}/{path}", self.settings.endpoint));
        request = request.header("content-type", "application/x-protobuf");
        for (name, value) in &self.settings.headers {
            request = request.header(name, value);
        }
        // What a header holds is a secret, and an error may quote the address.
        let sent = request.send(message).map_err(|error| crate::redaction::redact(&error.to_string()))?;
        if sent.status().is_success() { Ok(()) } else { Err(format!("it answers {}", sent.status())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, Error> {
        Settings::read(None, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn settings_come_from_the_environment_and_are_off_without() {
        assert!(read(&[]).expect("reads").is_none() && read(&[(ENDPOINT, " ")]).expect("reads").is_none());
        let settings =
            read(&[(ENDPOINT, "http://c:4318/"), (HEADERS, "a=b, authorization=Bearer x=y"), (EXPORT_INTERVAL, "5")]);
        let settings = settings.expect("reads").expect("is on");
        assert_eq!((settings.endpoint.as_str(), settings.service.as_str()), ("http://c:4318", "hypermesh-node"));
        assert_eq!(settings.interval, INTERVAL_MIN);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(settings.headers, [pair("a", "b"), pair("authorization", "Bearer x=y")]);
        for wrong in [
            &[(ENDPOINT, "collector:4318")][..],
            &[(ENDPOINT, "ftp://c")],
            &[(ENDPOINT, "http://c"), (HEADERS, "a")],
            &[(ENDPOINT, "http://c"), (EXPORT_INTERVAL, "soon")],
        ] {
            assert_eq!(read(wrong).expect_err("is refused").code, Code::INVALID_ARGUMENT, "{wrong:?}");
        }
        let secret = read(&[(ENDPOINT, "ftp://me:s3cret@c")]).expect_err("is refused");
        assert!(!secret.to_string().contains("s3cret"), "{secret}");
    }
}
