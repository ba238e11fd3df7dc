//! The changelog: what each published version changed, from manifests, files and the names that sources define.

use std::collections::BTreeMap;

use super::Subject;
use crate::archive::{Archive, MANIFEST_PATH};
use crate::docgen::Warning;
use crate::docgen::api::{self, Item};
use crate::docgen::history::{STEPS_MAX, Step};
use crate::host::Host;
use crate::ops::validate::read_manifest;
use crate::ops::{Catalog, OpError, diff};
use crate::package::Package;
use crate::package::capability;

impl Catalog {
    /// Gives what changed from version to version up to a package, the latest first.
    pub(super) fn steps(
        &self,
        subject: &Subject,
        items: &[Item],
        warnings: &mut Vec<Warning>,
        host: &dyn Host,
    ) -> Result<Vec<Step>, OpError> {
        let Package { name, version, .. } = &subject.package;
        let mut known = self.registry().versions(name)?;
        known.retain(|record| record.release.version < *version);
        known.sort_by(|a, b| b.release.version.cmp(&a.release.version));
        let yanked = self.registry().get(name, version)?.and_then(|record| record.yanked);
        let mut steps = vec![Step { version: version.to_string(), yanked, ..Step::default() }];
        let mut after = (subject.package.clone(), subject.archive.clone(), items.to_vec());
        let more = known.len() > STEPS_MAX;
        for record in known.into_iter().take(STEPS_MAX) {
            let before_version = record.release.version.clone();
            let next = Step { version: before_version.to_string(), yanked: record.yanked.clone(), ..Step::default() };
            let Some(step) = steps.last_mut() else { break };
            step.before = Some(before_version.to_string());
            match self.archive_of(record.release, host).and_then(|archive| read(archive.into_inner())) {
                Ok(before) => {
                    compare(step, &before, &after);
                    after = before;
                }
                Err(error) => {
                    step.unknown = Some(format!("what changed is not known: {before_version} cannot be read here"));
                    let text = format!("version {before_version} is not compared: {error}");
                    warnings.push(Warning { code: "VERSION_NOT_READ", text });
                    return Ok(steps);
                }
            }
            steps.push(next);
        }
        if more {
            // What the oldest of those shown changed is not looked at; the one before it is not the first.
            steps.pop();
        }
        Ok(steps)
    }
}

type Known = (Package, Archive, Vec<Item>);

fn read(archive: Archive) -> Result<Known, OpError> {
    let package = read_manifest(archive.manifest())?;
    let files = super::files(&archive);
    let items = api::extract(package.name.as_str(), package.content.main.as_str(), &files, &mut Vec::new());
    Ok((package, archive, items))
}

fn compare(step: &mut Step, before: &Known, after: &Known) {
    step.compare(&before.2, &after.2);
    let changes = capability::changes(&before.0, &after.0);
    step.capabilities = changes.into_iter().map(|change| (change.text, change.wider)).collect();
    let dependency = |change: diff::DependencyChange| match (change.before, change.after) {
        (None, after) => format!("now builds on {} {}", change.name, after.unwrap_or_default()),
        (Some(before), None) => format!("no longer builds on {} {before}", change.name),
        (Some(before), Some(after)) => format!("builds on {} {after}, before {before}", change.name),
    };
    step.dependencies = diff::dependencies(&before.0, &after.0).into_iter().map(dependency).collect();
    step.files = differing(&before.1, &after.1);
}

/// Counts the files that are not the same in both archives, manifests aside.
fn differing(before: &Archive, after: &Archive) -> usize {
    let (before, after) = (entries(before), entries(after));
    diff::changed(&before, &after).count()
}

fn entries(archive: &Archive) -> BTreeMap<&str, &[u8]> {
    archive.entries().filter(|entry| entry.path != MANIFEST_PATH).map(|entry| (entry.path, entry.bytes)).collect()
}
