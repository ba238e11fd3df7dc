//! Objects of a bucket over HTTP, each request signed (SigV4) for a few minutes and one purpose.
//!
//! Nothing here depends on conditional writes, which some stores ignore without a word. Signed addresses reach no message: errors
//! and logs name bucket and key.

use std::time::Duration;

use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

use super::super::RemoteError;
use super::super::address::{Address, AddressError, Place};
use super::super::transport::{Authorities, Failure, Patience, agent, bounded, is_passing, repeated};
use super::BucketOptions;
use super::credentials::Source;
use super::fault::{BucketFault, Refused};

/// For how long a signed request counts: longer than any clock here may be ahead or behind, far shorter than a log is kept.
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// The largest list of at most a thousand keys, in bytes.
const LIST_BYTES_MAX: u64 = 4 << 20;
/// The most parts of one list: ten million keys.
const LISTS_MAX: usize = 10_000;
/// The largest answer that says what is wrong, in bytes.
const REFUSAL_BYTES_MAX: u64 = 16 << 10;

/// One object in a list; its path is without the prefix of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) size_bytes: u64,
    /// By the store's clock, as it writes it.
    pub(super) modified: String,
}

/// A client of one bucket.
#[derive(Debug)]
pub(super) struct Client {
    address: Address,
    endpoint: String,
    bucket: Bucket,
    /// With a slash at its end, unless it is empty.
    prefix: String,
    agent: Agent,
    backoff: Duration,
    credentials: Source,
}

impl Client {
    /// Makes one; nothing is asked yet.
    pub(super) fn new(address: Address, options: &BucketOptions, patience: Patience) -> Result<Self, RemoteError> {
        let endpoint = options.endpoint();
        let fault = |reason| RemoteError::Endpoint(AddressError::new(&endpoint, reason));
        let Place::Bucket { name, prefix } = address.place().clone() else {
            return Err(RemoteError::Endpoint(AddressError::new(address.as_str(), "it is no bucket")));
        };
        Address::expect_endpoint(&endpoint, options.insecure)?;
        let style = if options.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let url = endpoint.parse().map_err(|_| fault("it is no URL"))?;
        let bucket = Bucket::new(url, style, name, options.region.clone())
            .map_err(|_| fault("the bucket cannot stand before its host; use `path_style`"))?;
        let authorities = options.ca_file.as_deref().map_or(Ok(Authorities::Public), Authorities::read)?;
        let credentials = options.credentials.clone().map_or(Source::Environment, Source::File);
        let prefix = if prefix.is_empty() { prefix } else { format!("{prefix}/") };
        let agent = agent(&endpoint, patience, authorities);
        Ok(Self { address, endpoint, bucket, prefix, agent, backoff: patience.backoff, credentials })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Gets an object of at most `limit` bytes, if it is there.
    pub(super) fn get(
        &self,
        path: &str,
        limit: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<Vec<u8>>, RemoteError> {
        let key = self.key(path);
        self.repeated(path, |credentials| {
            let url = self.bucket.get_object(credentials, &key).sign(SIGNED_FOR);
            let answer = self.agent.get(url.as_str()).call();
            let Some(response) = self.answered(path, credentials, answer)? else { return Ok(None) };
            let url = self.address.url_of(path);
            if response.body().content_length().is_some_and(|length| length > limit) {
                return Err(Failure::Final(RemoteError::TooLarge { url, limit }));
            }
            bounded(response.into_body().into_reader(), &url, limit, progress).map(Some)
        })
    }

    /// Says how large an object is, if it is there.
    pub(super) fn size_bytes(&self, path: &str) -> Result<Option<u64>, RemoteError> {
        let key = self.key(path);
        self.repeated(path, |credentials| {
            let url = self.bucket.head_object(credentials, &key).sign(SIGNED_FOR);
            let answer = self.agent.head(url.as_str()).call();
            let response = self.answered(path, credentials, answer)?;
            let length = |response: Response<Body>| {
                let length = response.headers().get("content-length")?;
                length.to_str().ok()?.parse().ok()
            };
            Ok(response.and_then(length))
        })
    }

    /// Puts an object, whole or not at all.
    pub(super) fn put(&self, path: &str, bytes: &[u8]) -> Result<(), RemoteError> {
        let key = self.key(path);
        self.repeated(path, |credentials| {
            let url = self.bucket.put_object(credentials, &key).sign(SIGNED_FOR);
            let answer = self.agent.put(url.as_str()).send(bytes);
            match self.answered(path, credentials, answer)? {
                Some(_) => Ok(()),
                None => Err(self.refused(path, BucketFault::NoBucket)),
            }
        })
    }

    /// Removes an object; one that is not there is removed.
    pub(super) fn delete(&self, path: &str) -> Result<(), RemoteError> {
        let key = self.key(path);
        self.repeated(path, |credentials| {
            let url = self.bucket.delete_object(credentials, &key).sign(SIGNED_FOR);
            let answer = self.agent.delete(url.as_str()).call();
            self.answered(path, credentials, answer).map(drop)
        })
    }

    /// Gives every object below a path, which ends with a slash, in the order of their keys.
    pub(super) fn list(
        &self,
        path: &str,
        mut each: impl FnMut(Listed) -> Result<(), RemoteError>,
    ) -> Result<(), RemoteError> {
        let mut token: Option<String> = None;
        for _ in 0..LISTS_MAX {
            let page = self.page(path, token.as_deref())?;
            for object in page.contents {
                let Some(path) = object.key.strip_prefix(&self.prefix).filter(|it| it.starts_with(path)) else {
                    return Err(self.wrong(path, "the list names keys that were not asked for"));
                };
                let (size_bytes, modified) = (object.size.unwrap_or(0), object.last_modified.unwrap_or_default());
                each(Listed { path: path.to_owned(), size_bytes, modified })?;
            }
            match page.next_continuation_token {
                None => return Ok(()),
                Some(next) if token.as_ref() == Some(&next) => break,
                next => token = next,
            }
        }
        Err(self.wrong(path, "the list does not end"))
    }

    pub(super) fn wrong(&self, path: &str, reason: impl Into<String>) -> RemoteError {
        RemoteError::Document { url: self.address.url_of(path), reason: reason.into() }
    }

    pub(super) fn fault(&self, path: &str, fault: BucketFault) -> RemoteError {
        let (bucket, endpoint) = (self.bucket.name().to_owned(), self.endpoint.clone());
        RemoteError::Bucket { bucket, endpoint, key: self.key(path), fault }
    }

    fn page(&self, path: &str, token: Option<&str>) -> Result<rusty_s3::actions::ListObjectsV2Response, RemoteError> {
        let text = self.repeated(path, |credentials| {
            let mut list = self.bucket.list_objects_v2(credentials);
            list.with_prefix(self.key(path));
            if let Some(token) = token {
                list.with_continuation_token(token);
            }
            let answer = self.agent.get(list.sign(SIGNED_FOR).as_str()).call();
            let Some(response) = self.answered(path, credentials, answer)? else {
                return Err(self.refused(path, BucketFault::NoBucket));
            };
            let url = self.address.url_of(path);
            bounded(response.into_body().into_reader(), &url, LIST_BYTES_MAX, &|_| {})
        })?;
        let text = std::str::from_utf8(&text).map_err(|_| self.wrong(path, "the list is no text"))?;
        ListObjectsV2::parse_response(text)
            .map_err(|error| self.wrong(path, format!("the list does not read: {error}")))
    }

    fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    fn repeated<T>(
        &self,
        path: &str,
        attempt: impl Fn(Option<&Credentials>) -> Result<T, Failure>,
    ) -> Result<T, RemoteError> {
        repeated(self.backoff, &self.address.url_of(path), || {
            let credentials = self.credentials.now().map_err(Failure::Final)?;
            attempt(credentials.as_ref())
        })
    }

    /// Gives an answer that succeeded; none for an object that is not there.
    fn answered(
        &self,
        path: &str,
        credentials: Option<&Credentials>,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<Option<Response<Body>>, Failure> {
        let response = answer.map_err(|error| Failure::Passing(error.into()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(Some(response));
        }
        let region = text_of(response.headers(), "x-amz-bucket-region");
        // What is wrong is said in a body, but never to whoever asks for no body.
        let body = bounded(response.into_body().into_reader(), "", REFUSAL_BYTES_MAX, &|_| {}).unwrap_or_default();
        let refused = Refused::read(&String::from_utf8_lossy(&body), region);
        if status == StatusCode::NOT_FOUND && refused.is_of_object() {
            return Ok(None);
        }
        let fault = refused.fault(status, self.bucket.region(), credentials.is_some());
        if is_passing(status) || fault.is_passing() {
            return Err(Failure::Passing(self.fault(path, fault).into()));
        }
        Err(self.refused(path, fault))
    }

    fn refused(&self, path: &str, fault: BucketFault) -> Failure {
        Failure::Final(self.fault(path, fault))
    }
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
