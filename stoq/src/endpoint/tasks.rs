//! The tasks of one endpoint, those of quinn included, so that closing it can wait for all of them.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Knows the tasks that it spawned.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    running: Arc<watch::Sender<Table>>,
}

/// What runs, by number; how to end it is known a moment after it began.
#[derive(Debug, Default)]
struct Table {
    begun: u64,
    running: HashMap<u64, Option<AbortHandle>>,
}

/// One task that runs.
struct Running {
    number: u64,
    table: Arc<watch::Sender<Table>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { running: Arc::default() }
    }

    /// Spawns a task that ends soon after its endpoint is closed.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut number = 0;
        self.running.send_modify(|table| {
            table.begun += 1;
            number = table.begun;
            table.running.insert(number, None);
        });
        let running = Running { number, table: Arc::clone(&self.running) };
        let handle = tokio::spawn(async move {
            let _running = running;
            task.await;
        });
        self.running.send_if_modified(|table| {
            // One that has ended is not there any more.
            table.running.entry(number).and_modify(|known| *known = Some(handle.abort_handle()));
            false
        });
    }

    /// Waits until none runs.
    pub(crate) async fn ended(&self) {
        // The sender is ours, so waiting cannot fail.
        let _ = self.running.subscribe().wait_for(|table| table.running.is_empty()).await;
    }

    /// Ends all of them where they stand.
    pub(crate) fn abort(&self) {
        let handles: Vec<AbortHandle> = self.running.borrow().running.values().flatten().cloned().collect();
        handles.iter().for_each(AbortHandle::abort);
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
        self.table.send_modify(|table| drop(table.running.remove(&self.number)));
    }
}
