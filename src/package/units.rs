//! Quantities with units as manifests write them: processor shares, bytes and durations.
//!
//! Exact: a text that is no whole number of the smallest unit is refused, never rounded.

use std::time::Duration;

use super::model::{Bytes, CpuMillis};

/// A quantity that does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseUnitError {
    /// No digits in front.
    #[error("`{text}` is not a number with a unit")]
    NoNumber {
        /// What was written.
        text: String,
    },
    /// A unit that is not in the list.
    #[error("`{text}` has the unknown unit `{unit}`")]
    UnknownUnit {
        /// What was written.
        text: String,
        /// The unit in it.
        unit: String,
    },
    /// Not a whole number of the smallest unit, or beyond 64 bits.
    #[error("`{text}` is not a whole number of {smallest}, or is too large")]
    NotWhole {
        /// What was written.
        text: String,
        /// The smallest unit.
        smallest: &'static str,
    },
}

/// Suffix and worth of each unit, and the name of the smallest.
struct Scale {
    units: &'static [(&'static str, u64)],
    smallest: &'static str,
}

const CPU: Scale = Scale { units: &[("m", 1), ("", 1000)], smallest: "thousandths of a core" };
const BYTES: Scale = Scale {
    units: &[
        ("", 1),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
    ],
    smallest: "bytes",
};
const DURATION: Scale =
    Scale { units: &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)], smallest: "milliseconds" };

/// Reads a processor share, such as `1000m` or `2`.
///
/// # Errors
/// Another unit, a part of a thousandth, or more than 64 bits.
pub fn parse_cpu(text: &str) -> Result<CpuMillis, ParseUnitError> {
    parse(text, &CPU).map(CpuMillis)
}

/// Reads a number of bytes, such as `512Mi`, `1Gi` or `100M`.
///
/// # Errors
/// Another unit, a part of a byte, or more than 64 bits.
pub fn parse_bytes(text: &str) -> Result<Bytes, ParseUnitError> {
    parse(text, &BYTES).map(Bytes)
}

/// Reads a duration, such as `30s`, `500ms` or `5m`.
///
/// # Errors
/// Another unit, a part of a millisecond, or more than 64 bits.
pub fn parse_duration(text: &str) -> Result<Duration, ParseUnitError> {
    parse(text, &DURATION).map(Duration::from_millis)
}

/// Writes a processor share as [`parse_cpu`] reads it.
pub fn format_cpu(cpu: CpuMillis) -> String {
    format!("{}m", cpu.0)
}

/// Writes a number of bytes as [`parse_bytes`] reads it.
pub fn format_bytes(bytes: Bytes) -> String {
    bytes.0.to_string()
}

/// Writes a duration as [`parse_duration`] reads it; parts of a millisecond are cut.
pub fn format_duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

fn parse(text: &str, scale: &Scale) -> Result<u64, ParseUnitError> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(ParseUnitError::NoNumber { text: text.to_owned() });
    }
    let Some((_, worth)) = scale.units.iter().find(|(name, _)| *name == unit) else {
        return Err(ParseUnitError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() });
    };
    exact(whole, fraction, *worth)
        .ok_or_else(|| ParseUnitError::NotWhole { text: text.to_owned(), smallest: scale.smallest })
}

/// Computes `whole.fraction × worth` where that is a whole number of 64 bits.
fn exact(whole: &str, fraction: &str, worth: u64) -> Option<u64> {
    let fraction = fraction.trim_end_matches('0');
    let ten = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = digits.checked_mul(u128::from(worth))?;
    (scaled % ten == 0).then_some(scaled / ten).and_then(|value| u64::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_read_exactly() {
        assert_eq!(parse_cpu("1000m"), parse_cpu("1"));
        assert_eq!(parse_cpu("0.5"), Ok(CpuMillis(500)));
        assert_eq!(parse_bytes("512Mi"), Ok(Bytes(536_870_912)));
        assert_eq!(parse_bytes("1.5Gi"), Ok(Bytes(1_610_612_736)));
        assert_eq!(parse_bytes("100M"), Ok(Bytes(100_000_000)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_bytes(&u64::MAX.to_string()), Ok(Bytes(u64::MAX)));
    }

    #[test]
    fn what_would_be_rounded_or_guessed_is_refused() {
        for wrong in
            ["", "m", "-1", "1.", ".5", "1.2.3", "0.0001", "1 000m", "1x", "１m", "1e3", "18446744073709551616"]
        {
            assert!(parse_cpu(wrong).is_err(), "{wrong}");
        }
        for wrong in ["512MB", "512mi", "1.5", "0.3Ki", "20000000T", "9".repeat(60).as_str()] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        for wrong in ["30", "30 s", "30sec", "0.5ms", "1d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
