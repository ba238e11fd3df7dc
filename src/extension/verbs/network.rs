//! The verbs about other nodes: `peers`, `sync`, `replicas`.

use std::net::SocketAddr;
use std::time::Duration;

use hypermesh_abi::records::{Panel, Response, Verb};
use hypermesh_abi::sdk::Call;
use hypermesh_abi::{Code, Error};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use stoq::records::{Category, Mode};
use time::OffsetDateTime;

use super::parameters::Nothing;
use super::read;
use crate::extension::{CatalogExtension, answers, errors};
use crate::mesh::FEED_CATEGORY;
use crate::ops::mesh::Mirroring;
use crate::package::units::parse_duration;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Peers {
    /// Connect to the node at this address, as 127.0.0.1:9292 or [::1]:9292
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("x-cli" = {"value": "ADDRESS"}))]
    add: Option<SocketAddr>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sync {
    /// One peer: its id, the end of it, its address, or its node's name; all connected ones if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "PEER"}))]
    peer: Option<String>,
    /// How much is compared
    #[serde(default)]
    mode: SyncMode,
    /// With `--mode incremental`: how far back, as 12h or 7d
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "TIME"}))]
    since: Option<String>,
    /// With `--mode selective`: only packages of these types, as lua-script
    #[serde(default, rename = "type")]
    #[schemars(extend("x-cli" = {"value": "TYPE"}))]
    types: Vec<String>,
}

/// How much is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum SyncMode {
    /// Everything, by fingerprints of ranges.
    #[default]
    Differential,
    /// Everything, without comparing first.
    Full,
    /// What is not older than a time.
    Incremental,
    /// Packages of some types.
    Selective,
    /// What publishers said first: yanked versions.
    Priority,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Replicas {
    /// One package; everything that is here if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    package: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MirrorChange {
    /// The package
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    package: String,
}

pub(super) fn table() -> Vec<Verb> {
    vec![
        Verb::new::<MirrorChange>("mirror add", "Keep every version of a package on this node")
            .description(
                "Fetches what there is now, and what its publisher releases later, without installing it; nothing of it is \
                 dropped for want of room. Other archives are kept for peers as `network.replicas` says.",
            )
            .example("mirror add vec3", "all versions, from now on")
            .streaming()
            .panel(Panel::new("package-action").about("package")),
        Verb::new::<MirrorChange>("mirror remove", "Keep a package only as others are kept")
            .example("mirror remove vec3", "its archives stay until there is no room for them"),
        Verb::new::<Nothing>("mirror list", "List the packages that are kept whole")
            .example("mirror list", "by name")
            .panel(Panel::new("table")),
        Verb::new::<Peers>("peers", "List the nodes that this one knows")
            .description(
                "Nodes find each other by the addresses in `configuration.network.bootstrap`, by each other, and where it is \
                 switched on by multicast. Each has a certificate of the same TrustChain, or there is no connection.",
            )
            .example("peers", "who is connected, where, and how far away")
            .example("peers --add 127.0.0.1:9292", "connect to one more")
            .panel(Panel::new("peers")),
        Verb::new::<Sync>("sync", "Bring what is known of packages into line with peers")
            .description(
                "Nodes do so by themselves, when something is published, when they meet and every half minute. Whatever comes \
                 is checked down to the publisher's keys, whoever brings it.",
            )
            .example("sync", "with every connected peer")
            .example("sync n2 --mode full", "with one, without comparing first")
            .example("sync --mode incremental --since 12h", "what is not older")
            .example("sync --mode selective --type lua-script", "what this node cares for")
            .streaming()
            .panel(Panel::new("network-action")),
        Verb::new::<Replicas>("replicas", "Show which nodes have the archives of packages")
            .example("replicas", "everything that is here")
            .example("replicas vec3", "every version of one package")
            .panel(Panel::new("replicas")),
    ]
}

pub(super) async fn answer(
    extension: &CatalogExtension,
    call: Call,
    verb: &str,
    params: Json,
) -> Result<Response, Error> {
    let catalog = extension.catalog()?;
    let failed = |error| errors::to_error(&error);
    match verb {
        "peers" => {
            let Peers { add } = read(params)?;
            let added = match add {
                Some(address) => Some(catalog.add_peer(address).await.map_err(failed)?),
                None => None,
            };
            let status = catalog.network_status().await.map_err(failed)?;
            Ok(answers::peers(&status, added))
        }
        "sync" => {
            let sync: Sync = read(params)?;
            let mode = sync.mode()?;
            let done = catalog.synchronise(sync.peer.as_deref(), &mode).await.map_err(failed)?;
            let ledger = catalog.ledger_state().map_err(failed)?;
            Ok(answers::synchronised(&done, &ledger))
        }
        "mirror add" | "mirror remove" => {
            let MirrorChange { package } = read(params)?;
            let wish = if verb == "mirror add" { Mirroring::Begin } else { Mirroring::End };
            let name = package.clone();
            let missing = extension.blocking(call, move |catalog, host| catalog.mirror(&package, wish, host)).await?;
            catalog.archives_changed().await;
            Ok(answers::mirrored_now(&name, wish, &missing))
        }
        "mirror list" => {
            let Nothing {} = read(params)?;
            let names = extension.blocking(call, |catalog, _| catalog.mirrored()).await?;
            Ok(answers::mirrored(&names))
        }
        _ => {
            let Replicas { package } = read(params)?;
            let replicas = catalog.replicas(package.as_deref(), call.host.identity().platform).await.map_err(failed)?;
            Ok(answers::replicas(&replicas))
        }
    }
}

impl Sync {
    fn mode(&self) -> Result<Mode, Error> {
        let invalid = |message: String| Error::new(Code::INVALID_ARGUMENT, message);
        if self.since.is_some() && self.mode != SyncMode::Incremental {
            return Err(invalid("`since` is of `--mode incremental`".into()));
        }
        if !self.types.is_empty() && self.mode != SyncMode::Selective {
            return Err(invalid("`type` is of `--mode selective`".into()));
        }
        Ok(match self.mode {
            SyncMode::Differential => Mode::Differential,
            SyncMode::Full => Mode::Full,
            SyncMode::Priority => Mode::Priority { min: 2 },
            SyncMode::Incremental => {
                let text =
                    self.since.as_deref().ok_or_else(|| invalid("`--mode incremental` needs `--since`".into()))?;
                let back: Duration = parse_duration(text).map_err(|error| invalid(format!("`since`: {error}")))?;
                let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default();
                Mode::Incremental { since: now.saturating_sub(back.as_secs()) }
            }
            SyncMode::Selective if self.types.is_empty() => {
                return Err(invalid("`--mode selective` needs `--type`".into()));
            }
            SyncMode::Selective => {
                // Without its feed no release is believed.
                let types = self.types.iter().map(String::as_str).chain([FEED_CATEGORY]);
                Mode::Selective { categories: types.map(Category::of).collect() }
            }
        })
    }
}
