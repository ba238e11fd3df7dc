//! What a node answers to the messages of holders.

use time::OffsetDateTime;

use super::capability::{Peer, Rights};
use super::message::{self, Request, Response};
use super::table::{Mapping, Regions};
use super::{ProxyError, TRANSFER_BYTES_MAX};

/// What an operation on a range needs.
type Needs = fn(Rights) -> bool;

impl Regions {
    /// Answers a message; `from` is whom the transport has proved to speak.
    ///
    /// Every message has an answer. One that cannot be read is answered with the number zero.
    pub fn answer(&self, bytes: &[u8], from: Peer, now: OffsetDateTime) -> Vec<u8> {
        let (id, response) = match message::decode::<Request>(bytes) {
            Ok(envelope) => (envelope.id, self.perform(envelope.body, from, now)),
            Err(error) => (0, Err(error)),
        };
        let response = response.unwrap_or_else(|error| Response::Refused { error });
        // Transfers are bounded and so are notifications, so every response fits.
        message::encode(id, response).unwrap_or_default()
    }

    /// Does what a holder asks.
    ///
    /// # Errors
    /// It is not allowed, or cannot be done.
    pub fn perform(&self, request: Request, from: Peer, now: OffsetDateTime) -> Result<Response, ProxyError> {
        match request {
            Request::Heartbeat => Ok(Response::Done),
            Request::Map { capability, rights } => {
                let (mapping, made) = self.map(&capability, from, rights, now)?;
                Ok(Response::Mapped { mapping, length: made.length, expires_at: made.expires_at })
            }
            Request::Unmap { mapping } => self.unmap(mapping, from).map(|()| Response::Done),
            Request::Read { mapping, offset, length } => self.with(mapping, from, now, |mapping| {
                let at = place(mapping, offset, length, |rights| rights.read, "read")?;
                let length = transfer(length)?;
                // Before the bytes: what changes while they are read makes them old, not new.
                let version = mapping.version.load(std::sync::atomic::Ordering::SeqCst);
                let mut bytes = vec![0; length];
                mapping.memory.read(at, &mut bytes).map_err(|error| unreachable(&error))?;
                Ok(Response::Bytes { bytes, version })
            }),
            Request::Write { mapping, offset, bytes } => {
                let length = bytes.len() as u64;
                transfer(length)?;
                self.change(mapping, from, now, (offset, length), |mapping, at| {
                    place(mapping, offset, length, |rights| rights.write, "write")?;
                    mapping.memory.write(at, &bytes).map_err(|error| unreachable(&error))?;
                    Ok(Response::Done)
                })
            }
            Request::CompareAndSwap { mapping, offset, expected, new } => {
                self.change(mapping, from, now, (offset, 8), |mapping, at| {
                    word(mapping, offset)?;
                    let before = mapping.memory.compare_and_swap(at, expected, new);
                    Ok(Response::Word { before: before.map_err(|error| unreachable(&error))? })
                })
            }
            Request::AtomicAdd { mapping, offset, amount } => {
                self.change(mapping, from, now, (offset, 8), |mapping, at| {
                    word(mapping, offset)?;
                    let before = mapping.memory.add(at, amount).map_err(|error| unreachable(&error))?;
                    Ok(Response::Word { before })
                })
            }
            Request::Fence { mapping } => self.with(mapping, from, now, |mapping| {
                // What this holder asked before has been answered, so it was done; this orders it for other threads.
                mapping.memory.fence();
                Ok(Response::Done)
            }),
            Request::Prefetch { mapping, offset, length } => self.with(mapping, from, now, |mapping| {
                // The memory is here already; a range that could not be read is told all the same.
                place(mapping, offset, length, |rights| rights.prefetch, "prefetch").map(|_| Response::Done)
            }),
            Request::Sync { mapping } => self.with(mapping, from, now, |mapping| {
                if !mapping.rights.write {
                    return Err(ProxyError::Right("write".into()));
                }
                mapping.memory.sync().map(|()| Response::Done).map_err(|error| unreachable(&error))
            }),
            Request::Notifications => Ok(Response::Notifications { notifications: self.take_notifications(from) }),
        }
    }

    /// Does something that changes bytes, counts it, and tells those who keep what they read.
    fn change(
        &self,
        id: u64,
        from: Peer,
        now: OffsetDateTime,
        (offset, length): (u64, u64),
        operation: impl FnOnce(&Mapping, u64) -> Result<Response, ProxyError>,
    ) -> Result<Response, ProxyError> {
        let (response, told) = self.with(id, from, now, |mapping| {
            let at = mapping.offset.saturating_add(offset);
            let response = operation(mapping, at)?;
            Ok((response, (mapping.port, at, mapping.changed())))
        })?;
        let (port, at, version) = told;
        self.modified(id, port, at, length, version);
        Ok(response)
    }
}

/// Checks rights and range; gives where the range begins in the region.
fn place(mapping: &Mapping, offset: u64, length: u64, needs: Needs, what: &str) -> Result<u64, ProxyError> {
    if !needs(mapping.rights) {
        return Err(ProxyError::Right(what.into()));
    }
    let size = mapping.length;
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(ProxyError::Range { offset, length, size });
    }
    Ok(mapping.offset + offset)
}

/// Checks an atomic operation: it reads and writes one word, which is one in the region too.
fn word(mapping: &Mapping, offset: u64) -> Result<(), ProxyError> {
    place(mapping, offset, 8, |rights| rights.read && rights.write, "read and write")?;
    let at = mapping.offset + offset;
    if at.is_multiple_of(8) { Ok(()) } else { Err(ProxyError::Alignment(at)) }
}

fn transfer(length: u64) -> Result<usize, ProxyError> {
    let max = TRANSFER_BYTES_MAX as u64;
    usize::try_from(length).ok().filter(|_| length <= max).ok_or(ProxyError::TooLong { bytes: length, max })
}

fn unreachable(error: &std::io::Error) -> ProxyError {
    ProxyError::Memory(error.to_string())
}
