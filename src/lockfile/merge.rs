//! What a merge of two lockfiles left: parts of both, which resolving makes whole again.
//!
//! A text with the marks of a conflict is read as each of its sides; a text that merged without one may still lack a package
//! that one side took out. Either gives packages to be kept where they fit, never a [`Lockfile`]: nothing is installed by
//! what nobody resolved.

use super::{LockedPackage, Lockfile, LockfileError, Schema};

/// What a text gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// A lockfile.
    Whole(Lockfile),
    /// The packages of both sides, in order of name and version.
    Parts(Vec<LockedPackage>),
}

/// Reads a lockfile, or what a merge made of one.
///
/// # Errors
/// A text that is no lockfile on either side, with its line.
pub fn read(text: &str) -> Result<Merged, LockfileError> {
    if let Some(sides) = Sides::of(text) {
        let mut packages = parts(&sides.ours.text).map_err(|error| sides.ours.place(error))?;
        packages.extend(parts(&sides.theirs.text).map_err(|error| sides.theirs.place(error))?);
        return Ok(Merged::Parts(in_order(packages)));
    }
    match Lockfile::parse(text) {
        Ok(lockfile) => Ok(Merged::Whole(lockfile)),
        Err(LockfileError::Absent { .. } | LockfileError::Unmet { .. } | LockfileError::Cycle { .. }) => {
            Ok(Merged::Parts(in_order(parts(text)?)))
        }
        Err(error) => Err(error),
    }
}

/// The marks that git leaves, each at the start of a line of its own. A lockfile has no line that begins so.
const OURS: &str = "<<<<<<<";
const BASE: &str = "|||||||";
const THEIRS: &str = "=======";
const END: &str = ">>>>>>>";

struct Sides {
    ours: Side,
    theirs: Side,
}

/// One side of a merge, and where its lines are in the text.
#[derive(Default)]
struct Side {
    text: String,
    lines: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Both,
    Ours,
    Base,
    Theirs,
}

impl Sides {
    /// Splits a text at its marks; nothing if it has none.
    fn of(text: &str) -> Option<Self> {
        let mut sides = Self { ours: Side::default(), theirs: Side::default() };
        let mut within = Within::Both;
        let mut marked = false;
        for (line, number) in text.lines().zip(1..) {
            let next = match within {
                Within::Both if line.starts_with(OURS) => Some(Within::Ours),
                Within::Ours if line.starts_with(BASE) => Some(Within::Base),
                Within::Ours | Within::Base if line.starts_with(THEIRS) => Some(Within::Theirs),
                Within::Theirs if line.starts_with(END) => Some(Within::Both),
                _ => None,
            };
            if let Some(next) = next {
                (within, marked) = (next, true);
                continue;
            }
            if matches!(within, Within::Both | Within::Ours) {
                sides.ours.push(line, number);
            }
            if matches!(within, Within::Both | Within::Theirs) {
                sides.theirs.push(line, number);
            }
        }
        marked.then_some(sides)
    }
}

impl Side {
    fn push(&mut self, line: &str, number: usize) {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines.push(number);
    }

    /// Puts an error where it is in the whole text.
    fn place(&self, error: LockfileError) -> LockfileError {
        match error {
            LockfileError::Text { line, reason } => {
                let line = self.lines.get(line.saturating_sub(1)).or(self.lines.last()).copied().unwrap_or(line);
                LockfileError::Text { line, reason }
            }
            other => other,
        }
    }
}

fn parts(text: &str) -> Result<Vec<LockedPackage>, LockfileError> {
    let schema = Schema::parse(text)?;
    if schema.package.len() > super::PACKAGES_MAX {
        return Err(LockfileError::TooLarge { limit: super::PACKAGES_MAX, unit: "packages" });
    }
    schema.package.into_iter().map(|package| package.into_inner().into_package(text)).collect()
}

fn in_order(mut packages: Vec<LockedPackage>) -> Vec<LockedPackage> {
    packages
        .sort_by(|a, b| (&a.name, &a.version, a.digest.as_bytes()).cmp(&(&b.name, &b.version, b.digest.as_bytes())));
    packages.dedup_by(|a, b| a.name == b.name && a.version == b.version && a.digest == b.digest);
    packages
}
