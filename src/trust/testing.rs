//! A small TrustChain for tests of what a node believes: a root, an authority, publishers with releases and feeds.

use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use trustchain::certificate::{
    Authority, Certificate, IntermediateOptions, LeafKey, LeafOptions, Purpose, ROOT_LIFETIME, SubjectName, Validity,
    to_pem,
};
use trustchain::digest::{Blake3, Sha256};
use trustchain::envelope::{self, ChainForm, Release};
use trustchain::feed::{self, Action, Entry};
use trustchain::hybrid::SecretKey;
use trustchain::offer::{self, Offer};
use trustchain::revocation::{self, ListOptions};

use super::anchors::Anchors;
use super::freshness::Freshness;
use super::vouch::{FeedCopy, Statement, Subject};
use crate::archive::{self, Archive};
use crate::host::TrustAnchors;

/// The time of every test, unless it says another.
pub(crate) const NOW: OffsetDateTime = datetime!(2030-01-01 12:00 UTC);

/// A root and the authority that issues publishers' certificates.
pub(crate) struct Pki {
    root: Authority,
    authority: Authority,
}

/// Keys and their certificate with the authority's.
pub(crate) struct Publisher {
    keys: SecretKey,
    chain: Vec<Certificate>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let validity = Validity::starting(NOW - Duration::days(500), ROOT_LIFETIME);
        let (root, keys) = (Authority::root("Test root", keys(), validity).expect("issues"), keys());
        let options = IntermediateOptions {
            common_name: "Test publishers",
            keys: &keys.public(),
            purpose: Purpose::Publisher,
            path_length: 0,
            permitted: &["pub.trustchain".to_owned()],
            validity,
        };
        let authority = Authority::new(root.intermediate(&options).expect("issues"), keys).expect("fits");
        Self { root, authority }
    }

    /// Makes a publisher with new keys and a certificate of 90 days.
    pub(crate) fn publisher(&self, namespace: &str, from: OffsetDateTime) -> Publisher {
        self.publisher_of(&[namespace], from)
    }

    /// Makes a publisher that may also release what is in other namespaces; it is known by the first.
    pub(crate) fn publisher_of(&self, namespaces: &[&str], from: OffsetDateTime) -> Publisher {
        let keys = keys();
        let name = |namespace: &&str| SubjectName::namespace(namespace).expect("a namespace");
        let leaf = LeafOptions {
            common_name: namespaces[0],
            key: LeafKey::Hybrid(&keys.public()),
            purpose: Purpose::Publisher,
            names: &namespaces.iter().map(name).collect::<Vec<_>>(),
            validity: Validity::starting(from, Duration::days(90)),
        };
        let leaf = self.authority.leaf(&leaf).expect("issues");
        Publisher { keys, chain: vec![leaf, self.authority.certificate().clone()] }
    }

    /// Gives what a host believes that knows this root, with lists of a number made at a time.
    pub(crate) fn given(&self, number: u64, at: OffsetDateTime, revoked: &[revocation::Entry]) -> TrustAnchors {
        let list = |of: &Authority, entries| {
            let options = ListOptions { number, issued: at, expires: at + Duration::days(30), entries };
            String::from_utf8(of.revocation_list(&options).expect("signs")).expect("JSON")
        };
        TrustAnchors {
            roots: vec![to_pem([self.root.certificate()])],
            authorities: vec![to_pem([self.authority.certificate()])],
            revocations: vec![list(&self.root, &[]), list(&self.authority, revoked)],
            ..TrustAnchors::default()
        }
    }

    /// Gives anchors at a time, with fresh lists.
    pub(crate) fn anchors(
        &self,
        at: OffsetDateTime,
        revoked: &[revocation::Entry],
        freshness: &mut Freshness,
    ) -> Anchors {
        let number = u64::try_from(at.unix_timestamp()).expect("after 1970");
        Anchors::read(&self.given(number, at, revoked), at, freshness).expect("reads")
    }
}

impl Publisher {
    pub(crate) fn leaf(&self) -> &Certificate {
        &self.chain[0]
    }

    /// Signs what an archive is.
    pub(crate) fn release(&self, archive: &Archive, signed_at: OffsetDateTime) -> Statement {
        self.release_as(archive, signed_at, |_| ())
    }

    /// Signs what an archive is, with the chain in the envelope.
    pub(crate) fn release_inline(&self, archive: &Archive, signed_at: OffsetDateTime) -> Statement {
        self.seal(&release(archive, signed_at), ChainForm::Inline)
    }

    /// Signs something else about an archive.
    pub(crate) fn release_as(
        &self,
        archive: &Archive,
        signed_at: OffsetDateTime,
        change: impl FnOnce(&mut Release),
    ) -> Statement {
        let mut release = release(archive, signed_at);
        change(&mut release);
        self.seal(&release, ChainForm::Digest)
    }

    fn seal(&self, release: &Release, form: ChainForm) -> Statement {
        let envelope = envelope::seal(release, &self.chain, form, &self.keys).expect("signs");
        Statement { envelope, chain: to_pem(&self.chain) }
    }

    /// Signs in which form an archive travels.
    pub(crate) fn offer(&self, archive: &Archive, statement: &Statement, at: OffsetDateTime) -> Vec<u8> {
        let offer = Offer {
            blob: Blake3::from_bytes(*archive.blob().as_bytes()),
            blob_bytes: archive.compressed().len() as u64,
            package: archive.name().to_string(),
            release: Sha256::of(&statement.envelope),
            sha512: archive.digests().sha512,
            version: archive.version().clone(),
        };
        offer::seal(&offer, at, &self.chain, &self.keys).expect("signs")
    }

    /// Signs a feed of these releases.
    pub(crate) fn feed(&self, releases: &[&Statement], at: OffsetDateTime) -> FeedCopy {
        let publisher = feed::publisher_of(self.leaf()).expect("a domain");
        let mut entries: Vec<Entry> = Vec::new();
        for (index, release) in releases.iter().enumerate() {
            let version = semver::Version::new(1, 0, index as u64);
            let action = Action::Publish { release: Sha256::of(&release.envelope) };
            entries
                .push(Entry::after(entries.last(), publisher, ("acme/vec", &version), action, at).expect("an entry"));
        }
        let newest = entries.last().expect("an entry");
        let head = self.head(newest.number, newest.digest().expect("a digest"), at);
        FeedCopy { head, entries: entries.iter().map(|entry| entry.to_bytes().expect("writes")).collect() }
    }

    /// Signs a head, whether there is such an entry or not.
    pub(crate) fn head(&self, number: u64, entry: Sha256, at: OffsetDateTime) -> Vec<u8> {
        feed::seal(number, entry, at, &self.chain, &self.keys).expect("signs")
    }
}

/// Makes an archive of a package of that name and version.
pub(crate) fn archive(name: &str, version: &str) -> Archive {
    let manifest = format!(r#"{{"metadata":{{"name":"{name}","version":"{version}"}}}}"#);
    archive::pack(manifest.as_bytes(), &[]).expect("packs")
}

/// Begins to remember, in a directory of the test.
pub(crate) fn freshness(directory: &tempfile::TempDir) -> Freshness {
    Freshness::open(&directory.path().join("seen.json")).expect("opens")
}

fn release(archive: &Archive, signed_at: OffsetDateTime) -> Release {
    Release {
        package: archive.name().to_string(),
        version: archive.version().clone(),
        artifact: Subject::of(archive).artifact().expect("digests"),
        manifest: Blake3::of(archive.manifest()),
        lock: None,
        signed_at,
        tool: "tests 1.0.0".into(),
    }
}

fn keys() -> SecretKey {
    SecretKey::generate().expect("generates")
}
