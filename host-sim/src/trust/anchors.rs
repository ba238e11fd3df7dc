//! What a home believes: roots, the authorities it knows, and the revocation lists of all of them.
//!
//! A list is held against every authority that may have signed it, those that travel with a signature included: an authority
//! answers for its own lists only, so a stranger's list says nothing about anybody else. A list that has ended is kept, so
//! that a path below it is refused for that reason, and not for having none.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use trustchain::certificate::{Certificate, Purpose};
use trustchain::path::{Chain, Hybrid, PathError, Request, Revocation, Roots};
use trustchain::revocation::{RevocationError, RevocationList};

use super::{TrustError, TrustHome, directory, files, sets};

/// The most revocation lists of one home.
pub(super) const LISTS_MAX: usize = 64;

/// What a home believes at a time.
#[derive(Debug)]
pub struct Anchors {
    roots: Roots,
    authorities: Vec<Certificate>,
    documents: Vec<(PathBuf, Vec<u8>)>,
    now: OffsetDateTime,
}

impl Anchors {
    /// Reads what a home believes: its own root or root set, if it has one, and every one in `roots/`; both algorithms are
    /// required.
    ///
    /// # Errors
    /// [`TrustError::Uninitialized`] if it believes nobody; a file that cannot be read.
    pub fn read(home: &Path, now: OffsetDateTime) -> Result<Self, TrustError> {
        let home = TrustHome { directory: directory(home) };
        let mut roots = Vec::new();
        let (own, others) = (home.certificate_file(super::ROOT), home.directory.join("roots"));
        let mut root_sets: Vec<_> = home.root_set()?.into_iter().collect();
        if own.exists() && root_sets.is_empty() {
            roots.extend(files::read_certificates(&own)?);
        }
        roots.extend(certificates_in(&others)?);
        root_sets.extend(sets::sets_in(&others)?);
        if roots.is_empty() && root_sets.is_empty() {
            return Err(TrustError::Uninitialized { directory: home.directory });
        }
        let mut authorities = Vec::new();
        for name in home.authorities()?.iter().filter(|name| *name != super::ROOT) {
            authorities.extend(home.chain(name)?);
        }
        authorities.extend(certificates_in(&home.directory.join("authorities"))?);
        let lists = home.directory.join("lists");
        let stems = files::stems(&lists, ".json")?;
        if stems.len() > LISTS_MAX {
            return Err(TrustError::TooMany { directory: lists, most: LISTS_MAX });
        }
        let read = |stem: &String| {
            let path = lists.join(format!("{stem}.json"));
            files::read(&path).map(|bytes| (path, bytes))
        };
        let documents = stems.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { roots: Roots::with_sets(roots, root_sets, Hybrid::Required)?, authorities, documents, now })
    }

    /// Gives the roots.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Gives the intermediate authorities that the home knows, its own retired ones included.
    pub fn authorities(&self) -> &[Certificate] {
        &self.authorities
    }

    /// Gives the texts of all revocation lists as they are; nobody has checked them.
    pub fn documents(&self) -> Vec<String> {
        self.documents.iter().filter_map(|(_, bytes)| String::from_utf8(bytes.clone()).ok()).collect()
    }

    /// Gives the genuine lists of the home's authorities and of those that travel with a certificate.
    pub fn lists(&self, intermediates: &[Certificate]) -> Vec<RevocationList> {
        let candidates = || self.roots.certificates().iter().chain(&self.authorities).chain(intermediates);
        let mut lists = Vec::new();
        for (path, bytes) in &self.documents {
            let found = candidates().find_map(|authority| genuine(bytes, authority, self.now));
            if found.is_none() {
                tracing::debug!("the revocation list `{}` is of nobody known", path.display());
            }
            lists.extend(found);
        }
        lists
    }

    /// Gives the time for which this was read.
    pub fn now(&self) -> OffsetDateTime {
        self.now
    }

    /// Validates a certificate with what came along, all lists considered.
    ///
    /// # Errors
    /// Why nobody stands for it.
    pub fn validate(
        &self,
        leaf: &Certificate,
        intermediates: &[Certificate],
        purpose: Purpose,
        at: OffsetDateTime,
    ) -> Result<Chain, PathError> {
        let lists = self.lists(intermediates);
        let revocation = Revocation::Lists { lists: &lists, now: self.now };
        self.roots.validate(&Request { leaf, intermediates, purpose, at, revocation })
    }
}

fn certificates_in(directory: &Path) -> Result<Vec<Certificate>, TrustError> {
    let stems = files::stems(directory, ".pem")?;
    let read = stems.iter().map(|stem| files::read_certificates(&directory.join(format!("{stem}.pem"))));
    Ok(read.collect::<Result<Vec<_>, _>>()?.concat())
}

/// Reads a list of an authority, also one that has ended.
pub(super) fn genuine(bytes: &[u8], authority: &Certificate, now: OffsetDateTime) -> Option<RevocationList> {
    match RevocationList::verify(bytes, authority, now, None) {
        Err(RevocationError::Stale { expires, .. }) => RevocationList::verify(bytes, authority, expires, None).ok(),
        list => list.ok(),
    }
}
