//! Who is answered: whoever asks this node by its own name, from its own page, with its token.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::http::uri::Authority;
use hypermesh_abi::{Code, Error};

use crate::http::Names;

/// What must be shown, kept as a digest: nobody reads the token out of this process's memory by looking at this.
pub(super) struct Token(blake3::Hash);

/// What decides who is answered.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) token: Token,
    pub(super) names: Names,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is for a name that is not this node's.
    Misdirected,
    /// It comes from a page of another origin.
    CrossSite,
    /// It shows no token, or another one.
    Unauthorised,
    /// Its body is said to be something else than JSON.
    NoJson,
}

/// What a browser says of the page that a request comes from (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

impl Token {
    /// Draws one, and gives it as it must be shown.
    pub(super) fn random() -> Result<(Self, String), Error> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| Error::new(Code::IO, format!("no random bytes: {error}")))?;
        let secret = BASE64URL_NOPAD.encode(&bytes);
        Ok((Self(blake3::hash(secret.as_bytes())), secret))
    }

    /// Says whether a header shows it. Digests are compared, in constant time: how long it takes says nothing of the token.
    fn is_shown(&self, header: Option<&HeaderValue>) -> bool {
        let shown = header.map(HeaderValue::as_bytes).and_then(|header| header.strip_prefix(b"Bearer "));
        shown.is_some_and(|shown| blake3::hash(shown) == self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Access {
    /// Lets a request to the page itself pass, which holds nothing of the node.
    pub(super) fn to_page(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let asked = self.names.asked(headers).ok_or(Refusal::Misdirected)?;
        if is_cross_site(headers, &asked) { Err(Refusal::CrossSite) } else { Ok(()) }
    }

    /// Lets a request to the node pass.
    pub(super) fn to_node(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.to_page(headers)?;
        if !self.token.is_shown(headers.get(AUTHORIZATION)) {
            return Err(Refusal::Unauthorised);
        }
        // What a form of another page could send without asking first.
        let is_json = headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
        if is_json { Ok(()) } else { Err(Refusal::NoJson) }
    }
}

/// Says whether a browser says that another page asks. `none` is what a person typed.
fn is_cross_site(headers: &HeaderMap, asked: &Authority) -> bool {
    let elsewhere = |site: &HeaderValue| site != "same-origin" && site != "none";
    let foreign = |origin: &HeaderValue| {
        let authority =
            origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
        authority.is_none_or(|authority| !authority.eq_ignore_ascii_case(asked.as_str()))
    };
    headers.get_all(SEC_FETCH_SITE).iter().any(elsewhere) || headers.get_all(ORIGIN).iter().any(foreign)
}

#[cfg(test)]
mod tests {
    use hyper::header::HOST;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("is a header"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_the_whole_token_opens() {
        let (token, secret) = Token::random().expect("random bytes");
        let (other, _) = Token::random().expect("random bytes");
        let shown =
            |token: &Token, text: &str| token.is_shown(Some(&HeaderValue::from_str(text).expect("is a header")));
        assert_eq!(secret.len(), 43, "256 bits");
        assert!(shown(&token, &format!("Bearer {secret}")) && !shown(&other, &format!("Bearer {secret}")));
        let upper = secret.to_uppercase();
        for wrong in ["", "Bearer ", "Bearer", &secret, &secret[1..], &format!("Basic {secret}")] {
            assert!(!shown(&token, wrong), "{wrong}");
        }
        for wrong in [&secret[1..], &secret[..42], &format!("{secret} "), &format!("{secret}x"), &upper] {
            assert!(!shown(&token, &format!("Bearer {wrong}")), "{wrong}");
        }
        assert!(!token.is_shown(None));
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn pages_of_other_origins_are_not_answered() {
        let (token, secret) = Token::random().expect("random bytes");
        let access = Access { token, names: Names::default() };
        let bearer = format!("Bearer {secret}");
        let good = [("host", "127.0.0.1:8080"), ("authorization", &bearer), ("content-type", "application/json")];
        let asked = |more: &[(&'static str, &str)]| access.to_node(&headers(&[&good[..], more].concat()));
        assert_eq!(asked(&[]), Ok(()));
        assert_eq!(asked(&[("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:8080")]), Ok(()));
        assert_eq!(asked(&[("sec-fetch-site", "none")]), Ok(()));
        for foreign in ["cross-site", "same-site", "", "same-origin, cross-site"] {
            assert_eq!(asked(&[("sec-fetch-site", foreign)]), Err(Refusal::CrossSite), "{foreign}");
        }
        for foreign in ["http://127.0.0.1:8081", "http://localhost:8080", "https://evil.example", "null", ""] {
            assert_eq!(asked(&[("origin", foreign)]), Err(Refusal::CrossSite), "{foreign}");
        }
        let without = |name: &str| {
            let kept: Vec<_> = good.into_iter().filter(|(held, _)| *held != name).collect();
            access.to_node(&headers(&kept))
        };
        assert_eq!(without("authorization"), Err(Refusal::Unauthorised));
        assert_eq!(without("content-type"), Err(Refusal::NoJson), "a form of another page says something else");
        assert_eq!(without("host"), Err(Refusal::Misdirected));
        let rebound = headers(
            &[(HOST.as_str(), "evil.example"), ("authorization", &bearer)]
                .map(|(name, value)| (if name == "host" { "host" } else { "authorization" }, value)),
        );
        assert_eq!(access.to_node(&rebound), Err(Refusal::Misdirected));
    }
}
