//! Why a store of buckets gives no answer, read from its status and the few codes that all stores share.

use std::fmt;

use ureq::http::StatusCode;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BucketFault {
    /// There is no such bucket.
    NoBucket,
    /// The bucket is there, and no registry in it.
    NoRegistry,
    /// It wants credentials, and there are none.
    NoCredentials,
    /// It does not know the credentials, or they have ended.
    Credentials {
        /// What it calls that.
        code: String,
    },
    /// The credentials are good, and do not allow this.
    Denied {
        /// What it calls that.
        code: String,
    },
    /// The bucket is elsewhere.
    Region {
        /// Where it was asked for.
        asked: String,
        /// Where it is, if it says so.
        expected: Option<String>,
    },
    /// Its clock and this machine's differ by too much.
    Clock,
    /// Something else.
    Other {
        /// The HTTP status.
        status: u16,
        /// What it calls that, if it does.
        code: Option<String>,
    },
}

/// What a store says when it refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    code: Option<String>,
    region: Option<String>,
    is_out_of_time: bool,
}

/// The longest code or region that is repeated, in bytes.
const WORD_BYTES_MAX: usize = 64;

impl BucketFault {
    /// Says whether another attempt may succeed, whatever the status is.
    pub(super) fn is_passing(&self) -> bool {
        let Self::Other { code: Some(code), .. } = self else { return false };
        matches!(&**code, "RequestTimeout" | "SlowDown" | "OperationAborted" | "InternalError")
    }
}

impl fmt::Display for BucketFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBucket => f.write_str("there is no such bucket"),
            Self::NoRegistry => f.write_str("there is no registry in it"),
            Self::NoCredentials => f.write_str("it wants credentials, and none are given"),
            Self::Credentials { code } => write!(f, "the credentials are not accepted (`{code}`)"),
            Self::Denied { code } => write!(f, "the credentials do not allow it (`{code}`)"),
            Self::Region { asked, expected: Some(expected) } => {
                write!(f, "it is in the region `{expected}`, and was asked for in `{asked}`")
            }
            Self::Region { asked, expected: None } => write!(f, "it is not in the region `{asked}`"),
            Self::Clock => f.write_str("the clocks of the store and of this machine differ by too much"),
            Self::Other { status, code: Some(code) } => write!(f, "it answers status {status}, `{code}`"),
            Self::Other { status, code: None } => write!(f, "it answers status {status}"),
        }
    }
}

impl Refused {
    /// Reads what is said in a body, and the region that a header names.
    pub(super) fn read(body: &str, region: Option<String>) -> Self {
        let code = element(body, "Code").filter(|it| is_word(it)).map(str::to_owned);
        let region = region.or_else(|| element(body, "Region").map(str::to_owned)).filter(|it| is_word(it));
        let message = element(body, "Message").unwrap_or_default();
        let is_out_of_time = ["has expired", "not valid yet", "not yet valid"].iter().any(|it| message.contains(it));
        Self { code, region, is_out_of_time }
    }

    /// Whether it speaks of one object. A store that says nothing means what was asked for.
    pub(super) fn is_of_object(&self) -> bool {
        self.code.as_deref().is_none_or(|code| matches!(code, "NoSuchKey" | "NotFound"))
    }

    /// Says what that means for whoever asked.
    pub(super) fn fault(self, status: StatusCode, asked: &str, has_credentials: bool) -> BucketFault {
        let asked = asked.to_owned();
        let other = |code| BucketFault::Other { status: status.as_u16(), code };
        let elsewhere = |expected| BucketFault::Region { asked, expected };
        let Some(code) = self.code else {
            return match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !has_credentials => BucketFault::NoCredentials,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => BucketFault::Denied { code: status.to_string() },
                StatusCode::MOVED_PERMANENTLY | StatusCode::TEMPORARY_REDIRECT => elsewhere(self.region),
                _ => other(None),
            };
        };
        match &*code {
            "NoSuchBucket" => BucketFault::NoBucket,
            "RequestTimeTooSkewed" | "RequestExpired" => BucketFault::Clock,
            "AccessDenied" if self.is_out_of_time => BucketFault::Clock,
            "PermanentRedirect" | "TemporaryRedirect" | "IllegalLocationConstraintException" => elsewhere(self.region),
            "AuthorizationHeaderMalformed" | "AuthorizationQueryParametersError" if self.region.is_some() => {
                elsewhere(self.region)
            }
            "AccessDenied" | "AllAccessDisabled" | "UnauthorizedAccess" if has_credentials => {
                BucketFault::Denied { code }
            }
            "AccessDenied" | "UnauthorizedAccess" => BucketFault::NoCredentials,
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "NotSignedUp"
            | "AuthorizationHeaderMalformed"
            | "AuthorizationQueryParametersError"
            | "InvalidClientTokenId" => BucketFault::Credentials { code },
            _ => other(Some(code)),
        }
    }
}

/// Gives what stands in the first element of a name. The codes of stores need no more of XML than that.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= WORD_BYTES_MAX && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stores_say_has_one_meaning_each() {
        let elsewhere = |expected: Option<&str>| BucketFault::Region {
            asked: "here".into(),
            expected: expected.map(str::to_owned),
        };
        let code =
            |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>");
        let malformed = "<Error><Code>AuthorizationQueryParametersError</Code><Message>the region 'here' is wrong; expecting \
                         'eu-west-1'</Message><Region>eu-west-1</Region></Error>";
        let expired = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
        for (status, body, header, signed, expected) in [
            (404, code("NoSuchBucket"), None, true, BucketFault::NoBucket),
            (403, code("AccessDenied"), None, false, BucketFault::NoCredentials),
            (403, String::new(), None, false, BucketFault::NoCredentials),
            (403, code("AccessDenied"), None, true, BucketFault::Denied { code: "AccessDenied".into() }),
            (
                403,
                code("InvalidAccessKeyId"),
                None,
                true,
                BucketFault::Credentials { code: "InvalidAccessKeyId".into() },
            ),
            (403, code("RequestTimeTooSkewed"), None, true, BucketFault::Clock),
            (403, expired.into(), None, true, BucketFault::Clock),
            (301, code("PermanentRedirect"), Some("eu-west-1"), true, elsewhere(Some("eu-west-1"))),
            (301, String::new(), None, true, elsewhere(None)),
            (400, malformed.into(), None, true, elsewhere(Some("eu-west-1"))),
            (503, code("SlowDown"), None, true, BucketFault::Other { status: 503, code: Some("SlowDown".into()) }),
            (418, code("<b>"), None, true, BucketFault::Other { status: 418, code: None }),
            (418, code(&"a".repeat(65)), None, true, BucketFault::Other { status: 418, code: None }),
        ] {
            let refused = Refused::read(&body, header.map(str::to_owned));
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(refused.fault(status, "here", signed), expected, "{body}");
        }
        assert!(Refused::read(&code("NoSuchKey"), None).is_of_object() && Refused::read("", None).is_of_object());
        assert!(!Refused::read(&code("NoSuchBucket"), None).is_of_object());
    }
}
