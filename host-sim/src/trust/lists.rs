//! Revocation lists of a home's authorities: what the book says, signed with both keys, and as X.509 list beside it.
//!
//! The book is written before a list is signed. A list that is missing, that has another number than the book, or that is
//! about to end is signed again, so that a change that was cut short is ended by the next.

use std::path::PathBuf;

use serde::Serialize;
use time::OffsetDateTime;
use trustchain::certificate::{Authority, Certificate, CrlOptions, Revoked, crl_to_pem};
use trustchain::digest::Sha256;
use trustchain::revocation::{Entry, ListOptions, RevocationList};

use super::files::{self, Lock};
use super::record::Book;
use super::{LIST_LIFETIME, LIST_RENEWAL, NODE, NODE_RENEWAL, NewKeys, TrustError, TrustHome, Unlock, change, now};

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
    ///
    /// # Errors
    /// Keys that do not open, or a file that cannot be written.
    pub fn keep_fresh(&self, unlock: &Unlock) -> Result<Vec<String>, TrustError> {
        let mut renewed = self.renew_lists(false, unlock)?;
        let node = if self.certificate_file(NODE).exists() { self.chain(NODE)?.into_iter().next() } else { None };
        if node.is_some_and(|node| node.validity().not_after < now().saturating_add(NODE_RENEWAL)) {
            self.renew(NODE, NewKeys::Keep, None, unlock)?;
            renewed.push(NODE.to_owned());
        }
        Ok(renewed)
    }

    /// Signs again what is missing or about to end, or every list. Gives the names of the authorities whose lists are new.
    ///
    /// # Errors
    /// Keys that do not open, or a file that cannot be written.
    pub fn renew_lists(&self, all: bool, unlock: &Unlock) -> Result<Vec<String>, TrustError> {
        if !all && self.lists()?.iter().all(|list| list.fresh) {
            return Ok(Vec::new());
        }
        let _lock = Lock::take(&self.directory)?;
        let mut renewed = Vec::new();
        let mut book = Book::read(&self.directory)?;
        for list in self.lists()?.into_iter().filter(|list| all || !list.fresh) {
            let authority = change::open_authority(self, &list.authority, unlock)?;
            sign(self, &list.authority, &authority, &mut book, now())?;
            renewed.push(list.authority);
        }
        Ok(renewed)
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
    let fresh = list.as_ref().is_some_and(|list| {
        expected == Some(&list.number()) && list.expires() > now.saturating_add(LIST_RENEWAL) && crl.exists()
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

fn list_file(home: &TrustHome, name: &str) -> PathBuf {
    home.directory.join("lists").join(format!("{name}.json"))
}

fn crl_file(home: &TrustHome, name: &str) -> PathBuf {
    home.directory.join("lists").join(format!("{name}.crl.pem"))
}
