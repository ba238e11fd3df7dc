//! What was seen of feeds and revocation lists, so that nobody can take this node back in time.
//!
//! Numbers only rise. The clock is never earlier than what a trusted signer said it was, and a head that was found to be
//! over stays over, whatever the system's clock says later. The file is written whole and made durable before what was seen
//! is acted on; who removes it starts anew.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use trustchain::digest::Sha256;
use trustchain::feed::{self, VerifiedHead};
use trustchain::revocation::{self, RevocationList};

/// What was seen, and the file that keeps it.
#[derive(Debug)]
pub struct Freshness {
    path: PathBuf,
    state: State,
    changed: bool,
}

/// Why what was seen is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FreshnessError {
    /// The file cannot be read or written.
    #[error("cannot use `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is damaged.
    #[error("`{}`, which holds what was seen of feeds and revocation lists, is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    /// The latest time that a trusted signer gave.
    #[serde(with = "time::serde::rfc3339::option")]
    clock: Option<OffsetDateTime>,
    feeds: BTreeMap<String, SeenFeed>,
    lists: BTreeMap<String, revocation::Seen>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenFeed {
    /// The newest head that counted.
    seen: Option<feed::Seen>,
    /// The latest end of a head that was found to have passed.
    #[serde(with = "time::serde::rfc3339::option")]
    passed: Option<OffsetDateTime>,
}

const VERSION: u32 = 1;
/// The largest file in bytes: some ten thousand publishers.
const FILE_BYTES_MAX: u64 = 4 << 20;

impl Freshness {
    /// Reads what was seen; nothing if there is no file.
    ///
    /// # Errors
    /// A file that is damaged, of another version or cannot be read.
    pub fn open(path: &Path) -> Result<Self, FreshnessError> {
        let damaged = |reason: String| FreshnessError::Damaged { path: path.into(), reason };
        let state = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => State { version: VERSION, ..State::default() },
            Err(source) => return Err(FreshnessError::File { path: path.into(), source }),
            Ok(data) if data.len() > FILE_BYTES_MAX => return Err(damaged("it is too large".into())),
            Ok(_) => {
                let bytes = std::fs::read(path).map_err(|source| FreshnessError::File { path: path.into(), source })?;
                serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?
            }
        };
        if state.version != VERSION {
            return Err(damaged(format!("it has version {}, expected {VERSION}", state.version)));
        }
        Ok(Self { path: path.into(), state, changed: false })
    }

    /// Gives the present: the system's, but never earlier than what a trusted signer said.
    pub fn now(&self, system: OffsetDateTime) -> OffsetDateTime {
        self.state.clock.map_or(system, |clock| clock.max(system))
    }

    /// Gives the newest head that was seen of a publisher.
    pub fn feed(&self, publisher: &str) -> Option<feed::Seen> {
        self.state.feeds.get(publisher).and_then(|feed| feed.seen)
    }

    /// Says whether a head that ends at this time was found to be over before.
    pub fn has_passed(&self, publisher: &str, expires: OffsetDateTime) -> bool {
        let passed = self.state.feeds.get(publisher).and_then(|feed| feed.passed);
        passed.is_some_and(|passed| expires <= passed)
    }

    /// Gives the newest list that was seen of an authority, by the fingerprint of its keys.
    pub fn list(&self, authority: &Sha256) -> Option<revocation::Seen> {
        self.state.lists.get(&authority.to_string()).copied()
    }

    /// Notes a head whose entries are those it vouches for.
    pub fn saw_feed(&mut self, head: &VerifiedHead) {
        let (publisher, seen) = (&head.head().publisher, Some(head.seen()));
        if self.feed(publisher) != seen {
            self.state.feeds.entry(publisher.clone()).or_default().seen = seen;
            self.changed = true;
        }
        self.advance(head.signed_at());
    }

    /// Notes that a head, which its publisher has signed, is over.
    pub fn saw_passed(&mut self, publisher: &str, expires: OffsetDateTime) {
        if !self.has_passed(publisher, expires) {
            self.state.feeds.entry(publisher.to_owned()).or_default().passed = Some(expires);
            self.changed = true;
        }
    }

    /// Notes a revocation list.
    pub fn saw_list(&mut self, authority: Sha256, list: &RevocationList) {
        if self.list(&authority) != Some(list.seen()) {
            self.state.lists.insert(authority.to_string(), list.seen());
            self.changed = true;
        }
        self.advance(list.issued());
    }

    /// Makes what was seen durable.
    ///
    /// # Errors
    /// The file system.
    pub fn save(&mut self) -> Result<(), FreshnessError> {
        if !self.changed {
            return Ok(());
        }
        let fault = |source| FreshnessError::File { path: self.path.clone(), source };
        let bytes = serde_json::to_vec_pretty(&self.state).map_err(|error| fault(error.into()))?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(directory)?;
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(&bytes)?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|error| error.error)?;
            std::fs::File::open(directory)?.sync_all()
        };
        write().map_err(fault)?;
        self.changed = false;
        Ok(())
    }

    fn advance(&mut self, said: OffsetDateTime) {
        if self.state.clock.is_none_or(|clock| clock < said) {
            self.state.clock = Some(said);
            self.changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn what_was_seen_survives_and_the_clock_never_goes_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("trust/seen.json");
        let mut freshness = Freshness::open(&path).expect("opens");
        let (early, late) = (datetime!(2030-01-01 0:00 UTC), datetime!(2030-01-08 0:00 UTC));
        freshness.advance(late);
        let seen = feed::Seen { number: 3, entry: Sha256::of(b"entry") };
        freshness.state.feeds.insert("acme".into(), SeenFeed { seen: Some(seen), passed: None });
        freshness.saw_passed("acme", early);
        freshness.saw_passed("other", early);
        freshness.save().expect("saves");
        let again = Freshness::open(&path).expect("opens");
        assert_eq!((again.now(early), again.feed("acme")), (late, Some(seen)));
        assert!(again.has_passed("acme", early) && !again.has_passed("acme", late));
        assert!(
            again.has_passed("other", early) && again.feed("other").is_none() && !again.has_passed("nobody", early)
        );
        std::fs::write(&path, "{}").expect("written");
        assert!(matches!(Freshness::open(&path), Err(FreshnessError::Damaged { .. })));
    }
}
