//! Issuing, renewing and revoking: what changes a home after it was made. Each holds the lock from first to last.

use std::net::IpAddr;

use time::{Duration, OffsetDateTime};
use trustchain::certificate::{
    Authority, Certificate, LeafKey, LeafOptions, NODE_LIFETIME, PUBLISHER_LIFETIME, Purpose, Role, SubjectName,
    Validity,
};
use trustchain::ed25519;
use trustchain::falcon::FalconError;
use trustchain::hybrid::{HybridError, SecretKey};
use trustchain::request::CertificateRequest;
use trustchain::revocation::Reason;
use trustchain::signer::{PublicKeys, SecretKeys, SignerKeys};

use super::change::{self, Change};
use super::files::{self, Lock};
use super::record::{Book, Record, Revoked};
use super::{ROOT, TrustError, TrustHome, Unlock, authority_of, domain_below, domain_of, init, lists, now};

/// What a leaf is to be.
#[derive(Clone, Debug)]
pub struct IssueOptions {
    /// What it is for.
    pub purpose: Purpose,
    /// Its name in this home, and its common name if no request has another.
    pub name: String,
    /// The namespaces of a publisher, or the names of a node or validator; its own name if empty.
    pub namespaces: Vec<String>,
    /// The addresses of a node.
    pub addresses: Vec<IpAddr>,
    /// How long it is valid; as long as its kind usually is, and no longer than its authority, if not given.
    pub lifetime: Option<Duration>,
    /// A certificate request of whoever holds the keys; they are made here if there is none.
    pub request: Option<Vec<u8>>,
    /// Which keys are made here.
    pub keys: KeyKind,
}

/// Which keys a certificate is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// Those that everyone of its purpose has.
    #[default]
    Usual,
    /// Ed25519 alone: a publisher whom only nodes of the trust level `basic` believe.
    Classical,
    /// Both, also for a node, which then proves both to its peers.
    Hybrid,
}

/// A certificate that was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Its name in this home.
    pub name: String,
    /// The certificate and the authorities above it but the root.
    pub chain: Vec<Certificate>,
}

/// The lifetimes that can be asked for, in hours.
const LIFETIME_HOURS: std::ops::RangeInclusive<i64> = 1..=10 * 365 * 24;

impl IssueOptions {
    /// Asks for what is usual.
    pub fn new(purpose: Purpose, name: &str) -> Self {
        let name = name.to_owned();
        Self {
            purpose,
            name,
            namespaces: Vec::new(),
            addresses: Vec::new(),
            lifetime: None,
            request: None,
            keys: KeyKind::Usual,
        }
    }

    fn names(&self) -> Result<Vec<SubjectName>, TrustError> {
        let domain = domain_of(self.purpose);
        let own = std::slice::from_ref(&self.name);
        let labels = if self.namespaces.is_empty() { own } else { &self.namespaces };
        // Peers of the transport look for one constant name, whoever they talk to.
        let constant = (self.purpose == Purpose::Node).then(|| domain.to_owned());
        let domains = constant.into_iter().chain(labels.iter().map(|label| domain_below(domain, label)));
        let bad = |_| TrustError::Name {
            name: labels.join(", "),
            reason: "a namespace is a label of `a` to `z`, `0` to `9`, `-` and `_`",
        };
        let names = domains.map(|domain| SubjectName::dns(&domain)).collect::<Result<Vec<_>, _>>().map_err(bad)?;
        Ok(names.into_iter().chain(self.addresses.iter().copied().map(SubjectName::Ip)).collect())
    }
}

impl TrustHome {
    /// Issues a leaf.
    ///
    /// # Errors
    /// [`TrustError::Taken`]; a name that cannot be; a request that is stale, forged or asks for more than was said; one key
    /// for anybody but a publisher.
    pub fn issue(&self, options: &IssueOptions, unlock: &Unlock) -> Result<Issued, TrustError> {
        if options.keys == KeyKind::Classical {
            let reason = match (options.purpose, &options.request) {
                (Purpose::Publisher, None) => None,
                (Purpose::Publisher, Some(_)) => Some("the request brings its keys"),
                _ => Some("only publishers choose"),
            };
            reason.map_or(Ok(()), |reason| Err(TrustError::Classical { reason }))?;
        }
        let _lock = Lock::take(&self.directory)?;
        expect_free(self, &options.name)?;
        let authority = change::open_authority(self, &authority_of(options.purpose), unlock)?;
        let mut book = Book::read(&self.directory)?;
        let Some(request) = &options.request else { return own(self, &mut book, &authority, options, unlock) };
        let request = CertificateRequest::verify(request, now())?;
        if request.purpose != options.purpose {
            return Err(TrustError::Purpose { asked: request.purpose, expected: options.purpose });
        }
        let granted = options.names()?;
        if let Some(more) = request.names.iter().find(|name| !granted.contains(name)) {
            let reason = "the request asks for it and the command does not grant it";
            return Err(TrustError::Name { name: more.to_string(), reason });
        }
        let names = if request.names.is_empty() { granted } else { request.names };
        let key = LeafKey::Hybrid(&request.keys);
        let leaf = Leaf { common_name: &request.common_name, key, names: &names, options };
        let chain = leaf.issue(self, &authority)?;
        finish(self, &mut book, &options.name, chain, &authority, None, unlock)
    }

    /// Makes keys here, and a request that the authority of another home answers with the certificate `NAME.pem`.
    ///
    /// # Errors
    /// [`TrustError::Taken`], or a name that cannot be.
    pub fn request(&self, options: &IssueOptions, unlock: &Unlock) -> Result<Vec<u8>, TrustError> {
        let _lock = Lock::take(&self.directory)?;
        expect_free(self, &options.name)?;
        let keys = SecretKey::generate()?;
        let bytes = sealed_request(options, &keys)?;
        unlock.seal(&self.directory, &self.key_file(&options.name), &keys)?;
        Ok(bytes)
    }

    /// Gives a certificate a new serial number and a new time, and new keys if that is asked for.
    ///
    /// The names stay. What it replaces goes on to count until its end; revoke it if it must not. An authority whose keys
    /// are renewed stays as a retired one, so that what it issued goes on to count.
    ///
    /// # Errors
    /// [`TrustError::Unknown`], [`TrustError::Root`], or new keys for a certificate whose keys are elsewhere.
    pub fn renew(
        &self,
        name: &str,
        keys: NewKeys,
        lifetime: Option<Duration>,
        unlock: &Unlock,
    ) -> Result<Issued, TrustError> {
        let _lock = Lock::take(&self.directory)?;
        let chain = self.chain(name)?;
        if name == ROOT {
            return Err(TrustError::Root { what: "renewed" });
        }
        let purpose = purpose_of(&chain[0]);
        if matches!(chain[0].role(), Role::Authority { .. }) {
            return renew_authority(self, name, &chain[0], purpose, keys, unlock);
        }
        let authority = change::open_authority(self, &authority_of(purpose), unlock)?;
        let mut book = Book::read(&self.directory)?;
        let has_keys = self.key_file(name).exists();
        let kept = match keys {
            NewKeys::NameBoth => PublicKeys::Hybrid(change::open_both_keys(self, name, &chain[0], unlock)?.public()),
            NewKeys::Keep | NewKeys::Make => PublicKeys::of(&chain[0]),
        };
        let kind = if matches!(kept, PublicKeys::Classical(_)) { KeyKind::Classical } else { KeyKind::Hybrid };
        let options = IssueOptions { lifetime, keys: kind, ..IssueOptions::new(purpose, name) };
        let made = match keys {
            NewKeys::Make if !has_keys => return Err(TrustError::KeysElsewhere { name: name.to_owned() }),
            NewKeys::Make => Some(generate(purpose, kind)?),
            NewKeys::Keep | NewKeys::NameBoth => None,
        };
        let public = made.as_ref().map_or(kept, SecretKeys::public);
        let common_name = chain[0].common_name().unwrap_or(name);
        let leaf = Leaf { common_name, key: public.leaf_key(), names: chain[0].names(), options: &options };
        let chain = leaf.issue(self, &authority)?;
        finish(self, &mut book, name, chain, &authority, made.as_ref().map(SignerKeys::from), unlock)
    }

    /// Revokes a certificate by its name or its serial number, and signs the lists of its authority.
    ///
    /// # Errors
    /// [`TrustError::Unknown`], [`TrustError::Revoked`], [`TrustError::Root`], an effective time to come.
    pub fn revoke(
        &self,
        target: &str,
        reason: Reason,
        effective: Option<OffsetDateTime>,
        unlock: &Unlock,
    ) -> Result<Record, TrustError> {
        let _lock = Lock::take(&self.directory)?;
        if target == ROOT {
            return Err(TrustError::Root { what: "revoked" });
        }
        let mut book = Book::read(&self.directory)?;
        let by_name = if self.certificate_file(target).exists() { self.chain(target).ok() } else { None };
        let serial = by_name.as_ref().map_or_else(|| target.to_owned(), |chain| chain[0].serial().to_string());
        let Some(record) = book.issued.iter_mut().find(|record| record.serial == serial) else {
            if let Some(chain) = by_name {
                // The authority of another home has issued it and keeps the book.
                return Err(TrustError::KeysElsewhere { name: authority_of(purpose_of(&chain[0])) });
            }
            return Err(TrustError::Unknown { name: target.to_owned(), known: self.names()? });
        };
        if let Some(revoked) = &record.revoked {
            let (name, serial) = (record.name.clone(), record.serial.clone());
            return Err(TrustError::Revoked { name, serial, since: revoked.effective.to_string() });
        }
        let now = now();
        let effective = effective.unwrap_or(now);
        if effective > now {
            return Err(TrustError::Name {
                name: effective.to_string(),
                reason: "a revocation counts from now or from before",
            });
        }
        record.revoked = Some(Revoked { reason, effective, decided: now });
        let record = record.clone();
        for name in self.authorities()? {
            if lists::id(&self.chain(&name)?[0]) == record.issuer {
                let authority = change::open_authority(self, &name, unlock)?;
                lists::sign(self, &name, &authority, &mut book, now)?;
            }
        }
        Ok(record)
    }
}

/// Whether a renewal makes keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewKeys {
    /// The keys stay.
    Keep,
    /// New keys take their place.
    Make,
    /// The keys stay, and the certificate of a node names the FALCON key, too, from now on.
    NameBoth,
}

/// Issues a leaf whose keys are made here; the caller holds the lock.
pub(super) fn own(
    home: &TrustHome,
    book: &mut Book,
    authority: &Authority,
    options: &IssueOptions,
    unlock: &Unlock,
) -> Result<Issued, TrustError> {
    let (keys, names) = (generate(options.purpose, options.keys)?, options.names()?);
    let public = keys.public();
    let leaf = Leaf { common_name: &options.name, key: public.leaf_key(), names: &names, options };
    let chain = leaf.issue(home, authority)?;
    finish(home, book, &options.name, chain, authority, Some((&keys).into()), unlock)
}

/// Makes a request for keys.
pub(super) fn sealed_request(options: &IssueOptions, keys: &SecretKey) -> Result<Vec<u8>, TrustError> {
    let request = CertificateRequest {
        common_name: options.name.clone(),
        keys: keys.public(),
        purpose: options.purpose,
        names: options.names()?,
        made: now(),
    };
    Ok(request.seal(keys)?)
}

/// Makes keys. Nodes have both, although their certificates usually name one.
fn generate(purpose: Purpose, kind: KeyKind) -> Result<SecretKeys, TrustError> {
    Ok(match (purpose, kind) {
        (Purpose::Publisher, KeyKind::Classical) => {
            SecretKeys::Classical(ed25519::SecretKey::generate().map_err(FalconError::from).map_err(HybridError::from)?)
        }
        _ => SecretKeys::Hybrid(SecretKey::generate()?),
    })
}

struct Leaf<'a> {
    common_name: &'a str,
    key: LeafKey<'a>,
    names: &'a [SubjectName],
    options: &'a IssueOptions,
}

impl Leaf<'_> {
    /// Gives the leaf and every certificate of its authority, which has one of each root that stands for it.
    fn issue(&self, home: &TrustHome, authority: &Authority) -> Result<Vec<Certificate>, TrustError> {
        let Self { common_name, key, names, options } = *self;
        let usual = if options.purpose == Purpose::Node { NODE_LIFETIME } else { PUBLISHER_LIFETIME };
        let own = authority.certificate().validity();
        let begin = (now() - trustchain::SKEW).max(own.not_before);
        let mut validity = Validity::starting(begin, options.lifetime.unwrap_or(usual) + trustchain::SKEW);
        match options.lifetime {
            Some(asked) if !LIFETIME_HOURS.contains(&asked.whole_hours()) => {
                return Err(TrustError::Lifetime { hours: asked.whole_hours() });
            }
            Some(_) => {}
            None => validity.not_after = validity.not_after.min(own.not_after),
        }
        // A handshake takes one signature; who wants the other one proven as well asks for it.
        let key = match (options.purpose, options.keys, key) {
            (Purpose::Node, KeyKind::Usual | KeyKind::Classical, LeafKey::Hybrid(keys)) => {
                LeafKey::Classical(&keys.ed25519)
            }
            (_, _, key) => key,
        };
        let leaf = authority.leaf(&LeafOptions { common_name, key, purpose: options.purpose, names, validity })?;
        Ok(std::iter::once(leaf).chain(home.chain(&authority_of(options.purpose))?).collect())
    }
}

/// Writes down what was issued, then the files; the caller holds the lock.
fn finish(
    home: &TrustHome,
    book: &mut Book,
    name: &str,
    chain: Vec<Certificate>,
    issuer: &Authority,
    keys: Option<SignerKeys<'_>>,
    unlock: &Unlock,
) -> Result<Issued, TrustError> {
    book.issued.push(Record::of(name, &chain[0], lists::id(issuer.certificate())));
    book.write(&home.directory, now())?;
    Change { name, chain: &chain, keys }.make(home, unlock)?;
    Ok(Issued { name: name.to_owned(), chain })
}

fn renew_authority(
    home: &TrustHome,
    name: &str,
    old: &Certificate,
    purpose: Purpose,
    keys: NewKeys,
    unlock: &Unlock,
) -> Result<Issued, TrustError> {
    if name.contains('.') {
        return Err(TrustError::Name { name: name.to_owned(), reason: "a retired authority is not renewed" });
    }
    let root = change::open_authority(home, ROOT, unlock)?;
    let mut book = Book::read(&home.directory)?;
    let retired = (1..).map(|number| format!("{name}.{number}")).find(|name| !home.certificate_file(name).exists());
    let retired = retired.unwrap_or_default();
    let common = old.common_name().unwrap_or(name);
    let (secret, common_name) = match keys {
        NewKeys::Keep | NewKeys::NameBoth => (change::open_both_keys(home, name, old, unlock)?, common.to_owned()),
        // Another name than that of the retired one, since X.509 lists are found by it.
        NewKeys::Make => (SecretKey::generate()?, next_name(common, &retired)),
    };
    let permitted = old.permitted().map(<[String]>::to_vec).unwrap_or_default();
    let at = (now() - trustchain::SKEW).max(root.certificate().validity().not_before);
    let renewed = init::intermediate(&root, &common_name, &secret, purpose, &permitted, at)?;
    if keys == NewKeys::Make {
        let kept = change::open_both_keys(home, name, old, unlock)?;
        Change { name: &retired, chain: std::slice::from_ref(old), keys: Some((&kept).into()) }.make(home, unlock)?;
        lists::sign(home, &retired, &Authority::new(old.clone(), kept)?, &mut book, now())?;
    }
    let made = (keys == NewKeys::Make).then_some(SignerKeys::Hybrid(&secret));
    let chain = vec![renewed.certificate().clone()];
    let issued = finish(home, &mut book, name, chain, &root, made, unlock)?;
    lists::sign(home, name, &renewed, &mut book, now())?;
    Ok(issued)
}

/// Numbers the name of an authority that takes the place of a retired one: `Acme publisher authority 2`.
fn next_name(common: &str, retired: &str) -> String {
    let number = retired.rsplit_once('.').and_then(|(_, number)| number.parse::<u64>().ok()).unwrap_or(0) + 1;
    let base = common.strip_suffix(&format!(" {}", number - 1)).unwrap_or(common);
    format!("{base} {number}")
}

pub(super) fn expect_free(home: &TrustHome, name: &str) -> Result<(), TrustError> {
    let fault = |reason| Err(TrustError::Name { name: name.to_owned(), reason });
    if !files::is_name(name) || name.contains('.') {
        return fault("expected 1 to 63 of `a` to `z`, `0` to `9`, `-` and `_`");
    }
    if name == ROOT || name.ends_with("-authority") {
        return fault("it is kept for an authority");
    }
    if home.certificate_file(name).exists() { Err(TrustError::Taken { name: name.to_owned() }) } else { Ok(()) }
}

/// Finds out what a certificate is for.
pub(super) fn purpose_of(certificate: &Certificate) -> Purpose {
    let has = |purpose: &Purpose| {
        let usages = &certificate.usage().extended;
        purpose.extended_usages().iter().all(|oid| usages.iter().any(|usage| usage == oid))
    };
    Purpose::ALL.into_iter().find(has).unwrap_or(Purpose::Publisher)
}
