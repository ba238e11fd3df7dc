//! The parameters of the verbs. Their comments are what `--help` shows, and `x-cli` is how a command line takes them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::ops::update::Strategy;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Directory {
    /// The directory of the package, or its manifest
    #[schemars(extend("x-cli" = {"position": 1, "value": "DIR", "path": true}))]
    pub(super) directory: PathBuf,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish {
    /// The directories of the packages; all are published or none
    #[schemars(extend("x-cli" = {"position": 1, "value": "DIR", "path": true}))]
    pub(super) directories: Vec<PathBuf>,
    /// Check everything and publish nothing
    #[serde(default)]
    pub(super) dry_run: bool,
    /// Which of the node's publishers signs; its default one if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NAME"}))]
    pub(super) publisher: Option<String>,
    /// Publish although a rule of the policy asks for a confirmation
    #[serde(default)]
    pub(super) confirm: bool,
    /// How to compress the archives; zstd if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NAME"}, "enum" = ["zstd", "lz4"]))]
    pub(super) compression: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Yank {
    /// The version, as NAME@VERSION
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    pub(super) package: String,
    /// Why, for those who use it
    #[serde(default = "no_reason")]
    #[schemars(extend("x-cli" = {"value": "TEXT"}))]
    pub(super) reason: String,
    /// Let it be chosen again
    #[serde(default)]
    pub(super) undo: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Feeds {
    /// Sign the heads anew, of the publishers that sign on this node
    #[serde(default)]
    pub(super) renew: bool,
    /// Only the feed of this publisher, by its domain
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "DOMAIN"}))]
    pub(super) publisher: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Info {
    /// The package: NAME, NAME@VERSION, or the id of its asset
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    pub(super) package: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// List what is published on this node instead of what is installed
    #[serde(default)]
    pub(super) published: bool,
    /// List only installed packages that have a newer version, or whose version was yanked
    #[serde(default)]
    pub(super) outdated: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Update {
    /// Packages by NAME; everything that is installed if none is given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    pub(super) packages: Vec<String>,
    /// How far to go
    #[serde(default = "safe")]
    #[schemars(extend("x-cli" = {"value": "STRATEGY"}))]
    pub(super) strategy: Strategy,
    /// Show what would change, and change nothing
    #[serde(default)]
    pub(super) dry_run: bool,
    /// Install although a rule of the policy asks for a confirmation
    #[serde(default)]
    pub(super) confirm: bool,
    /// Ask no other machine; use what is on this node
    #[serde(default)]
    pub(super) offline: bool,
}

fn safe() -> Strategy {
    Strategy::Safe
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    /// Packages as NAME, NAME@VERSION or NAME@REQUIREMENT
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    pub(super) packages: Vec<String>,
    /// Show what would change and change nothing
    #[serde(default)]
    pub(super) dry_run: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    /// Installed packages; all of them if none is given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    pub(super) packages: Vec<String>,
    /// Show every check of the policy with its evidence and what follows, also for packages that are only published
    #[serde(default)]
    pub(super) explain: bool,
}

fn no_reason() -> String {
    "the publisher gave no reason".into()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Audit {
    /// Packages as NAME or NAME@REQUIREMENT, or a directory as ./DIR; what is installed if none is given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG", "maybe_path": true}))]
    pub(super) packages: Vec<String>,
    /// Audit the packages of this catalog.lock instead
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    pub(super) lockfile: Option<PathBuf>,
    /// Fail if a finding is as bad as this or worse; one that nobody has rated counts as high
    #[serde(default = "low")]
    #[schemars(extend("x-cli" = {"value": "LEVEL"}, "enum" = ["low", "medium", "high", "critical"]))]
    pub(super) level: String,
    /// Write the findings as SARIF 2.1.0 into this file, or print them for `-`
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    pub(super) sarif: Option<PathBuf>,
    /// Ignore an advisory, by any of its names, for a reason; may be given many times
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "ID=REASON"}))]
    pub(super) ignore: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportAdvisories {
    /// A record of the OSV schema, a directory of them, or a zip of them
    #[schemars(extend("x-cli" = {"position": 1, "value": "PATH", "path": true}))]
    pub(super) path: PathBuf,
    /// Remove the advisories that are not in it
    #[serde(default)]
    pub(super) replace: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListAdvisories {
    /// The package; all advisories if none is given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    pub(super) package: Option<String>,
    /// At most so many
    #[serde(default = "hundred")]
    #[schemars(extend("x-cli" = {"short": "n", "value": "COUNT"}))]
    pub(super) limit: usize,
}

fn low() -> String {
    "low".into()
}

fn hundred() -> usize {
    100
}

/// A verb that takes nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}
