//! Which proofs an operation needs and how much of each: HyperMesh's numbers, as constants.
//!
//! A number that HyperMesh names for an operation counts; where it names none, that of the profile does. The profile
//! `localhost` is for developer nodes, and none of its numbers is exceeded by an operation's.
//!
//! **Reading of difficulty.** HyperMesh states a base of 16, twice that for computing and half for loading. Difficulty here is
//! the number of leading zero bits of a SHA-256, so that 16 is an expected work of 2^16 hashes; twice the work is one bit
//! more, half the work one bit less.
//!
//! **Reading of levels.** A level is how many of the four proofs there must be at least. An operation's own proofs come first;
//! what the level asks beyond them is added in the order space, stake, work, time. All constants ask for all four.
//!
//! The share of validators that may be faulty is no number of a profile: of n it is (n - 1) / 3, so none of one.

use std::borrow::Cow;
use std::fmt;

use ::time::Duration;
use serde::{Deserialize, Serialize};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Publishing a package.
    Publish,
    /// Installing packages.
    Install,
    /// Loading an asset.
    Load,
    /// Storing an asset.
    Store,
    /// Running a program.
    Compute,
    /// Synchronising with other nodes.
    Sync,
    /// Allocating an asset.
    Allocate,
    /// Issuing a certificate.
    CertificateIssue,
    /// Anything else.
    Generic,
}

/// One of the four proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofKind {
    /// Where: bytes that are stored.
    Space,
    /// Who: something to lose.
    Stake,
    /// What: computation that was done.
    Work,
    /// When: a fresh moment.
    Time,
}

/// How many of the four proofs there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// One.
    Basic = 1,
    /// Two.
    Standard,
    /// Three.
    Enhanced,
    /// All four.
    Complete,
}

/// The numbers of a cluster or node; those of a custom profile are the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name, which attestations repeat.
    pub name: Cow<'static, str>,
    /// At least so many proofs.
    pub level: Level,
    /// The least stake.
    pub stake_min: u64,
    /// The largest offset from the network's time.
    pub offset_max: Duration,
    /// The least space in bytes.
    pub space_bytes_min: u64,
    /// The least computational power.
    pub power_min: u64,
    /// The leading zero bits of work from which those of an operation follow.
    pub difficulty_bits: u32,
    /// Whether an operation's own numbers count only below those of the profile.
    pub caps: bool,
}

/// What one operation needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The proofs, in the order of [`ProofKind`].
    pub proofs: Vec<ProofKind>,
    /// The least space in bytes.
    pub space_bytes_min: u64,
    /// The least stake.
    pub stake_min: u64,
    /// The least computational power.
    pub power_min: u64,
    /// Leading zero bits of work.
    pub difficulty_bits: u32,
    /// The largest offset from the network's time.
    pub offset_max: Duration,
}

/// One mebibyte.
const MIB: u64 = 1 << 20;

impl ProofKind {
    /// All four, in order.
    pub const ALL: [Self; 4] = [Self::Space, Self::Stake, Self::Work, Self::Time];
}

impl OperationKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Publish,
        Self::Install,
        Self::Load,
        Self::Store,
        Self::Compute,
        Self::Sync,
        Self::Allocate,
        Self::CertificateIssue,
        Self::Generic,
    ];

    /// Gives HyperMesh's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Install => "install",
            Self::Load => "load",
            Self::Store => "store",
            Self::Compute => "compute",
            Self::Sync => "sync",
            Self::Allocate => "allocate",
            Self::CertificateIssue => "certificate-issue",
            Self::Generic => "generic",
        }
    }

    /// Finds a kind by its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Gives the proofs that the operation needs whatever the level.
    pub fn proofs(self) -> &'static [ProofKind] {
        match self {
            Self::Install => &[ProofKind::Space, ProofKind::Time],
            Self::Load => &[ProofKind::Space],
            Self::Store => &[ProofKind::Stake],
            Self::Compute => &[ProofKind::Work],
            Self::Sync => &[ProofKind::Time],
            Self::Publish | Self::Allocate | Self::CertificateIssue | Self::Generic => &ProofKind::ALL,
        }
    }
}

impl Profile {
    /// A developer's own node.
    pub const LOCALHOST: Self = Self {
        name: Cow::Borrowed("localhost"),
        level: Level::Complete,
        stake_min: 100,
        offset_max: Duration::seconds(300),
        space_bytes_min: MIB,
        power_min: 10,
        difficulty_bits: 4,
        caps: true,
    };
    /// What holds if nothing else is said.
    pub const DEFAULT: Self = Self {
        name: Cow::Borrowed("default"),
        level: Level::Complete,
        stake_min: 5_000,
        offset_max: Duration::seconds(60),
        space_bytes_min: 1024 * MIB,
        power_min: 1_000,
        difficulty_bits: 16,
        caps: false,
    };
    /// A cluster that others depend on.
    pub const PRODUCTION: Self = Self {
        name: Cow::Borrowed("production"),
        level: Level::Complete,
        stake_min: 50_000,
        offset_max: Duration::seconds(30),
        space_bytes_min: 10 * 1024 * MIB,
        power_min: 10_000,
        difficulty_bits: 16,
        caps: false,
    };

    /// Finds a constant by its name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::LOCALHOST, Self::DEFAULT, Self::PRODUCTION].into_iter().find(|profile| profile.name == name)
    }

    /// Says what an operation needs under this profile.
    pub fn requirement(&self, kind: OperationKind) -> Requirement {
        use OperationKind::{Allocate, Compute, Install, Load, Publish, Store, Sync};
        let space = match kind {
            Publish => Some(100 * MIB),
            Install => Some(10 * MIB),
            Allocate => Some(super::space::SPACE_BYTES_MIN),
            _ => None,
        };
        let stake = matches!(kind, Publish | Store | Allocate).then_some(1_000);
        let power = matches!(kind, Compute | Allocate).then_some(100);
        let offset = match kind {
            Install => Some(60),
            Allocate => Some(30),
            Sync => Some(1),
            _ => None,
        };
        let offset = offset.map(Duration::seconds);
        Requirement {
            proofs: self.proofs(kind),
            space_bytes_min: self.number(space, self.space_bytes_min),
            stake_min: self.number(stake, self.stake_min),
            power_min: self.number(power, self.power_min),
            difficulty_bits: match kind {
                Publish => 6,
                Compute => self.difficulty_bits + 1,
                Load => self.difficulty_bits.saturating_sub(1),
                _ => self.difficulty_bits,
            },
            offset_max: offset.unwrap_or(self.offset_max),
        }
    }

    fn number(&self, of_operation: Option<u64>, of_profile: u64) -> u64 {
        match of_operation {
            Some(number) if self.caps => number.min(of_profile),
            Some(number) => number,
            None => of_profile,
        }
    }

    fn proofs(&self, kind: OperationKind) -> Vec<ProofKind> {
        let mut proofs = kind.proofs().to_vec();
        for proof in ProofKind::ALL {
            if proofs.len() < self.level as usize && !proofs.contains(&proof) {
                proofs.push(proof);
            }
        }
        proofs.sort();
        proofs
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ProofKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Space => "space",
            Self::Stake => "stake",
            Self::Work => "work",
            Self::Time => "time",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_hypermeshs() {
        let check = |profile: Profile, kind, stake, offset, space_mib, power, bits| {
            let it = profile.requirement(kind);
            let actual =
                (it.stake_min, it.offset_max.whole_seconds(), it.space_bytes_min, it.power_min, it.difficulty_bits);
            assert_eq!(actual, (stake, offset, space_mib * MIB, power, bits), "{} {kind}", profile.name);
            assert_eq!(it.proofs, ProofKind::ALL, "all four unless somebody says otherwise");
        };
        use OperationKind::{Compute, Generic, Install, Load, Publish, Store, Sync};
        check(Profile::LOCALHOST, Generic, 100, 300, 1, 10, 4);
        check(Profile::LOCALHOST, Publish, 100, 300, 1, 10, 6);
        check(Profile::LOCALHOST, Compute, 100, 300, 1, 10, 5);
        check(Profile::DEFAULT, Generic, 5_000, 60, 1024, 1_000, 16);
        check(Profile::DEFAULT, Publish, 1_000, 60, 100, 1_000, 6);
        check(Profile::DEFAULT, Install, 5_000, 60, 10, 1_000, 16);
        check(Profile::DEFAULT, Compute, 5_000, 60, 1024, 100, 17);
        check(Profile::DEFAULT, Load, 5_000, 60, 1024, 1_000, 15);
        check(Profile::PRODUCTION, Generic, 50_000, 30, 10 * 1024, 10_000, 16);
        check(Profile::PRODUCTION, Store, 1_000, 30, 10 * 1024, 10_000, 16);
        check(Profile::PRODUCTION, Sync, 50_000, 1, 10 * 1024, 10_000, 16);
    }

    #[test]
    fn a_level_is_how_many_proofs_there_are() {
        let proofs = |level, kind| Profile { level, ..Profile::DEFAULT }.requirement(kind).proofs;
        use ProofKind::{Space, Stake, Time, Work};
        assert_eq!(proofs(Level::Basic, OperationKind::Compute), [Work]);
        assert_eq!(proofs(Level::Basic, OperationKind::Install), [Space, Time]);
        assert_eq!(proofs(Level::Standard, OperationKind::Sync), [Space, Time]);
        assert_eq!(proofs(Level::Enhanced, OperationKind::Compute), [Space, Stake, Work]);
        assert_eq!(proofs(Level::Basic, OperationKind::Generic), ProofKind::ALL);
        for kind in OperationKind::ALL {
            assert_eq!(proofs(Level::Complete, kind), ProofKind::ALL);
            assert_eq!(OperationKind::named(kind.as_str()), Some(kind));
        }
    }
}
