//! What can be typed behind `cluster`.

use clap::{Args, Subcommand, ValueEnum};

use super::record::NODES_MAX;
use crate::cli::arguments::ReadyBundle;

/// Several nodes on this machine, each a process with a home of its own, under one authority.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    pub(crate) command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Make a cluster below --home, or start what is stopped of the one that is there
    #[command(
        after_help = "Examples:\n  host-sim --home /tmp/c cluster up -n 5\n  host-sim --home /tmp/c cluster up -n 3 --bundle ./bundle --network loopback\n  host-sim --home /tmp/c/n2 catalog --help\n\nEach node is `host-sim up` on a home of its own: DIR/n1, DIR/n2, ... Other commands on such a home go through that node.\nThe bundle is signed again by the cluster's own publisher. The authority of all of them is the home DIR/ca: `host-sim --home DIR/ca trust revoke n2`, then `cluster refresh`."
    )]
    Up(Up),
    /// Show which nodes run, where, and how they are
    #[command(
        after_help = "Examples:\n  host-sim --home /tmp/c cluster status\n  host-sim --home /tmp/c cluster status --json"
    )]
    Status,
    /// Start a node that was killed or has ended, at its old address
    #[command(after_help = "Examples:\n  host-sim --home /tmp/c cluster start n3")]
    Start(Named),
    /// End a node at once, by SIGKILL, as a crash would
    #[command(after_help = "Examples:\n  host-sim --home /tmp/c cluster kill n3")]
    Kill(Named),
    /// Cut the network between groups of nodes; those that are not named are a group, too
    #[command(
        after_help = "Examples:\n  host-sim --home /tmp/c cluster partition n1,n2 n3,n4,n5\n  host-sim --home /tmp/c cluster partition 'n1|n2'\n  host-sim --home /tmp/c cluster partition n1\n\nThis needs nodes in network namespaces, which `cluster up` takes where it may: as root, with `ip` and `nsenter`."
    )]
    Partition(Partition),
    /// End a partition
    #[command(after_help = "Examples:\n  host-sim --home /tmp/c cluster heal")]
    Heal,
    /// Give every node what the authority has now: renewed certificates and the newest revocation lists
    #[command(
        after_help = "Examples:\n  host-sim --home /tmp/c/ca trust revoke n2 --reason key-compromise\n  host-sim --home /tmp/c cluster refresh"
    )]
    Refresh,
    /// Stop every node; homes and addresses stay for the next `up`
    #[command(after_help = "Examples:\n  host-sim --home /tmp/c cluster down")]
    Down,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// How many nodes [default: 3, or as many as there are]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(NODES_MAX)))]
    pub(crate) nodes: Option<u32>,
    #[command(flatten)]
    pub(crate) ready: ReadyBundle,
    /// How the nodes of a new cluster are connected
    #[arg(long, value_enum, default_value_t = NetworkKind::Auto)]
    pub(crate) network: NetworkKind,
    /// Name both keys in the certificates of nodes, which then prove both to their peers
    #[arg(long)]
    pub(crate) hybrid: bool,
}

/// How nodes are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkKind {
    /// Namespaces where that is permitted, else loopback
    Auto,
    /// A network namespace for each node, so that the network between them can be cut; they reach nothing else
    Namespaces,
    /// Ports of 127.0.0.1
    Loopback,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The node, such as n1
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
}

#[derive(Debug, Args)]
pub(crate) struct Partition {
    /// Groups of nodes, separated by spaces or `|`, and the nodes of a group by commas
    #[arg(value_name = "GROUP", required = true)]
    pub(crate) groups: Vec<String>,
}
