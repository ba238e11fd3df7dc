//! How people say since when: a time, a day, or how long ago.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};

use super::OpError;

/// Reads a time of RFC 3339, a day in UTC, or a duration before now such as `7d`.
pub(super) fn moment(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, OpError> {
    let fault = || OpError::Moment { text: text.to_owned() };
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(moment);
    }
    if let Ok(day) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        return Ok(day.midnight().assume_utc());
    }
    let unit = text.chars().last().ok_or_else(fault)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(fault()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| fault())?;
    now.checked_sub(Duration::seconds(i64::from(count) * seconds)).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_days_and_durations_are_read_and_nothing_else() {
        let now = datetime!(2026-02-10 12:00 UTC);
        let read = |text: &str| moment(text, now).ok();
        assert_eq!(read("2026-01-31T12:00:00+01:00"), Some(datetime!(2026-01-31 11:00 UTC)));
        assert_eq!(read("2026-01-31"), Some(datetime!(2026-01-31 0:00 UTC)));
        assert_eq!(read("7d"), Some(datetime!(2026-02-03 12:00 UTC)));
        assert_eq!(
            [read("90m"), read("12h")],
            [Some(datetime!(2026-02-10 10:30 UTC)), Some(datetime!(2026-02-10 0:00 UTC))]
        );
        for wrong in ["", "d", "-7d", "7", "7 d", "7y", "99999999999d", "4294967295w", "2026-13-01", "7\u{e9}"] {
            assert!(moment(wrong, now).is_err(), "{wrong}");
        }
    }
}
