//! Messages on a stream between nodes: frames of MessagePack.

use rmp_serde::{decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stoq::frame;
use stoq::service::Stream;

/// The largest message in bytes: what a program takes and gives at most.
pub(super) const FRAME_BYTES_MAX: usize = 16 << 20;

/// A stream does not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The other side is gone, or closed the stream.
    #[error("the stream ended")]
    Ended(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too many bytes.
    #[error("a message has {actual} bytes, more than {FRAME_BYTES_MAX}")]
    TooLarge {
        /// How many.
        actual: usize,
    },
    /// Not a message.
    #[error("a message cannot be read")]
    Malformed(#[source] decode::Error),
    /// Cannot be a message.
    #[error("a message cannot be written")]
    Unwritable(#[source] encode::Error),
}

/// Sends a message.
pub(super) async fn send(stream: &mut Stream, message: &impl Serialize) -> Result<(), FrameError> {
    let bytes = rmp_serde::to_vec_named(message).map_err(FrameError::Unwritable)?;
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge { actual: bytes.len() });
    }
    frame::write(&mut stream.send, &bytes).await.map_err(|error| FrameError::Ended(error.into()))
}

/// Receives a message.
pub(super) async fn receive<T: DeserializeOwned>(stream: &mut Stream) -> Result<T, FrameError> {
    let bytes = frame::read(&mut stream.receive, FRAME_BYTES_MAX).await.map_err(|error| match error {
        frame::FrameError::TooLarge { actual, .. } => FrameError::TooLarge { actual },
        error => FrameError::Ended(error.into()),
    })?;
    read(&bytes)
}

/// Reads a message that came with the opening of a stream.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    rmp_serde::from_slice(bytes).map_err(FrameError::Malformed)
}
