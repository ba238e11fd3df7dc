//! Addresses of nodes: `/ip4|ip6/ADDRESS/udp/PORT/quic-v1[/p2p/PEER]` and nothing else, no names, no relays.
//!
//! What a peer claims as its address is believed only as far as it could be true: a peer on the network does not live on
//! the loopback of whoever hears of it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use libp2p::PeerId;
use libp2p::multiaddr::{Multiaddr, Protocol};

/// The most addresses that are kept of one peer: two networks of two families.
pub const ADDRESSES_PER_PEER_MAX: usize = 4;
/// The most peers whose addresses are known; about 300 bytes each.
pub const KNOWN_PEERS_MAX: usize = 4096;

/// An address is not one of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("address `{address}` is not `/ip4|ip6/ADDRESS/udp/PORT/quic-v1[/p2p/PEER]`")]
pub struct AddressError {
    /// What was given.
    pub address: Multiaddr,
}

/// A part of the network that one owner is likely to hold: 256 addresses of IPv4, a /48 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subnet([u8; 6]);

/// Where peers were last seen; shared with whoever dials them. Bounded: the one heard of longest ago goes first.
#[derive(Debug, Default)]
pub struct AddressBook {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    entries: HashMap<PeerId, (u64, Vec<SocketAddr>)>,
    clock: u64,
}

impl AddressBook {
    /// Gives the addresses of a peer, the best first; none if it is not known.
    pub fn addresses(&self, peer: PeerId) -> Vec<SocketAddr> {
        self.lock().entries.get(&peer).map(|(_, addresses)| addresses.clone()).unwrap_or_default()
    }

    /// Puts an address before the others of a peer, and forgets the last beyond [`ADDRESSES_PER_PEER_MAX`].
    pub(crate) fn prefer(&self, peer: PeerId, address: SocketAddr) {
        let mut addresses = self.addresses(peer);
        addresses.retain(|known| *known != address);
        addresses.insert(0, address);
        self.replace(peer, addresses);
    }

    /// Takes addresses for those of a peer.
    pub(crate) fn replace(&self, peer: PeerId, mut addresses: Vec<SocketAddr>) {
        addresses.truncate(ADDRESSES_PER_PEER_MAX);
        let mut pages = self.lock();
        pages.clock += 1;
        let clock = pages.clock;
        pages.entries.insert(peer, (clock, addresses));
        if pages.entries.len() > KNOWN_PEERS_MAX
            && let Some(oldest) = pages.entries.iter().min_by_key(|(_, (at, _))| *at).map(|(peer, _)| *peer)
        {
            pages.entries.remove(&oldest);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().expect("no holder of the address book panics")
    }
}

/// Writes the address of a node.
pub(crate) fn to_multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip().to_canonical()).with(Protocol::Udp(address.port())).with(Protocol::QuicV1)
}

/// Reads the address of a node, and whom to expect there.
///
/// # Errors
/// It is an address of another kind.
pub(crate) fn from_multiaddr(address: &Multiaddr) -> Result<(SocketAddr, Option<PeerId>), AddressError> {
    let refused = || AddressError { address: address.clone() };
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => IpAddr::from(ip),
        Some(Protocol::Ip6(ip)) => IpAddr::from(ip),
        _ => return Err(refused()),
    };
    let (Some(Protocol::Udp(port)), Some(Protocol::QuicV1)) = (parts.next(), parts.next()) else {
        return Err(refused());
    };
    let peer = match parts.next() {
        None => None,
        Some(Protocol::P2p(peer)) => Some(peer),
        Some(_) => return Err(refused()),
    };
    if parts.next().is_some() { Err(refused()) } else { Ok((SocketAddr::new(ip.to_canonical(), port), peer)) }
}

/// Chooses from what a peer claims about itself what can be true, the address it was seen at first, at most
/// [`ADDRESSES_PER_PEER_MAX`].
pub(crate) fn believable(peer: PeerId, claimed: &[Multiaddr], seen: Option<IpAddr>) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for claim in claimed.iter().take(4 * ADDRESSES_PER_PEER_MAX) {
        let Ok((address, whose)) = from_multiaddr(claim) else { continue };
        let own = whose.is_none_or(|whose| whose == peer);
        if own && can_be_dialled(address, seen) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.sort_by_key(|address| Some(address.ip()) != seen);
    addresses.truncate(ADDRESSES_PER_PEER_MAX);
    addresses
}

/// Gives the network of an address; none for those that many share or that belong to one site.
pub(crate) fn subnet(ip: IpAddr) -> Option<Subnet> {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_private() || ip.is_link_local() => None,
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Some(Subnet([0xff, 0xff, 0xff, a, b, c]))
        }
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() => None,
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, ..] = ip.octets();
            Some(Subnet([a, b, c, d, e, f]))
        }
    }
}

fn can_be_dialled(address: SocketAddr, seen: Option<IpAddr>) -> bool {
    let ip = address.ip();
    let foreign_loopback = ip.is_loopback() && seen.is_some_and(|seen| !seen.to_canonical().is_loopback());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !foreign_loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_go_through_their_written_form() {
        for text in ["192.0.2.7:9292", "[2001:db8::7]:9292"] {
            let (peer, address) = (PeerId::random(), socket(text));
            let written = to_multiaddr(address);
            assert_eq!(from_multiaddr(&written), Ok((address, None)));
            assert_eq!(from_multiaddr(&written.with(Protocol::P2p(peer))), Ok((address, Some(peer))));
        }
        assert_eq!(to_multiaddr(socket("[::ffff:192.0.2.7]:1")).to_string(), "/ip4/192.0.2.7/udp/1/quic-v1");
    }

    #[test]
    fn other_addresses_are_refused() {
        for text in [
            "/ip4/192.0.2.7/tcp/9292",
            "/ip4/192.0.2.7/udp/9292",
            "/dns4/example.org/udp/9292/quic-v1",
            "/ip4/192.0.2.7/udp/9292/quic-v1/webtransport",
            "/ip4/192.0.2.7/udp/9292/quic-v1/p2p/12D3KooWAHXbyBZvWBfGPBdV5GkPShDQSNXn9vm5fyJ2rZ3sVQeC/p2p-circuit",
            "/memory/7",
        ] {
            let Ok(address) = text.parse::<Multiaddr>() else { panic!("`{text}` is a multiaddress") };
            assert_eq!(from_multiaddr(&address), Err(AddressError { address }), "{text}");
        }
    }

    #[test]
    fn claims_that_cannot_be_true_are_left_out() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let claim = |text: &str| to_multiaddr(socket(text));
        let claimed = [
            claim("198.51.100.1:5"),
            claim("127.0.0.1:5"),
            claim("0.0.0.0:5"),
            claim("224.0.0.1:5"),
            claim("192.0.2.7:0"),
            claim("203.0.113.9:5").with(Protocol::P2p(other)),
            claim("192.0.2.7:5").with(Protocol::P2p(peer)),
            claim("192.0.2.7:5"),
        ];
        let seen = Some(socket("192.0.2.7:1").ip());
        assert_eq!(believable(peer, &claimed, seen), [socket("192.0.2.7:5"), socket("198.51.100.1:5")]);
        let seen = Some(socket("127.0.0.1:1").ip());
        assert!(believable(peer, &claimed, seen).contains(&socket("127.0.0.1:5")));
    }

    #[test]
    fn claims_are_bounded() {
        let claimed: Vec<Multiaddr> =
            (1..100).map(|port| to_multiaddr(SocketAddr::from(([192, 0, 2, 7], port)))).collect();
        assert_eq!(believable(PeerId::random(), &claimed, None).len(), ADDRESSES_PER_PEER_MAX);
    }

    #[test]
    fn the_address_book_is_bounded_and_forgets_the_oldest() {
        let book = AddressBook::default();
        let first = PeerId::random();
        for port in 1..=10 {
            book.prefer(first, SocketAddr::from(([192, 0, 2, 7], port)));
        }
        let ports: Vec<u16> = book.addresses(first).iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [10, 9, 8, 7]);
        for _ in 0..KNOWN_PEERS_MAX {
            book.prefer(PeerId::random(), socket("192.0.2.8:1"));
        }
        assert_eq!(book.lock().entries.len(), KNOWN_PEERS_MAX);
        assert!(book.addresses(first).is_empty());
    }

    #[test]
    fn only_public_addresses_have_a_network() {
        assert_eq!(subnet(socket("192.168.1.1:1").ip()), None);
        assert_eq!(subnet(socket("[fd00::1]:1").ip()), None);
        assert_eq!(subnet(socket("[::1]:1").ip()), None);
        assert_eq!(subnet(socket("203.0.113.1:1").ip()), subnet(socket("203.0.113.200:1").ip()));
        assert_ne!(subnet(socket("203.0.113.1:1").ip()), subnet(socket("203.0.114.1:1").ip()));
        assert_eq!(subnet(socket("[2a00:1:2:3::1]:1").ip()), subnet(socket("[2a00:1:2:4::1]:1").ip()));
    }
}
