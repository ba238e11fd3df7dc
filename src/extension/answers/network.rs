//! Answers about other nodes.

use std::collections::BTreeSet;
use std::fmt::Write;

use hypermesh_abi::records::Response;
use serde_json::{Value as Json, json};
use stoq::PeerId;

use super::shown::{micros, size};
use crate::ops::mesh::{LedgerState, Mirroring};
use crate::ops::network::{NetworkStatus, Replica, Synchronised};
use crate::ops::publish::published_at;
use crate::package::name::PackageName;

pub(in crate::extension) fn peers(status: &NetworkStatus, added: Option<PeerId>) -> Response {
    let connected = status.peers.iter().filter(|peer| peer.connected).count();
    let mut text = format!("{} at {}, {connected} peers\n", status.peer, status.address);
    for peer in &status.peers {
        let address = peer.addresses.first().map_or_else(|| "nowhere known".to_owned(), ToString::to_string);
        let state = if peer.connected { "connected" } else { "known" };
        let away = peer
            .round_trip
            .map_or_else(String::new, |it| format!("  {}", micros(u64::try_from(it.as_micros()).unwrap_or(u64::MAX))));
        let name = status.names.get(&peer.peer).map_or("", String::as_str);
        let _ = writeln!(text, "  {}  {name:<20}  {address}  {state}{away}", peer.peer);
    }
    let list: Vec<Json> = status
        .peers
        .iter()
        .map(|peer| {
            let of_peer = status.transport.peers.iter().find(|it| it.peer == peer.peer);
            json!({"id": peer.peer.to_string(), "name": status.names.get(&peer.peer), "connected": peer.connected, "addresses": peer.addresses,
                "sent_bytes": of_peer.map(|it| it.bytes_sent), "received_bytes": of_peer.map(|it| it.bytes_received),
                "streams_open": of_peer.map(|it| it.streams_served), "requests_made": of_peer.map(|it| it.streams_opened),
                "requests_taken": of_peer.map(|it| it.streams_accepted), "errors": of_peer.map(|it| &it.errors),
                "round_trip_us": peer.round_trip.map(|it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX)),
                "quality": peer.quality})
        })
        .collect();
    let data = json!({"id": status.peer.to_string(), "address": status.address, "peers": list,
        "connected": connected, "refusals": status.transport.refusals, "added": added.map(|peer| peer.to_string())});
    Response { data, text }
}

pub(in crate::extension) fn synchronised(done: &[Synchronised], ledger: &LedgerState) -> Response {
    let mut text = String::new();
    if done.is_empty() {
        text.push_str("no peer is connected\n");
    }
    let mut list = Vec::new();
    for Synchronised { peer, outcome } in done {
        let peer = peer.to_string();
        match outcome {
            Ok(outcome) => {
                let _ = writeln!(
                    text,
                    "{peer}  {} records came, {} went, {} refused ({} in {} turns)",
                    outcome.accepted,
                    outcome.sent,
                    outcome.refused,
                    size(outcome.received_bytes + outcome.sent_bytes),
                    outcome.turns
                );
                list.push(json!({"peer": peer, "accepted": outcome.accepted, "known": outcome.known,
                    "later": outcome.later, "refused": outcome.refused, "sent": outcome.sent,
                    "received_bytes": outcome.received_bytes, "sent_bytes": outcome.sent_bytes,
                    "turns": outcome.turns, "complete": outcome.is_complete}));
            }
            Err(reason) => {
                let _ = writeln!(text, "{peer}  failed: {reason}");
                list.push(json!({"peer": peer, "error": reason}));
            }
        }
    }
    let count = ledger.count;
    let _ = writeln!(
        text,
        "known are {} releases of {} packages by {} publishers, in {} records",
        count.releases, count.packages, count.publishers, count.records
    );
    for fork in &ledger.forks {
        let _ = writeln!(
            text,
            "`{}` contradicts itself: there are two entries {} of its feed",
            fork.publisher, fork.number
        );
    }
    let forks: Vec<Json> = ledger
        .forks
        .iter()
        .map(|fork| json!({"publisher": fork.publisher, "number": fork.number, "at": published_at(fork.at)}))
        .collect();
    let data = json!({"peers": list, "records": count.records, "publishers": count.publishers,
        "packages": count.packages, "releases": count.releases, "forks": forks});
    Response { data, text }
}

pub(in crate::extension) fn mirrored_now(package: &str, wish: Mirroring, missing: &[String]) -> Response {
    let mut text = match wish {
        Mirroring::Begin => format!("every version of {package} is kept here from now on\n"),
        Mirroring::End => format!("{package} is kept as others are\n"),
    };
    for missing in missing {
        let _ = writeln!(text, "  not fetched yet: {missing}");
    }
    let data = json!({"package": package, "mirrored": wish == Mirroring::Begin, "missing": missing});
    Response { data, text }
}

pub(in crate::extension) fn mirrored(names: &BTreeSet<PackageName>) -> Response {
    let mut text: String = names.iter().map(|name| format!("{name}\n")).collect();
    if names.is_empty() {
        text.push_str("no package is kept whole\n");
    }
    Response { data: json!({"packages": names}), text }
}

pub(in crate::extension) fn replicas(replicas: &[Replica]) -> Response {
    let mut text = String::new();
    let mut list = Vec::new();
    for replica in replicas {
        let here = if replica.here { ", one of them here" } else { "" };
        let _ = writeln!(
            text,
            "{}@{}  {} of {} copies{here}  {}",
            replica.package,
            replica.version,
            replica.holders.len(),
            replica.wanted,
            size(replica.bytes)
        );
        let holders: Vec<String> = replica.holders.iter().map(ToString::to_string).collect();
        list.push(json!({"package": replica.package, "version": replica.version, "blob": replica.blob,
            "bytes": replica.bytes, "holders": holders, "here": replica.here, "wanted": replica.wanted}));
    }
    if replicas.is_empty() {
        text.push_str("no archive is known\n");
    }
    Response { data: json!({"replicas": list}), text }
}
