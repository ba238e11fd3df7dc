//! One frame at the beginning of a stream: u32 little endian, and so many bytes.
//!
//! The length is checked before anything is reserved for it, and what is reserved grows with what arrives.

use quinn::{ReadError, ReadExactError, RecvStream, SendStream, WriteError};

/// Bytes of the length.
const LENGTH_BYTES: usize = 4;
/// How much is reserved before it has arrived.
const RESERVED_BYTES: usize = 4 << 10;

/// A frame that is none.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame has at most `{limit}` bytes, this one `{actual}`")]
    TooLarge { limit: usize, actual: usize },
    #[error("the stream ended within a frame")]
    Ended,
    #[error("the stream was given up within a frame")]
    Read(#[source] ReadError),
}

/// Writes a frame.
pub(crate) async fn write(send: &mut SendStream, content: &[u8]) -> Result<(), WriteError> {
    let length = u32::try_from(content.len()).expect("callers keep frames below 64 KiB");
    let mut frame = Vec::with_capacity(LENGTH_BYTES + content.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(content);
    send.write_all(&frame).await
}

/// Reads a frame of a size up to a limit.
pub(crate) async fn read(receive: &mut RecvStream, limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut length = [0; LENGTH_BYTES];
    receive.read_exact(&mut length).await.map_err(FrameError::exact)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > limit {
        return Err(FrameError::TooLarge { limit, actual: length });
    }
    let mut content = Vec::with_capacity(length.min(RESERVED_BYTES));
    while content.len() < length {
        let chunk = receive.read_chunk(length - content.len(), true).await.map_err(FrameError::Read)?;
        content.extend_from_slice(&chunk.ok_or(FrameError::Ended)?.bytes);
    }
    Ok(content)
}

impl FrameError {
    fn exact(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => Self::Ended,
            ReadExactError::ReadError(error) => Self::Read(error),
        }
    }
}
