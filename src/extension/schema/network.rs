//! Answers about other nodes.

use std::collections::BTreeMap;

use super::shapes;

shapes! {
    /// This node among others.
    Peers {
        id: String,
        address: String,
        peers: Vec<Peer>,
        /// How many are connected.
        connected: u64,
        /// Connections that were refused, by reason.
        refusals: BTreeMap<String, u64>,
        /// The peer that was added.
        added: Option<String>,
    }
    /// Another node.
    Peer {
        id: String,
        name: Option<String>,
        connected: bool,
        addresses: Vec<String>,
        sent_bytes: Option<u64>,
        received_bytes: Option<u64>,
        streams_open: Option<u64>,
        requests_made: Option<u64>,
        requests_taken: Option<u64>,
        /// By name.
        errors: Option<BTreeMap<String, u64>>,
        round_trip_us: Option<u64>,
        quality: f64,
    }
    /// What peers told and were told.
    Synchronised {
        peers: Vec<Session>,
        records: u64,
        publishers: u64,
        packages: u64,
        releases: u64,
        /// Publishers that contradict themselves.
        forks: Vec<Fork>,
    }
    /// What came of one peer, or why nothing did.
    Session {
        peer: String,
        accepted: Option<u64>,
        known: Option<u64>,
        later: Option<u64>,
        refused: Option<u64>,
        sent: Option<u64>,
        received_bytes: Option<u64>,
        sent_bytes: Option<u64>,
        turns: Option<u64>,
        complete: Option<bool>,
        error: Option<String>,
    }
    /// Two entries of one number in a feed.
    Fork { publisher: String, number: u64, at: String }
    /// Who has the archives of packages.
    Replicas { replicas: Vec<Replica> }
    /// Who has an archive.
    Replica {
        package: String,
        version: String,
        blob: String,
        bytes: u64,
        holders: Vec<String>,
        here: bool,
        wanted: u64,
    }
    /// A package that is kept whole here, or is not any more.
    Mirrored {
        package: String,
        mirrored: bool,
        /// Versions that were not fetched yet.
        missing: Vec<String>,
    }
    /// Packages that are kept whole here.
    Mirrors { packages: Vec<String> }
}
