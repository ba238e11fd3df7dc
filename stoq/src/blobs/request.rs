//! One request to one source: reads the slice, verifies it piece by piece, writes what is right.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use quinn::{ReadError, RecvStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use trustchain::digest::Blake3;

use super::pool::{Buffer, Pool};
use super::schedule::{Fault, RequestId};
use super::tree::{self, PAIR_BYTES, Pair, Piece, Slice};
use super::wire::{self, Part, Request};
use super::{SERVICE, SIZE_BYTES_MAX, part};
use crate::service::{self, Peers};

/// How often bytes that are not yet a group are told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What a request has to say.
#[derive(Debug)]
pub(crate) enum Said {
    /// Bytes came.
    Received { id: RequestId, bytes: u64 },
    /// The size is proved by the last group, whose bytes these are.
    Proved { id: RequestId, size: u64, bytes: Buffer, pairs: Vec<Pair> },
    /// A group is right and is written.
    Verified { id: RequestId, group: u64, pairs: Vec<Pair> },
    /// It is over.
    Ended { id: RequestId, trouble: Option<Trouble> },
}

/// Why a request is over before its end.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The source is at fault, or the way to it.
    Source(Fault),
    /// This node cannot write.
    Disk(io::Error),
}

/// One request.
pub(crate) struct Job {
    pub(crate) id: RequestId,
    pub(crate) peer: PeerId,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) digest: Blake3,
    pub(crate) part: Part,
    /// The size if it was proved.
    pub(crate) size: Option<u64>,
    pub(crate) data: Arc<File>,
    pub(crate) pool: Pool,
    pub(crate) said: mpsc::Sender<Said>,
}

impl Job {
    /// Runs the request to its end; dropping the future gives it up.
    pub(crate) async fn run(self) {
        let trouble = self.exchange().await.err();
        // Nobody listens when the transfer is over.
        _ = self.said.send(Said::Ended { id: self.id, trouble }).await;
    }

    async fn exchange(&self) -> Result<(), Trouble> {
        let request = Request { digest: self.digest, part: self.part.clone() }.to_bytes();
        let stream = self.peers.open(self.peer, SERVICE, &request).await;
        let stream = stream.map_err(|error| failed(error.to_string()))?;
        let mut input = Input { receive: stream.receive, unsaid: 0, said: Instant::now() };
        let mut prefix = [0; wire::SIZE_PREFIX_BYTES];
        input.fill(&mut prefix, self).await?;
        let size = u64::from_le_bytes(prefix);
        if size > SIZE_BYTES_MAX || self.size.is_some_and(|proved| proved != size) {
            return Err(lied(format!("the size `{size}` is not that of the blob")));
        }
        let groups = match &self.part {
            Part::Last => tree::one(tree::group_count(size) - 1..tree::group_count(size)).to_vec(),
            Part::Groups(groups) => groups.clone(),
        };
        self.receive(size, Slice::new(&self.digest, size, &groups), &mut input).await
    }

    async fn receive(&self, size: u64, mut slice: Slice, input: &mut Input) -> Result<(), Trouble> {
        let (mut pairs, mut writing) = (Vec::new(), None);
        let mut hashes = [0; PAIR_BYTES];
        while let Some(expects) = slice.expects() {
            // A group of 64 bytes is possible: what it is, is known when it is verified.
            let mut buffer = (expects != PAIR_BYTES).then(|| self.pool.take(expects));
            let bytes = buffer.as_deref_mut().unwrap_or(&mut hashes);
            input.fill(bytes, self).await?;
            match slice.verify(bytes).map_err(|error| lied(error.to_string()))? {
                Piece::Pair(pair) => pairs.push(pair),
                Piece::Group(group) => {
                    let buffer = buffer.unwrap_or_else(|| self.copy(&hashes));
                    input.tell(self).await;
                    let pairs = std::mem::take(&mut pairs);
                    if self.size.is_none() {
                        self.say(Said::Proved { id: self.id, size, bytes: buffer, pairs }).await;
                        continue;
                    }
                    self.written(writing.take()).await?;
                    writing = Some((self.write(group, buffer), group, pairs));
                }
            }
        }
        self.written(writing).await
    }

    fn copy(&self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.pool.take(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }

    fn write(&self, group: u64, buffer: Buffer) -> JoinHandle<io::Result<()>> {
        let data = Arc::clone(&self.data);
        tokio::task::spawn_blocking(move || part::write(&data, group, &buffer))
    }

    /// Waits for a write and tells of its group: there is one at a time, while the next group comes in.
    async fn written(&self, writing: Option<(JoinHandle<io::Result<()>>, u64, Vec<Pair>)>) -> Result<(), Trouble> {
        let Some((write, group, pairs)) = writing else { return Ok(()) };
        write.await.map_err(io::Error::other).and_then(|written| written).map_err(Trouble::Disk)?;
        self.say(Said::Verified { id: self.id, group, pairs }).await;
        Ok(())
    }

    async fn say(&self, said: Said) {
        // Nobody listens when the transfer is over, and then this task is ended.
        _ = self.said.send(said).await;
    }
}

/// What comes, and how much of it was not told yet.
struct Input {
    receive: RecvStream,
    unsaid: u64,
    said: Instant,
}

impl Input {
    async fn fill(&mut self, buffer: &mut [u8], job: &Job) -> Result<(), Trouble> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self.receive.read(&mut buffer[filled..]).await.map_err(|error| broken(&error))?;
            let read = read.ok_or_else(|| failed("the stream ended early".to_owned()))?;
            filled += read;
            self.unsaid += read as u64;
            if self.said.elapsed() >= TELL_EVERY {
                self.tell(job).await;
            }
        }
        Ok(())
    }

    async fn tell(&mut self, job: &Job) {
        self.said = Instant::now();
        let bytes = std::mem::take(&mut self.unsaid);
        job.say(Said::Received { id: job.id, bytes }).await;
    }
}

fn lied(why: String) -> Trouble {
    Trouble::Source(Fault::Lied(why))
}

fn failed(why: String) -> Trouble {
    Trouble::Source(Fault::Failed(why))
}

fn broken(error: &ReadError) -> Trouble {
    let ReadError::Reset(code) = error else { return failed(error.to_string()) };
    match u32::try_from(code.into_inner()) {
        Ok(wire::NOT_HELD | service::REFUSED | service::UNKNOWN_SERVICE) => Trouble::Source(Fault::NotHeld),
        Ok(service::BUSY) => failed("it has too many streams".to_owned()),
        _ => failed(format!("it reset the stream with code `{code}`")),
    }
}
