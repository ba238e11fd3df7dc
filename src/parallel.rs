//! Doing the same to many things at the same time.
//!
//! The work stands in one queue and each thread takes the next piece, so a long one keeps nobody waiting. Results are in the
//! order of the work, and nothing is begun after a failure; everything before the first failure was begun, so which one is
//! told does not depend on chance.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The most threads for work that needs processors and disks.
const THREADS_MAX: usize = 8;

/// Gives how many threads are worth it on this machine, for work that needs processors and disks.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

/// Does the same to all of them, on all cores.
pub(crate) fn map<J: Send, R: Send>(jobs: impl IntoIterator<Item = J>, work: impl Fn(J) -> R + Sync) -> Vec<R> {
    match try_map(cores(), jobs, |job| Ok::<_, Infallible>(work(job))) {
        Ok(results) => results,
        Err(never) => match never {},
    }
}

/// Does the same to all of them, so many at the same time.
///
/// # Errors
/// The first failure in the order of the work.
pub(crate) fn try_map<J: Send, R: Send, E: Send>(
    threads: usize,
    jobs: impl IntoIterator<Item = J>,
    work: impl Fn(J) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    try_map_in(threads, jobs, || Ok(()), |(), job| work(job))
}

/// Does the same to all of them, so many at the same time, each thread in a room that it makes once.
///
/// # Errors
/// The first failure in the order of the work; one to make a room is that of the thread's first piece.
pub(crate) fn try_map_in<J: Send, S, R: Send, E: Send>(
    threads: usize,
    jobs: impl IntoIterator<Item = J>,
    room: impl Fn() -> Result<S, E> + Sync,
    work: impl Fn(&mut S, J) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let jobs: Vec<J> = jobs.into_iter().collect();
    let threads = threads.min(jobs.len());
    if threads < 2 {
        let mut own = room()?;
        return jobs.into_iter().map(|job| work(&mut own, job)).collect();
    }
    let failed = AtomicBool::new(false);
    let queue = Mutex::new(jobs.into_iter().enumerate());
    let next = || {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.next().filter(|_| !failed.load(Ordering::Relaxed))
    };
    let share = || {
        let (mut done, mut own) = (Vec::new(), None);
        while let Some((number, job)) = next() {
            let result = match &mut own {
                Some(own) => work(own, job),
                None => room().and_then(|made| work(own.insert(made), job)),
            };
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((number, result));
        }
        done
    };
    let mut done: Vec<(usize, Result<R, E>)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(share)).collect();
        let mut done = share();
        for other in others {
            done.append(&mut other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn results_keep_their_order_and_the_first_failure_is_told() {
        assert_eq!(map(0..1_000, |number| number + 1), (1..1_001).collect::<Vec<_>>());
        let refuse = |number: usize| if number % 400 == 399 { Err(number) } else { Ok(number) };
        assert_eq!(try_map(4, 0..1_000, refuse), Err(399));
        assert_eq!(try_map(4, 0..10, refuse), Ok((0..10).collect()));
        assert_eq!(try_map(4, std::iter::empty(), refuse), Ok(vec![]));
    }

    #[test]
    fn so_many_are_under_way_at_the_same_time_and_no_more() {
        let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        // Each waits for three others, so fewer than four threads would never end.
        let meeting = Barrier::new(4);
        try_map(4, 0..40, |_| {
            most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            meeting.wait();
            under_way.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        })
        .expect("nothing fails");
        assert_eq!(most.into_inner(), 4);
    }

    #[test]
    fn each_thread_makes_its_room_once_and_a_failure_to_is_told() {
        let made = AtomicUsize::new(0);
        let room = || Ok::<_, &str>(made.fetch_add(1, Ordering::SeqCst));
        let rooms = try_map_in(4, 0..1_000, room, |own, _| Ok(*own)).expect("nothing fails");
        assert!(rooms.iter().all(|own| *own < 4) && made.into_inner() <= 4);
        assert_eq!(try_map_in(4, 0..10, || Err::<(), _>("no room"), |(), job| Ok(job)), Err("no room"));
        assert_eq!(try_map_in(1, 0..10, || Err::<(), _>("no room"), |(), job| Ok(job)), Err("no room"));
    }

    #[test]
    fn nothing_is_begun_after_a_failure() {
        let begun = AtomicUsize::new(0);
        let failed = try_map(4, 0..10_000, |number| {
            begun.fetch_add(1, Ordering::SeqCst);
            if number >= 3 { Err(number) } else { Ok(()) }
        });
        assert_eq!(failed, Err(3));
        // Each thread fails once at most.
        assert!(begun.into_inner() <= 3 + 4);
    }
}
