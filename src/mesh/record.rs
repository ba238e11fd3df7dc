//! Records as bytes: JSON with a kind and a format. Reading one checks its form and that its parts belong together; whether
//! anybody stands for it is for `ledger` to find out.

use semver::Version;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use trustchain::certificate::to_pem;
use trustchain::digest::{Blake3, Sha256};
use trustchain::document::Document;
use trustchain::envelope::Envelope;
use trustchain::feed::{Entry, HEAD_KIND, HEAD_LIFETIME, Head};
use trustchain::offer::{self, Offer};

use crate::digest::Digest;
use crate::package::name::PackageName;

/// The version of the form.
const FORMAT_VERSION: u32 = 1;
/// The largest record in bytes: a manifest of 200 KiB with three envelopes.
pub const RECORD_BYTES_MAX: usize = 256 << 10;
/// The most entries of a feed in one record.
pub(crate) const ENTRIES_MAX: usize = 256;

/// What a record is known by: the BLAKE3 of its bytes.
pub type RecordId = [u8; 32];

/// A record whose form is right.
#[derive(Debug)]
pub enum Record {
    /// Steps of a publisher's feed.
    Feed(Box<FeedRecord>),
    /// A release.
    Release(Box<ReleaseRecord>),
}

/// Steps of a publisher's feed, one after the other; none if only the head is new.
#[derive(Debug)]
pub struct FeedRecord {
    pub(super) publisher: String,
    /// The signed head, and what it claims. If there are steps, it is of the last of them.
    pub(super) head: Option<(Vec<u8>, Head)>,
    pub(super) entries: Vec<Step>,
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) entry: Entry,
    pub(super) digest: Sha256,
    pub(super) bytes: Vec<u8>,
}

/// A release, and in which form it travels.
#[derive(Debug)]
pub struct ReleaseRecord {
    /// By the chain of the offer; nobody has checked it.
    pub(super) publisher: String,
    pub(super) package: PackageName,
    pub(super) version: Version,
    /// Of its type, for those who do not want all.
    pub(super) kind: String,
    pub(super) offer: Document<Offer>,
    pub(super) statement: Vec<u8>,
    pub(super) claimed: trustchain::envelope::Release,
    pub(super) chain: String,
    pub(super) manifest: String,
}

/// Bytes that are no record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Too many bytes.
    #[error("a record has at most {RECORD_BYTES_MAX} bytes, this one has {actual}")]
    TooLarge {
        /// How many there are.
        actual: usize,
    },
    /// Not the form, or parts that do not belong together.
    #[error("the record is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Form {
    Feed(FeedForm),
    Release(ReleaseForm),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FeedForm {
    format: u32,
    head: Option<String>,
    entries: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseForm {
    format: u32,
    /// The chain of the statement in PEM, if it is not the one of the offer.
    chain: Option<String>,
    manifest: String,
    offer: String,
    statement: String,
}

/// Makes a record of steps of a feed: `head` is of the last of them.
///
/// # Errors
/// What is not a feed, or does not fit into a record.
pub fn feed_record(head: Option<&[u8]>, entries: &[Vec<u8>]) -> Result<Vec<u8>, RecordError> {
    let head = head.map(|head| text(head, "head")).transpose()?;
    let entries = entries.iter().map(|entry| text(entry, "entry")).collect::<Result<_, _>>()?;
    write(&Form::Feed(FeedForm { format: FORMAT_VERSION, head, entries }))
}

/// Makes a record of a release. `chain` is the one of the statement, in PEM.
///
/// # Errors
/// What is not a release, or does not fit into a record.
pub fn release_record(offer: &[u8], statement: &[u8], chain: &str, manifest: &[u8]) -> Result<Vec<u8>, RecordError> {
    let of_offer = to_pem(parse_offer(offer)?.chain());
    write(&Form::Release(ReleaseForm {
        format: FORMAT_VERSION,
        chain: (chain != of_offer).then(|| chain.to_owned()),
        manifest: text(manifest, "manifest")?,
        offer: text(offer, "offer")?,
        statement: text(statement, "statement")?,
    }))
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        expect_size(bytes)?;
        match serde_json::from_slice(bytes).map_err(|error| malformed(&error))? {
            Form::Feed(form) => Ok(Self::Feed(Box::new(FeedRecord::new(form)?))),
            Form::Release(form) => Ok(Self::Release(Box::new(ReleaseRecord::new(form)?))),
        }
    }

    /// Gives when it was made as it claims, in seconds since 1970: a hint that only orders.
    pub fn time(&self) -> u64 {
        let at = match self {
            Self::Feed(feed) => match (feed.entries.last(), &feed.head) {
                (Some(step), _) => step.entry.at,
                (None, Some((_, head))) => head.expires - HEAD_LIFETIME,
                (None, None) => OffsetDateTime::UNIX_EPOCH,
            },
            Self::Release(release) => release.claimed.signed_at,
        };
        u64::try_from(at.unix_timestamp()).unwrap_or_default()
    }
}

impl FeedRecord {
    fn new(form: FeedForm) -> Result<Self, RecordError> {
        expect_format(form.format)?;
        if form.entries.len() > ENTRIES_MAX {
            return Err(malformed(&format!("it has more than {ENTRIES_MAX} entries")));
        }
        let entries = form.entries.into_iter().map(Step::read).collect::<Result<Vec<_>, _>>()?;
        let head = form.head.map(String::into_bytes).map(|head| {
            let claimed = Document::<Head>::parse(&head, HEAD_KIND).map_err(|error| malformed(&error))?;
            let claimed = claimed.claimed().clone();
            Ok::<_, RecordError>((head, claimed))
        });
        let head = head.transpose()?;
        let first = entries.first().map(|step| step.entry.publisher.clone());
        let publisher = first.or_else(|| head.as_ref().map(|(_, head)| head.publisher.clone()));
        let publisher = publisher.ok_or_else(|| malformed(&"it has neither head nor entries"))?;
        let record = Self { publisher, head, entries };
        record.expect_whole().map(|()| record)
    }

    /// Checks that the steps follow each other and that the head is of the last of them.
    fn expect_whole(&self) -> Result<(), RecordError> {
        let is_own = |publisher: &str| publisher == self.publisher;
        if !self.entries.iter().all(|step| is_own(&step.entry.publisher)) {
            return Err(malformed(&"its entries are of several publishers"));
        }
        let is_next = |pair: &[Step]| {
            pair[1].entry.number == pair[0].entry.number.saturating_add(1)
                && pair[1].entry.previous == Some(pair[0].digest)
        };
        if !self.entries.windows(2).all(is_next) {
            return Err(malformed(&"its entries do not follow each other"));
        }
        let Some((_, head)) = &self.head else { return Ok(()) };
        let is_of_last = |step: &Step| head.number == step.entry.number && head.entry == step.digest;
        if !is_own(&head.publisher) || !self.entries.last().is_none_or(is_of_last) {
            return Err(malformed(&"its head is not of its last entry"));
        }
        Ok(())
    }
}

impl Step {
    fn read(text: String) -> Result<Self, RecordError> {
        let bytes = text.into_bytes();
        let entry = Entry::parse(&bytes).map_err(|error| malformed(&error))?;
        Ok(Self { entry, digest: Sha256::of(&bytes), bytes })
    }
}

impl ReleaseRecord {
    fn new(form: ReleaseForm) -> Result<Self, RecordError> {
        expect_format(form.format)?;
        let offer = parse_offer(form.offer.as_bytes())?;
        let publisher = offer::claimed_publisher(&offer).map(str::to_owned);
        let publisher = publisher.ok_or_else(|| malformed(&"its offer is of no publisher"))?;
        let chain = form.chain.unwrap_or_else(|| to_pem(offer.chain()));
        let statement = form.statement.into_bytes();
        let claimed = Envelope::parse(&statement).map_err(|error| malformed(&error))?.claimed().clone();
        let Offer { package, version, release, .. } = offer.claimed();
        let (package, version) = (package.parse().map_err(|error| malformed(&error))?, version.clone());
        if *release != Sha256::of(&statement) {
            return Err(malformed(&"its offer is of another statement"));
        }
        if claimed.package != offer.claimed().package || claimed.version != version {
            return Err(malformed(&"its statement is of another package"));
        }
        if claimed.manifest != Blake3::of(form.manifest.as_bytes()) {
            return Err(malformed(&"its statement is of another manifest"));
        }
        let kind = kind_of(&form.manifest)?;
        Ok(Self { publisher, package, version, kind, offer, statement, claimed, chain, manifest: form.manifest })
    }

    /// Gives the digest by which its chain is found.
    pub(super) fn chain_digest(&self) -> Digest {
        Digest::of(self.chain.as_bytes())
    }
}

/// Reads the type of a package out of its manifest, which is JSON in canonical form.
fn kind_of(manifest: &str) -> Result<String, RecordError> {
    #[derive(Deserialize)]
    struct Manifest {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        r#type: String,
    }
    let manifest: Manifest = serde_json::from_str(manifest).map_err(|error| malformed(&error))?;
    Ok(manifest.spec.r#type)
}

fn parse_offer(bytes: &[u8]) -> Result<Document<Offer>, RecordError> {
    let offer = offer::parse(bytes).map_err(|error| malformed(&error))?;
    offer.claimed().check().map_err(|error| malformed(&error)).map(|()| offer)
}

fn write(form: &Form) -> Result<Vec<u8>, RecordError> {
    let bytes = serde_json::to_vec(form).map_err(|error| malformed(&error))?;
    expect_size(&bytes).map(|()| bytes)
}

fn expect_size(bytes: &[u8]) -> Result<(), RecordError> {
    let actual = bytes.len();
    if actual > RECORD_BYTES_MAX { Err(RecordError::TooLarge { actual }) } else { Ok(()) }
}

fn expect_format(found: u32) -> Result<(), RecordError> {
    if found == FORMAT_VERSION {
        return Ok(());
    }
    Err(malformed(&format!("it has format {found}, and this program knows format {FORMAT_VERSION}")))
}

fn text(bytes: &[u8], what: &str) -> Result<String, RecordError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| malformed(&format!("its {what} is no text")))
}

fn malformed(reason: &dyn std::fmt::Display) -> RecordError {
    RecordError::Malformed { reason: reason.to_string() }
}
