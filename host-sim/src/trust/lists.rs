//! Revocation lists of a home's authorities: what the book says, signed with both keys, and as X.509 list beside it.
//!
//! The book is written before a list is signed. A list that is missing, that has another number than the book, or that is
//! about to end is signed again, so that a change that was cut short is ended by the next.

use std::path::PathBuf;

use serde::Serialize;
use time::{Duration, OffsetDateTime};
use trustchain::certificate::{Authority, Certificate, CrlOptions, Purpose, Revoked, crl_to_pem};
use trustchain::digest::Sha256;
use trustchain::path::CRLS_MAX;
use trustchain::revocation::{Entry, ListOptions, RevocationList};

use super::files::{self, Lock};
use super::issue::purpose_of;
use super::record::Book;
use super::{
    LIST_LIFETIME, LIST_RENEWAL, NODE, NODE_RENEWAL, NewKeys, TrustError, TrustHome, Unlock, authority_of, change, now,
};

/// The ending of the file of an X.509 list.
pub(super) const CRL_ENDING: &str = ".crl.pem";

/// What a revocation list is at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListState {
    /// The name of its authority.
    pub authority: String,
    /// Its number; 0 if it cannot be read.
    pub number: u64,
    /// How many certificates it revokes.
    pub revoked: usize,
    /// When it stops to count.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires: Option<OffsetDateTime>,
    /// Whether it is whole and not about to end.
    pub fresh: bool,
    /// The file of the list that both keys signed.
    pub file: PathBuf,
    /// The X.509 list.
    pub crl: PathBuf,
}

impl TrustHome {
    /// Says what the revocation lists of this home's authorities are.
    ///
    /// # Errors
    /// The book or a certificate cannot be read.
    pub fn lists(&self) -> Result<Vec<ListState>, TrustError> {
        let (book, now) = (Book::read(&self.directory)?, now());
        self.authorities()?.into_iter().map(|name| state(self, name, &book, now)).collect()
    }

    /// Renews what is due: lists that are about to end, and the certificate of the node. Gives the names of what is new.
    /// What another home signs is left to that home.
    ///
    /// # Errors
    /// Keys that do not open, or a file that cannot be written.
    pub fn keep_fresh(&self, unlock: &Unlock) -> Result<Vec<String>, TrustError> {
        let mut renewed = self.renew_lists(false, unlock)?;
        let node = if self.certificate_file(NODE).exists() { self.chain(NODE)? } else { Vec::new() };
        let Some(leaf) = node.first() else { return Ok(renewed) };
        if self.signs_for(node.get(1))? && self.is_due(leaf, NODE_RENEWAL)? {
            self.renew(NODE, NewKeys::Keep, None, unlock)?;
            renewed.push(NODE.to_owned());
        }
        Ok(renewed)
    }

    /// Says whether a certificate of this home's authorities ends within a time and is to be renewed before: it was not
    /// revoked, and the new one would end later. Near the end of its authority it would not, and would be due again at once.
    pub(super) fn is_due(&self, leaf: &Certificate, before: Duration) -> Result<bool, TrustError> {
        let end = leaf.validity().not_after;
        if end >= now().saturating_add(before) {
            return Ok(false);
        }
        let authority = self.chain(&authority_of(purpose_of(leaf)))?;
        let serial = leaf.serial().to_string();
        let would_last = authority[0].validity().not_after > end;
        Ok(would_last && !self.records()?.iter().any(|record| record.serial == serial && record.revoked.is_some()))
    }

    /// Signs again what is missing or about to end, or every list. Gives the names of the authorities whose lists are new.
    ///
    /// # Errors
    /// Keys that do not open, or a file that cannot be written.
    pub fn renew_lists(&self, all: bool, unlock: &Unlock) -> Result<Vec<String>, TrustError> {
        let is_due = |list: &ListState| (all || !list.fresh) && self.key_file(&list.authority).exists();
        if !self.lists()?.iter().any(is_due) {
            return Ok(Vec::new());
        }
        let _lock = Lock::take(&self.directory)?;
        let mut renewed = Vec::new();
        let mut book = Book::read(&self.directory)?;
        for list in self.lists()?.into_iter().filter(is_due) {
            let authority = change::open_authority(self, &list.authority, unlock)?;
            sign(self, &list.authority, &authority, &mut book, now())?;
            renewed.push(list.authority);
        }
        Ok(renewed)
    }

    /// Gives the X.509 revocation lists that the home holds, in PEM: all but those of its own authorities for something else.
    ///
    /// # Errors
    /// More than [`CRLS_MAX`], or a file that cannot be read.
    pub fn crls(&self, purpose: Purpose) -> Result<Vec<String>, TrustError> {
        let directory = self.directory.join("lists");
        let mut stems = files::stems(&directory, CRL_ENDING)?;
        let others = Purpose::ALL.into_iter().filter(|other| *other != purpose).map(authority_of);
        let others: Vec<String> = others.collect();
        stems.retain(|stem| !others.iter().any(|other| stem.split('.').next() == Some(other)));
        if stems.len() > CRLS_MAX {
            return Err(TrustError::TooMany { directory, most: CRLS_MAX });
        }
        stems.iter().map(|stem| files::read_text(&directory.join(format!("{stem}{CRL_ENDING}")))).collect()
    }

    /// Says whether an authority is one of this home, whose keys are here.
    fn signs_for(&self, authority: Option<&Certificate>) -> Result<bool, TrustError> {
        let Some(authority) = authority.map(id) else { return Ok(false) };
        for name in self.authorities()? {
            if id(&self.chain(&name)?[0]) == authority {
                return Ok(self.key_file(&name).exists());
            }
        }
        Ok(false)
    }
}

/// Names an authority by its key pair.
pub(super) fn id(authority: &Certificate) -> Sha256 {
    Sha256::from_bytes(authority.keys().map_or([0; 32], |keys| keys.fingerprint()))
}

/// Signs the next list of an authority; the caller holds the lock.
pub(super) fn sign(
    home: &TrustHome,
    name: &str,
    authority: &Authority,
    book: &mut Book,
    now: OffsetDateTime,
) -> Result<(), TrustError> {
    let id = id(authority.certificate());
    let number = book.next_list(id);
    book.write(&home.directory, now)?;
    let entries: Vec<Entry> =
        book.issued.iter().filter(|record| record.issuer == id).filter_map(|record| record.entry()).collect();
    let (issued, expires) = (now, now.saturating_add(LIST_LIFETIME));
    let revoked: Vec<Revoked> =
        entries.iter().map(|entry| Revoked { serial: entry.serial.clone(), at: entry.effective }).collect();
    let crl = authority.crl(&CrlOptions { number, this_update: issued, next_update: expires, revoked: &revoked })?;
    let list = authority.revocation_list(&ListOptions { number, issued, expires, entries: &entries })?;
    files::write(&crl_file(home, name), crl_to_pem(&crl).as_bytes())?;
    files::write(&list_file(home, name), &list)
}

fn state(home: &TrustHome, name: String, book: &Book, now: OffsetDateTime) -> Result<ListState, TrustError> {
    let authority = home.chain(&name)?.swap_remove(0);
    let (file, crl) = (list_file(home, &name), crl_file(home, &name));
    let list = files::read(&file).ok().and_then(|bytes| RevocationList::verify(&bytes, &authority, now, None).ok());
    let expected = book.lists.get(&id(&authority).to_string());
    let signed_here = home.key_file(&name).exists();
    let fresh = list.as_ref().is_some_and(|list| {
        (!signed_here || expected == Some(&list.number()))
            && list.expires() > now.saturating_add(LIST_RENEWAL)
            && crl.exists()
    });
    Ok(ListState {
        authority: name,
        number: list.as_ref().map_or(0, RevocationList::number),
        revoked: list.as_ref().map_or(0, |list| list.entries().len()),
        expires: list.as_ref().map(RevocationList::expires),
        fresh,
        file,
        crl,
    })
}

/// Gives both lists of an authority of this home as texts.
pub(super) fn texts(home: &TrustHome, name: &str) -> Result<(String, String), TrustError> {
    Ok((files::read_text(&list_file(home, name))?, files::read_text(&crl_file(home, name))?))
}

/// Gives the file of the list that both keys of an authority of this home signed.
pub(super) fn list_file(home: &TrustHome, name: &str) -> PathBuf {
    home.directory.join("lists").join(format!("{name}.json"))
}

fn crl_file(home: &TrustHome, name: &str) -> PathBuf {
    home.directory.join("lists").join(format!("{name}{CRL_ENDING}"))
}
