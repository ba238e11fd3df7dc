//! The messages between nodes: `memory/1`. A stream carries them in both directions, a frame each; whoever closes the last of its
//! streams ends its mappings.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use stoq::PeerId;
use stoq::frame::{self, FrameError};
use stoq::identity::Pending;
use stoq::service::{Caller, Peers, Service, ServiceError, Stream};
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::client::{CONNECT_WITHIN, OPERATION_WITHIN, Transport};
use super::message::{self, Request};
use super::{MESSAGE_BYTES_MAX, Peer, Regions};

/// The name of the service.
const SERVICE: &str = "memory/1";
/// Bytes that are moved where all peers are answered; more would keep others waiting.
const AT_ONCE_BYTES_MAX: usize = 256 << 10;

/// Tells the time.
pub type Now = Box<dyn Fn() -> OffsetDateTime + Send + Sync>;

/// Serves the regions of a node.
pub struct MemoryService(Arc<Serving>);

struct Serving {
    regions: Arc<Regions>,
    now: Now,
    /// How many streams each holder has.
    streams: Mutex<HashMap<Peer, usize>>,
}

/// A stream of a holder.
struct Holding {
    serving: Arc<Serving>,
    holder: Peer,
}

/// Gives whom the transport has proved to speak, as capabilities know them.
pub fn holder(peer: &PeerId) -> Peer {
    Peer(blake3::hash(&peer.to_bytes()).into())
}

impl MemoryService {
    /// Serves these regions.
    pub fn new(regions: Arc<Regions>, now: Now) -> Self {
        Self(Arc::new(Serving { regions, now, streams: Mutex::default() }))
    }
}

impl Service for MemoryService {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn serve(&self, caller: Caller, _: Bytes, stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        let holding = Holding::new(&self.0, holder(&caller.peer));
        Box::pin(async move { holding.serve(caller.peer, stream).await })
    }
}

impl Holding {
    fn new(serving: &Arc<Serving>, holder: Peer) -> Self {
        *locked(&serving.streams).entry(holder).or_default() += 1;
        Self { serving: Arc::clone(serving), holder }
    }

    /// Answers until nothing comes any more.
    async fn serve(&self, peer: PeerId, mut stream: Stream) -> Result<(), ServiceError> {
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
            let answer = self.answer(message).await.map_err(|error| ended(error.into()))?;
            frame::send(&mut stream.send, answer).await.map_err(ended)?;
        }
    }

    async fn answer(&self, message: Vec<u8>) -> Result<Vec<u8>, tokio::task::JoinError> {
        let (serving, holder) = (Arc::clone(&self.serving), self.holder);
        let moves_little = moved_bytes(&message) <= AT_ONCE_BYTES_MAX;
        let answer = move || serving.regions.answer(&message, holder, (serving.now)());
        if moves_little { Ok(answer()) } else { tokio::task::spawn_blocking(answer).await }
    }
}

/// Gives how many bytes a message has, or asks for.
fn moved_bytes(message: &[u8]) -> usize {
    if message.len() > AT_ONCE_BYTES_MAX {
        return message.len();
    }
    match message::decode::<Request>(message) {
        Ok(message::Envelope { body: Request::Read { length, .. }, .. }) => {
            usize::try_from(length).unwrap_or(usize::MAX)
        }
        _ => message.len(),
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let mut streams = locked(&self.serving.streams);
        let left = streams.get(&self.holder).map_or(0, |count| count - 1);
        if left > 0 {
            streams.insert(self.holder, left);
        } else {
            streams.remove(&self.holder);
            // While no other stream of the same holder can begin.
            self.serving.regions.forget(self.holder);
        }
    }
}

/// The way to the regions of one node, over a stream that is opened again where it broke.
pub struct OverPeers {
    peers: Arc<dyn Peers>,
    peer: PeerId,
    runtime: Handle,
    stream: Mutex<Option<Stream>>,
}

impl OverPeers {
    /// Asks a node; whoever asks waits on a thread that may block, and the runtime counts the time.
    pub fn new(peers: Arc<dyn Peers>, peer: PeerId, runtime: Handle) -> Self {
        Self { peers, peer, runtime, stream: Mutex::default() }
    }

    async fn ask(&self, open: Option<Stream>, message: &[u8]) -> std::io::Result<(Stream, Vec<u8>)> {
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

impl Transport for OverPeers {
    fn exchange(&self, message: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = locked(&self.stream);
        let (open, answer) = self.runtime.block_on(self.ask(stream.take(), message))?;
        *stream = Some(open);
        Ok(answer)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    //! What ends with a stream, and what is moved elsewhere; streams themselves are asked in `it::mesh`.

    use super::*;
    use crate::proxy::{Grant, Rights, WordMemory};

    const HOLDER: Peer = Peer([3; 32]);

    #[test]
    fn what_is_mapped_ends_with_the_last_stream_of_its_holder() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let regions = Regions::new([1; 16], [2; 8]).expect("there is randomness");
        let export = regions.export(Arc::new(WordMemory::new(b"bytes")), Box::new(())).expect("there is room");
        let expires_at = now + time::Duration::HOUR;
        let grant = Grant { holder: HOLDER, offset: 0, length: 5, rights: Rights::READ, expires_at };
        let capability = export.grant(&grant).expect("is in range");
        let service = MemoryService::new(Arc::clone(&regions), Box::new(move || now));
        let (first, second) = (Holding::new(&service.0, HOLDER), Holding::new(&service.0, HOLDER));
        let map = Request::Map { capability, rights: Rights::READ };
        regions.perform(map, HOLDER, now).expect("is the holder's");
        drop(first);
        assert_eq!(regions.mapped(), 1, "there is another one");
        drop(second);
        assert_eq!((regions.mapped(), locked(&service.0.streams).len()), (0, 0));
    }

    #[test]
    fn what_moves_much_is_known_before_it_is_done() {
        let moved = |request| moved_bytes(&message::encode(1, request).expect("fits"));
        assert!(moved(Request::Heartbeat) < 100);
        assert_eq!(moved(Request::Read { mapping: 1, offset: 0, length: 1 << 40 }), 1 << 40);
        assert!(moved(Request::Write { mapping: 1, offset: 0, bytes: vec![0; AT_ONCE_BYTES_MAX] }) > AT_ONCE_BYTES_MAX);
        assert_eq!(moved_bytes(b"none"), 4);
    }
}
