//! Quantities as people write them: `1Gi`, `25%`, `300s`, `^1.2`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use semver::{Version, VersionReq};
use serde::{Deserialize, Deserializer, Serialize, de};

/// A number of bytes; in text a whole number with `B`, `Ki`, `Mi`, `Gi` or `Ti`.
///
/// `KB`, `MB`, `GB` and `TB` are read as HyperMesh does: in steps of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "Literal")]
pub struct Bytes(pub u64);

/// A share of all processors of a node, in hundredths of a percent: 1 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "Literal")]
pub struct CpuShare(u16);

/// A length of time from 1 ms to 24 h; in text a whole number with `ms`, `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "Literal")]
pub struct Period(Duration);

/// A requirement on a semantic version, such as `^1.2` or `>=1, <3`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "Literal")]
pub struct Requirement(VersionReq);

/// The text of a scalar, also where YAML reads it as a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal(String);

/// A text that is no such quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}, expected {expected}")]
pub struct ParseUnitError {
    text: String,
    what: &'static str,
    expected: &'static str,
}

const SIZES: [(&str, u64); 5] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("", 1)];

impl Bytes {
    /// Gives so many GiB.
    pub const fn gibibytes(count: u64) -> Self {
        Self(count << 30)
    }

    /// Gives so many MiB.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    /// Gives a rounded form for people, such as `19.2 GiB`.
    pub fn rounded(self) -> String {
        let Some((unit, step)) = SIZES.iter().find(|(unit, step)| self.0 >= *step && !unit.is_empty()) else {
            return format!("{} B", self.0);
        };
        let tenths = (u128::from(self.0) * 10 + u128::from(step / 2)) / u128::from(*step);
        match tenths % 10 {
            0 => format!("{} {unit}B", tenths / 10),
            rest => format!("{}.{rest} {unit}B", tenths / 10),
        }
    }
}

impl FromStr for Bytes {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let (number, unit) = split_unit(text);
        let step = match unit {
            "" | "B" => Some(1),
            "Ki" | "KiB" | "KB" => Some(1 << 10),
            "Mi" | "MiB" | "MB" => Some(1 << 20),
            "Gi" | "GiB" | "GB" => Some(1 << 30),
            "Ti" | "TiB" | "TB" => Some(1_u64 << 40),
            _ => None,
        };
        number
            .and_then(|number| number.checked_mul(step?))
            .map(Self)
            .ok_or_else(|| fault(text, "a size", "a whole number with B, Ki, Mi, Gi or Ti, as in `512Mi`"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, step) =
            SIZES.iter().find(|(_, step)| self.0 != 0 && self.0.is_multiple_of(*step)).unwrap_or(&SIZES[4]);
        write!(f, "{}{unit}", self.0 / step)
    }
}

impl CpuShare {
    /// Gives a whole percentage, clamped to 1–100.
    pub const fn percent(percent: u16) -> Self {
        Self(match percent {
            0 => 100,
            1..=100 => percent * 100,
            _ => 10_000,
        })
    }

    /// Gives this share of so many thousandths of a core, at least one.
    pub fn of_millicores(self, total: u64) -> u64 {
        u64::try_from(u128::from(total) * u128::from(self.0) / 10_000).unwrap_or(u64::MAX).max(1)
    }
}

impl FromStr for CpuShare {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        text.strip_suffix('%')
            .map(str::trim_end)
            .and_then(hundredths)
            .filter(|share| (1..=10_000).contains(share))
            .map(Self)
            .ok_or_else(|| fault(text, "a processor share", "a percentage above 0% and up to 100%, as in `25%`"))
    }
}

impl fmt::Display for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 100 {
            0 => write!(f, "{}%", self.0 / 100),
            rest => write!(f, "{}.{rest:02}%", self.0 / 100),
        }
    }
}

impl Period {
    /// The longest period: HyperMesh's longest allocation.
    pub const MAX: Duration = Duration::from_secs(24 * 3600);

    /// Gives so many seconds, clamped to 1 s–24 h.
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(match count {
            0 => 1,
            1..=86_400 => count,
            _ => 86_400,
        }))
    }

    /// Gives the duration.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let (number, unit) = split_unit(text);
        let step_ms = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" | "min" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        number
            .and_then(|number| number.checked_mul(step_ms?))
            .map(Duration::from_millis)
            .filter(|period| !period.is_zero() && *period <= Self::MAX)
            .map(Self)
            .ok_or_else(|| fault(text, "a period", "a whole number with ms, s, m or h, up to 24h, as in `300s`"))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{}s", self.0.as_secs()),
            _ => write!(f, "{}ms", self.0.as_millis()),
        }
    }
}

impl Requirement {
    /// Gives `^major`.
    pub fn caret(major: u64) -> Self {
        let comparator = semver::Comparator {
            op: semver::Op::Caret,
            major,
            minor: None,
            patch: None,
            pre: semver::Prerelease::EMPTY,
        };
        Self(VersionReq { comparators: vec![comparator] })
    }

    /// Gives `*`.
    pub fn any() -> Self {
        Self(VersionReq::STAR)
    }

    /// Says whether a version satisfies it.
    pub fn matches(&self, version: &Version) -> bool {
        self.0.matches(version)
    }
}

impl FromStr for Requirement {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        VersionReq::parse(text)
            .map(Self)
            .map_err(|_| fault(text, "a version requirement", "comparisons with versions, as in `^1.2` or `>=1.0, <3`"))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Literal {
    /// Gives the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Literal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Literal, E> {
                Ok(Literal(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Literal, E> {
                Ok(Literal(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Literal, E> {
                Ok(Literal(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Literal, E> {
                Ok(Literal(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Implements what every quantity shares: reading from a literal, writing as text, and its JSON Schema.
macro_rules! quantity {
    ($($name:ident: $schema:tt),+) => {$(
        impl TryFrom<Literal> for $name {
            type Error = ParseUnitError;

            fn try_from(literal: Literal) -> Result<Self, ParseUnitError> {
                literal.0.parse()
            }
        }

        impl From<$name> for String {
            fn from(quantity: $name) -> Self {
                quantity.to_string()
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

quantity! {
    Bytes: {"type": ["string", "integer"], "minimum": 0, "pattern": "^[0-9]+ ?(B|Ki|Mi|Gi|Ti|KiB|MiB|GiB|TiB|KB|MB|GB|TB)?$", "examples": ["512Mi", "1Gi"]},
    CpuShare: {"type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,2})? ?%$", "examples": ["25%"]},
    Period: {"type": "string", "pattern": "^[0-9]+ ?(ms|s|m|min|h)$", "examples": ["300s"]},
    Requirement: {"type": ["string", "number"], "examples": ["^1", ">=1.2, <3"]}
}

fn split_unit(text: &str) -> (Option<u64>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (number.parse().ok(), unit.strip_prefix(' ').unwrap_or(unit))
}

/// Reads `12`, `12.5` or `12.25` as hundredths.
fn hundredths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 2 {
        return None;
    }
    let scale = if fraction.len() == 1 { 10 } else { 1 };
    whole.parse::<u16>().ok()?.checked_mul(100)?.checked_add(fraction.parse::<u16>().ok()? * scale)
}

fn fault(text: &str, what: &'static str, expected: &'static str) -> ParseUnitError {
    ParseUnitError { text: text.to_owned(), what, expected }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_in_every_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("7B", 7),
            ("1Ki", 1024),
            ("3 Mi", 3 << 20),
            ("1Gi", 1 << 30),
            ("2GB", 2 << 30),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for wrong in ["", "Gi", "1.5Gi", "-1", "1Gx", "1gi", "99999999Ti", "1  Mi"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
        assert_eq!(
            [Bytes(1536), Bytes((19 << 30) + 214_748_365), Bytes(64 << 30), Bytes(9)].map(Bytes::rounded),
            ["1.5 KiB", "19.2 GiB", "64 GiB", "9 B"]
        );
    }

    #[test]
    fn shares_and_periods_keep_to_their_ranges() {
        assert_eq!("25%".parse::<CpuShare>().expect("valid").of_millicores(4000), 1000);
        assert_eq!("0.01%".parse::<CpuShare>().expect("valid").of_millicores(4000), 1, "never rounds to nothing");
        for wrong in ["25", "0%", "100.01%", "101%", "1.234%", "%", "-1%", "1e1%", "+5%"] {
            assert!(wrong.parse::<CpuShare>().is_err(), "{wrong}");
        }
        assert_eq!("24h".parse::<Period>().expect("valid").duration(), Period::MAX);
        for wrong in ["300", "0s", "25h", "86401s", "5 days", "-1s"] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_expected() {
        let error = "1Gx".parse::<Bytes>().expect_err("no such unit");
        assert_eq!(
            error.to_string(),
            "`1Gx` is not a size, expected a whole number with B, Ki, Mi, Gi or Ti, as in `512Mi`"
        );
        assert!(
            Requirement::caret(1).matches(&Version::new(1, 9, 0))
                && !"^1".parse::<Requirement>().expect("valid").matches(&Version::new(2, 0, 0))
        );
        assert!("one".parse::<Requirement>().is_err());
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: u64, share in 1_u16..=10_000, millis in 1_u64..=86_400_000) {
            prop_assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
            prop_assert_eq!(CpuShare(share).to_string().parse(), Ok(CpuShare(share)));
            let period = Period(Duration::from_millis(millis));
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }
    }
}
