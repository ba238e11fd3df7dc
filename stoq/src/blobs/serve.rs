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

/// How long a peer may take to accept one group.
pub const ACCEPT_MAX: Duration = Duration::from_secs(30);

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
}

impl ServeLimits {
    /// What is used where nothing else is said.
    pub const STANDARD: Self =
        Self { streams_max: 256, streams_per_peer_max: 16, outboards_bytes_max: 64 << 20, rate: None };
}

/// Serves blobs.
#[derive(Clone)]
pub struct BlobServer(Arc<Shared>);

struct Shared {
    source: Arc<dyn BlobSource>,
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
        let outboards = Outboards::new(limits.outboards_bytes_max);
        Self(Arc::new(Shared { source, accounts: Accounts::new(limits), outboards, pool: Pool::default() }))
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
        let refused = |code, reason: String| Stop {
            code,
            report: Some(ServiceError::Refused { peer: caller.peer, service: SERVICE, reason }),
        };
        let request = Request::parse(request).map_err(|error| refused(service::REFUSED, error.to_string()))?;
        let seat = self.accounts.admit(caller.peer, Instant::now());
        let seat = seat.ok_or_else(|| refused(service::BUSY, "it has too many streams".to_owned()))?;
        if !self.source.may(caller, &request.digest) {
            return Err(refused(wire::NOT_HELD, format!("it may not have blob `{}`", request.digest)));
        }
        let Some((file, outboard)) = self.find(request.digest).await? else {
            return Err(Stop { code: wire::NOT_HELD, report: None });
        };
        let groups = within(&request.part, outboard.size())
            .ok_or_else(|| refused(service::REFUSED, format!("blob `{}` ends before the range", request.digest)))?;
        let size = outboard.size().to_le_bytes();
        send.write_all(&size).await.map_err(|error| stopped(caller, error))?;
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
            let written = tokio::time::timeout(ACCEPT_MAX, send.write_all_chunks(&mut chunks)).await;
            let written =
                written.map_err(|_| refused(wire::SLOW, format!("it takes nothing for {} s", ACCEPT_MAX.as_secs())))?;
            written.map_err(|error| stopped(caller, error))?;
        }
        // A peer that has stopped the stream has all it wanted.
        _ = send.finish();
        Ok(())
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
        let outboard = self.outboards.get(&self.source, digest, &file).await.map_err(unreadable)?;
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
