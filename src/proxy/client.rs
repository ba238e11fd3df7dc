//! The other end: what a holder does with a capability, over any transport.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;

use super::capability::{Capability, Peer, Rights};
use super::message::{self, Notification, Request, Response};
use super::table::Regions;
use super::{ProxyError, TRANSFER_BYTES_MAX};

/// How often an operation that may be repeated is tried again (HyperMesh).
pub const RETRIES_MAX: u32 = 3;
/// How long a connection may take (HyperMesh).
pub const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long an operation may take (HyperMesh).
pub const OPERATION_WITHIN: Duration = Duration::from_secs(30);

/// Carries a message to a node and brings its answer, within [`CONNECT_WITHIN`] and [`OPERATION_WITHIN`]. It proves to
/// the node who asks.
pub trait Transport {
    /// Asks once.
    ///
    /// # Errors
    /// The answer did not come; whether the question arrived is not known.
    fn exchange(&self, message: &[u8]) -> std::io::Result<Vec<u8>>;

    /// Waits before the next try.
    fn wait(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// Asks a node of this process.
pub struct Local<Now> {
    /// The node's memory.
    pub regions: Arc<Regions>,
    /// Who asks.
    pub peer: Peer,
    /// What time it is.
    pub now: Now,
}

/// A holder.
pub struct Client<T> {
    transport: T,
    next: AtomicU64,
}

/// A mapping that ends when it is dropped.
pub struct Mapped<'a, T: Transport> {
    client: &'a Client<T>,
    id: u64,
    length: u64,
}

/// Why there is no answer, or what it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The node refused.
    #[error(transparent)]
    Refused(#[from] ProxyError),
    /// The node cannot be reached.
    #[error("the node did not answer")]
    Transport(#[from] std::io::Error),
    /// The node answered something else.
    #[error("the node answered something else than was asked")]
    Unexpected,
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn exchange(&self, message: &[u8]) -> std::io::Result<Vec<u8>> {
        (**self).exchange(message)
    }

    fn wait(&self, duration: Duration) {
        (**self).wait(duration);
    }
}

impl<Now: Fn() -> OffsetDateTime> Transport for Local<Now> {
    fn exchange(&self, message: &[u8]) -> std::io::Result<Vec<u8>> {
        Ok(self.regions.answer(message, self.peer, (self.now)()))
    }
}

/// Gives how long to wait before a retry: 100 ms, twice as long each time, 10 s at most (HyperMesh).
pub fn backoff(retry: u32) -> Duration {
    Duration::from_millis(100).saturating_mul(2_u32.saturating_pow(retry)).min(Duration::from_secs(10))
}

impl<T: Transport> Client<T> {
    /// Makes a holder who asks over a transport.
    pub fn new(transport: T) -> Self {
        Self { transport, next: AtomicU64::new(1) }
    }

    /// Gives back the transport.
    pub fn into_transport(self) -> T {
        self.transport
    }

    /// Maps the range of a capability, with some of its rights.
    ///
    /// # Errors
    /// The node refuses, or cannot be reached.
    pub fn map(&self, capability: &Capability, rights: Rights) -> Result<Mapped<'_, T>, ClientError> {
        match self.ask(Request::Map { capability: capability.clone(), rights })? {
            Response::Mapped { mapping, length, .. } => Ok(Mapped { client: self, id: mapping, length }),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Takes what the node has to tell.
    ///
    /// # Errors
    /// The node cannot be reached.
    pub fn notifications(&self) -> Result<Vec<Notification>, ClientError> {
        match self.ask(Request::Notifications)? {
            Response::Notifications { notifications } => Ok(notifications),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Asks; again after a while if no answer comes and asking twice does no harm.
    ///
    /// # Errors
    /// The node refuses, or cannot be reached.
    pub fn ask(&self, request: Request) -> Result<Response, ClientError> {
        let retries = if request.is_repeatable() { RETRIES_MAX } else { 0 };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let message = message::encode(id, request)?;
        let mut retry = 0;
        let answer = loop {
            match self.transport.exchange(&message) {
                Ok(answer) => break answer,
                Err(error) if retry >= retries => return Err(error.into()),
                Err(_) => {
                    self.transport.wait(backoff(retry));
                    retry += 1;
                }
            }
        };
        let answer = message::decode::<Response>(&answer)?;
        match answer.body {
            Response::Refused { error } => Err(error.into()),
            response if answer.id == id => Ok(response),
            _ => Err(ClientError::Unexpected),
        }
    }
}

impl<T: Transport> Mapped<'_, T> {
    /// Gives its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Gives its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads bytes, in several messages where one cannot hold them.
    ///
    /// # Errors
    /// As for every operation: the node refuses, or cannot be reached.
    pub fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length || length == 0 {
            let done = bytes.len() as u64;
            let part = (length - done).min(TRANSFER_BYTES_MAX as u64);
            let request = Request::Read { mapping: self.id, offset: offset.saturating_add(done), length: part };
            match self.client.ask(request)? {
                // Most are read at once, and kept as they came.
                Response::Bytes { bytes: read, .. } if read.len() as u64 == length => bytes = read,
                Response::Bytes { bytes: read, .. } if read.len() as u64 == part => bytes.extend(read),
                _ => return Err(ClientError::Unexpected),
            }
            if length == 0 {
                break;
            }
        }
        Ok(bytes)
    }

    /// Writes bytes, in several messages where one cannot hold them.
    ///
    /// # Errors
    /// As for every operation; bytes of earlier messages are then written.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), ClientError> {
        for (at, part) in (0..).zip(bytes.chunks(TRANSFER_BYTES_MAX)) {
            let offset = offset.saturating_add(at * TRANSFER_BYTES_MAX as u64);
            self.done(Request::Write { mapping: self.id, offset, bytes: part.to_vec() })?;
        }
        Ok(())
    }

    /// Puts a word where another one is expected; gives what was there.
    ///
    /// # Errors
    /// As for every operation. It is not repeated, so whether it was done is not known if the node does not answer.
    pub fn compare_and_swap(&self, offset: u64, expected: u64, new: u64) -> Result<u64, ClientError> {
        self.word(Request::CompareAndSwap { mapping: self.id, offset, expected, new })
    }

    /// Adds to a word; gives what was there.
    ///
    /// # Errors
    /// As for [`Self::compare_and_swap`].
    pub fn add(&self, offset: u64, amount: u64) -> Result<u64, ClientError> {
        self.word(Request::AtomicAdd { mapping: self.id, offset, amount })
    }

    /// Orders what was asked before it before what follows.
    ///
    /// # Errors
    /// As for every operation.
    pub fn fence(&self) -> Result<(), ClientError> {
        self.done(Request::Fence { mapping: self.id })
    }

    /// Says what will be read soon.
    ///
    /// # Errors
    /// As for every operation.
    pub fn prefetch(&self, offset: u64, length: u64) -> Result<(), ClientError> {
        self.done(Request::Prefetch { mapping: self.id, offset, length })
    }

    /// Brings changes to what stands behind the memory.
    ///
    /// # Errors
    /// As for every operation.
    pub fn sync(&self) -> Result<(), ClientError> {
        self.done(Request::Sync { mapping: self.id })
    }

    fn done(&self, request: Request) -> Result<(), ClientError> {
        match self.client.ask(request)? {
            Response::Done => Ok(()),
            _ => Err(ClientError::Unexpected),
        }
    }

    fn word(&self, request: Request) -> Result<u64, ClientError> {
        match self.client.ask(request)? {
            Response::Word { before } => Ok(before),
            _ => Err(ClientError::Unexpected),
        }
    }
}

impl<T: Transport> Drop for Mapped<'_, T> {
    fn drop(&mut self) {
        // What cannot be told ends by itself when its time is over.
        let _ = self.client.ask(Request::Unmap { mapping: self.id });
    }
}
