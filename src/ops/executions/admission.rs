//! The queue with time and tasks: whoever runs something takes a turn, waits until it comes, and gives it back by dropping it.
//!
//! No task of its own drives the queue: every change lets out whoever may go, and those who wait for a time or a lease look
//! again themselves. Invariant: a turn that is dropped, wherever it stood, lets the next ones go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep_until;

use crate::vm::queue::{Ask, Full, Queue, Ticket};

/// How often a refused lease is asked for again, when nothing of ours became free: other extensions release, too.
pub const LEASE_POLL: Duration = Duration::from_millis(50);
/// The most bytes that all arguments of those who wait have together, in JSON.
pub const WAITING_BYTES_MAX: u64 = 256 << 20;

/// Lets executions begin in their order.
#[derive(Debug)]
pub struct Admission {
    inner: Mutex<Inner>,
}

/// A place in the queue, or beyond it.
#[derive(Debug)]
pub struct Turn {
    admission: Arc<Admission>,
    ticket: Ticket,
    seat: Arc<Notify>,
    bytes: u64,
    /// Its lease was refused, so time alone may help.
    refused: bool,
    out: bool,
}

#[derive(Debug)]
struct Inner {
    queue: Queue,
    seats: HashMap<Ticket, Arc<Notify>>,
    bytes: u64,
}

impl Admission {
    /// Lets so many begin at the same time.
    pub fn new(running_max: usize) -> Arc<Self> {
        let inner = Inner { queue: Queue::new(running_max), seats: HashMap::new(), bytes: 0 };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    /// Takes a place in the queue; `bytes` is what is kept in memory for it.
    ///
    /// # Errors
    /// The queue is full, by its number or by bytes.
    pub fn enter(self: &Arc<Self>, ask: &Ask, bytes: u64) -> Result<Turn, Full> {
        let seat = Arc::new(Notify::new());
        let now = Instant::now();
        let mut inner = self.inner();
        if inner.bytes + bytes > WAITING_BYTES_MAX {
            return Err(Full);
        }
        let ticket = inner.queue.enter(ask, now)?;
        inner.bytes += bytes;
        inner.seats.insert(ticket, Arc::clone(&seat));
        inner.let_out(now);
        drop(inner);
        Ok(Turn { admission: Arc::clone(self), ticket, seat, bytes, refused: false, out: false })
    }

    /// Counts those who wait and those who have begun.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.queue.waiting(), inner.queue.out())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic in the queue would be a bug in a pure function; the next call works on what it left.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn let_out(&mut self, now: Instant) {
        while let Some(ticket) = self.queue.next(now) {
            if let Some(seat) = self.seats.get(&ticket) {
                seat.notify_one();
            }
        }
    }
}

impl Turn {
    /// Waits until the turn has come. Cancel safe.
    pub async fn comes(&mut self) {
        while !self.out {
            let again = self.admission.inner().queue.look_again(self.ticket);
            let poll = self.refused.then(|| Instant::now() + LEASE_POLL);
            let Some(at) = again.into_iter().chain(poll).min() else {
                self.seat.notified().await;
                self.out = true;
                return;
            };
            tokio::select! {
                () = self.seat.notified() => self.out = true,
                () = sleep_until(at.into()) => {
                    let mut inner = self.admission.inner();
                    if self.refused {
                        inner.queue.wake();
                    }
                    inner.let_out(Instant::now());
                }
            }
        }
    }

    /// Tells whether the turn has come already, without waiting for it.
    pub fn has_come(&mut self) -> bool {
        use std::task::{Context, Poll, Waker};
        if !self.out {
            let notified = std::pin::pin!(self.seat.notified());
            self.out = matches!(notified.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
        }
        self.out
    }

    /// Tells whether others have begun as well, so that something may become free.
    pub fn is_one_of_many(&self) -> bool {
        self.admission.inner().queue.out() > 1
    }

    /// Notes that it has its lease.
    pub fn has_lease(&mut self) {
        self.refused = false;
        let mut inner = self.admission.inner();
        inner.queue.started(self.ticket);
        inner.let_out(Instant::now());
    }

    /// Notes that the host refused the lease at present, and goes back to its place.
    pub fn is_refused(&mut self) {
        let now = Instant::now();
        (self.refused, self.out) = (true, false);
        let mut inner = self.admission.inner();
        inner.queue.refused(self.ticket, now);
        inner.let_out(now);
    }

    /// Leaves and queues again, not before a time. There is always room for whoever was in.
    pub fn again(&mut self, ask: &Ask) {
        let now = Instant::now();
        let mut inner = self.admission.inner();
        inner.queue.leave(self.ticket);
        inner.seats.remove(&self.ticket);
        self.ticket = inner.queue.enter_again(ask, now);
        self.seat = Arc::new(Notify::new());
        (self.refused, self.out) = (false, false);
        inner.seats.insert(self.ticket, Arc::clone(&self.seat));
        inner.let_out(now);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inner = self.admission.inner();
        inner.queue.leave(self.ticket);
        inner.seats.remove(&self.ticket);
        inner.bytes -= self.bytes;
        inner.let_out(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::model::Priority;

    impl Admission {
        fn kept(&self) -> (usize, u64) {
            let inner = self.inner();
            (inner.seats.len(), inner.bytes)
        }
    }

    fn ask(package: &str) -> Ask {
        let package = package.parse().expect("a name");
        Ask { package, priority: Priority::Normal, running_max: None, not_before: None, background: false }
    }

    #[tokio::test]
    async fn a_turn_that_is_dropped_lets_the_next_one_go() {
        let admission = Admission::new(1);
        let mut first = admission.enter(&ask("a"), 1).expect("there is room");
        let second = admission.enter(&ask("b"), 1).expect("there is room");
        let mut third = admission.enter(&ask("c"), 1).expect("there is room");
        first.comes().await;
        assert!(!third.has_come());
        drop(second);
        drop(first);
        third.comes().await;
        assert_eq!((admission.counts(), admission.kept()), ((0, 1), (1, 1)));
        drop(third);
        assert_eq!((admission.counts(), admission.kept()), ((0, 0), (0, 0)));
    }

    #[tokio::test]
    async fn a_refused_lease_is_asked_for_again() {
        let admission = Admission::new(2);
        let mut turn = admission.enter(&ask("a"), 0).expect("there is room");
        turn.comes().await;
        turn.is_refused();
        assert!(!turn.has_come(), "it waits");
        let began = Instant::now();
        turn.comes().await;
        assert!(began.elapsed() >= LEASE_POLL);
        turn.has_lease();
    }

    #[tokio::test]
    async fn whoever_tries_again_waits_for_the_time() {
        let admission = Admission::new(1);
        let mut turn = admission.enter(&ask("a"), 0).expect("there is room");
        turn.comes().await;
        let at = Instant::now() + Duration::from_millis(20);
        turn.again(&Ask { not_before: Some(at), ..ask("a") });
        turn.comes().await;
        assert!(Instant::now() >= at);
    }

    #[test]
    fn arguments_are_bounded_together() {
        let admission = Admission::new(1);
        let _all = admission.enter(&ask("a"), WAITING_BYTES_MAX).expect("there is room");
        assert_eq!(admission.enter(&ask("b"), 1).map(drop), Err(Full));
    }
}
