//! A TrustChain of one root, one authority and two nodes, in files, so that two processes believe each other.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use stoq::identity::{Credentials, Identity, Pending, SignError};
use time::{Duration, OffsetDateTime};
use trustchain::certificate::{
    Authority, Certificate, CrlOptions, INTERMEDIATE_LIFETIME, IntermediateOptions, LeafKey, LeafOptions,
    NODE_LIFETIME, Purpose, ROOT_LIFETIME, SubjectName, Validity,
};
use trustchain::path::{Crls, Hybrid, Roots};
use trustchain::{ed25519, hybrid};

/// The nodes of the directory.
pub(crate) const NODES: [&str; 2] = ["server", "client"];

/// Writes certificates, revocation lists and the keys of both nodes into a directory.
pub(crate) fn write(directory: &Path) -> Result<(), Box<dyn Error>> {
    let at = OffsetDateTime::now_utc().replace_nanosecond(0)? - Duration::HOUR;
    let root = Authority::root("Root", hybrid::SecretKey::generate()?, Validity::starting(at, ROOT_LIFETIME))?;
    let keys = hybrid::SecretKey::generate()?;
    let intermediate = root.intermediate(&IntermediateOptions {
        common_name: "Nodes",
        keys: &keys.public(),
        purpose: Purpose::Node,
        path_length: 0,
        permitted: &[],
        validity: Validity::starting(at, INTERMEDIATE_LIFETIME),
    })?;
    let nodes = Authority::new(intermediate, keys)?;
    let list = CrlOptions { number: 1, this_update: at, next_update: at + Duration::DAY, revoked: &[] };
    fs::create_dir_all(directory)?;
    fs::write(directory.join("root.der"), root.certificate().der())?;
    fs::write(directory.join("nodes.der"), nodes.certificate().der())?;
    fs::write(directory.join("root.crl"), root.crl(&list)?)?;
    fs::write(directory.join("nodes.crl"), nodes.crl(&list)?)?;
    for node in NODES {
        let key = ed25519::SecretKey::generate()?;
        let names = [SubjectName::dns(&format!("{node}.node.trustchain"))?, SubjectName::dns("node.trustchain")?];
        let leaf = nodes.leaf(&LeafOptions {
            common_name: node,
            key: LeafKey::Classical(&key.public()),
            purpose: Purpose::Node,
            names: &names,
            validity: Validity::starting(at, NODE_LIFETIME),
        })?;
        fs::write(directory.join(format!("{node}.der")), leaf.der())?;
        fs::write(directory.join(format!("{node}.key")), key.expose())?;
    }
    Ok(())
}

/// A node whose keys lie in files.
pub(crate) struct FileIdentity {
    credentials: Arc<Credentials>,
    key: ed25519::SecretKey,
}

impl FileIdentity {
    /// Reads one of [`NODES`].
    pub(crate) fn read(directory: &Path, node: &str) -> Result<Self, Box<dyn Error>> {
        let certificate = |name: &str| -> Result<Certificate, Box<dyn Error>> {
            Ok(Certificate::parse(&fs::read(directory.join(format!("{name}.der")))?)?)
        };
        let lists = [fs::read(directory.join("root.crl"))?, fs::read(directory.join("nodes.crl"))?];
        let credentials = Credentials {
            chain: vec![certificate(node)?, certificate("nodes")?],
            roots: Roots::new(vec![certificate("root")?], Hybrid::Required)?,
            crls: Crls::parse(lists.iter().map(Vec::as_slice))?,
            hybrid_peers_only: false,
        };
        let key = ed25519::SecretKey::from_bytes(&fs::read(directory.join(format!("{node}.key")))?)?;
        Ok(Self { credentials: Arc::new(credentials), key })
    }
}

impl Identity for FileIdentity {
    fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials)
    }

    fn sign_handshake(&self, content: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(*self.key.sign(content).as_bytes())
    }

    fn sign_binding<'a>(&'a self, _: &'a [u8]) -> Pending<'a, Result<Vec<u8>, SignError>> {
        Box::pin(async { Err(SignError { reason: "this node has no FALCON-1024 key".to_owned() }) })
    }
}
