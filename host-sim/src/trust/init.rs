//! A new home: root, authorities, the default publisher, the node and the validators. The root is written last, so that a
//! home that was not finished is begun again.

use std::path::Path;

use data_encoding::HEXLOWER;
use time::OffsetDateTime;
use trustchain::certificate::{
    Authority, INTERMEDIATE_LIFETIME, IntermediateOptions, Purpose, ROOT_LIFETIME, Validity,
};
use trustchain::hybrid::SecretKey;

use super::change::Change;
use super::files::{self, Lock};
use super::issue::{self, IssueOptions};
use super::record::{Book, Record};
use super::{
    DEFAULT_PUBLISHER, NODE, ROOT, TrustError, TrustHome, Unlock, VALIDATORS, authority_of, directory, domain_below,
    domain_of, lists, now,
};

/// What a new home is to be.
#[derive(Clone, Debug, Default)]
pub struct InitOptions {
    /// Who stands behind the root; a random name if not given.
    pub organization: Option<String>,
    /// The only namespaces that the publisher authority may give, beside that of the default publisher; all if empty.
    pub namespaces: Vec<String>,
    /// Make a root and nothing below it: a home that only signs root sets and certifies authorities of others.
    pub root_only: bool,
}

/// The longest name of an organization: a common name has 64 characters, and the longest suffix takes 20.
const ORGANIZATION_CHARS_MAX: usize = 40;

impl TrustHome {
    /// Makes the trust of a home. Takes about 0.4 s, and 0.2 s more for each key if a passphrase encrypts them.
    ///
    /// # Errors
    /// [`TrustError::Initialized`] if there is a root; names that cannot be; a file that cannot be written.
    pub fn init(home: &Path, options: &InitOptions, unlock: &Unlock) -> Result<Self, TrustError> {
        let home = Self { directory: directory(home) };
        let _lock = Lock::take(&home.directory)?;
        if home.certificate_file(ROOT).exists() {
            return Err(TrustError::Initialized { directory: home.directory });
        }
        let organization = organization(options)?;
        unlock.prepare(&home.directory)?;
        let at = now() - trustchain::SKEW;
        let keys = SecretKey::generate()?;
        let root =
            Authority::root(&format!("{organization} root"), keys.clone(), Validity::starting(at, ROOT_LIFETIME))?;
        let mut book = Book::empty();
        book.write(&home.directory, at)?;
        let root_id = lists::id(root.certificate());
        let mut authorities = Vec::new();
        let purposes = if options.root_only { &[][..] } else { &Purpose::ALL };
        for &purpose in purposes {
            let name = authority_of(purpose);
            let keys = SecretKey::generate()?;
            let authority = intermediate(
                &root,
                &format!("{organization} {purpose} authority"),
                &keys,
                purpose,
                &permitted(purpose, options),
                at,
            )?;
            let chain = [authority.certificate().clone()];
            book.issued.push(Record::of(&name, &chain[0], root_id));
            book.write(&home.directory, at)?;
            Change { name: &name, chain: &chain, keys: Some((&keys).into()) }.make(&home, unlock)?;
            authorities.push((purpose, authority));
        }
        let validators = (1..=VALIDATORS).map(|number| (Purpose::Validator, format!("validator-{number}")));
        let leaves = [(Purpose::Publisher, DEFAULT_PUBLISHER.to_owned()), (Purpose::Node, NODE.to_owned())];
        for (purpose, name) in leaves.into_iter().chain(validators) {
            for (_, authority) in authorities.iter().filter(|(of, _)| *of == purpose) {
                issue::own(&home, &mut book, authority, &IssueOptions::new(purpose, &name), unlock)?;
            }
        }
        files::write(&home.directory.join("cluster"), format!("{}\n", cluster()?).as_bytes())?;
        // Everything else is there: from here on the home has a root.
        unlock.seal(&home.directory, &home.key_file(ROOT), &keys)?;
        let certificate = [root.certificate().clone()];
        lists::sign(&home, ROOT, &root, &mut book, now())?;
        for (purpose, authority) in &authorities {
            lists::sign(&home, &authority_of(*purpose), authority, &mut book, now())?;
        }
        Change { name: ROOT, chain: &certificate, keys: None }.make(&home, unlock)?;
        Ok(home)
    }
}

/// Issues an authority for a purpose.
pub(super) fn intermediate(
    root: &Authority,
    common_name: &str,
    keys: &SecretKey,
    purpose: Purpose,
    permitted: &[String],
    at: OffsetDateTime,
) -> Result<Authority, TrustError> {
    let mut validity = Validity::starting(at, INTERMEDIATE_LIFETIME);
    validity.not_after = validity.not_after.min(root.certificate().validity().not_after);
    let public = keys.public();
    let options = IntermediateOptions { common_name, keys: &public, purpose, path_length: 0, permitted, validity };
    Ok(Authority::new(root.intermediate(&options)?, keys.clone())?)
}

fn permitted(purpose: Purpose, options: &InitOptions) -> Vec<String> {
    let domain = domain_of(purpose);
    if purpose != Purpose::Publisher || options.namespaces.is_empty() {
        return vec![domain.to_owned()];
    }
    let namespaces = options.namespaces.iter().map(String::as_str).chain([DEFAULT_PUBLISHER]);
    namespaces.map(|namespace| domain_below(domain, namespace)).collect()
}

fn organization(options: &InitOptions) -> Result<String, TrustError> {
    let Some(organization) = &options.organization else { return Ok(format!("HyperMesh {}", random_name()?)) };
    let chars = organization.chars().count();
    let printable = organization.trim() == organization && !organization.chars().any(char::is_control);
    if printable && (1..=ORGANIZATION_CHARS_MAX).contains(&chars) {
        return Ok(organization.clone());
    }
    Err(TrustError::Name {
        name: organization.clone(),
        reason: "1 to 40 printable characters name who stands behind a root",
    })
}

fn cluster() -> Result<String, TrustError> {
    Ok(format!("cluster-{}", random_name()?))
}

fn random_name() -> Result<String, TrustError> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)
        .map_err(|error| files::fault(Path::new("/dev/random"), std::io::Error::other(error)))?;
    Ok(HEXLOWER.encode(&bytes))
}
