//! One loop for everything that listens: it accepts connections, so many at the same time, until it is told to stop.
//!
//! It reads and writes nothing, and does not bound how long a connection takes: that is up to whoever answers it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long nobody is accepted after a connection could not be, as when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// A port or socket that connections come in by.
pub trait Listener {
    /// One connection, with whatever is known of who made it.
    type Connection: Send + 'static;

    /// Waits for the next one. Nothing is lost if this is dropped.
    ///
    /// # Errors
    /// What the system says.
    fn next(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Listener for TcpListener {
    type Connection = (TcpStream, SocketAddr);

    async fn next(&self) -> io::Result<Self::Connection> {
        self.accept().await
    }
}

impl Listener for UnixListener {
    type Connection = UnixStream;

    async fn next(&self) -> io::Result<Self::Connection> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Answers every connection in a task of its own, `connections_max` at the same time while more wait, until the future that is
/// given ends. Gives the tasks that go on then: they end where the set is dropped.
pub async fn serve<L: Listener, F: Future<Output = ()> + Send + 'static>(
    listener: &L,
    connections_max: usize,
    until: impl Future<Output = ()>,
    answer: impl Fn(L::Connection) -> F,
) -> JoinSet<()> {
    let room = Arc::new(Semaphore::new(connections_max));
    let mut tasks = JoinSet::new();
    let mut until = std::pin::pin!(until);
    let next = async || {
        // Nobody closes the semaphore, so there is a permit in the end.
        let permit = Arc::clone(&room).acquire_owned().await.ok();
        (permit, listener.next().await)
    };
    loop {
        tokio::select! {
            (permit, accepted) = next() => match accepted {
                Ok(connection) => {
                    let answered = answer(connection);
                    tasks.spawn(async move {
                        let _permit = permit;
                        answered.await;
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            () = &mut until => return tasks,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

/// Makes so many connections that say nothing.
#[cfg(test)]
pub(crate) async fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(TcpStream::connect(address).await.expect("connects"));
    }
    streams
}
