//! A new cluster: an authority, a bundle that its publisher signs, and for each node a home that is a member and has that
//! bundle with the grants and the addresses it needs.
//!
//! The record is written last; what was begun and not finished is removed by the next try, and nothing else ever is.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use host_sim::bundle::{self, Artifacts, Bundled};
use host_sim::child::ChildCommand;
use host_sim::manifest::{self, Capability, Manifest};
use host_sim::trust::{DEFAULT_PUBLISHER, KeyKind, TrustHome, Unlock};
use hypermesh_abi::records::Progress;
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};

use super::arguments::Up;
use super::network::Network;
use super::record::{AUTHORITY, Record};
use crate::cli::arguments::{Bundle, Options};
use crate::cli::commands::{at, bundle_of};
use crate::cli::output::Output;

/// Nodes of a cluster if nobody says how many.
const NODES_DEFAULT: u32 = 3;
/// The most nodes that a node is told to begin with.
const BOOTSTRAP_MAX: usize = 3;
/// The file that says that a cluster was begun and not finished.
const UNFINISHED: &str = "cluster.unfinished";
/// The name of the setting that says where a node listens and whom it asks first, for extensions whose schema has it.
const NETWORK_SETTING: &str = "network";

/// Makes a cluster in a directory, and says why its network is less than might be wanted.
pub(super) fn cluster(home: &Path, options: &Up, output: &Output) -> Result<(Record, Option<Error>), Error> {
    remove_unfinished(home)?;
    let marker = home.join(UNFINISHED);
    std::fs::write(&marker, "").map_err(|error| at(&marker, &error))?;
    let (network, less) = Network::choose(options.network)?;
    let unlock = Unlock::from_environment(None)?;
    let authority = home.join(AUTHORITY);
    let (trust, _) = TrustHome::open_or_init(&authority, &unlock)?;
    let bundled = bundle_for(options, home, &authority, output)?;
    let record = Record::new(network, options.nodes.unwrap_or(NODES_DEFAULT))?;
    let keys = if options.hybrid { KeyKind::Hybrid } else { KeyKind::Usual };
    for (index, node) in record.nodes.iter().enumerate() {
        output.progress(&Progress {
            stage: "make".into(),
            message: node.id.clone(),
            done: index as u64,
            total: record.nodes.len() as u64,
            unit: "nodes".into(),
        });
        let directory = home.join(&node.id);
        let application = TrustHome::apply(&directory, &node.id, &unlock)?;
        let membership = trust.admit(&node.id, &application, keys, &unlock)?;
        TrustHome::take(&directory, &membership, &unlock)?.set_authority(record.authority.address)?;
        let first = record.nodes.iter().filter(|other| other.id != node.id).take(BOOTSTRAP_MAX);
        let bootstrap: Vec<SocketAddr> = first.map(|other| other.address).collect();
        install(&bundled, &directory, node.address, &bootstrap)?;
    }
    record.write(home)?;
    std::fs::remove_file(&marker).map_err(|error| at(&marker, &error))?;
    Ok((record, less))
}

/// Gives the bundle of a cluster, signed by its own publisher.
fn bundle_for(options: &Up, home: &Path, authority: &Path, output: &Output) -> Result<Bundled, Error> {
    let out = home.join("bundle");
    let given = match &options.ready.bundle {
        Some(given) => Some(given.clone()),
        None => installed()?,
    };
    let Some(given) = given else {
        return bundle_of(&Bundle::of_workspace(Some(out), &options.ready.build), authority, output);
    };
    let template = given.join(manifest::FILE_NAME);
    let found = manifest::read(&template).map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
    let artifacts = Artifacts {
        library: found.library.path.resolve(&given),
        workers: found.workers.iter().map(|worker| worker.path.resolve(&given)).collect(),
        template: Some(template),
    };
    let signer = TrustHome::open(authority)?.signer(DEFAULT_PUBLISHER, Unlock::from_environment(None)?)?;
    let child = ChildCommand::this_program().map_err(|error| Error::wrap(Code::IO, &error))?;
    bundle::lay_out(&artifacts, &out, &signer, &child)
}

/// Gives the only bundle of the user's own home, where nothing can be built: outside of any workspace of cargo.
fn installed() -> Result<Option<PathBuf>, Error> {
    let here = std::env::current_dir().map_err(|error| Error::wrap(Code::IO, &error))?;
    if here.ancestors().any(|directory| directory.join("Cargo.toml").exists()) {
        return Ok(None);
    }
    let extensions = Options::default().home().join("extensions");
    let found = std::fs::read_dir(&extensions).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found = found.filter(|path| path.join(manifest::FILE_NAME).exists());
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(Some(only)),
        (found, _) => {
            let what = if found.is_none() { "no extension" } else { "more than one extension" };
            let message = format!("there is {what} in `{}`, and no workspace here to build one", extensions.display());
            Err(Error::new(Code::NOT_FOUND, message)
                .help("name a bundle with --bundle DIR, or type this in the workspace"))
        }
    }
}

/// Puts the bundle into the home of a node. The signature covers none of what differs between nodes.
fn install(bundled: &Bundled, home: &Path, listen: SocketAddr, bootstrap: &[SocketAddr]) -> Result<(), Error> {
    let directory = home.join("extensions").join(bundled.manifest.id.as_str());
    std::fs::create_dir_all(&directory).map_err(|error| at(&directory, &error))?;
    let entries = std::fs::read_dir(&bundled.directory).map_err(|error| at(&bundled.directory, &error))?;
    for entry in entries {
        let from = entry.map_err(|error| at(&bundled.directory, &error))?.path();
        let to = directory.join(from.file_name().unwrap_or_default());
        if to.file_name().is_some_and(|name| name == manifest::FILE_NAME) {
            continue;
        }
        // Nobody writes into a bundle, so the nodes can share its files where the file system lets them.
        if std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to).map_err(|error| at(&to, &error))?;
        }
    }
    let mut manifest = bundled.manifest.clone();
    configure(&mut manifest, bundled.description.metadata.config_schema.as_ref(), listen, bootstrap);
    let path = directory.join(manifest::FILE_NAME);
    std::fs::write(&path, manifest::write(&manifest)).map_err(|error| at(&path, &error))
}

/// Grants what a node of a cluster needs, and says where it is to an extension that takes the setting.
fn configure(manifest: &mut Manifest, schema: Option<&Json>, listen: SocketAddr, bootstrap: &[SocketAddr]) {
    let granted = &mut manifest.capabilities.granted;
    for capability in [Capability::TransportAccess, Capability::NetworkAccess] {
        if !granted.contains(&capability) {
            granted.push(capability);
        }
    }
    if schema.is_some_and(|schema| schema["properties"][NETWORK_SETTING].is_object()) {
        let setting = manifest.configuration.entry(NETWORK_SETTING).or_insert_with(|| json!({}));
        setting["listen"] = json!(listen);
        setting["bootstrap"] = json!(bootstrap);
    }
}

/// Removes what an earlier try has made.
///
/// # Errors
/// `ALREADY_EXISTS` for a directory that is of no cluster, but has a name that one needs.
fn remove_unfinished(home: &Path) -> Result<(), Error> {
    let is_ours = home.join(UNFINISHED).exists();
    let numbered = |name: &str| name.strip_prefix('n').is_some_and(|rest| rest.parse::<u32>().is_ok());
    for entry in std::fs::read_dir(home).map_err(|error| at(home, &error))? {
        let path = entry.map_err(|error| at(home, &error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !([AUTHORITY, "bundle"].contains(&name) || numbered(name)) {
            continue;
        }
        if !is_ours {
            let message = format!("`{}` is there, and no cluster that it belongs to", path.display());
            return Err(Error::new(Code::ALREADY_EXISTS, message).help("give an empty directory with --home"));
        }
        std::fs::remove_dir_all(&path).map_err(|error| at(&path, &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(schema: Option<&Json>, rest: &Json) -> Manifest {
        let mut document = json!({"apiVersion": "extension.hypermesh/v1", "id": "x", "version": "1.0.0", "trust": "basic",
            "library": {"path": "x.so", "digest": format!("blake3:{}", "0".repeat(64))}});
        for (key, value) in rest.as_object().into_iter().flatten() {
            document[key] = value.clone();
        }
        let mut manifest = manifest::parse(&document.to_string(), "x").expect("a valid manifest");
        configure(&mut manifest, schema, ([127, 0, 0, 1], 1).into(), &[([127, 0, 0, 1], 2).into()]);
        manifest
    }

    #[test]
    fn only_an_extension_that_takes_it_is_told_where_it_is() {
        let schema = json!({"properties": {"network": {"type": "object"}}});
        let told = configured(Some(&schema), &json!({"configuration": {"network": {"peers_max": 7}, "vm": true}}));
        let expected =
            json!({"network": {"peers_max": 7, "listen": "127.0.0.1:1", "bootstrap": ["127.0.0.1:2"]}, "vm": true});
        assert_eq!(Json::Object(told.configuration), expected);
        let other = json!({"properties": {"vm": {"type": "boolean"}}});
        for schema in [None, Some(&other)] {
            assert!(configured(schema, &json!({})).configuration.is_empty(), "{schema:?}");
        }
    }

    #[test]
    fn grants_are_added_once() {
        let granted = json!({"capabilities": {"granted": ["NetworkAccess", "VMExecution"]}});
        let granted = configured(None, &granted).capabilities.granted;
        assert_eq!(granted, [Capability::NetworkAccess, Capability::VmExecution, Capability::TransportAccess]);
    }

    #[test]
    fn only_what_an_unfinished_cluster_has_made_is_removed() {
        let home = tempfile::tempdir().expect("temporary directory");
        for name in ["n1", "ca", "notes", "n"] {
            std::fs::create_dir(home.path().join(name)).expect("made");
        }
        let refused = remove_unfinished(home.path()).expect_err("nobody knows whose that is");
        assert_eq!(refused.code, Code::ALREADY_EXISTS);
        std::fs::write(home.path().join(UNFINISHED), "").expect("written");
        remove_unfinished(home.path()).expect("removes");
        let left = ["n1", "ca", "notes", "n"].map(|name| home.path().join(name).exists());
        assert_eq!(left, [false, false, true, true]);
    }
}
