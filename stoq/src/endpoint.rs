//! One UDP port on which this node dials and is dialed, for both lanes.
//!
//! Whoever gets a [`Connection`] gets one whose peer is certified, was judged by [`Identity::current`], has proved every key of
//! its certificate, and has answered; of everybody else nothing but a count by name is left. Handshakes run in tasks of their
//! own with a bound.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::VarInt;
use tokio::sync::mpsc;

use crate::PeerId;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::metrics::{Metrics, Snapshot};
use crate::tls::{Clock, Lane};

mod accept;
mod binding;
mod congestion;
mod connection;
mod dial;
mod error;
mod settings;
mod shared;
mod tasks;

pub use self::congestion::Algorithm;
#[cfg(test)]
pub(crate) use self::congestion::ByPath;
pub(crate) use self::congestion::close;
pub use self::connection::Connection;
pub use self::error::{BindError, ConnectError};
use self::shared::Shared;
pub(crate) use self::tasks::Tasks;

/// The code of a connection that its owner closed.
pub const CLOSED: VarInt = VarInt::from_u32(0);
/// The code of a connection for which there is no room.
pub const BUSY: VarInt = VarInt::from_u32(1);
/// The code of a connection whose hello was refused.
pub const HELLO: VarInt = VarInt::from_u32(2);
/// The code of a connection whose peer did not prove its FALCON key.
pub const UNPROVEN: VarInt = VarInt::from_u32(3);
/// The code of a connection whose peer has a certificate that no longer holds.
pub const WITHDRAWN: VarInt = VarInt::from_u32(4);

/// The code of a connection on which nothing moved for long.
pub const IDLE: VarInt = VarInt::from_u32(5);

/// What an endpoint is made of.
pub struct EndpointOptions {
    /// Who this node is and whom it believes.
    pub identity: Arc<dyn Identity>,
    /// Where it listens; `[::]` takes IPv4, too. Port 0 is any free one.
    pub listen: SocketAddr,
    /// Its bounds.
    pub limits: Limits,
    /// The time by which certificates are judged.
    pub clock: Clock,
}

/// Connections that peers made and that hold, by lane. Whoever takes them too slowly has new ones refused.
#[derive(Debug)]
pub struct Incoming {
    /// Those of the control lane.
    pub control: mpsc::Receiver<Connection>,
    /// Those of the data lane.
    pub data: mpsc::Receiver<Connection>,
}

/// A UDP port of this node. Clones are the same port; the last one that is dropped closes it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    shared: Arc<Shared>,
    _open: Arc<Open>,
}

/// Closes the port when nobody has an [`Endpoint`] any more; tasks have [`Shared`] alone.
#[derive(Debug)]
struct Open(Arc<Shared>);

impl Endpoint {
    /// Opens the port; its tasks run in the runtime of the caller.
    ///
    /// # Errors
    /// A limit that cannot be kept, an identity without a certificate, or an address that is not free.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(options: EndpointOptions) -> Result<(Self, Incoming), BindError> {
        let (control, control_of) = mpsc::channel(options.limits.backlog_max);
        let (data, data_of) = mpsc::channel(options.limits.backlog_max);
        let shared = Shared::bind(options)?;
        shared.tasks().spawn(accept::run(Arc::clone(&shared), accept::Backlog { control, data }));
        let open = Arc::new(Open(Arc::clone(&shared)));
        Ok((Self { shared, _open: open }, Incoming { control: control_of, data: data_of }))
    }

    /// Dials an address; whoever answers must be the given peer, if one is given.
    ///
    /// # Errors
    /// Nobody answers, somebody else does, one of both does not believe the other, or there are too many connections.
    pub async fn connect(
        &self,
        address: SocketAddr,
        peer: Option<PeerId>,
        lane: Lane,
    ) -> Result<Connection, ConnectError> {
        dial::connect(&self.shared, address, peer, lane).await
    }

    /// Judges all live peers again and closes the connections of those that no longer hold; says how many.
    pub fn revalidate(&self) -> usize {
        self.shared.revalidate()
    }

    /// Closes all connections and the port, and waits until the peers know and no task is left: some round trips as a rule,
    /// and up to [`Limits::silence_timeout`] where a peer vanished in the middle of a handshake. The socket itself is gone when
    /// nobody holds a [`quinn::Connection`] of this port any more.
    pub async fn close(&self) {
        self.shared.close().await;
    }

    /// Gives the shortest smoothed round trip of the open connections with a peer, of either lane.
    pub fn round_trip(&self, peer: PeerId) -> Option<Duration> {
        self.shared.round_trip(peer)
    }

    /// Gives what a peer was called in the certificate that it showed last, if it had a connection not long ago.
    pub fn name_of(&self, peer: PeerId) -> Option<String> {
        self.shared.name_of(peer)
    }

    /// Waits until there is room for another connection of a lane.
    pub(crate) async fn room(&self, lane: Lane) {
        self.shared.room(lane).await;
    }

    /// Gives the tasks that closing waits for.
    pub(crate) fn tasks(&self) -> &Tasks {
        self.shared.tasks()
    }

    /// Gives what was counted.
    pub fn metrics(&self) -> Snapshot {
        self.shared.snapshot()
    }

    pub(crate) fn counters(&self) -> &Arc<Metrics> {
        self.shared.metrics()
    }

    /// Gives the id of this node.
    pub fn peer_id(&self) -> PeerId {
        self.shared.peer_id()
    }

    /// Gives the address on which this node listens, with the port that it got.
    pub fn local_address(&self) -> SocketAddr {
        self.shared.local_address()
    }

    /// Gives the bounds of this node.
    pub fn limits(&self) -> &Limits {
        self.shared.limits()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.shut();
    }
}

#[cfg(test)]
mod tests;
