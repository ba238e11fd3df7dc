//! The service `blobs/1`: gives verified ranges of what this node has to whoever may have it.
//!
//! Files are read, never mapped. The next group is read while the last one goes out, so a stream holds two buffers and what the
//! peer has not acknowledged. Trees are computed once and kept in a bounded cache.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p::PeerId;
use quinn::VarInt;
use tokio::task::JoinHandle;
use trustchain::digest::Blake3;

use super::fair::Rate;
use super::pool::{Buffer, Pool};
use super::tree::{self, Frame, Outboard};
use super::wire::{self, Part, Request};
use super::{BlobFile, BlobSource, SERVICE, SIZE_BYTES_MAX};
use crate::identity::Pending;
use crate::service::{self, Caller, Service, ServiceError, Stream};

mod accounts;
mod outboards;

use accounts::Accounts;
use outboards::Outboards;

/// Bounds of what is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// The most streams at once.
    pub streams_max: usize,
    /// The most streams of one peer.
    pub streams_per_peer_max: usize,
    /// The most bytes of hash trees that are kept.
    pub outboards_bytes_max: usize,
    /// How fast one peer is served; without one, as fast as it goes.
    pub rate: Option<Rate>,
    /// How long a peer may take to accept one piece: the size, or a group.
    pub accept_timeout: Duration,
}

impl ServeLimits {
    /// What is used where nothing else is said.
    pub const STANDARD: Self = Self {
        streams_max: 256,
        streams_per_peer_max: 16,
        outboards_bytes_max: 64 << 20,
        rate: None,
        accept_timeout: Duration::from_secs(30),
    };
}

/// Serves blobs.
#[derive(Clone)]
pub struct BlobServer(Arc<Shared>);

struct Shared {
    source: Arc<dyn BlobSource>,
    accept_timeout: Duration,
    accounts: Accounts,
    outboards: Outboards,
    pool: Pool,
}

/// Why a stream ends before its end: the code it is reset with, and what is reported, if that is worth it.
struct Stop {
    code: u32,
    report: Option<ServiceError>,
}

impl BlobServer {
    /// Serves what a source has.
    pub fn new(source: Arc<dyn BlobSource>, limits: ServeLimits) -> Self {
        let (accept_timeout, outboards) = (limits.accept_timeout, Outboards::new(limits.outboards_bytes_max));
        let (accounts, pool) = (Accounts::new(limits), Pool::default());
        Self(Arc::new(Shared { source, accept_timeout, accounts, outboards, pool }))
    }

    /// Gives how many bytes each peer was served, of the last 1024 peers.
    pub fn served(&self) -> Vec<(PeerId, u64)> {
        self.0.accounts.served()
    }
}

impl Service for BlobServer {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn serve(&self, caller: Caller, request: Bytes, stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let Stream { mut send, receive: _receive } = stream;
            match shared.answer(&caller, &request, &mut send).await {
                Ok(()) => Ok(()),
                Err(Stop { code, report }) => {
                    // A peer that has stopped the stream itself knows already.
                    _ = send.reset(VarInt::from_u32(code));
                    report.map_or(Ok(()), Err)
                }
            }
        })
    }
}

impl Shared {
    async fn answer(
        self: &Arc<Self>,
        caller: &Caller,
        request: &[u8],
        send: &mut quinn::SendStream,
    ) -> Result<(), Stop> {
        let refused = |code, reason: String| refused(caller, code, reason);
        let request = Request::parse(request).map_err(|error| refused(service::REFUSED, error.to_string()))?;
        let seat = self.accounts.admit(caller.peer, Instant::now());
        let seat = seat.ok_or_else(|| refused(service::BUSY, "it has too many streams".to_owned()))?;
        if !self.may(caller, request.digest).await? {
            return Err(refused(wire::NOT_HELD, format!("it may not have blob `{}`", request.digest)));
        }
        let Some((file, outboard)) = self.find(request.digest).await? else {
            return Err(Stop { code: wire::NOT_HELD, report: None });
        };
        let groups = within(&request.part, outboard.size())
            .ok_or_else(|| refused(service::REFUSED, format!("blob `{}` ends before the range", request.digest)))?;
        self.accepts(caller, send.write_all(&outboard.size().to_le_bytes())).await?;
        let mut reading = None;
        let mut frames = outboard.frames(&groups).into_iter().peekable();
        while let Some(frame) = frames.next() {
            let current = reading.take().unwrap_or_else(|| self.read(&file, &frame));
            reading = frames.peek().map(|next| self.read(&file, next));
            let buffer = current.await.map_err(io::Error::other).and_then(|read| read).map_err(unreadable)?;
            let wait = seat.take(Instant::now(), buffer.len() as u64);
            // A sleep of no time still waits for the next tick of the timer, a millisecond for each group.
            if !wait.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    _ = send.stopped() => return Err(Stop { code: 0, report: None }),
                }
            }
            let mut chunks = [Bytes::from(frame.pairs), buffer.freeze()];
            self.accepts(caller, send.write_all_chunks(&mut chunks)).await?;
        }
        // A peer that has stopped the stream has all it wanted.
        _ = send.finish();
        Ok(())
    }

    /// Asks whether a peer may have a blob; this blocks.
    async fn may(self: &Arc<Self>, caller: &Caller, digest: Blake3) -> Result<bool, Stop> {
        let (shared, caller) = (Arc::clone(self), caller.clone());
        let may = tokio::task::spawn_blocking(move || shared.source.may(&caller, &digest)).await;
        may.map_err(|error| unreadable(io::Error::other(error)))
    }

    /// Waits until a peer has taken a piece, for so long.
    async fn accepts(
        &self,
        caller: &Caller,
        piece: impl Future<Output = Result<(), quinn::WriteError>>,
    ) -> Result<(), Stop> {
        match tokio::time::timeout(self.accept_timeout, piece).await {
            Ok(written) => written.map_err(|error| stopped(caller, error)),
            Err(_) => Err(refused(caller, wire::SLOW, format!("it takes nothing for {:?}", self.accept_timeout))),
        }
    }

    /// Opens a blob and finds its tree; both block.
    async fn find(self: &Arc<Self>, digest: Blake3) -> Result<Option<(Arc<dyn BlobFile>, Arc<Outboard>)>, Stop> {
        let shared = Arc::clone(self);
        let opened = tokio::task::spawn_blocking(move || shared.source.open(&digest)).await;
        let Some(file) = opened.map_err(io::Error::other).and_then(|opened| opened).map_err(unreadable)? else {
            return Ok(None);
        };
        if file.size() > SIZE_BYTES_MAX {
            return Err(unreadable(io::Error::other(format!("blob `{digest}` is larger than {SIZE_BYTES_MAX} bytes"))));
        }
        let outboard = self.outboards.get(digest, &file).await.map_err(unreadable)?;
        Ok(Some((file, outboard)))
    }

    fn read(&self, file: &Arc<dyn BlobFile>, frame: &Frame) -> JoinHandle<io::Result<Buffer>> {
        let (file, offset) = (Arc::clone(file), frame.offset);
        let mut buffer = self.pool.take(frame.size);
        tokio::task::spawn_blocking(move || file.read_at(offset, &mut buffer).map(|()| buffer))
    }
}

fn within(part: &Part, size: u64) -> Option<Vec<Range<u64>>> {
    let count = tree::group_count(size);
    match part {
        Part::Last => Some(tree::one(count - 1..count).to_vec()),
        Part::Groups(groups) => groups.last().is_none_or(|last| last.end <= count).then(|| groups.clone()),
    }
}

fn refused(caller: &Caller, code: u32, reason: String) -> Stop {
    Stop { code, report: Some(ServiceError::Refused { peer: caller.peer, service: SERVICE, reason }) }
}

fn unreadable(source: io::Error) -> Stop {
    let report = ServiceError::Environment { service: SERVICE, source: Box::new(source) };
    Stop { code: wire::UNREADABLE, report: Some(report) }
}

fn stopped(caller: &Caller, error: quinn::WriteError) -> Stop {
    let report = match error {
        // It has what it wanted, from another source perhaps.
        quinn::WriteError::Stopped(_) => None,
        error => Some(ServiceError::Ended { peer: caller.peer, service: SERVICE, source: Box::new(error) }),
    };
    Stop { code: 0, report }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl BlobSource for Nothing {
        fn open(&self, _: &Blake3) -> io::Result<Option<Arc<dyn BlobFile>>> {
            Ok(None)
        }

        fn may(&self, _: &Caller, _: &Blake3) -> bool {
            true
        }
    }

    /// Be it a group or the size before the first one, for which a window that is full has no room either.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let server = BlobServer::new(Arc::new(Nothing), ServeLimits::STANDARD);
        let caller = Caller { peer: PeerId::random(), name: "n0.node.trustchain".to_owned(), is_hybrid: false };
        let began = tokio::time::Instant::now();
        let given_up = server.0.accepts(&caller, std::future::pending()).await.expect_err("takes nothing");
        assert_eq!(given_up.code, wire::SLOW);
        assert_eq!(began.elapsed(), ServeLimits::STANDARD.accept_timeout);
        assert!(server.0.accepts(&caller, std::future::ready(Ok(()))).await.is_ok());
    }
}
