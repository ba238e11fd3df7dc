//! How many copies of a blob are wanted, by how often it is asked for.

use super::placement::Factor;

/// What gets more copies than the others: what is asked for almost as often as whatever is asked for most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirror {
    /// The share of that from which a blob counts as popular: 0 to 1.
    pub popular_from: f64,
}

/// How often something was asked for in the last hour, everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// One blob.
    pub of_blob: u64,
    /// The most wanted blob.
    pub most: u64,
}

impl Mirror {
    /// Gives how many copies are wanted, from the factor up to [`super::placement::FACTOR_MAX`].
    pub fn wanted(self, factor: Factor, demand: Demand) -> usize {
        let Demand { of_blob, most } = demand;
        // One blob that was asked for once makes nothing popular.
        let is_popular = of_blob >= POPULAR_DEMAND_MIN && of_blob as f64 >= self.popular_from * most as f64;
        let extra = if is_popular { EXTRA_COPIES } else { 0 };
        Factor::new(factor.copies() + extra).copies()
    }
}

/// How many copies more a blob gets that is popular.
pub const EXTRA_COPIES: usize = 2;
/// How often a blob must have been asked for to be popular.
pub const POPULAR_DEMAND_MIN: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_popular_gets_more_and_little_demand_makes_nothing_popular() {
        let check = |factor: usize, of_blob: u64, most: u64, expected: usize| {
            let wanted = Mirror { popular_from: 0.8 }.wanted(Factor::new(factor), Demand { of_blob, most });
            assert_eq!(wanted, expected, "{of_blob} of {most}");
        };
        check(3, 799, 1000, 3);
        check(3, 800, 1000, 5);
        check(10, 800, 1000, 10);
        check(3, 0, 0, 3);
        check(3, 9, 9, 3);
        check(3, 10, 10, 5);
    }
}
