//! A remote registry: static files behind an address, asked for what this node lacks.
//!
//! Any web server or directory can hold one; its form is in `docs/formats.md`. Nothing that it says is believed here: documents
//! are bounded and read strictly, blobs are hashed, and who signed what is for `trust` to find out. It is only read; nothing is
//! ever sent but the path of what is wanted. What it gave is kept by the registry and the store, not here.
//!
//! Every request has timeouts, a bound for its answer and few attempts. It may be sent on to another host, but never from
//! `https` to `http`, and to `http` only as the rules of an address allow. Blocks; callers keep it off threads that must not.

mod address;
mod bucket;
mod layout;
mod transport;
mod write;

pub use self::address::{Address, AddressError, BUCKET_SCHEME};
pub use self::bucket::{Bucket, BucketFault, BucketOptions, CredentialsFile, Mended, Push, Rebuilt};
pub use self::layout::{
    FORMAT_VERSION, FeedDocument, HealthDocument, NamesDocument, OfferedRelease, OfferedStatement, PackageDocument,
    feed_path, package_path,
};
pub use self::transport::{Patience, REDIRECTS_MAX, RETRIES_MAX};
pub use self::write::{Side, Sink, WriteError, Writer, Written};

use std::path::{Path, PathBuf};

#[cfg(feature = "julia")]
pub(crate) use self::transport::tls;
use self::transport::{Answer, Authorities, Transport};
use crate::digest::Digest;
use crate::package::name::PackageName;

/// The most requests at the same time.
pub const PARALLEL_MAX: usize = 4;
/// The largest document about one package or all names, in bytes.
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
/// The largest chain of certificates in bytes.
pub const CHAIN_BYTES_MAX: u64 = 256 << 10;
/// The largest compressed archive in bytes: what `archive` would read at most.
pub const BLOB_BYTES_MAX: u64 = crate::archive::TAR_BYTES_MAX;

/// A remote registry.
#[derive(Debug)]
pub struct Remote {
    address: Address,
    transport: Transport,
}

/// Where the documents and archives of a registry come from; nothing that it says is believed.
pub trait Documents: std::fmt::Debug + Send + Sync {
    /// Gives the address by which what came from there is known.
    fn url(&self) -> &str;

    /// Says whether asking needs a network.
    fn is_network(&self) -> bool;

    /// Gives everything that is published under a name; `tag` is of the state that is known.
    ///
    /// # Errors
    /// [`RemoteError`].
    fn package(&self, name: &PackageName, tag: Option<&str>) -> Result<Fetched<PackageDocument>, RemoteError>;

    /// Gives the feed of a publisher; `tag` is of the state that is known.
    ///
    /// # Errors
    /// [`RemoteError`]; a publisher whose name is no domain has none.
    fn feed(&self, publisher: &str, tag: Option<&str>) -> Result<Fetched<FeedDocument>, RemoteError>;

    /// Gives a chain of certificates in PEM.
    ///
    /// # Errors
    /// [`RemoteError`].
    fn chain(&self, digest: Digest) -> Result<String, RemoteError>;

    /// Gives a compressed archive of a size that is known; `progress` is told how many bytes came since it was told last.
    ///
    /// # Errors
    /// [`RemoteError`].
    fn blob(&self, digest: Digest, size_bytes: u64, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<u8>, RemoteError>;

    /// Asks how it is.
    ///
    /// # Errors
    /// [`RemoteError`]; a registry without that document is none.
    fn health(&self) -> Result<HealthDocument, RemoteError>;
}

/// What a registry answered about a document of which an earlier state may be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched<T> {
    /// It has no such document.
    Absent,
    /// It is as it was.
    Unchanged,
    /// It is this.
    Found {
        /// The document.
        value: T,
        /// By what the registry tells this state from others, if it does.
        tag: Option<String>,
    },
}

/// Why a remote registry gave nothing that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// A bucket, or the store that holds it, has an address that may not be asked.
    #[error(transparent)]
    Endpoint(#[from] AddressError),
    /// The file of authorities does not read.
    #[error("`{path}` holds no authorities for the remote registry: {reason}", path = path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It cannot be reached, or stops answering.
    #[error("the remote registry cannot be reached: `{url}` failed in {attempts} attempts")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// How often.
        attempts: u32,
        /// What went wrong the last time.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It refuses to answer.
    #[error("the remote registry answers `{url}` with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// It sends to where nobody may go.
    #[error("the remote registry sends `{url}` on to `{to}`: {reason}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// Where it should be.
        to: String,
        /// Why that is not followed.
        reason: &'static str,
    },
    /// An answer is larger than it may be.
    #[error("`{url}` is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The bound.
        limit: u64,
    },
    /// An answer is no document of a registry.
    #[error("`{url}` is no document of a registry: {reason}")]
    Document {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that a document names is not there.
    #[error("the remote registry names `{url}` and does not have it")]
    Missing {
        /// What was asked for.
        url: String,
    },
    /// A store of buckets refuses.
    #[error("bucket `{bucket}` of `{endpoint}`, key `{key}`: {fault}")]
    Bucket {
        /// The bucket.
        bucket: String,
        /// The store.
        endpoint: String,
        /// What was asked for.
        key: String,
        /// Why there is no answer.
        fault: BucketFault,
    },
    /// The file of credentials does not read.
    #[error("`{path}` holds no credentials for buckets: {reason}", path = path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes are not those that were named.
    #[error("`{url}` has BLAKE3 `{actual}`, expected `{expected}`")]
    Blob {
        /// What was asked for.
        url: String,
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        actual: Digest,
    },
}

impl Remote {
    /// Makes a client of a registry; nothing is asked yet.
    pub fn new(address: Address, patience: Patience) -> Self {
        Self { transport: Transport::new(&address, patience, Authorities::Public), address }
    }

    /// Makes a client that believes no authority but those of a file of certificates in PEM.
    ///
    /// # Errors
    /// [`RemoteError::Authorities`].
    pub fn with_authorities(address: Address, patience: Patience, path: &Path) -> Result<Self, RemoteError> {
        let authorities = Authorities::read(path)?;
        Ok(Self { transport: Transport::new(&address, patience, authorities), address })
    }

    /// Gives its address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Gives every name that is published there, if it has a list of them.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn names(&self) -> Result<Option<NamesDocument>, RemoteError> {
        Ok(self.document(layout::NAMES_PATH, None, NamesDocument::read)?.into_value())
    }

    fn named(
        &self,
        path: &str,
        expected: Digest,
        limit: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<u8>, RemoteError> {
        let url = self.address.url_of(path);
        let Answer::Found { bytes, .. } = self.transport.get(&self.address, path, None, limit, progress)? else {
            return Err(RemoteError::Missing { url });
        };
        let actual = Digest::of(&bytes);
        if actual == expected { Ok(bytes) } else { Err(RemoteError::Blob { url, expected, actual }) }
    }

    fn document<T>(
        &self,
        path: &str,
        tag: Option<&str>,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Fetched<T>, RemoteError> {
        match self.transport.get(&self.address, path, tag, DOCUMENT_BYTES_MAX, &|_| {})? {
            Answer::Absent => Ok(Fetched::Absent),
            Answer::Unchanged => Ok(Fetched::Unchanged),
            Answer::Found { bytes, tag } => {
                let value = read(&bytes).map_err(|reason| self.wrong(path, reason))?;
                Ok(Fetched::Found { value, tag })
            }
        }
    }

    fn wrong(&self, path: &str, reason: String) -> RemoteError {
        RemoteError::Document { url: self.address.url_of(path), reason }
    }
}

impl Documents for Remote {
    fn url(&self) -> &str {
        self.address.as_str()
    }

    fn is_network(&self) -> bool {
        self.address.is_network()
    }

    fn package(&self, name: &PackageName, tag: Option<&str>) -> Result<Fetched<PackageDocument>, RemoteError> {
        self.document(&package_path(name), tag, |bytes| PackageDocument::read(bytes, name))
    }

    fn feed(&self, publisher: &str, tag: Option<&str>) -> Result<Fetched<FeedDocument>, RemoteError> {
        match feed_path(publisher) {
            Some(path) => self.document(&path, tag, |bytes| FeedDocument::read(bytes, publisher)),
            None => Ok(Fetched::Absent),
        }
    }

    fn chain(&self, digest: Digest) -> Result<String, RemoteError> {
        let path = layout::chain_path(digest);
        let bytes = self.named(&path, digest, CHAIN_BYTES_MAX, &|_| {})?;
        String::from_utf8(bytes).map_err(|error| self.wrong(&path, error.to_string()))
    }

    fn blob(&self, digest: Digest, size_bytes: u64, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<u8>, RemoteError> {
        self.named(&layout::blob_path(digest), digest, size_bytes.min(BLOB_BYTES_MAX), progress)
    }

    fn health(&self) -> Result<HealthDocument, RemoteError> {
        let health = self.document(layout::HEALTH_PATH, None, HealthDocument::read)?.into_value();
        health.ok_or_else(|| RemoteError::Missing { url: self.address.url_of(layout::HEALTH_PATH) })
    }
}

impl<T> Fetched<T> {
    /// Makes another value of the document.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Fetched<U> {
        match self {
            Self::Absent => Fetched::Absent,
            Self::Unchanged => Fetched::Unchanged,
            Self::Found { value, tag } => Fetched::Found { value: make(value), tag },
        }
    }

    fn into_value(self) -> Option<T> {
        match self {
            Self::Found { value, .. } => Some(value),
            Self::Absent | Self::Unchanged => None,
        }
    }
}

#[cfg(test)]
mod tests;
