//! Where a remote registry is: `https://`, `http://` on this machine or where that is allowed, or a directory as `file://`.

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
}

/// A text that is no address of a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address of a registry: {reason}")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl Address {
    /// Reads an address; `insecure` allows `http://` to other machines.
    ///
    /// # Errors
    /// Another scheme, a host without a name, credentials, a query, or a directory that is not absolute.
    pub fn parse(text: &str, insecure: bool) -> Result<Self, AddressError> {
        let fault = |reason| AddressError { text: text.to_owned(), reason };
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(fault("it is longer than 2048 bytes"));
        }
        let trimmed = text.trim_end_matches('/');
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

    /// Gives the address as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Says whether other processes are asked, and not only files read.
    pub fn is_network(&self) -> bool {
        self.place == Place::Web
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

/// The longest address in bytes.
const ADDRESS_BYTES_MAX: usize = 2048;

fn allowed(text: &str, insecure: bool) -> Result<(), &'static str> {
    if text.contains(['?', '#']) {
        return Err("it has a query or a fragment");
    }
    allowed_anywhere(text, insecure)
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
        _ => Err("a registry is at `https://`, at `http://` on this machine, or in a directory as `file:///`"),
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
