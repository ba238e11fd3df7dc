//! What is known of a cluster between two commands: `DIR/cluster.json`, written whole.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hypermesh_abi::{Code, Error};
use serde::{Deserialize, Serialize};

use super::network::Network;
use super::process::Process;
use crate::cli::commands::at;

/// The name of the authority, and of its home.
pub(super) const AUTHORITY: &str = "ca";
/// The most nodes of a cluster; a bridge of Linux has more ports.
pub(crate) const NODES_MAX: u32 = 64;
/// The largest record that is read; one of 64 nodes has 10 KiB.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// A cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: Version,
    /// How its nodes are connected.
    pub(super) network: Network,
    /// Who reaches whom while the network is cut; empty while it is whole.
    pub(super) groups: Vec<Vec<String>>,
    /// Its nodes, in their order.
    pub(super) nodes: Vec<Node>,
    /// The authority of all of them, which they ask over a connection.
    pub(super) authority: Node,
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    /// Its name: `n1` and so on.
    pub(super) id: String,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The process that was started last; none once it was stopped.
    pub(super) process: Option<Process>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Version {
    #[serde(rename = "hypermesh.cluster/1")]
    V1,
}

impl Record {
    /// Begins a cluster of so many nodes.
    pub(super) fn new(network: Network, count: u32) -> Result<Self, Error> {
        let ids: Vec<String> = (1..=count).map(|number| format!("n{number}")).chain([AUTHORITY.to_owned()]).collect();
        let addresses = network.addresses(ids.len())?;
        let node = |(id, address)| Node { id, address, process: None };
        let mut nodes: Vec<Node> = ids.into_iter().zip(addresses).map(node).collect();
        let authority = nodes.pop().expect("the authority was put there");
        Ok(Self { version: Version::V1, network, groups: Vec::new(), nodes, authority })
    }

    /// Gives the names of everybody who is on the network, the authority last.
    pub(super) fn ids(&self) -> Vec<&str> {
        self.nodes.iter().chain([&self.authority]).map(|node| node.id.as_str()).collect()
    }

    /// Reads the cluster of a directory, if there is one.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>, Error> {
        let path = file(directory);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path, &error)),
            Ok(about) if about.len() > RECORD_BYTES_MAX => {
                let message = format!("`{}` has more than {RECORD_BYTES_MAX} bytes", path.display());
                return Err(Error::new(Code::CORRUPT, message));
            }
            Ok(_) => {}
        }
        let text = std::fs::read(&path).map_err(|error| at(&path, &error))?;
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            let mut wrapped = Error::new(Code::CORRUPT, format!("`{}` is no record of a cluster", path.display()));
            wrapped.chain.push(error.to_string());
            wrapped
        })
    }

    /// Writes the cluster of a directory.
    pub(super) fn write(&self, directory: &Path) -> Result<(), Error> {
        let path = file(directory);
        let text = serde_json::to_vec_pretty(self).map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
        let written = tempfile::NamedTempFile::new_in(directory).and_then(|mut aside| {
            aside.write_all(&text)?;
            aside.as_file().sync_all()?;
            aside.persist(&path).map_err(|error| error.error)
        });
        written.map(drop).map_err(|error| at(&path, &error))
    }

    /// Gives the place of a node.
    pub(super) fn place_of(&self, id: &str) -> Result<usize, Error> {
        self.nodes.iter().position(|node| node.id == id).ok_or_else(|| self.unknown(id))
    }

    /// Reads groups as they are typed: `n1,n2 n3` or `n1,n2|n3`. Whoever is not named belongs to one more group.
    pub(super) fn groups(&self, typed: &[String]) -> Result<Vec<Vec<String>>, Error> {
        let mut seen = BTreeSet::new();
        let mut groups = Vec::new();
        for text in typed.iter().flat_map(|text| text.split('|')).map(str::trim).filter(|text| !text.is_empty()) {
            let mut group = Vec::new();
            for id in text.split(',').map(str::trim).filter(|id| !id.is_empty()) {
                self.place_of(id)?;
                if !seen.insert(id.to_owned()) {
                    let message = format!("`{id}` is named twice, expected each node in one group");
                    return Err(Error::new(Code::INVALID_ARGUMENT, message));
                }
                group.push(id.to_owned());
            }
            groups.push(group);
        }
        groups.push(self.nodes.iter().map(|node| node.id.clone()).filter(|id| !seen.contains(id)).collect());
        groups.retain(|group| !group.is_empty());
        if groups.len() < 2 {
            return Err(Error::new(Code::INVALID_ARGUMENT, "a partition has two groups at least, and here is one")
                .help("name the groups, as in `cluster partition n1,n2 n3`"));
        }
        Ok(groups)
    }

    fn unknown(&self, id: &str) -> Error {
        // Whoever writes `node3` or `N3` means `n3`.
        let number = |text: &str| text.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok();
        let near = self.nodes.iter().find(|node| number(&node.id) == number(id));
        let ids: Vec<&str> = self.nodes.iter().map(|node| node.id.as_str()).collect();
        let help = match near {
            Some(near) => format!("did you mean `{}`? there are {}", near.id, ids.join(", ")),
            None => format!("there are {}", ids.join(", ")),
        };
        Error::new(Code::NOT_FOUND, format!("the cluster has no node `{id}`")).help(help)
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("cluster.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(count: u32) -> Record {
        Record::new(Network::Loopback, count).expect("there are free ports")
    }

    #[test]
    fn groups_are_read_as_people_write_them() {
        let record = record(5);
        let groups = |typed: &[&str]| {
            let typed: Vec<String> = typed.iter().map(|&text| text.to_owned()).collect();
            let groups = record.groups(&typed);
            groups.map(|groups| groups.iter().map(|group| group.join(",")).collect::<Vec<_>>().join("|"))
        };
        for (typed, expected) in [
            (&["n1,n2", "n3,n4,n5"][..], "n1,n2|n3,n4,n5"),
            (&["n1,n2|n3,n4,n5"], "n1,n2|n3,n4,n5"),
            (&["n2, n4", "|", "n1"], "n2,n4|n1|n3,n5"),
            (&["n3"], "n3|n1,n2,n4,n5"),
        ] {
            assert_eq!(groups(typed).expect("is right"), expected, "{typed:?}");
        }
        for (typed, expected) in [
            (&["n1,n2,n3,n4,n5"][..], "a partition has two groups at least, and here is one"),
            (&["n1", "n2,n1"], "`n1` is named twice, expected each node in one group"),
            (&["n1", "n9"], "the cluster has no node `n9`"),
        ] {
            assert_eq!(groups(typed).expect_err("is refused").to_string(), expected, "{typed:?}");
        }
        let help = record.place_of("node3").expect_err("is unknown").detail.help.unwrap_or_default();
        assert!(help.starts_with("did you mean `n3`?"), "{help}");
    }

    #[test]
    fn a_record_is_read_back_or_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        assert!(Record::read(directory.path()).expect("there is none").is_none());
        let written = record(2);
        written.write(directory.path()).expect("written");
        let read = Record::read(directory.path()).expect("is right").expect("is there");
        assert_eq!((read.nodes[1].address, read.ids()), (written.nodes[1].address, vec!["n1", "n2", "ca"]));
        std::fs::write(file(directory.path()), "{}").expect("written");
        assert_eq!(Record::read(directory.path()).expect_err("no record").code, Code::CORRUPT);
        let large = vec![b' '; usize::try_from(RECORD_BYTES_MAX).expect("fits") + 1];
        std::fs::write(file(directory.path()), large).expect("written");
        assert!(Record::read(directory.path()).expect_err("too large").message.contains("more than"));
    }
}
