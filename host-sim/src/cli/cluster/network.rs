//! How the nodes of a cluster reach each other: by ports of one loopback, or each in a network namespace of its own.
//!
//! With namespaces there is one more, the hub. It has a bridge to which a pair of virtual interfaces leads from every node.
//! A partition moves the ends in the hub to a bridge for each group: frames of one group have no way to another, and
//! nothing else changes for a node, as when a switch between two racks fails. The network of the machine is not touched.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use hypermesh_abi::{Code, Error, Fault};
use serde::{Deserialize, Serialize};

use super::arguments::NetworkKind;

/// The port of nodes in namespaces, each of which has all ports: the one of STOQ.
const PORT: u16 = 9292;
/// The largest packet between namespaces in bytes: that of large Ethernet frames.
const MTU_BYTES: u16 = 9000;

/// How nodes are connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Network {
    /// Ports of 127.0.0.1.
    Loopback,
    /// Network namespaces.
    Namespaces {
        /// What the names of all of them begin with.
        name: String,
    },
}

impl Network {
    /// Finds out what can be had. Says why, if that is less than might be wanted.
    pub(super) fn choose(kind: NetworkKind) -> Result<(Self, Option<Error>), Error> {
        if kind == NetworkKind::Loopback {
            return Ok((Self::Loopback, None));
        }
        let mut random = [0; 4];
        getrandom::fill(&mut random)
            .map_err(|error| Error::new(Code::INTERNAL, format!("there are no random bytes: {error}")))?;
        let network = Self::Namespaces { name: format!("hm-{}", data_encoding::HEXLOWER.encode(&random)) };
        let tried = network.build(&["probe"]);
        let removed = network.remove(&["probe"]);
        match tried.and(removed) {
            Ok(()) => Ok((network, None)),
            Err(reason) if kind == NetworkKind::Auto => Ok((Self::Loopback, Some(reason))),
            Err(reason) => Err(reason),
        }
    }

    /// Gives addresses for nodes. Those of the loopback were free a moment ago, for UDP and for TCP.
    pub(super) fn addresses(&self, count: usize) -> Result<Vec<SocketAddr>, Error> {
        if matches!(self, Self::Namespaces { .. }) {
            return Ok((1..=count).map(|number| (address(number), PORT).into()).collect());
        }
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(free_port().map_err(|error| Error::wrap(Code::IO, &error))?);
        }
        Ok(taken.iter().map(|(_, _, address)| *address).collect())
    }

    /// Makes the namespaces of these, with everybody in one group.
    pub(super) fn build(&self, ids: &[&str]) -> Result<(), Error> {
        let Self::Namespaces { name } = self else { return Ok(()) };
        let hub = format!("{name}-hub");
        ip(None, &[format!("netns add {hub}")])?;
        let mut lines = vec!["link set lo up".to_owned()];
        lines.extend(bridge(0));
        for (number, id) in (1..).zip(ids) {
            let node = format!("{name}-{id}");
            ip(None, &[format!("netns add {node}")])?;
            lines.extend([
                format!("link add v{number} mtu {MTU_BYTES} type veth peer name eth0 mtu {MTU_BYTES} netns {node}"),
                format!("link set v{number} master {} up", group_name(0)),
            ]);
        }
        ip(Some(&hub), &lines)?;
        for (number, id) in (1..).zip(ids) {
            let lines = [
                "link set lo up".to_owned(),
                format!("addr add {}/24 dev eth0", address(number)),
                "link set eth0 up".to_owned(),
            ];
            ip(Some(&format!("{name}-{id}")), &lines)?;
        }
        Ok(())
    }

    /// Removes the namespaces of these, as far as they are there.
    pub(super) fn remove(&self, ids: &[&str]) -> Result<(), Error> {
        let Self::Namespaces { name } = self else { return Ok(()) };
        let nodes = ids.iter().map(|id| format!("{name}-{id}"));
        for namespace in nodes.chain([format!("{name}-hub")]).filter(|namespace| file(namespace).exists()) {
            ip(None, &[format!("netns del {namespace}")])?;
        }
        Ok(())
    }

    /// Says whether the namespaces are there.
    pub(super) fn is_built(&self) -> bool {
        match self {
            Self::Loopback => true,
            Self::Namespaces { name } => file(&format!("{name}-hub")).exists(),
        }
    }

    /// Cuts the network into groups, given as places among those it was built of, from 1; one group makes it whole. What a
    /// cut that failed has left is in nobody's way.
    pub(super) fn cut(&self, groups: &[Vec<usize>]) -> Result<(), Error> {
        let Self::Namespaces { name } = self else {
            return Err(Error::new(
                Code::UNSUPPORTED,
                "the nodes of this cluster share one loopback, which cannot be cut",
            )
            .fault(Fault::ENVIRONMENT)
            .help("make a cluster with `--network namespaces`, as root where `ip` and `nsenter` are"));
        };
        let hub = format!("{name}-hub");
        let there = bridges(&hub)?;
        let missing = (0..groups.len()).filter(|index| !there.contains(&group_name(*index)));
        let mut lines: Vec<String> = missing.flat_map(bridge).collect();
        for (index, group) in groups.iter().enumerate() {
            lines.extend(group.iter().map(|number| format!("link set v{number} master {}", group_name(index))));
        }
        let wanted: Vec<String> = (0..groups.len()).map(group_name).collect();
        lines.extend(there.iter().filter(|bridge| !wanted.contains(bridge)).map(|bridge| format!("link del {bridge}")));
        ip(Some(&hub), &lines)
    }

    /// Begins a command that runs a program where a node is.
    pub(super) fn command(&self, node: &str, program: &Path) -> Command {
        match self {
            Self::Loopback => Command::new(program),
            Self::Namespaces { name } => {
                let namespace = file(&format!("{name}-{node}"));
                let mut command = Command::new("nsenter");
                // Only the network: `ip netns exec` would also hide the control groups, which live below /sys.
                command.arg(format!("--net={}", namespace.display())).arg("--").arg(program);
                command
            }
        }
    }
}

fn bridge(index: usize) -> [String; 2] {
    let name = group_name(index);
    [format!("link add name {name} mtu {MTU_BYTES} type bridge"), format!("link set {name} up")]
}

/// Gives the name of the bridge of a group.
fn group_name(index: usize) -> String {
    format!("group{index}")
}

/// Gives the names of the bridges in a namespace.
fn bridges(namespace: &str) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Link {
        ifname: Option<String>,
    }
    let said = run_ip(&["-n", namespace, "-json"], &["link show type bridge".to_owned()])?;
    let links: Vec<Link> = serde_json::from_str(&said).map_err(|error| refused(&format!("`ip -json`: {error}")))?;
    Ok(links.into_iter().filter_map(|link| link.ifname).collect())
}

/// Gives the address of a node in its namespace; nobody outside sees it.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 89, 0, u8::try_from(number).unwrap_or(u8::MAX))
}

fn file(namespace: &str) -> std::path::PathBuf {
    Path::new("/run/netns").join(namespace)
}

/// Finds a port that is free for both protocols, and holds it.
fn free_port() -> std::io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = udp.local_addr()?;
        match TcpListener::bind(address) {
            Ok(tcp) => return Ok((udp, tcp, address)),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

/// Has `ip` do what the lines say, in the machine's own network or in a namespace.
fn ip(namespace: Option<&str>, lines: &[String]) -> Result<(), Error> {
    let options = namespace.map(|namespace| ["-n", namespace]);
    run_ip(options.as_ref().map_or(&[], |options| options), lines).map(drop)
}

/// Has `ip` do what the lines say, and gives what it says.
fn run_ip(options: &[&str], lines: &[String]) -> Result<String, Error> {
    let mut command = Command::new("ip");
    command.args(options).args(["-batch", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| refused(&format!("`ip` does not start: {error}")))?;
    let mut text = lines.join("\n");
    text.push('\n');
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(text.as_bytes()));
    let output = child.wait_with_output().map_err(|error| refused(&error.to_string()))?;
    if output.status.success() {
        written.map_err(|error| refused(&error.to_string()))?;
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(refused(said.lines().next().unwrap_or("`ip` says no reason").trim()))
}

fn refused(reason: &str) -> Error {
    Error::new(Code::UNSUPPORTED, format!("network namespaces cannot be had here: {reason}"))
        .fault(Fault::ENVIRONMENT)
        .help("this needs root, `ip` and `nsenter`; `--network loopback` does without")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_the_loopback_differ_and_are_free() {
        let mut ports = Network::Loopback.addresses(64).expect("there are that many");
        // Whoever else asks this machine for ports may have been given a few of them since; and a program that another
        // test starts at this moment has them all until it has become that program.
        let free = || ports.iter().filter(|address| UdpSocket::bind(address).is_ok()).count();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while free() < 48 && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(free() >= 48, "only {} of 64 are free again", free());
        ports.sort();
        ports.dedup();
        assert_eq!(ports.len(), 64);
    }

    #[test]
    fn one_loopback_cannot_be_cut() {
        let refused = Network::Loopback.cut(&[vec![1], vec![2]]).expect_err("refused");
        assert_eq!((refused.code, refused.fault), (Code::UNSUPPORTED, Fault::ENVIRONMENT));
        assert!(refused.detail.help.is_some_and(|help| help.contains("--network namespaces")));
    }
}
