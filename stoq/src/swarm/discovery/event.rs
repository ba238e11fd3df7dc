//! What discovery is told, and what it answers.

use std::net::SocketAddr;
use std::time::Duration;

use libp2p::PeerId;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A first connection to a peer stands; with the address, if it was dialled.
    Connected {
        /// The peer.
        peer: PeerId,
        /// Where it was found.
        dialled: Option<SocketAddr>,
    },
    /// The last connection to a peer is gone.
    Disconnected {
        /// The peer.
        peer: PeerId,
    },
    /// Nobody answered, or somebody else.
    DialFailed {
        /// The peer, if one was expected.
        peer: Option<PeerId>,
        /// Where.
        addresses: Vec<SocketAddr>,
    },
    /// A peer was named.
    Heard {
        /// The peer.
        peer: PeerId,
        /// Where it is said to be.
        addresses: Vec<SocketAddr>,
        /// By whom.
        source: Source,
    },
    /// A connected peer answered, and how long that took.
    Answered {
        /// The peer.
        peer: PeerId,
        /// How long.
        round_trip: Duration,
    },
    /// A connected peer did not answer.
    Unanswered {
        /// The peer.
        peer: PeerId,
    },
    /// A peer sent what it must not.
    Misbehaved {
        /// The peer.
        peer: PeerId,
    },
}

/// How a peer came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// It told of itself in a connection.
    Itself,
    /// Another peer named it.
    Peer(PeerId),
    /// The local network did.
    LocalNetwork,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect.
    Dial {
        /// To whom, if that is known.
        peer: Option<PeerId>,
        /// Where.
        addresses: Vec<SocketAddr>,
    },
    /// Ask a peer for peers.
    Ask {
        /// Whom.
        peer: PeerId,
    },
    /// Look for peers near a random point of Kademlia's space.
    Walk,
    /// Close the connections to a peer.
    Disconnect {
        /// Whom.
        peer: PeerId,
    },
    /// Close them and make no others.
    Block {
        /// Whom.
        peer: PeerId,
    },
    /// Let a peer off.
    Unblock {
        /// Whom.
        peer: PeerId,
    },
    /// Leave the connections to a peer open even if nothing uses them.
    Keep {
        /// Whom.
        peer: PeerId,
    },
    /// Let them close.
    Release {
        /// Whom.
        peer: PeerId,
    },
}
