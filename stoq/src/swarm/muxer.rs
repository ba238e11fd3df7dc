//! A QUIC connection as libp2p sees one: it opens and accepts streams, and every stream is bytes in both directions.
//!
//! Never negotiates who the peer is: the connection was authenticated before it comes here.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::futures::{AsyncRead, AsyncWrite};
use quinn::{ConnectionError, RecvStream, SendStream};

use crate::endpoint;

/// A connection; dropping it closes it. `Guard` is what must live as long.
pub(crate) struct Muxer<Guard> {
    connection: quinn::Connection,
    accepting: Option<NextStream>,
    opening: Option<NextStream>,
    _guard: Guard,
}

/// A stream of such a connection.
pub(crate) struct Substream {
    send: SendStream,
    receive: RecvStream,
}

type NextStream = Pin<Box<dyn Future<Output = Result<(SendStream, RecvStream), ConnectionError>> + Send>>;

impl<Guard> Muxer<Guard> {
    pub(crate) fn new(connection: quinn::Connection, guard: Guard) -> Self {
        Self { connection, accepting: None, opening: None, _guard: guard }
    }
}

impl<Guard: Unpin> StreamMuxer for Muxer<Guard> {
    type Substream = Substream;
    type Error = ConnectionError;

    fn poll_inbound(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Substream, ConnectionError>> {
        let Self { connection, accepting, .. } = self.get_mut();
        poll_stream(accepting, context, || {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_bi().await })
        })
    }

    fn poll_outbound(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Substream, ConnectionError>> {
        let Self { connection, opening, .. } = self.get_mut();
        poll_stream(opening, context, || {
            let connection = connection.clone();
            Box::pin(async move { connection.open_bi().await })
        })
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        endpoint::close(&self.connection, 0_u32.into(), b"");
        Poll::Ready(Ok(()))
    }

    /// Never has news: connections do not move to other addresses.
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        Poll::Pending
    }
}

impl AsyncRead for Substream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        self.get_mut().receive.poll_read(context, into).map_err(io::Error::from)
    }
}

impl AsyncWrite for Substream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().send).poll_write(context, bytes).map_err(io::Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A stream that the peer has stopped or that is finished already has no more to say, which is what was asked for.
        self.get_mut().send.finish().ok();
        Poll::Ready(Ok(()))
    }
}

fn poll_stream(
    next: &mut Option<NextStream>,
    context: &mut Context<'_>,
    start: impl FnOnce() -> NextStream,
) -> Poll<Result<Substream, ConnectionError>> {
    let result = ready!(next.get_or_insert_with(start).as_mut().poll(context));
    *next = None;
    Poll::Ready(result.map(|(send, receive)| Substream { send, receive }))
}
