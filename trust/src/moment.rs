//! Times as text: UTC in whole seconds (RFC 3339), in one form.

use serde::{Deserialize as _, Deserializer, Serializer, de, ser};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Writes a time; parts of seconds are dropped. `None` is a year that has not four digits.
pub(crate) fn write(time: OffsetDateTime) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(time.unix_timestamp()).ok()?.format(&Rfc3339).ok()
}

/// Reads a time in the form that is written.
pub(crate) fn read(text: &str) -> Option<OffsetDateTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    (write(time)? == text).then_some(time)
}

/// Writes a time for people, whatever its year.
pub(crate) fn shown(time: &OffsetDateTime) -> String {
    write(*time).unwrap_or_else(|| time.to_string())
}

/// Writes a field.
pub(crate) fn serialize<S: Serializer>(time: &OffsetDateTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&write(*time).ok_or_else(|| ser::Error::custom("a time has a year of four digits"))?)
}

/// Reads a field.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<OffsetDateTime, D::Error> {
    let text = String::deserialize(from)?;
    read(&text).ok_or_else(|| de::Error::custom("a time is UTC in whole seconds, as in `2030-01-01T00:00:00Z`"))
}
