//! Kept memory over the network: `memory/1`. A stream carries the messages of [`crate::proxy`] in both directions, a frame each;
//! whoever closes the last of its streams ends its mappings.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use stoq::PeerId;
use stoq::frame::{self, FrameError};
use stoq::identity::Pending;
use stoq::service::{Caller, Peers, Service, ServiceError, Stream};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::host::Host;
use crate::ops::memory::{Way, holder_of, node_of};
use crate::ops::{Catalog, OpError};
use crate::proxy::client::{CONNECT_WITHIN, OPERATION_WITHIN, Transport};
use crate::proxy::{MESSAGE_BYTES_MAX, Peer, ProxyAddress, Regions};

/// The name of the service.
const SERVICE: &str = "memory/1";

/// Serves what is kept here.
pub(super) struct MemoryService {
    pub(super) catalog: Weak<Catalog>,
    pub(super) host: Arc<dyn Host>,
    /// How many streams each holder has.
    pub(super) streams: Arc<Mutex<HashMap<Peer, usize>>>,
}

/// A stream of a holder.
struct Holding {
    regions: Arc<Regions>,
    holder: Peer,
    streams: Arc<Mutex<HashMap<Peer, usize>>>,
}

impl Service for MemoryService {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn serve(&self, caller: Caller, _: Bytes, stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        let (catalog, host, streams) = (self.catalog.clone(), Arc::clone(&self.host), Arc::clone(&self.streams));
        Box::pin(async move {
            let Some(catalog) = catalog.upgrade() else { return Ok(()) };
            let regions = catalog.memory.regions(catalog.own_holder().await);
            drop(catalog);
            let regions = regions.map_err(|error| ServiceError::Environment { service: SERVICE, source: error.into() });
            let holding = Holding::new(regions?, holder_of(&caller.peer), streams);
            holding.serve(caller.peer, stream, &*host).await
        })
    }
}

impl Holding {
    fn new(regions: Arc<Regions>, holder: Peer, streams: Arc<Mutex<HashMap<Peer, usize>>>) -> Self {
        *locked(&streams).entry(holder).or_default() += 1;
        Self { regions, holder, streams }
    }

    /// Answers until nothing comes any more.
    async fn serve(&self, peer: PeerId, mut stream: Stream, host: &dyn Host) -> Result<(), ServiceError> {
        let ended = |source: std::io::Error| ServiceError::Ended { peer, service: SERVICE, source: source.into() };
        loop {
            let message = match frame::read(&mut stream.receive, MESSAGE_BYTES_MAX).await {
                Ok(message) => message,
                Err(FrameError::Ended) => return Ok(()),
                Err(error @ FrameError::TooLarge { .. }) => {
                    return Err(ServiceError::Refused { peer, service: SERVICE, reason: error.to_string() });
                }
                Err(error) => return Err(ServiceError::Ended { peer, service: SERVICE, source: error.into() }),
            };
            let answer = self.regions.answer(&message, self.holder, host.now());
            frame::write(&mut stream.send, &answer).await.map_err(ended)?;
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let mut streams = locked(&self.streams);
        let left = streams.get(&self.holder).map_or(0, |count| count - 1);
        if left > 0 {
            streams.insert(self.holder, left);
        } else {
            streams.remove(&self.holder);
            // While no other stream of the same holder can begin.
            self.regions.forget(self.holder);
        }
    }
}

/// Asks one node, over a stream that is opened again where it broke.
struct Over {
    peers: Arc<dyn Peers>,
    peer: PeerId,
    runtime: Handle,
    stream: Mutex<Option<Stream>>,
}

impl Over {
    async fn exchange(&self, open: Option<Stream>, message: &[u8]) -> std::io::Result<(Stream, Vec<u8>)> {
        let mut stream = match open {
            Some(stream) => stream,
            None => {
                let opening = timeout(CONNECT_WITHIN, self.peers.open(self.peer, SERVICE, &[]));
                opening.await?.map_err(std::io::Error::other)?
            }
        };
        let answer = timeout(OPERATION_WITHIN, async {
            frame::write(&mut stream.send, message).await?;
            frame::read(&mut stream.receive, MESSAGE_BYTES_MAX).await.map_err(std::io::Error::other)
        });
        let answer = answer.await??;
        Ok((stream, answer))
    }
}

impl Transport for Over {
    /// Blocks, on a thread that may.
    fn exchange(&self, message: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = locked(&self.stream);
        let (open, answer) = self.runtime.block_on(self.exchange(stream.take(), message))?;
        *stream = Some(open);
        Ok(answer)
    }
}

impl Catalog {
    /// Gives the way to the connected node that has an address, if there is one.
    pub(in crate::ops) async fn way_over_network(&self, address: ProxyAddress) -> Result<Option<Way>, OpError> {
        let node = self.node().await?;
        let connected = super::connected(&node).await?;
        let peer = connected.into_iter().find(|peer| node_of(holder_of(peer)) == address.node);
        let over = |peer| Over { peers: node.pool(), peer, runtime: Handle::current(), stream: Mutex::default() };
        Ok(peer.map(|peer| Box::new(over(peer)) as Way))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::proxy::{Grant, Request, Rights, WordMemory};

    #[test]
    fn what_is_mapped_ends_with_the_last_stream_of_its_holder() {
        let (now, holder) = (OffsetDateTime::UNIX_EPOCH, Peer([3; 32]));
        let regions = Regions::new([1; 16], [2; 8]).expect("there is randomness");
        let export = regions.export(Arc::new(WordMemory::new(b"bytes")), Box::new(())).expect("there is room");
        let expires_at = now + time::Duration::HOUR;
        let grant = Grant { holder, offset: 0, length: 5, rights: Rights::READ, expires_at };
        let capability = export.grant(&grant).expect("is in range");
        let streams: Arc<Mutex<HashMap<Peer, usize>>> = Arc::default();
        let hold = || Holding::new(Arc::clone(&regions), holder, Arc::clone(&streams));
        let (first, second) = (hold(), hold());
        let map = Request::Map { capability, rights: Rights::READ };
        regions.perform(map, holder, now).expect("is the holder's");
        drop(first);
        assert_eq!(regions.mapped(), 1, "there is another one");
        drop(second);
        assert_eq!((regions.mapped(), locked(&streams).len()), (0, 0));
    }
}
