//! What is found: records that are aliases of each other, as one.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use time::OffsetDateTime;

use super::range::Range;
use super::rating::{Rating, Severity};
use super::record::{Entry, Record};
use super::text;
use crate::package::name::PackageName;

/// A weakness of a version of a package.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The id of the advisory, and all its other names behind it.
    pub ids: Vec<String>,
    /// What it is, in one line.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// The lowest later version that none of the advisories is about.
    pub fixed: Option<Version>,
    /// Where to read more.
    pub references: Vec<String>,
}

/// An advisory as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Advisory {
    /// Its id.
    pub id: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// What it is, in one line.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// The packages it is about.
    pub packages: BTreeSet<PackageName>,
    /// When it was modified last.
    pub modified: OffsetDateTime,
    /// When it was withdrawn, if it was.
    pub withdrawn: Option<OffsetDateTime>,
}

/// The most references that are shown.
const REFERENCES_MAX: usize = 10;
/// The most fixes that are tried; each is held against every range, and a record may have a hundred thousand of both.
const FIXES_MAX: usize = 64;

impl Finding {
    /// Gives the id that stands for all.
    pub fn id(&self) -> &str {
        self.ids.first().map_or("", String::as_str)
    }

    /// Gives the rating to act on: what nobody has rated counts as high.
    pub fn level(&self) -> Rating {
        self.severity.level()
    }

    /// Says whether one of its names is this.
    pub fn is_called(&self, id: &str) -> bool {
        self.ids.iter().any(|known| known.eq_ignore_ascii_case(id))
    }

    fn of(records: &[(&Record, Vec<&Entry>)], version: &Version) -> Self {
        let mut severity = Severity::default();
        let mut own: Vec<&Record> = Vec::new();
        let mut references: Vec<String> = Vec::new();
        for (record, entries) in records {
            severity = entries.iter().fold(severity, |worst, entry| worst.worse(entry.severity));
            own.push(record);
            let links =
                record.references.iter().filter(|url| url.starts_with("https://") || url.starts_with("http://"));
            references.extend(links.map(|url| text::line(url)));
        }
        references.sort_unstable();
        references.dedup();
        references.truncate(REFERENCES_MAX);
        // Ids of advisory databases say more about a package than the number in the general list of weaknesses.
        own.sort_by_key(|record| (record.id.starts_with("CVE-"), &record.id));
        let aliases: BTreeSet<&String> = own.iter().flat_map(|record| &record.aliases).collect();
        let mut ids: Vec<String> = own.iter().map(|record| record.id.clone()).collect();
        ids.extend(aliases.into_iter().filter(|alias| !own.iter().any(|record| record.id == **alias)).cloned());
        Self {
            title: own.first().map_or(String::new(), |record| title(record)),
            ids,
            severity,
            fixed: fixed(records, version),
            references,
        }
    }
}

impl Advisory {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            id: record.id.clone(),
            aliases: record.aliases.clone(),
            title: title(record),
            severity: record.entries.iter().fold(Severity::default(), |worst, entry| worst.worse(entry.severity)),
            packages: record.entries.iter().map(|entry| entry.package.clone()).collect(),
            modified: record.modified,
            withdrawn: record.withdrawn,
        }
    }
}

/// Gives what records say of a version of a package, the worst first.
pub(super) fn group(records: &[Record], name: &PackageName, version: &Version) -> Vec<Finding> {
    let affecting = records.iter().map(|record| (record, record.affecting(name, version).collect::<Vec<_>>()));
    let affecting: Vec<_> = affecting.filter(|(_, entries)| !entries.is_empty()).collect();
    let mut groups: BTreeMap<usize, Vec<(&Record, Vec<&Entry>)>> = BTreeMap::new();
    let roots = roots(&affecting.iter().map(|(record, _)| *record).collect::<Vec<_>>());
    for (found, root) in affecting.into_iter().zip(roots) {
        groups.entry(root).or_default().push(found);
    }
    let mut findings: Vec<Finding> = groups.values().map(|records| Finding::of(records, version)).collect();
    findings.sort_by(|a, b| b.level().cmp(&a.level()).then_with(|| a.ids.cmp(&b.ids)));
    findings
}

/// Gives each record the first record that it is an alias of, directly or through others.
fn roots(records: &[&Record]) -> Vec<usize> {
    let mut parents: Vec<usize> = (0..records.len()).collect();
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        for id in std::iter::once(&record.id).chain(&record.aliases) {
            let other = *first.entry(id).or_insert(index);
            let (a, b) = (root(&mut parents, index), root(&mut parents, other));
            parents[a.max(b)] = a.min(b);
        }
    }
    (0..records.len()).map(|index| root(&mut parents, index)).collect()
}

fn root(parents: &mut [usize], mut index: usize) -> usize {
    while parents[index] != index {
        parents[index] = parents[parents[index]];
        index = parents[index];
    }
    index
}

/// Gives the lowest version with a fix that is later and that none of the records is about.
fn fixed(records: &[(&Record, Vec<&Entry>)], version: &Version) -> Option<Version> {
    let (_, first) = records.first()?;
    let name = &first.first()?.package;
    let entries = records.iter().flat_map(|(_, entries)| entries);
    let fixes = entries.flat_map(|entry| entry.affected.ranges.iter().flat_map(Range::fixes));
    let mut fixes: Vec<&Version> = fixes.filter(|fix| *fix > version).collect();
    fixes.sort_unstable();
    fixes.dedup();
    fixes.truncate(FIXES_MAX);
    fixes
        .into_iter()
        .find(|fix| records.iter().all(|(record, _)| record.affecting(name, fix).next().is_none()))
        .cloned()
}

fn title(record: &Record) -> String {
    let first = record.details.lines().map(text::line).find(|line| !line.is_empty());
    match text::line(&record.summary) {
        summary if summary.is_empty() => first.unwrap_or_else(|| "no title".into()),
        summary => summary,
    }
}
