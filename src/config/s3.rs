//! Settings of the store of buckets. They hold no secret: credentials stand in the environment or in a file of their own.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::ConfigError;
use crate::remote::{Address, Bucket, BucketOptions, CredentialsFile, Patience, RemoteError};

/// How buckets of an S3-compatible store are asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct S3Config {
    /// The address of the store: `https://…`, or `http://…` on this machine. Without it Amazon's of the region.
    #[schemars(length(max = 2048))]
    pub endpoint: Option<String>,
    /// The region for which requests are signed.
    pub region: String,
    /// The bucket stands in the path of the address, as every store takes it, and not before the host.
    pub path_style: bool,
    /// A file of credentials, by its absolute path, that nobody but its owner may read: `[profile]`, `aws_access_key_id`,
    /// `aws_secret_access_key` and perhaps `aws_session_token`. Without it the environment has them in `AWS_ACCESS_KEY_ID` and
    /// the like, or requests are not signed.
    pub credentials_file: Option<PathBuf>,
    /// The part of that file that counts.
    pub profile: String,
    /// A file of certificates in PEM, by its absolute path: the authorities that may vouch for the store, in the place of the
    /// public ones.
    pub ca_file: Option<PathBuf>,
    /// Allows `http://` to other machines. Releases stay signed, and no secret is sent; whoever listens can repeat a request
    /// for five minutes.
    pub insecure: bool,
}

impl S3Config {
    /// Makes a client of a bucket.
    ///
    /// # Errors
    /// No bucket, or authorities that do not read.
    pub fn bucket(&self, address: Address) -> Result<Bucket, RemoteError> {
        let credentials = self.credentials_file.clone();
        let options = BucketOptions {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            path_style: self.path_style,
            insecure: self.insecure,
            ca_file: self.ca_file.clone(),
            credentials: credentials.map(|path| CredentialsFile { path, profile: self.profile.clone() }),
        };
        Bucket::new(address, &options, Patience::default())
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let fault = |path: &str, reason: String| Err(ConfigError::Field { path: path.into(), reason });
        if let Some(Err(error)) =
            self.endpoint.as_deref().map(|endpoint| Address::expect_endpoint(endpoint, self.insecure))
        {
            return fault("s3.endpoint", error.to_string());
        }
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.region.is_empty() || self.region.len() > REGION_BYTES_MAX || !self.region.bytes().all(is_plain) {
            return fault("s3.region", "has 1 to 64 small letters, digits and `-`, as in `eu-central-1`".into());
        }
        let is_relative = |path: &Option<PathBuf>| path.as_deref().is_some_and(Path::is_relative);
        for (field, path) in [("s3.ca_file", &self.ca_file), ("s3.credentials_file", &self.credentials_file)] {
            if is_relative(path) {
                return fault(field, "must be an absolute path".into());
            }
        }
        Ok(())
    }
}

impl Default for S3Config {
    /// Amazon's store in its first region, with the credentials of the environment.
    fn default() -> Self {
        Self {
            endpoint: None,
            region: "us-east-1".into(),
            path_style: true,
            credentials_file: None,
            profile: "default".into(),
            ca_file: None,
            insecure: false,
        }
    }
}

/// The longest name of a region in bytes.
const REGION_BYTES_MAX: usize = 64;
