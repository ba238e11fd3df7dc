//! How many copies of a blob are wanted, by what is asked for and how important it is.

use super::placement::Factor;

/// What gets more copies than the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mirror {
    /// Nothing.
    Nothing,
    /// What is asked for almost as often as whatever is asked for most.
    Popularity {
        /// The share of that from which a blob counts as popular: 0 to 1, usually 0.8.
        threshold: f64,
    },
    /// What is at least so important.
    Priority {
        /// The least priority.
        min: u8,
    },
    /// As many as keep each copy from being asked for more than so often in an hour.
    Adaptive {
        /// The most that one copy is to be asked for.
        demand_per_copy: u32,
    },
    /// One in every region that has room.
    Geographic,
}

/// What decides how many copies of a blob are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// How often it was asked for in the last hour, everywhere.
    pub demand: u64,
    /// How often the most wanted blob was.
    pub demand_max: u64,
    /// How important it is.
    pub priority: u8,
    /// How many regions there are.
    pub regions: usize,
}

impl Mirror {
    /// Gives how many copies are wanted, from the factor up to [`super::placement::FACTOR_MAX`].
    pub fn wanted(self, factor: Factor, interest: Interest) -> usize {
        let copies = factor.copies();
        let wanted = match self {
            Self::Popularity { threshold } if is_popular(interest, threshold) => copies + EXTRA_COPIES,
            Self::Priority { min } if interest.priority >= min => copies + EXTRA_COPIES,
            Self::Adaptive { demand_per_copy } => {
                usize::try_from(interest.demand.div_ceil(u64::from(demand_per_copy.max(1)))).unwrap_or(usize::MAX)
            }
            Self::Geographic => interest.regions,
            Self::Nothing | Self::Popularity { .. } | Self::Priority { .. } => copies,
        };
        Factor::new(wanted.max(copies)).copies()
    }
}

/// One blob that was asked for once makes nothing popular.
fn is_popular(interest: Interest, threshold: f64) -> bool {
    interest.demand >= POPULAR_DEMAND_MIN && interest.demand as f64 >= threshold * interest.demand_max as f64
}

/// How many copies more a blob gets that is popular or important.
pub const EXTRA_COPIES: usize = 2;
/// How often a blob must have been asked for to be popular.
pub const POPULAR_DEMAND_MIN: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_wants_its_copies() {
        let check = |mirror: Mirror, demand: u64, priority: u8, expected: usize| {
            let interest = Interest { demand, demand_max: 1000, priority, regions: 5 };
            assert_eq!(mirror.wanted(Factor::default(), interest), expected, "{mirror:?} {demand} {priority}");
        };
        check(Mirror::Nothing, 1000, 255, 3);
        let popularity = Mirror::Popularity { threshold: 0.8 };
        check(popularity, 799, 255, 3);
        check(popularity, 800, 0, 5);
        let priority = Mirror::Priority { min: 7 };
        check(priority, 1000, 6, 3);
        check(priority, 0, 7, 5);
        let adaptive = Mirror::Adaptive { demand_per_copy: 100 };
        check(adaptive, 0, 0, 3);
        check(adaptive, 301, 0, 4);
        check(adaptive, 1000, 0, 10);
        check(adaptive, u64::MAX, 0, 10);
        check(Mirror::Adaptive { demand_per_copy: 0 }, 4, 0, 4);
        check(Mirror::Geographic, 0, 0, 5);
    }

    #[test]
    fn little_demand_makes_nothing_popular() {
        let interest = |demand| Interest { demand, demand_max: demand, priority: 0, regions: 1 };
        let wanted = |demand| Mirror::Popularity { threshold: 0.8 }.wanted(Factor::default(), interest(demand));
        assert_eq!([wanted(0), wanted(9), wanted(10)], [3, 3, 5]);
    }
}
