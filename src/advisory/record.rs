//! A record of the OSV schema, versions 1.0 to 1.7: its text form, and what it means to us.
//!
//! Fields that are not known are ignored, as the schema asks of its readers. A known field of another type is refused with
//! its path, and so is a range of our ecosystem that cannot be evaluated: left out, it would say that nothing is affected.

use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::range::{Affected, Event, Point, Range};
use super::rating::Severity;
use super::text;
use crate::package::name::PackageName;

/// The ecosystem whose packages are ours; a suffix after `:` does not make it another.
pub const ECOSYSTEM: &str = "HyperMesh";
/// The largest record in bytes. The largest that public databases publish list some ten thousand versions.
pub const RECORD_BYTES_MAX: usize = 4 << 20;
/// The longest id in bytes.
pub const ID_BYTES_MAX: usize = 128;

/// A record that is whole, with the entries of our ecosystem.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) modified: OffsetDateTime,
    pub(super) withdrawn: Option<OffsetDateTime>,
    pub(super) aliases: Vec<String>,
    pub(super) summary: String,
    pub(super) details: String,
    pub(super) references: Vec<String>,
    /// By package; empty for a record of other ecosystems.
    pub(super) entries: Vec<Entry>,
}

/// What a record says of one package.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) package: PackageName,
    pub(super) affected: Affected,
    pub(super) severity: Severity,
}

/// Why a text is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) id: Option<String>,
    /// The field, as `affected[0].ranges[1].type`.
    pub(super) path: String,
    pub(super) reason: String,
}

impl Record {
    /// Reads a record.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() > RECORD_BYTES_MAX {
            let reason = format!("the record passes the bound of {RECORD_BYTES_MAX} bytes");
            return Err(Fault { id: None, path: ".".into(), reason });
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let schema: Schema = serde_path_to_error::deserialize(&mut reader).map_err(|error| Fault {
            id: serde_json::from_slice::<Head>(bytes).ok().map(|head| text::line(&head.id)),
            path: text::line(&error.path().to_string()),
            reason: text::line(&error.inner().to_string()),
        })?;
        let id = text::line(&schema.id);
        let fault = |path: String, reason: String| Fault { id: Some(id.clone()), path, reason: text::line(&reason) };
        reader.end().map_err(|error| fault(".".into(), error.to_string()))?;
        schema.into_record().map_err(|(path, reason)| fault(path, reason))
    }

    /// Gives the entries of a package that a version meets.
    pub(super) fn affecting<'a>(
        &'a self,
        name: &PackageName,
        version: &semver::Version,
    ) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.package == *name && entry.affected.contains(version))
    }
}

/// A path and what is wrong there.
type Wrong = (String, String);

#[derive(Deserialize)]
struct Head {
    id: String,
}

#[derive(Deserialize)]
struct Schema {
    id: String,
    modified: String,
    #[serde(default)]
    withdrawn: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    aliases: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    summary: String,
    #[serde(default, deserialize_with = "or_default")]
    details: String,
    #[serde(default, deserialize_with = "or_default")]
    severity: Vec<SeveritySchema>,
    #[serde(default, deserialize_with = "or_default")]
    affected: Vec<AffectedSchema>,
    #[serde(default, deserialize_with = "or_default")]
    references: Vec<ReferenceSchema>,
    #[serde(default)]
    database_specific: serde_json::Value,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct SeveritySchema {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) score: String,
}

#[derive(Deserialize)]
struct ReferenceSchema {
    url: String,
}

#[derive(Deserialize)]
struct AffectedSchema {
    #[serde(default)]
    package: Option<PackageSchema>,
    #[serde(default, deserialize_with = "or_default")]
    severity: Vec<SeveritySchema>,
    #[serde(default, deserialize_with = "or_default")]
    ranges: Vec<RangeSchema>,
    #[serde(default, deserialize_with = "or_default")]
    versions: Vec<String>,
    #[serde(default)]
    ecosystem_specific: serde_json::Value,
    #[serde(default)]
    database_specific: serde_json::Value,
}

#[derive(Deserialize)]
struct PackageSchema {
    ecosystem: String,
    name: String,
}

#[derive(Deserialize)]
struct RangeSchema {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    events: Vec<EventSchema>,
}

#[derive(Deserialize)]
struct EventSchema {
    introduced: Option<String>,
    fixed: Option<String>,
    last_affected: Option<String>,
    limit: Option<String>,
}

/// Takes `null` for a field that is not there; several databases write it so.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Schema {
    fn into_record(self) -> Result<Record, Wrong> {
        check_id(&self.id).map_err(|reason| ("id".to_owned(), reason))?;
        for (index, alias) in self.aliases.iter().enumerate() {
            check_id(alias).map_err(|reason| (format!("aliases[{index}]"), reason))?;
        }
        let word = self.database_specific["severity"].as_str();
        let mut entries = Vec::new();
        for (index, affected) in self.affected.into_iter().enumerate() {
            let at = |(path, reason): Wrong| (format!("affected[{index}].{path}"), reason);
            entries.extend(affected.into_entry(&self.severity, word).map_err(at)?);
        }
        Ok(Record {
            modified: moment("modified", &self.modified)?,
            withdrawn: self.withdrawn.map(|text| moment("withdrawn", &text)).transpose()?,
            id: self.id,
            aliases: self.aliases,
            summary: self.summary,
            details: self.details,
            references: self.references.into_iter().map(|reference| reference.url).collect(),
            entries,
        })
    }
}

impl AffectedSchema {
    /// Gives the entry, or nothing for another ecosystem.
    fn into_entry(self, above: &[SeveritySchema], word: Option<&str>) -> Result<Option<Entry>, Wrong> {
        let Some(package) = &self.package else { return Ok(None) };
        if package.ecosystem.split(':').next() != Some(ECOSYSTEM) {
            return Ok(None);
        }
        let name = package.name.parse();
        let package: PackageName =
            name.map_err(|error| ("package.name".to_owned(), format!("`{}`: {error}", package.name)))?;
        let vectors = if self.severity.is_empty() { above } else { &self.severity };
        let own = [&self.ecosystem_specific, &self.database_specific].map(|specific| specific["severity"].as_str());
        let severity = Severity::of(vectors, own.into_iter().chain([word]).flatten());
        let mut affected = Affected::default();
        for (index, listed) in self.versions.iter().enumerate() {
            affected.versions.push(version(&format!("versions[{index}]"), listed)?);
        }
        for (index, range) in self.ranges.into_iter().enumerate() {
            let at = |(path, reason): Wrong| (format!("ranges[{index}].{path}"), reason);
            affected.ranges.extend(range.into_range().map_err(at)?);
        }
        Ok(Some(Entry { package, affected, severity }))
    }
}

impl RangeSchema {
    /// Gives the range, or nothing for one of commits, which says nothing of versions.
    fn into_range(self) -> Result<Option<Range>, Wrong> {
        match self.kind.as_str() {
            "SEMVER" | "ECOSYSTEM" => {}
            "GIT" => return Ok(None),
            other => return Err(("type".into(), format!("`{other}` is neither `SEMVER`, `ECOSYSTEM` nor `GIT`"))),
        }
        let (mut events, mut limits) = (Vec::new(), Vec::new());
        for (index, event) in self.events.into_iter().enumerate() {
            let path = format!("events[{index}]");
            let at = |text: &str| version(&path, text);
            match (event.introduced, event.fixed, event.last_affected, event.limit) {
                (Some(text), None, None, None) if text == "0" => events.push(Event::Introduced(Point::Start)),
                (Some(text), None, None, None) => events.push(Event::Introduced(Point::At(at(&text)?))),
                (None, Some(text), None, None) => events.push(Event::Fixed(at(&text)?)),
                (None, None, Some(text), None) => events.push(Event::LastAffected(at(&text)?)),
                (None, None, None, Some(text)) if text.contains('*') => limits.push(None),
                (None, None, None, Some(text)) => limits.push(Some(at(&text)?)),
                _ => {
                    let reason = "expected exactly one of `introduced`, `fixed`, `last_affected` and `limit`";
                    return Err((path, reason.into()));
                }
            }
        }
        if !events.iter().any(|event| matches!(event, Event::Introduced(_))) {
            return Err(("events".into(), "no event has `introduced`, so the range would hold no version".into()));
        }
        Ok(Some(Range::new(events, limits)))
    }
}

fn version(path: &str, text: &str) -> Result<semver::Version, Wrong> {
    text.parse().map_err(|error| (path.to_owned(), format!("`{text}` is no version: {error}")))
}

fn moment(path: &str, text: &str) -> Result<OffsetDateTime, Wrong> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|error| (path.to_owned(), format!("`{text}` is no time: {error}")))
}

fn check_id(id: &str) -> Result<(), String> {
    if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("an id has 1 to {ID_BYTES_MAX} printable ASCII characters without spaces"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
