//! Doing the same to many files on all cores: what waits for the file system does not wait in turn.

/// The most threads for one piece of work.
const THREADS_MAX: usize = 8;
/// The fewest items for which a further thread is started.
const SHARE_MIN: usize = 64;

/// Does the same to all items; the results are in the order of the items.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let share = items.len().div_ceil(cores).max(SHARE_MIN);
    if items.len() <= share {
        return items.iter().map(work).collect();
    }
    let work = &work;
    std::thread::scope(|scope| {
        let shares = items.chunks(share);
        let threads: Vec<_> =
            shares.map(|share| scope.spawn(move || share.iter().map(work).collect::<Vec<R>>())).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<R>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).collect()
    })
}

/// Does the same to all items; gives the first error in their order.
pub(crate) fn each<T: Sync, E: Send>(items: &[T], work: impl Fn(&T) -> Result<(), E> + Sync) -> Result<(), E> {
    map(items, work).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_the_first_error_wins() {
        let numbers: Vec<usize> = (0..1_000).collect();
        assert_eq!(map(&numbers, |number| number + 1), (1..1_001).collect::<Vec<_>>());
        let refuse = |number: &usize| if *number % 400 == 399 { Err(*number) } else { Ok(()) };
        assert_eq!(each(&numbers, refuse), Err(399));
        assert_eq!(each(&numbers[..10], refuse), Ok(()));
    }
}
