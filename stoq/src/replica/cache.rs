//! What goes first when room is needed: what is asked for least, and nothing that must stay.

use trustchain::digest::Blake3;

/// A blob that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Its name.
    pub digest: Blake3,
    /// Its size.
    pub size_bytes: u64,
    /// How often it was asked for lately.
    pub demand: u32,
    /// Whether it may go at all: nobody pinned it, and enough others hold it.
    pub is_droppable: bool,
}

/// Not enough may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed_bytes} bytes are needed, at most {droppable_bytes} may go")]
pub struct NoRoomError {
    /// What is needed.
    pub needed_bytes: u64,
    /// What may go.
    pub droppable_bytes: u64,
}

/// Chooses what goes so that so many bytes become free, and no more than that takes.
///
/// # Errors
/// All that may go is not enough; then nothing does.
pub fn evict(cached: &[Cached], needed_bytes: u64) -> Result<Vec<Blake3>, NoRoomError> {
    let mut going: Vec<&Cached> = cached.iter().filter(|cached| cached.is_droppable).collect();
    going.sort_unstable_by_key(|cached| (cached.demand, cached.digest));
    let mut freed = 0;
    let enough = going.iter().take_while(|cached| {
        let goes = freed < needed_bytes;
        freed += if goes { cached.size_bytes } else { 0 };
        goes
    });
    let count = enough.count();
    if freed < needed_bytes {
        return Err(NoRoomError { needed_bytes, droppable_bytes: freed });
    }
    going.truncate(count);
    // The last ones may be so large that some of the first can stay; the best of them do.
    let mut spare = freed - needed_bytes;
    for index in (0..going.len()).rev() {
        if going[index].size_bytes <= spare {
            spare -= going[index].size_bytes;
            going.remove(index);
        }
    }
    Ok(going.into_iter().map(|cached| cached.digest).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cached(name: u8, size_bytes: u64, demand: u32, is_droppable: bool) -> Cached {
        Cached { digest: Blake3::from_bytes([name; 32]), size_bytes, demand, is_droppable }
    }

    fn check(cached: &[Cached], needed: u64, expected: Result<&[u8], u64>) {
        let found = evict(cached, needed);
        let found: Result<Vec<u8>, u64> = found
            .map(|digests| digests.iter().map(|digest| digest.as_bytes()[0]).collect())
            .map_err(|error| error.droppable_bytes);
        assert_eq!(found, expected.map(<[u8]>::to_vec));
    }

    #[test]
    fn the_least_wanted_goes_first_and_what_must_stay_stays() {
        let all = [
            cached(1, 100, 9, true),
            cached(2, 100, 2, true),
            cached(3, 100, 0, true),
            cached(4, 100, 0, false),
            cached(5, 100, 1, true),
        ];
        check(&all, 0, Ok(&[]));
        check(&all, 100, Ok(&[3]));
        check(&all, 101, Ok(&[3, 5]));
        check(&all, 400, Ok(&[3, 5, 2, 1]));
        check(&all, 401, Err(400));
        check(&[], 1, Err(0));
    }

    #[test]
    fn no_more_goes_than_is_needed() {
        let all = [cached(1, 10, 0, true), cached(2, 20, 1, true), cached(3, 1000, 2, true)];
        check(&all, 500, Ok(&[3]));
        check(&all, 1005, Ok(&[1, 3]));
    }

    proptest! {
        #[test]
        fn enough_goes_and_only_what_may(
            all in prop::collection::vec((0..1000_u64, 0..5_u32, any::<bool>()), 0..30),
            needed in 0..10_000_u64,
        ) {
            let all: Vec<Cached> = all
                .into_iter()
                .zip(0..)
                .map(|((size, demand, may), name)| cached(name, size, demand, may))
                .collect();
            let may: u64 = all.iter().filter(|cached| cached.is_droppable).map(|cached| cached.size_bytes).sum();
            match evict(&all, needed) {
                Err(error) => {
                    prop_assert!(may < needed);
                    prop_assert_eq!(error.droppable_bytes, may);
                }
                Ok(going) => {
                    let going: Vec<&Cached> = all.iter().filter(|cached| going.contains(&cached.digest)).collect();
                    prop_assert!(going.iter().all(|cached| cached.is_droppable));
                    let freed: u64 = going.iter().map(|cached| cached.size_bytes).sum();
                    prop_assert!(freed >= needed);
                    prop_assert!(going.iter().all(|cached| freed - cached.size_bytes < needed));
                }
            }
        }
    }
}
