//! What changed from one version to the next: names that are new, gone or used in another way, beside what the manifests say.

use std::collections::BTreeMap;

use serde::Serialize;

use super::api::Item;

/// The most versions that are told about.
pub const STEPS_MAX: usize = 10;
/// The most changes of one kind that are told about in one step.
const CHANGES_MAX: usize = 200;

/// One version, and what changed to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The version.
    pub version: String,
    /// The version before; none for the first.
    pub before: Option<String>,
    /// Why it was taken back, if it was.
    pub yanked: Option<String>,
    /// What it asks for more or less, in plain words; the flag says that it is more.
    pub capabilities: Vec<(String, bool)>,
    /// Names that it offers and the one before did not.
    pub added: Vec<String>,
    /// Names that it offers no longer.
    pub removed: Vec<String>,
    /// Names that are used in another way, as before and as after.
    pub changed: Vec<(String, String)>,
    /// What it depends on, where that is not as before.
    pub dependencies: Vec<String>,
    /// Files that are not as before.
    pub files: usize,
    /// What could not be told.
    pub unknown: Option<String>,
}

impl Step {
    /// Notes what two versions of a package offer.
    pub fn compare(&mut self, before: &[Item], after: &[Item]) {
        let (before, after) = (offered(before), offered(after));
        for (name, signature) in &after {
            match before.get(name) {
                None => self.added.push(signature.clone()),
                Some(known) if known != signature => self.changed.push((known.clone(), signature.clone())),
                Some(_) => {}
            }
        }
        self.removed
            .extend(before.iter().filter(|(name, _)| !after.contains_key(*name)).map(|(_, known)| known.clone()));
        self.added.truncate(CHANGES_MAX);
        self.removed.truncate(CHANGES_MAX);
        self.changed.truncate(CHANGES_MAX);
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        let Self { capabilities, added, removed, changed, dependencies, files, unknown, .. } = self;
        capabilities.is_empty()
            && added.is_empty()
            && removed.is_empty()
            && changed.is_empty()
            && dependencies.is_empty()
            && *files == 0
            && unknown.is_none()
    }
}

/// Gives what is public by its name, as it is used.
fn offered(items: &[Item]) -> BTreeMap<String, String> {
    let public = items.iter().filter(|item| item.is_public());
    public.map(|item| (item.full_name(), item.usage())).collect()
}
