//! Where a remote registry is: `https://`, `http://` on this machine or where that is allowed, a directory as `file://`, or a
//! bucket as `s3://`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ureq::http::Uri;

/// The address of a registry, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    place: Place,
    insecure: bool,
}

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On a web server.
    Web,
    /// Below a directory of this machine.
    Directory(PathBuf),
    /// In a bucket, below a prefix without slashes at its ends, which may be empty.
    Bucket {
        /// The bucket.
        name: String,
        /// The prefix of all keys.
        prefix: String,
    },
}

/// A text that is no address of a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address of a registry: {reason}")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl AddressError {
    pub(super) fn new(text: &str, reason: &'static str) -> Self {
        // What stands before an `@` or behind a `?` may be a secret.
        let text = text.split_once('?').map_or(text, |(before, _)| before);
        let text = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("…@{rest}"));
        Self { text, reason }
    }
}

impl Address {
    /// Reads an address; `insecure` allows `http://` to other machines.
    ///
    /// # Errors
    /// Another scheme, a host without a name, credentials, a query, or a directory that is not absolute.
    pub fn parse(text: &str, insecure: bool) -> Result<Self, AddressError> {
        let fault = |reason| AddressError::new(text, reason);
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(fault("it is longer than 2048 bytes"));
        }
        let trimmed = text.trim_end_matches('/');
        if let Some(rest) = trimmed.strip_prefix(BUCKET_SCHEME) {
            let place = bucket(rest).map_err(fault)?;
            return Ok(Self { text: trimmed.to_owned(), place, insecure });
        }
        if let Some(path) = text.strip_prefix("file://") {
            let path = PathBuf::from(path);
            if !path.is_absolute() {
                return Err(fault("a directory is named by its whole path, as in `file:///srv/registry`"));
            }
            return Ok(Self { text: trimmed.to_owned(), place: Place::Directory(path), insecure });
        }
        allowed(text, insecure).map_err(fault)?;
        Ok(Self { text: trimmed.to_owned(), place: Place::Web, insecure })
    }

    /// Checks that a store of buckets may be asked at an address; `insecure` allows `http://` to other machines.
    ///
    /// # Errors
    /// As [`Self::parse`] has them for the web.
    pub fn expect_endpoint(text: &str, insecure: bool) -> Result<(), AddressError> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(AddressError::new(text, "it is longer than 2048 bytes"));
        }
        allowed(text, insecure).map_err(|reason| AddressError::new(text, reason))
    }

    /// Gives the address as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Says whether other processes are asked, and not only files read.
    pub fn is_network(&self) -> bool {
        !matches!(self.place, Place::Directory(_))
    }

    /// Says whether it is a bucket, which has a client of its own.
    pub fn is_bucket(&self) -> bool {
        matches!(self.place, Place::Bucket { .. })
    }

    /// Gives the whole address of a file of the registry.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}/{path}", self.text)
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Gives where an answer of `from` may send on to: another path, or another host by the rules of the address; never from
    /// `https` to `http`.
    pub(super) fn redirected(&self, from: &str, to: &str) -> Result<String, &'static str> {
        let whole = if to.starts_with('/') && !to.starts_with("//") {
            let scheme_end = from.find("://").map_or(0, |at| at + 3);
            let host_end = from[scheme_end..].find('/').map_or(from.len(), |at| scheme_end + at);
            format!("{}{to}", &from[..host_end])
        } else {
            to.to_owned()
        };
        if from.starts_with("https://") && !whole.starts_with("https://") {
            return Err("it would leave `https`");
        }
        allowed_anywhere(&whole, self.insecure)?;
        Ok(whole)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What addresses of buckets begin with.
pub const BUCKET_SCHEME: &str = "s3://";
/// The longest address in bytes.
const ADDRESS_BYTES_MAX: usize = 2048;
/// The shortest and longest names of buckets, as S3 has them, in bytes.
const BUCKET_BYTES_MIN: usize = 3;
const BUCKET_BYTES_MAX: usize = 63;
/// The longest prefix in bytes: a key may have 1024, and names of packages follow.
const PREFIX_BYTES_MAX: usize = 512;

fn allowed(text: &str, insecure: bool) -> Result<(), &'static str> {
    if text.contains(['?', '#']) {
        return Err("it has a query or a fragment");
    }
    allowed_anywhere(text, insecure)
}

/// Reads what stands behind the scheme of a bucket. Keys are made of what every server and every signature writes alike.
fn bucket(text: &str) -> Result<Place, &'static str> {
    let (name, prefix) = text.split_once('/').unwrap_or((text, ""));
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if !(BUCKET_BYTES_MIN..=BUCKET_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_plain) {
        return Err("a bucket has 3 to 63 small letters, digits, `-` and `.`, as in `s3://packages/registry`");
    }
    let is_segment = |segment: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain)
    };
    let is_prefix = prefix.is_empty() || prefix.split('/').all(is_segment);
    if !is_prefix || prefix.len() > PREFIX_BYTES_MAX {
        return Err("a prefix has letters, digits, `-`, `.`, `_` and single slashes, and at most 512 bytes");
    }
    Ok(Place::Bucket { name: name.to_owned(), prefix: prefix.to_owned() })
}

fn allowed_anywhere(text: &str, insecure: bool) -> Result<(), &'static str> {
    let uri: Uri = text.parse().map_err(|_| "it is no URL")?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or("it names no host")?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("it has credentials");
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if insecure || is_loopback(host) => Ok(()),
        Some("http") => Err("`http` to another machine can be changed on its way"),
        _ => Err(
            "a registry is at `https://`, at `http://` on this machine, in a directory as `file:///` or in a bucket as `s3://`",
        ),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_secure_or_of_this_machine() {
        for (text, insecure) in [
            ("https://registry.example.org", false),
            ("https://registry.example.org:8443/base/", false),
            ("http://127.0.0.1:8080", false),
            ("http://[::1]:8080", false),
            ("http://localhost/registry", false),
            ("http://registry.example.org", true),
            ("file:///srv/registry", false),
        ] {
            let address = Address::parse(text, insecure).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(address.as_str(), text.trim_end_matches('/'));
        }
        for (text, reason) in [
            ("http://registry.example.org", "on its way"),
            ("http://127.0.0.1.example.org", "on its way"),
            ("ftp://registry.example.org", "https://"),
            ("registry.example.org", "https://"),
            ("file://srv/registry", "whole path"),
            ("https://", "no URL"),
            ("https://me:secret@example.org", "credentials"),
            ("https://example.org/?a=b", "query"),
            ("https://example.org/#a", "fragment"),
            ("", "no URL"),
        ] {
            let error = Address::parse(text, false).expect_err(text).to_string();
            assert!(error.contains(reason), "{error}");
        }
        let long = format!("https://example.org/{}", "a".repeat(ADDRESS_BYTES_MAX));
        assert!(Address::parse(&long, false).is_err());
        assert!(Address::parse(&long[..ADDRESS_BYTES_MAX], false).is_ok());
    }

    #[test]
    fn a_bucket_has_a_name_and_a_prefix_that_every_server_writes_alike() {
        let longest = format!("s3://packages/{}", "a".repeat(PREFIX_BYTES_MAX));
        for (text, bucket, in_it) in [
            ("s3://packages", "packages", ""),
            ("s3://packages/", "packages", ""),
            ("s3://my.packages-2/registry/A_1.x/", "my.packages-2", "registry/A_1.x"),
            (&longest, "packages", &longest["s3://packages/".len()..]),
        ] {
            let address = Address::parse(text, false).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(*address.place(), Place::Bucket { name: bucket.into(), prefix: in_it.into() });
            assert!(address.is_network());
        }
        for text in [
            "s3://",
            "s3://ab",
            "s3://Packages",
            "s3://key:secret@packages",
            "s3://packages//x",
            "s3://packages/../x",
            "s3://packages/a b",
            "s3://packages/ä",
            "s3://packages/x?y",
            "s3://packages/%2e%2e",
            &format!("{longest}a"),
        ] {
            Address::parse(text, true).expect_err(text);
        }
    }

    #[test]
    fn a_redirection_keeps_the_rules_of_the_address() {
        let address = Address::parse("https://a.example/base", false).expect("valid");
        let from = "https://a.example/base/x";
        assert_eq!(address.redirected(from, "/y").as_deref(), Ok("https://a.example/y"));
        assert_eq!(address.redirected(from, "https://b.example/y").as_deref(), Ok("https://b.example/y"));
        for to in ["http://a.example/y", "file:///etc/passwd", "//b.example/y", "y", "", "https://u:p@b.example/"] {
            assert!(address.redirected(from, to).is_err(), "{to}");
        }
        let local = Address::parse("http://127.0.0.1:1", false).expect("valid");
        assert!(local.redirected("http://127.0.0.1:1/x", "http://10.0.0.1/").is_err());
        assert!(local.redirected("http://127.0.0.1:1/x", "http://127.0.0.1:2/").is_ok());
    }
}
