//! The tasks of one endpoint, those of quinn included, so that closing it can wait for all of them.

use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::sync::watch;

/// Counts the tasks that it spawned.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    running: Arc<watch::Sender<usize>>,
}

/// One task that runs.
struct Running(Arc<watch::Sender<usize>>);

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { running: Arc::new(watch::Sender::new(0)) }
    }

    /// Spawns a task that ends soon after its endpoint is closed.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.send_modify(|running| *running += 1);
        let running = Running(Arc::clone(&self.running));
        tokio::spawn(async move {
            let _running = running;
            task.await;
        });
    }

    /// Waits until none runs.
    pub(crate) async fn ended(&self) {
        // The sender is ours, so waiting cannot fail.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }
}

impl Runtime for Tasks {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}
