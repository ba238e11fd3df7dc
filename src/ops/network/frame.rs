//! Messages on a stream between nodes: u32 little endian and so many bytes of MessagePack.

use rmp_serde::{decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
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
    let mut bytes = vec![0; 4];
    encode::write_named(&mut bytes, message).map_err(FrameError::Unwritable)?;
    let actual = bytes.len() - 4;
    if actual > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge { actual });
    }
    let length = u32::try_from(actual).expect("it is below the bound");
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    stream.send.write_all(&bytes).await.map_err(|error| FrameError::Ended(error.into()))
}

/// Receives a message.
pub(super) async fn receive<T: DeserializeOwned>(stream: &mut Stream) -> Result<T, FrameError> {
    let mut length = [0; 4];
    stream.receive.read_exact(&mut length).await.map_err(|error| FrameError::Ended(error.into()))?;
    let actual = u32::from_le_bytes(length) as usize;
    if actual > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge { actual });
    }
    let mut bytes = vec![0; actual];
    stream.receive.read_exact(&mut bytes).await.map_err(|error| FrameError::Ended(error.into()))?;
    rmp_serde::from_slice(&bytes).map_err(FrameError::Malformed)
}

/// Reads a message that came with the opening of a stream.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    rmp_serde::from_slice(bytes).map_err(FrameError::Malformed)
}
