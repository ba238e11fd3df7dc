//! The root set of a home: what several roots, each in a home of its own, decide together.
//!
//! | file | what |
//! |---|---|
//! | `root-sets/N.json` | the sets that were accepted, the highest number counts |
//! | `roots/*.json` | root sets of others that the administrator believes |
//! | `lists/root-ID.json`, `.crl.pem` | the lists of the other roots, as they came with a certification |
//!
//! A proposal is a file that goes from home to home: [`TrustHome::propose`], [`TrustHome::cosign`] with the root of each,
//! [`TrustHome::accept`]. From then on no root alone makes an authority, starts a cluster or changes the set. If the keys of a
//! root are stolen, another root of the set certifies the authorities again ([`TrustHome::certify`],
//! [`TrustHome::take_certification`]), and the next set leaves the stolen one out.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use trustchain::certificate::{self, Certificate, IntermediateOptions, Role, Validity};
use trustchain::digest::Sha256;
use trustchain::revocation::RevocationList;
use trustchain::rootset::{Proposal, ROOT_SET_BYTES_MAX, RootSet, Terms};

use super::files::{self, Lock};
use super::issue::purpose_of;
use super::record::{Book, Record};
use super::{ROOT, TrustError, TrustHome, Unlock, change, lists, now};

/// The most sets that a member is told of; one that has missed more of them joins again.
pub(super) const SETS_MAX: usize = 64;
/// The largest certification in bytes: an authority, its root and the root's two lists.
const CERTIFICATION_BYTES_MAX: u64 = 8 << 20;

/// What the next root set is to be, by what changes.
#[derive(Clone, Debug, Default)]
pub struct SetChange {
    /// How many roots must sign; more than half of them if not given and there is no set yet.
    pub threshold: Option<usize>,
    /// Roots to take in.
    pub with: Vec<Certificate>,
    /// Roots to leave out.
    pub without: Vec<Certificate>,
    /// Authorities of other homes that are to count, beside those of this one.
    pub authorities: Vec<Certificate>,
    /// The starts of clusters that are to count.
    pub geneses: Vec<Sha256>,
}

/// A certificate that a root gave an authority of another home, and the root's revocation lists, without which nothing below
/// it counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certification {
    /// The authority, in PEM.
    pub certificate: String,
    /// The root, in PEM.
    pub root: String,
    /// The list that both keys of the root signed.
    pub list: String,
    /// The X.509 list, in PEM.
    pub crl: String,
}

impl TrustHome {
    /// Gives the root set of this home, if its root does not decide alone.
    ///
    /// # Errors
    /// A file that cannot be read or is none.
    pub fn root_set(&self) -> Result<Option<RootSet>, TrustError> {
        let newest = self.root_sets()?.pop();
        newest.map(|text| Ok(RootSet::verify(text.as_bytes())?)).transpose()
    }

    /// Gives the documents of the sets that were accepted, oldest first, not more than are told to members.
    pub(super) fn root_sets(&self) -> Result<Vec<String>, TrustError> {
        let directory = self.root_sets_directory();
        let mut numbers: Vec<u64> =
            files::stems(&directory, ".json")?.iter().filter_map(|stem| stem.parse().ok()).collect();
        numbers.sort_unstable();
        let newest = &numbers[numbers.len().saturating_sub(SETS_MAX)..];
        newest.iter().map(|number| files::read_text(&directory.join(format!("{number}.json")))).collect()
    }

    /// Writes down the next root set. Nobody has signed it yet.
    ///
    /// # Errors
    /// A rule of root sets is broken, or a root that is to be left out is not there.
    pub fn propose(&self, change: &SetChange) -> Result<Proposal, TrustError> {
        let previous = self.root_set()?;
        let mut roots: Vec<Certificate> = match &previous {
            Some(set) => set.roots().cloned().collect(),
            None => vec![self.root()?],
        };
        for gone in &change.without {
            let before = roots.len();
            roots.retain(|root| root != gone);
            if roots.len() == before {
                return Err(TrustError::OtherRoot { subject: gone.subject().to_owned() });
            }
        }
        roots.extend(change.with.iter().cloned());
        let threshold = change.threshold.or_else(|| previous.as_ref().map(RootSet::threshold));
        let threshold = threshold.unwrap_or(roots.len() / 2 + 1);
        let own = self.authorities()?.into_iter().filter(|name| name != ROOT);
        let mut authorities =
            own.map(|name| Ok(self.chain(&name)?.swap_remove(0))).collect::<Result<Vec<_>, TrustError>>()?;
        authorities.extend(change.authorities.iter().cloned());
        let terms = Terms { threshold, roots, authorities, geneses: change.geneses.clone() };
        Ok(Proposal::new(previous.as_ref(), &terms)?)
    }

    /// Signs a proposal with the root of this home.
    ///
    /// # Errors
    /// A file that is no proposal, a root that has no say in it, keys that do not open.
    pub fn cosign(&self, proposal: &[u8], unlock: &Unlock) -> Result<Proposal, TrustError> {
        let mut proposal = Proposal::read(proposal)?;
        let root = change::open_authority(self, ROOT, unlock)?;
        proposal.sign(&root, self.root_set()?.as_ref())?;
        Ok(proposal)
    }

    /// Takes a root set that enough roots have signed: from here on its roots decide together.
    ///
    /// # Errors
    /// Too few have signed, it is not the next one, or it would leave an authority of this home without a root that stands for
    /// it; nothing is changed then.
    pub fn accept(&self, proposal: &[u8]) -> Result<RootSet, TrustError> {
        let _lock = Lock::take(&self.directory)?;
        let previous = self.root_set()?;
        let set = Proposal::read(proposal)?.accept(previous.as_ref())?;
        let own = self.root()?;
        if previous.is_none() && !set.roots().any(|root| *root == own) {
            return Err(TrustError::OtherRoot { subject: own.subject().to_owned() });
        }
        for name in self.authorities()?.into_iter().filter(|name| name != ROOT && !name.contains('.')) {
            let chain = self.chain(&name)?;
            if !set.names(&chain[0]) {
                return Err(TrustError::Unnamed { name, reason: "the set does not name it" });
            }
            if !set.roots().any(|root| chain.iter().any(|one| one.is_issued_by(root))) {
                return Err(TrustError::Unnamed { name, reason: "no root of the set has certified it" });
            }
        }
        self.write_root_set(&set)?;
        Ok(set)
    }

    /// Gives an authority of another home a certificate of this home's root, for the keys and namespaces that it has.
    ///
    /// # Errors
    /// It is no authority or not named by the root set of this home; keys that do not open.
    pub fn certify(&self, authority: &Certificate, unlock: &Unlock) -> Result<Certification, TrustError> {
        let _lock = Lock::take(&self.directory)?;
        let subject = || authority.subject().to_owned();
        let (Role::Authority { .. }, Some(keys)) = (authority.role(), authority.keys()) else {
            return Err(TrustError::Unnamed { name: subject(), reason: "it is no authority" });
        };
        if !self.root_set()?.is_some_and(|set| set.names(authority)) {
            return Err(TrustError::Unnamed { name: subject(), reason: "the root set of this home does not name it" });
        }
        let root = change::open_authority(self, ROOT, unlock)?;
        let permitted = authority.permitted().map(<[String]>::to_vec).unwrap_or_default();
        let (own, theirs) = (root.certificate().validity(), authority.validity());
        let not_before = (now() - trustchain::SKEW).max(own.not_before);
        let validity = Validity { not_before, not_after: theirs.not_after.min(own.not_after) };
        let certificate = root.intermediate(&IntermediateOptions {
            common_name: authority.common_name().unwrap_or("authority"),
            keys: &keys,
            purpose: purpose_of(authority),
            path_length: 0,
            permitted: &permitted,
            validity,
        })?;
        let mut book = Book::read(&self.directory)?;
        let id = lists::id(root.certificate());
        book.issued.push(Record::of(authority.common_name().unwrap_or("authority"), &certificate, id));
        book.write(&self.directory, now())?;
        lists::sign(self, ROOT, &root, &mut book, now())?;
        let (list, crl) = lists::texts(self, ROOT)?;
        let pem = |one: &Certificate| certificate::to_pem([one]);
        Ok(Certification { certificate: pem(&certificate), root: pem(root.certificate()), list, crl })
    }

    /// Reads a certification from a file.
    ///
    /// # Errors
    /// The file is none.
    pub fn read_certification(path: &Path) -> Result<Certification, TrustError> {
        let bytes = files::read_at_most(path, CERTIFICATION_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map_err(|source| TrustError::Records { path: path.to_owned(), source })
    }

    /// Takes the certificate that another root of the set gave an authority of this home. Gives the authority's name.
    ///
    /// # Errors
    /// It is for the keys or namespaces of no authority of this home, or not of a root of its set, or its list does not count.
    pub fn take_certification(&self, given: &Certification) -> Result<String, TrustError> {
        let _lock = Lock::take(&self.directory)?;
        let read = |pem: &str| {
            let read = certificate::from_pem(pem.as_bytes());
            let path = self.directory.clone();
            read.map(|mut read| read.swap_remove(0)).map_err(|source| TrustError::Certificates { path, source })
        };
        let (authority, root) = (read(&given.certificate)?, read(&given.root)?);
        let refused = |reason| TrustError::Unnamed { name: authority.subject().to_owned(), reason };
        let set = self.root_set()?.ok_or_else(|| refused("this home has no root set"))?;
        if !set.roots().any(|known| *known == root) || !authority.is_issued_by(&root) {
            return Err(refused("no root of the set has certified it"));
        }
        let mut found = None;
        for name in self.authorities()?.into_iter().filter(|name| name != ROOT) {
            let known = self.chain(&name)?.swap_remove(0);
            if known.keys() == authority.keys() && known.permitted() == authority.permitted() {
                found = Some(name);
            }
        }
        let name = found.ok_or_else(|| refused("it is for the keys and namespaces of no authority of this home"))?;
        self.take_root_list(&root, &given.list, &given.crl)?;
        // The others stay beside it as long as their roots are in the set: whoever has not heard of the next set needs them.
        let stays = |one: &Certificate| !one.is_issued_by(&root) && set.roots().any(|root| one.is_issued_by(root));
        for file in self.names()?.into_iter().filter(|name| name != ROOT) {
            let chain = self.chain(&file)?;
            let (above, mut kept): (Vec<_>, Vec<_>) = chain.into_iter().partition(|one| one.keys() == authority.keys());
            if above.is_empty() {
                continue;
            }
            kept.push(authority.clone());
            kept.extend(above.into_iter().filter(|one| stays(one)));
            files::update(&self.certificate_file(&file), certificate::to_pem(&kept).as_bytes())?;
        }
        Ok(name)
    }

    /// Takes the lists of another root of the set, unless they are older than what is there.
    pub(super) fn take_root_list(
        &self,
        root: &Certificate,
        list: &str,
        crl: &str,
    ) -> Result<RevocationList, TrustError> {
        let directory = self.directory.join("lists");
        let (path, crl_path) = self.root_list_files(root);
        let before = files::read(&path).ok().and_then(|bytes| super::anchors::genuine(&bytes, root, now()));
        let list_read =
            RevocationList::verify(list.as_bytes(), root, now(), before.as_ref().map(RevocationList::seen))?;
        certificate::crls_from_pem(crl.as_bytes())
            .map_err(|source| TrustError::Certificates { path: directory, source })?;
        files::update(&crl_path, crl.as_bytes())?;
        files::update(&path, list.as_bytes())?;
        Ok(list_read)
    }

    /// Gives the lists of the other roots of the set that are here, each with its root.
    pub(super) fn root_lists(&self) -> Result<Vec<(Certificate, PathBuf, PathBuf)>, TrustError> {
        let Some(set) = self.root_set()? else { return Ok(Vec::new()) };
        let files = set.roots().map(|root| (root.clone(), self.root_list_files(root)));
        Ok(files.filter(|(_, (list, _))| list.exists()).map(|(root, (list, crl))| (root, list, crl)).collect())
    }

    /// Says until when the list of a root of the set counts here; `None` if there is none that does.
    ///
    /// # Errors
    /// The root of this home cannot be read.
    pub fn root_list_end(&self, root: &Certificate) -> Result<Option<OffsetDateTime>, TrustError> {
        let own = self.chain(ROOT)?.swap_remove(0) == *root;
        let path = if own { lists::list_file(self, ROOT) } else { self.root_list_files(root).0 };
        let list = files::read(&path).ok().and_then(|bytes| RevocationList::verify(&bytes, root, now(), None).ok());
        Ok(list.map(|list| list.expires()))
    }

    /// Writes a set that was accepted.
    pub(super) fn write_root_set(&self, set: &RootSet) -> Result<(), TrustError> {
        files::write(&self.root_sets_directory().join(format!("{}.json", set.version())), set.document())
    }

    fn root_sets_directory(&self) -> PathBuf {
        self.directory.join("root-sets")
    }

    fn root_list_files(&self, root: &Certificate) -> (PathBuf, PathBuf) {
        let stem = root_list_name(root);
        let directory = self.directory.join("lists");
        (directory.join(format!("{stem}.json")), directory.join(format!("{stem}{}", lists::CRL_ENDING)))
    }
}

/// Names the lists of a root that is another's.
pub(super) fn root_list_name(root: &Certificate) -> String {
    format!("root-{}", &lists::id(root).to_string()[..12])
}

/// Reads the root sets of others that the administrator put into a directory.
pub(super) fn sets_in(directory: &Path) -> Result<Vec<RootSet>, TrustError> {
    let read = |stem: String| {
        let bytes = files::read_at_most(&directory.join(format!("{stem}.json")), ROOT_SET_BYTES_MAX as u64)?;
        Ok(RootSet::verify(&bytes)?)
    };
    files::stems(directory, ".json")?.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests;
