//! One frame on a stream: u32 little endian, and so many bytes.
//!
//! The length is checked before anything is reserved for it, and what is reserved grows with what arrives. How long a frame may
//! take is up to the caller.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of the length.
const LENGTH_BYTES: usize = 4;
/// How much is reserved before it has arrived.
const RESERVED_BYTES: usize = 4 << 10;

/// A frame that is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It is too long.
    #[error("a frame has at most `{limit}` bytes, this one `{actual}`")]
    TooLarge {
        /// The bound.
        limit: usize,
        /// How long it is.
        actual: usize,
    },
    /// It is not whole.
    #[error("the stream ended within a frame")]
    Ended,
    /// Nothing comes any more.
    #[error("the stream was given up within a frame")]
    Read(#[source] io::Error),
}

/// Writes a frame.
///
/// # Errors
/// Nobody takes it any more.
///
/// # Panics
/// It has 4 GiB or more.
pub async fn write(send: &mut (impl AsyncWrite + Unpin), content: &[u8]) -> io::Result<()> {
    send.write_all(&framed(content.len(), |frame| frame.extend_from_slice(content))).await
}

/// Sends a frame without copying its content.
///
/// # Errors
/// Nobody takes it any more.
///
/// # Panics
/// It has 4 GiB or more.
pub async fn send(stream: &mut quinn::SendStream, content: Vec<u8>) -> io::Result<()> {
    let length = u32::try_from(content.len()).expect("callers keep frames far below 4 GiB");
    let mut frame = [Bytes::copy_from_slice(&length.to_le_bytes()), Bytes::from(content)];
    Ok(stream.write_all_chunks(&mut frame).await?)
}

/// Makes a frame of content that is written into it, for what is not sent at once.
///
/// # Panics
/// It has 4 GiB or more.
pub fn framed(length: usize, content: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::with_capacity(LENGTH_BYTES + length);
    frame.extend_from_slice(&[0; LENGTH_BYTES]);
    content(&mut frame);
    let length = u32::try_from(frame.len() - LENGTH_BYTES).expect("callers keep frames far below 4 GiB");
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    frame
}

/// Reads a frame of a size up to a limit.
///
/// # Errors
/// It is longer, or does not come.
pub async fn read(receive: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut length = [0; LENGTH_BYTES];
    receive.read_exact(&mut length).await.map_err(FrameError::of)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > limit {
        return Err(FrameError::TooLarge { limit, actual: length });
    }
    let mut content = Vec::with_capacity(length.min(RESERVED_BYTES));
    receive.take(length as u64).read_to_end(&mut content).await.map_err(FrameError::of)?;
    if content.len() < length { Err(FrameError::Ended) } else { Ok(content) }
}

impl FrameError {
    fn of(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Ended } else { Self::Read(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(bytes: &[u8], limit: usize, expected: Result<&[u8], &str>) {
        let read = read(&mut &*bytes, limit).await.map_err(|error| error.to_string());
        assert_eq!(read.as_deref(), expected.map_err(str::to_owned).as_ref().map(|bytes| *bytes), "{bytes:?}");
    }

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written_whole_and_up_to_its_limit() {
        let mut written = Vec::new();
        write(&mut written, b"hello").await.expect("is in memory");
        assert_eq!(written, b"\x05\0\0\0hello");
        check(&written, 5, Ok(b"hello")).await;
        check(&[&written[..], b"more"].concat(), 5, Ok(b"hello")).await;
        check(&written, 4, Err("a frame has at most `4` bytes, this one `5`")).await;
        check(&[0xff; 4], 1 << 20, Err("a frame has at most `1048576` bytes, this one `4294967295`")).await;
        for cut in 0..written.len() {
            check(&written[..cut], 5, Err("the stream ended within a frame")).await;
        }
        check(&[0; 4], 0, Ok(b"")).await;
    }
}
