//! Settings of Catalog, as an administrator writes them into the extension's manifest under `configuration`.

mod network;
mod s3;

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

pub use network::{NetworkConfig, Share};
pub use s3::S3Config;

use crate::remote::{Address, AddressError};
use crate::trust::policy::PolicyConfig;

/// The settings; all have defaults.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Programs may run on this node; if not, Catalog is a package manager only.
    pub vm: bool,
    /// Idle workers kept for the next call of the same program, 0 to 64.
    #[schemars(range(max = 64))]
    pub idle_workers_max: usize,
    /// How long an idle worker is kept, in seconds.
    pub idle_worker_seconds: u64,
    /// The least sandbox that programs run in here, whatever they ask for.
    pub sandbox: LeastSandbox,
    /// Installed WebAssembly packages run in the node's own process, where a call costs microseconds, instead of in a worker.
    /// Their isolation is then the compiler's alone. Only builds with the engine in the library can do so.
    pub wasm_in_process: bool,
    /// The directory of a Julia to run programs with, instead of those that are found: in the node's home, on the search
    /// path, of Juliaup.
    pub julia: Option<String>,
    /// How many bytes packages, installed and published, may take before an installation removes what nobody needs; what
    /// is installed, published or kept to roll back to stays, whatever it takes.
    pub cache_bytes_max: u64,
    /// The name of this node's registry, by which packages may refer to it.
    pub registry: Option<String>,
    /// Which operations the validators of the cluster must agree to.
    pub consensus: ConsensusConfig,
    /// Which packages are published, installed and run here.
    pub trust: PolicyConfig,
    /// Under which licences packages are installed here.
    pub licenses: LicenceConfig,
    /// Another registry, for packages that this node does not have; nothing is asked of any without it.
    pub remote: Option<RemoteConfig>,
    /// How buckets (`s3://BUCKET/PREFIX`) are asked, as the remote registry or as where this node's is exported to.
    pub s3: S3Config,
    /// The network between nodes; without it this one asks and answers nobody.
    pub network: Option<NetworkConfig>,
}

/// The least sandbox that an administrator accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LeastSandbox {
    /// One in which every way out is closed, if by fewer layers than there could be.
    #[default]
    Degraded,
    /// One in which every layer holds.
    Full,
}

/// Another registry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteConfig {
    /// Its address: `https://…`, `http://…` on this machine, a directory as `file:///…`, or a bucket as `s3://BUCKET/PREFIX`.
    #[schemars(length(max = 2048))]
    pub url: String,
    /// How long what it said about a package counts before it is asked again, in seconds.
    #[serde(default = "sync_seconds")]
    pub sync_seconds: u64,
    /// A file of certificates in PEM, by its absolute path: the authorities that may vouch for the address, in the place of
    /// the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Allows `http://` to other machines. Releases stay signed; that a newer one is held back can go unnoticed for a week.
    #[serde(default)]
    pub insecure: bool,
    /// What this node's own publications count beside it.
    #[serde(default)]
    pub mode: RemoteMode,
}

/// What a node's own publications count beside a remote registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RemoteMode {
    /// A name that is published here comes from here, any other from the remote registry.
    #[default]
    Fallback,
    /// Every package comes from the remote registry, and nothing is published here.
    Only,
}

/// Under which licences packages are installed. Without any setting, under every one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LicenceConfig {
    /// SPDX identifiers, such as `MIT`; if there are any, a package needs a licence that these meet.
    pub allow: Vec<String>,
    /// SPDX identifiers that no package may depend on.
    pub deny: Vec<String>,
    /// Packages that somebody looked at: any licence will do for them.
    pub exceptions: BTreeSet<String>,
}

/// Which operations the validators of the cluster must agree to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConsensusConfig {
    /// Running a package.
    pub execute: When,
    /// Publishing a package.
    pub publish: When,
    /// Installing packages.
    pub install: When,
    /// How much of each proof an operation needs; the validators must judge by the same.
    pub profile: ProfileName,
}

/// When agreement is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// If the package says `spec.security.consensus_required`.
    Package,
    /// Whatever the package says.
    Always,
    /// Nobody is asked; what a package requires all the same is refused.
    Never,
}

/// How much of each proof an operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProfileName {
    /// As a developer's own node has.
    Localhost,
    /// As HyperMesh states if nothing else is said.
    Default,
    /// As a cluster has that others depend on.
    Production,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A field is unknown or of another type.
    #[error("field `{path}` of the configuration: {reason}")]
    Field {
        /// The field.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl Config {
    /// Reads the settings; nothing at all means the defaults.
    ///
    /// # Errors
    /// The first field that is unknown, of another type or out of its range.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, ConfigError> {
        if json.is_null() {
            return Ok(Self::default());
        }
        if !json.is_object() {
            return Err(ConfigError::Field { path: ".".into(), reason: "expected a map of settings".into() });
        }
        let config: Self = serde_path_to_error::deserialize(json).map_err(|error| ConfigError::Field {
            path: error.path().to_string(),
            reason: error.inner().to_string(),
        })?;
        if config.idle_workers_max > IDLE_WORKERS_MAX {
            let reason = format!("{} is above {IDLE_WORKERS_MAX}", config.idle_workers_max);
            return Err(ConfigError::Field { path: "idle_workers_max".into(), reason });
        }
        if config.wasm_in_process && !cfg!(feature = "wasm-in-process") {
            let reason = "this build runs WebAssembly in workers only; it lacks the feature `wasm-in-process`".into();
            return Err(ConfigError::Field { path: "wasm_in_process".into(), reason });
        }
        config.remote.as_ref().map_or(Ok(()), RemoteConfig::check)?;
        config.s3.check()?;
        config.network.as_ref().map_or(Ok(()), NetworkConfig::check)?;
        Ok(config)
    }
}

impl RemoteConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let fault = |path: &str, reason: &str| Err(ConfigError::Field { path: path.into(), reason: reason.into() });
        let address = match self.address() {
            Ok(address) => address,
            Err(error) => return fault("remote.url", &error.to_string()),
        };
        match &self.ca_file {
            Some(_) if address.is_bucket() => fault("remote.ca_file", "a bucket's authorities are in `s3.ca_file`"),
            Some(path) if !path.is_absolute() => fault("remote.ca_file", "must be an absolute path"),
            Some(_) | None if self.insecure && address.is_bucket() => {
                fault("remote.insecure", "whether a bucket may be asked by `http` is said in `s3.insecure`")
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Gives its address.
    ///
    /// # Errors
    /// None that is allowed.
    pub fn address(&self) -> Result<Address, AddressError> {
        Address::parse(&self.url, self.insecure)
    }
}

/// As HyperMesh states it.
fn sync_seconds() -> u64 {
    3_600
}

impl LicenceConfig {
    /// Whether nothing is said about licences.
    pub fn allows_everything(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

impl Default for Config {
    /// Programs run; up to four idle workers are kept for a minute.
    fn default() -> Self {
        Self {
            vm: true,
            idle_workers_max: 4,
            idle_worker_seconds: 60,
            sandbox: LeastSandbox::default(),
            wasm_in_process: false,
            julia: None,
            cache_bytes_max: CACHE_BYTES_MAX,
            registry: None,
            consensus: ConsensusConfig::default(),
            trust: PolicyConfig::default(),
            licenses: LicenceConfig::default(),
            remote: None,
            s3: S3Config::default(),
            network: None,
        }
    }
}

impl Default for ConsensusConfig {
    /// What packages ask for, as on a developer's own node.
    fn default() -> Self {
        let (execute, publish, install) = (When::Package, When::Package, When::Package);
        Self { execute, publish, install, profile: ProfileName::Localhost }
    }
}

/// How many bytes the store takes before it collects, if nobody says otherwise: 10 GiB, as HyperMesh gives a mirror.
pub const CACHE_BYTES_MAX: u64 = 10 << 30;
/// The most idle workers a node may keep.
pub const IDLE_WORKERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_have_defaults_and_unknown_ones_are_refused_by_name() {
        assert_eq!(Config::from_json(&json!(null)).expect("defaults"), Config::default());
        assert!(!Config::from_json(&json!({"vm": false})).expect("valid").vm);
        let remote = Config::from_json(&json!({"remote": {"url": "https://example.org"}})).expect("valid").remote;
        let remote = remote.expect("is there");
        assert_eq!((remote.sync_seconds, remote.insecure, remote.mode), (3_600, false, RemoteMode::Fallback));
        Config::from_json(&json!({"remote": {"url": "http://example.org", "insecure": true}})).expect("valid");
        let bucket = json!({"remote": {"url": "s3://packages/registry"}, "s3": {"endpoint": "http://127.0.0.1:9000"}});
        let bucket = Config::from_json(&bucket).expect("valid").s3;
        assert_eq!((&*bucket.region, bucket.path_style, &*bucket.profile), ("us-east-1", true, "default"));
        for (wrong, named) in [
            (json!({"vmm": true}), "vmm"),
            (json!({"vm": "yes"}), "vm"),
            (json!({"idle_workers_max": 65}), "idle_workers_max"),
            (json!([]), "map"),
            (json!({"consensus": {"execute": "sometimes"}}), "consensus.execute"),
            (json!({"consensus": {"run": "always"}}), "run"),
            (json!({"network": {"replicas": 11}}), "network.replicas"),
            (json!({"network": {"peers_max": 0}}), "network.peers_max"),
            (json!({"network": {"listen": "somewhere"}}), "network.listen"),
            (json!({"network": {"share": "friends"}}), "network.share"),
            (json!({"remote": {}}), "url"),
            (json!({"remote": {"url": "http://example.org"}}), "remote.url"),
            (json!({"remote": {"url": "https://example.org", "mode": "both"}}), "remote.mode"),
            (json!({"remote": {"url": "https://example.org", "ca_file": "ca.pem"}}), "remote.ca_file"),
            (json!({"remote": {"url": "s3://B"}}), "remote.url"),
            (json!({"remote": {"url": "s3://packages", "ca_file": "/ca.pem"}}), "remote.ca_file"),
            (json!({"remote": {"url": "s3://packages", "insecure": true}}), "remote.insecure"),
            (json!({"s3": {"endpoint": "http://example.org"}}), "s3.endpoint"),
            (json!({"s3": {"endpoint": "https://key:secret@example.org"}}), "s3.endpoint"),
            (json!({"s3": {"region": "eu west"}}), "s3.region"),
            (json!({"s3": {"ca_file": "ca.pem"}}), "s3.ca_file"),
            (json!({"s3": {"credentials_file": "keys"}}), "s3.credentials_file"),
            (json!({"s3": {"secret_access_key": "…"}}), "secret_access_key"),
        ] {
            let error = Config::from_json(&wrong).expect_err("refused").to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
