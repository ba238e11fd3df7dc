//! What this node thinks of a publisher, from what its packages did here. The figures are HyperMesh's.

use std::fmt;

use time::OffsetDateTime;

/// A publisher's reputation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reputation {
    /// 0 to 1, as it was at `updated`.
    pub score: f64,
    /// Releases that were accepted here.
    pub packages: u32,
    /// When it last changed.
    pub updated: OffsetDateTime,
}

/// What changes a reputation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A release was installed.
    Installed,
    /// A program went beyond its limits.
    Misbehaved,
    /// A high or critical vulnerability was found in a release.
    Vulnerable,
    /// Somebody gave a release so many stars, 1 to 5.
    Rated(u8),
}

/// How a reputation is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Nothing is known.
    Unverified,
    /// One package.
    Bronze,
    /// 0.5 and 5 packages.
    Silver,
    /// 0.75 and 10 packages.
    Gold,
    /// 0.9 and 20 packages.
    Platinum,
}

/// The reputation of somebody of whom nothing is known.
pub const START: f64 = 0.5;
/// How much a reputation returns to [`START`] in a day: praise and blame are forgotten alike.
pub const DECAY_PER_DAY: f64 = 0.001;

impl Reputation {
    /// Begins.
    pub fn new(now: OffsetDateTime) -> Self {
        Self { score: START, packages: 0, updated: now }
    }

    /// Gives the score at a time.
    pub fn at(&self, now: OffsetDateTime) -> f64 {
        let days = (now - self.updated).as_seconds_f64().max(0.0) / 86_400.0;
        let distance = self.score - START;
        START + distance.signum() * (distance.abs() - days * DECAY_PER_DAY).max(0.0)
    }

    /// Gives the reputation after an event.
    #[must_use]
    pub fn after(&self, event: Event, now: OffsetDateTime) -> Self {
        let change = match event {
            Event::Installed => 0.01,
            Event::Misbehaved => -0.05,
            Event::Vulnerable => -0.1,
            Event::Rated(stars) => 0.02 * (f64::from(stars.clamp(1, 5)) - 3.0) / 2.0,
        };
        let packages = self.packages + u32::from(event == Event::Installed);
        Self { score: (self.at(now) + change).clamp(0.0, 1.0), packages, updated: now }
    }

    /// Gives the tier.
    pub fn tier(&self, now: OffsetDateTime) -> Tier {
        let score = self.at(now);
        match self.packages {
            20.. if score >= 0.9 => Tier::Platinum,
            10.. if score >= 0.75 => Tier::Gold,
            5.. if score >= 0.5 => Tier::Silver,
            1.. => Tier::Bronze,
            0 => Tier::Unverified,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unverified => "unverified",
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
            Self::Platinum => "platinum",
        })
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2030-01-01 0:00 UTC);

    #[test]
    fn deeds_count_and_are_forgotten() {
        let new = Reputation::new(NOW);
        assert_eq!((new.at(NOW), new.tier(NOW)), (0.5, Tier::Unverified));
        let worse = new.after(Event::Misbehaved, NOW).after(Event::Vulnerable, NOW);
        assert!((worse.at(NOW) - 0.35).abs() < 1e-9);
        assert!((worse.at(NOW + Duration::days(100)) - 0.45).abs() < 1e-9);
        assert!((worse.at(NOW + Duration::days(1_000)) - START).abs() < 1e-9, "it returns to the start and no further");
        assert!((new.after(Event::Rated(5), NOW).at(NOW) - 0.52).abs() < 1e-9);
        assert!((new.after(Event::Rated(1), NOW).after(Event::Rated(3), NOW).at(NOW) - 0.48).abs() < 1e-9);
        let none = (0..20).fold(new, |reputation, _| reputation.after(Event::Vulnerable, NOW));
        assert!(none.at(NOW).abs() < 1e-9, "it stays from 0 to 1");
    }

    #[test]
    fn tiers_need_score_and_packages() {
        let after = |count| (0..count).fold(Reputation::new(NOW), |r: Reputation, _| r.after(Event::Installed, NOW));
        for (count, tier) in
            [(1, Tier::Bronze), (5, Tier::Silver), (24, Tier::Silver), (26, Tier::Gold), (45, Tier::Platinum)]
        {
            assert_eq!(after(count).tier(NOW), tier, "{count}");
        }
    }
}
