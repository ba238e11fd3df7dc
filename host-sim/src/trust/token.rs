//! Tokens: each lets one home join, once, under the name it was made for.
//!
//! A token holds the fingerprint of the root, so that whoever joins knows whom it talks to before it has any certificate, and
//! a secret of which the authority keeps the digest only. `tokens.json` is for the owner of the home.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use trustchain::certificate::Fingerprint;
use trustchain::digest::Sha256;
use zeroize::Zeroizing;

use super::files::{self, Lock};
use super::issue::expect_free;
use super::{TrustError, TrustHome, now};

/// The most tokens that wait for their use.
pub const TOKENS_MAX: usize = 256;
/// How long a token may wait at most.
const TOKEN_LIFETIME_MAX: Duration = Duration::days(7);
/// What every token begins with; its number changes with its form.
const PREFIX: &str = "hmjoin1";
/// The bytes of a secret.
const SECRET_BYTES: usize = 32;
/// The longest text that is read as a token.
const TOKEN_CHARS_MAX: usize = 256;

/// What lets a home join, once.
pub struct Token {
    name: String,
    root: Fingerprint,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

/// The tokens of a home that were not used yet.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    version: Version,
    tokens: Vec<Waiting>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Version {
    #[serde(rename = "hypermesh.tokens/1")]
    V1,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiting {
    name: String,
    /// Of the secret.
    digest: Sha256,
    #[serde(with = "time::serde::rfc3339")]
    expires: OffsetDateTime,
}

impl Token {
    /// Gives the name of the member.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the fingerprint of the authority's root.
    pub fn root(&self) -> Fingerprint {
        self.root
    }

    /// Gives the secret as it travels.
    pub fn secret(&self) -> String {
        BASE64URL_NOPAD.encode(self.secret.as_ref())
    }

    /// Gives the whole token as text.
    pub fn expose(&self) -> Zeroizing<String> {
        let root = BASE64URL_NOPAD.encode(self.root.as_bytes());
        Zeroizing::new(format!("{PREFIX}.{}.{root}.{}", self.name, self.secret()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, {})", self.name, self.root)
    }
}

impl FromStr for Token {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let read = || {
            let parts: Vec<&str> = Some(text.trim()).filter(|text| text.len() <= TOKEN_CHARS_MAX)?.split('.').collect();
            let [PREFIX, name, root, secret] = parts[..] else { return None };
            let bytes = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok();
            let (root, secret) = (Fingerprint::from_bytes(bytes(root)?), Zeroizing::new(bytes(secret)?));
            files::is_name(name).then(|| Self { name: name.to_owned(), root, secret })
        };
        read().ok_or(TrustError::Token { reason: "it has not the form of one" })
    }
}

impl TrustHome {
    /// Makes a token for a home that is to join under a name.
    ///
    /// # Errors
    /// A name that cannot be or is taken; a lifetime out of range; [`TOKENS_MAX`] tokens that wait already.
    pub fn token(&self, name: &str, lifetime: Duration) -> Result<Token, TrustError> {
        let _lock = Lock::take(&self.directory)?;
        expect_free(self, name)?;
        if !(Duration::MINUTE..=TOKEN_LIFETIME_MAX).contains(&lifetime) {
            return Err(TrustError::Token { reason: "it waits for a minute at least, and for 7 days at most" });
        }
        let mut book = self.waiting()?;
        if book.tokens.len() >= TOKENS_MAX {
            return Err(TrustError::TooMany { directory: self.tokens_file(), most: TOKENS_MAX });
        }
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(secret.as_mut())
            .map_err(|error| files::fault(&self.tokens_file(), std::io::Error::other(error)))?;
        let (name, digest) = (name.to_owned(), Sha256::of(secret.as_ref()));
        book.tokens.push(Waiting { name: name.clone(), digest, expires: now().saturating_add(lifetime) });
        self.write_waiting(&book)?;
        Ok(Token { name, root: self.root()?.fingerprint(), secret })
    }

    /// Takes a token back: it counts no more, whatever comes of it. Gives the name it was made for.
    ///
    /// # Errors
    /// [`TrustError::Token`], the same for one that was used, has ended or never was.
    pub(crate) fn redeem(&self, secret: &str) -> Result<String, TrustError> {
        let unknown = TrustError::Token { reason: "it is none of this authority, was used, or has ended" };
        let Ok(secret) = BASE64URL_NOPAD.decode(secret.as_bytes()) else { return Err(unknown) };
        let _lock = Lock::take(&self.directory)?;
        let mut book = self.waiting()?;
        let digest = Sha256::of(&secret);
        let Some(place) = book.tokens.iter().position(|waiting| waiting.digest == digest) else { return Err(unknown) };
        let token = book.tokens.swap_remove(place);
        self.write_waiting(&book)?;
        Ok(token.name)
    }

    /// Gives the address of the authority that a member asks; none if it has joined nobody.
    ///
    /// # Errors
    /// The file holds no address.
    pub fn authority(&self) -> Result<Option<SocketAddr>, TrustError> {
        let path = self.directory.join("authority");
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_text(&path)?;
        let address = text.trim().parse();
        address
            .map(Some)
            .map_err(|error| files::fault(&path, std::io::Error::new(std::io::ErrorKind::InvalidData, error)))
    }

    /// Notes the address of the authority that a member asks.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_authority(&self, address: SocketAddr) -> Result<(), TrustError> {
        files::write(&self.directory.join("authority"), format!("{address}\n").as_bytes())
    }

    /// Reads the tokens that still count.
    fn waiting(&self) -> Result<Book, TrustError> {
        let path = self.tokens_file();
        if !path.exists() {
            return Ok(Book { version: Version::V1, tokens: Vec::new() });
        }
        let mut book: Book = serde_json::from_slice(&files::read_secret(&path)?)
            .map_err(|source| TrustError::Records { path, source })?;
        book.tokens.retain(|waiting| waiting.expires > now());
        Ok(book)
    }

    fn write_waiting(&self, book: &Book) -> Result<(), TrustError> {
        let path = self.tokens_file();
        let text = serde_json::to_vec(book).map_err(|source| TrustError::Records { path: path.clone(), source })?;
        files::write_secret(&path, &text)
    }

    fn tokens_file(&self) -> PathBuf {
        self.directory.join("tokens.json")
    }
}
