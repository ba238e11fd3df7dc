//! Members: homes without a root of their own, whose certificates the authority of another home issues.
//!
//! A member makes its keys itself and asks with an [`Application`]; what it gets is a [`Membership`], which the authority
//! gives again whenever it is asked: certificates that were due are renewed in it, and its revocation lists are the newest.
//! A member never takes another root than its first, nor a list that is older than the one it has.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use time::Duration;
use trustchain::certificate::{self, Certificate, Purpose};
use trustchain::hybrid::SecretKey;
use trustchain::path::{Hybrid, Request, Revocation, Roots};
use trustchain::revocation::RevocationList;
use trustchain::rootset::{Proposal, RootSet};

use super::change::{self, Change};
use super::files::{self, Lock};
use super::issue::{IssueOptions, KeyKind, NewKeys, expect_free, sealed_request};
use super::record::Book;
use super::sets::{self, SETS_MAX};
use super::{DEFAULT_PUBLISHER, LISTS_MAX, NODE, NODE_RENEWAL, ROOT, TrustError, TrustHome, Unlock, directory, now};

/// How long before its end the certificate of a member's publisher is renewed.
const PUBLISHER_RENEWAL: Duration = Duration::days(30);
/// The most authorities of one membership, retired ones included.
const AUTHORITIES_MAX: usize = 32;

/// What a home asks an authority for: the certificates of a node and of a publisher, for keys that stay with the home.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// The request for the certificate of the node.
    pub node: String,
    /// The request for the certificate of the publisher.
    pub publisher: String,
}

/// What an authority gives a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The name of the cluster.
    pub cluster: String,
    /// The root, in PEM.
    pub root: String,
    /// The root sets, oldest first, if the root does not decide alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub root_sets: Vec<String>,
    /// The authorities below it in PEM, by their names.
    pub authorities: BTreeMap<String, String>,
    /// Revocation lists by the names of their authorities.
    pub lists: BTreeMap<String, Lists>,
    /// The certificate of the node and its authority, in PEM.
    pub node: String,
    /// The certificate of the publisher and its authority, in PEM.
    pub publisher: String,
}

/// The two revocation lists of an authority.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lists {
    /// The one that both keys signed.
    pub signed: String,
    /// The X.509 list, in PEM.
    pub crl: String,
}

impl TrustHome {
    /// Makes the keys of a home that is to become a member, and what it asks for. Asking again makes new keys.
    ///
    /// # Errors
    /// [`TrustError::Initialized`] if the home has a root; a name that cannot be.
    pub fn apply(home: &Path, name: &str, unlock: &Unlock) -> Result<Application, TrustError> {
        let home = Self { directory: directory(home) };
        let _lock = Lock::take(&home.directory)?;
        if home.certificate_file(ROOT).exists() {
            return Err(TrustError::Initialized { directory: home.directory });
        }
        expect_free(&home, name)?;
        unlock.prepare(&home.directory)?;
        let ask = |purpose, file: &str| {
            let keys = SecretKey::generate()?;
            let request = sealed_request(&IssueOptions::new(purpose, name), &keys)?;
            unlock.seal(&home.directory, &home.key_file(file), &keys)?;
            text_of(request, &home.key_file(file))
        };
        Ok(Application { node: ask(Purpose::Node, NODE)?, publisher: ask(Purpose::Publisher, DEFAULT_PUBLISHER)? })
    }

    /// Issues what a home asks for to become the member of this name.
    ///
    /// # Errors
    /// [`TrustError::Taken`] if there is such a member; requests that are stale, forged or ask for other names.
    pub fn admit(
        &self,
        name: &str,
        application: &Application,
        keys: KeyKind,
        unlock: &Unlock,
    ) -> Result<Membership, TrustError> {
        let publisher = publisher_of(name);
        expect_free(self, &publisher)?;
        let issue = |purpose, file: &str, request: &str| {
            let namespaces = vec![name.to_owned()];
            let request = Some(request.as_bytes().to_vec());
            self.issue(&IssueOptions { namespaces, request, keys, ..IssueOptions::new(purpose, file) }, unlock)
        };
        issue(Purpose::Node, name, &application.node)?;
        issue(Purpose::Publisher, &publisher, &application.publisher)?;
        self.membership(name, unlock)
    }

    /// Gives a member what it has now. Certificates and lists that are due are renewed first, but those of a member that was
    /// revoked are not.
    ///
    /// # Errors
    /// [`TrustError::Unknown`] if there is no such member; keys that do not open.
    pub fn membership(&self, name: &str, unlock: &Unlock) -> Result<Membership, TrustError> {
        self.renew_lists(false, unlock)?;
        let mut authorities = BTreeMap::new();
        for authority in self.authorities()?.into_iter().filter(|name| name != ROOT) {
            let pem = certificate::to_pem(&self.chain(&authority)?);
            authorities.insert(authority, pem);
        }
        Ok(Membership {
            cluster: self.cluster()?,
            root: certificate::to_pem([&self.root()?]),
            root_sets: self.root_sets()?,
            authorities,
            lists: self.signed_lists()?,
            node: certificate::to_pem(&self.renewed(name, NODE_RENEWAL, unlock)?),
            publisher: certificate::to_pem(&self.renewed(&publisher_of(name), PUBLISHER_RENEWAL, unlock)?),
        })
    }

    /// Gives the revocation lists of every authority of this home, by their names.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn signed_lists(&self) -> Result<BTreeMap<String, Lists>, TrustError> {
        let directory = self.directory.join("lists");
        let read = |authority: String| {
            let signed = files::read_text(&directory.join(format!("{authority}.json")))?;
            let crl = files::read_text(&directory.join(format!("{authority}{}", super::lists::CRL_ENDING)))?;
            Ok((authority, Lists { signed, crl }))
        };
        let (root, mut names) = (self.root()?, self.authorities()?);
        if self.chain(ROOT)?[0] != root {
            names.retain(|name| name != ROOT);
        }
        let mut lists = names.into_iter().map(read).collect::<Result<BTreeMap<_, _>, TrustError>>()?;
        for (other, signed, crl) in self.root_lists()? {
            let both = Lists { signed: files::read_text(&signed)?, crl: files::read_text(&crl)? };
            let name = if other == root { ROOT.to_owned() } else { sets::root_list_name(&other) };
            lists.insert(name, both);
        }
        Ok(lists)
    }

    /// Says whether a name is one of those that a member's certificates have in the home of its authority.
    pub(crate) fn is_of_member(name: &str, member: &str) -> bool {
        name == member || name == publisher_of(member)
    }

    /// Takes what the authority gave into a home: the first time after [`Self::apply`], and whenever it is given again.
    ///
    /// # Errors
    /// Another root than before, a certificate for other keys or that nobody stands for, a list that is older than the one
    /// that is there. What was refused is not written.
    pub fn take(home: &Path, membership: &Membership, unlock: &Unlock) -> Result<Self, TrustError> {
        let home = Self { directory: directory(home) };
        let _lock = Lock::take(&home.directory)?;
        let sets = home.follow_root_sets(membership)?;
        let set = sets.last().cloned().or(home.root_set()?);
        let root = home.expect_root(membership, set.as_ref(), sets.first())?;
        let authorities = home.read_authorities(membership)?;
        let alone = if set.is_none() { vec![root.clone()] } else { Vec::new() };
        let roots = Roots::with_sets(alone, set.into_iter().collect(), Hybrid::Required)?;
        let lists = home.read_lists(membership, &root, &roots, &authorities)?;
        let chains = [(NODE, Purpose::Node, &membership.node)].into_iter().chain([(
            DEFAULT_PUBLISHER,
            Purpose::Publisher,
            &membership.publisher,
        )]);
        let mut changed = Vec::new();
        for (name, purpose, pem) in chains {
            let chain = home.read_pem(&home.certificate_file(name), pem)?;
            if home.chain(name).ok().as_ref() == Some(&chain) {
                continue;
            }
            let Some((leaf, intermediates)) = chain.split_first() else { continue };
            let revocation = Revocation::Lists { lists: &lists, now: now() };
            let request = Request { leaf, intermediates, purpose, at: now(), revocation };
            roots.validate(&request).map_err(|source| TrustError::NotBelieved { name: name.to_owned(), source })?;
            change::open_keys(&home, name, leaf, unlock)?;
            changed.push((name, chain));
        }
        home.write(membership, &authorities)?;
        for set in &sets {
            home.write_root_set(set)?;
        }
        for (name, chain) in &changed {
            Change { name, chain, keys: None }.make(&home, unlock)?;
        }
        // Everything else is there: from here on the home has a root.
        files::update(&home.certificate_file(ROOT), certificate::to_pem([&root]).as_bytes())?;
        Ok(home)
    }

    /// Gives the chain of a member's certificate, renewed if it is due and was not revoked.
    fn renewed(&self, name: &str, before: Duration, unlock: &Unlock) -> Result<Vec<Certificate>, TrustError> {
        let chain = self.chain(name)?;
        if self.is_due(&chain[0], before)? {
            return Ok(self.renew(name, NewKeys::Keep, None, unlock)?.chain);
        }
        Ok(chain)
    }

    /// Gives the sets that come after the one that is here, each signed by enough roots of the one before.
    fn follow_root_sets(&self, membership: &Membership) -> Result<Vec<RootSet>, TrustError> {
        if membership.root_sets.len() > SETS_MAX {
            return Err(TrustError::TooMany { directory: self.directory.clone(), most: SETS_MAX });
        }
        let (mut known, mut followed) = (self.root_set()?, Vec::new());
        for text in &membership.root_sets {
            let next = Proposal::read(text.as_bytes())?;
            if known.as_ref().is_some_and(|known| next.version() <= known.version()) {
                continue;
            }
            let next = next.accept(known.as_ref())?;
            known = Some(next.clone());
            followed.push(next);
        }
        Ok(followed)
    }

    /// Gives the root: that of before, or one of the set that counts. A home below one root follows a first set that has it.
    fn expect_root(
        &self,
        membership: &Membership,
        set: Option<&RootSet>,
        first: Option<&RootSet>,
    ) -> Result<Certificate, TrustError> {
        let path = self.certificate_file(ROOT);
        let root = self.read_pem(&path, &membership.root)?.swap_remove(0);
        let before = if path.exists() { Some(self.root()?) } else { None };
        let has = |set: &RootSet, root: &Certificate| set.roots().any(|known| known == root);
        let follows = self.root_set()?.is_some()
            || first.is_none_or(|first| before.as_ref().is_none_or(|before| has(first, before)));
        let fits = match set {
            Some(set) => has(set, &root),
            None => before.is_none_or(|before| before == root),
        };
        if fits && follows { Ok(root) } else { Err(TrustError::OtherRoot { subject: root.subject().to_owned() }) }
    }

    fn read_authorities(&self, membership: &Membership) -> Result<Vec<(String, Vec<Certificate>)>, TrustError> {
        if membership.authorities.len() > AUTHORITIES_MAX {
            return Err(TrustError::TooMany { directory: self.directory.clone(), most: AUTHORITIES_MAX });
        }
        let read = |(name, pem): (&String, &String)| {
            if !is_authority(name) {
                return Err(TrustError::Name { name: name.clone(), reason: "it is not that of an authority" });
            }
            Ok((name.clone(), self.read_pem(&self.certificate_file(name), pem)?))
        };
        membership.authorities.iter().map(read).collect()
    }

    /// Checks every list against its authority and the one that is there.
    fn read_lists(
        &self,
        membership: &Membership,
        root: &Certificate,
        roots: &Roots,
        authorities: &[(String, Vec<Certificate>)],
    ) -> Result<Vec<RevocationList>, TrustError> {
        let directory = self.directory.join("lists");
        if membership.lists.len() > LISTS_MAX {
            return Err(TrustError::TooMany { directory, most: LISTS_MAX });
        }
        let mut lists = Vec::new();
        for (name, both) in &membership.lists {
            let known = authorities.iter().find(|(authority, _)| authority == name).map(|(_, chain)| &chain[0]);
            let named = || roots.certificates().iter().find(|other| sets::root_list_name(other) == *name);
            let Some(authority) = known.or_else(|| (name == ROOT).then_some(root)).or_else(named) else {
                return Err(TrustError::Name { name: name.clone(), reason: "there is a list and no authority" });
            };
            let before = files::read(&directory.join(format!("{name}.json"))).ok();
            let before = before.and_then(|bytes| super::anchors::genuine(&bytes, authority, now()));
            let seen = before.as_ref().map(RevocationList::seen);
            lists.push(RevocationList::verify(both.signed.as_bytes(), authority, now(), seen)?);
            let path = directory.join(format!("{name}{}", super::lists::CRL_ENDING));
            certificate::crls_from_pem(both.crl.as_bytes())
                .map_err(|source| TrustError::Certificates { path, source })?;
        }
        Ok(lists)
    }

    fn write(&self, membership: &Membership, authorities: &[(String, Vec<Certificate>)]) -> Result<(), TrustError> {
        for (name, chain) in authorities {
            files::update(&self.certificate_file(name), certificate::to_pem(chain).as_bytes())?;
        }
        let lists = self.directory.join("lists");
        for (name, both) in &membership.lists {
            files::update(&lists.join(format!("{name}{}", super::lists::CRL_ENDING)), both.crl.as_bytes())?;
            files::update(&lists.join(format!("{name}.json")), both.signed.as_bytes())?;
        }
        files::update(&self.directory.join("cluster"), format!("{}\n", membership.cluster).as_bytes())?;
        if Book::exists(&self.directory) { Ok(()) } else { Book::empty().write(&self.directory, now()) }
    }

    fn read_pem(&self, path: &Path, pem: &str) -> Result<Vec<Certificate>, TrustError> {
        certificate::from_pem(pem.as_bytes())
            .map_err(|source| TrustError::Certificates { path: path.to_owned(), source })
    }
}

/// Gives the name that the publisher of a member has in the home of its authority.
fn publisher_of(member: &str) -> String {
    format!("{member}-publisher")
}

fn is_authority(name: &str) -> bool {
    files::is_name(name) && name.split('.').next().is_some_and(|first| first.ends_with("-authority"))
}

fn text_of(bytes: Vec<u8>, path: &Path) -> Result<String, TrustError> {
    String::from_utf8(bytes)
        .map_err(|error| files::fault(path, std::io::Error::new(std::io::ErrorKind::InvalidData, error)))
}

#[cfg(test)]
mod tests;
