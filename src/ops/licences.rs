//! `licenses`: under which licences packages may be used, and whether the administrator allows them.

use spdx::{Expression, LicenseItem};

use super::audit::Scope;
use super::validate::published;
use super::{Catalog, OpError};
use crate::config::LicenceConfig;
use crate::host::Host;
use crate::lockfile::Lockfile;
use crate::package::name::PackageName;

/// The licence of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Licensed {
    /// The package, as `name@version`.
    pub package: String,
    /// What its manifest says, if it says anything.
    pub licence: Option<String>,
    /// Why it may not be used by the administrator's settings; none if it may.
    pub refused: Option<String>,
}

impl Catalog {
    /// Lists the licences of packages with what the settings say about each, in order of name.
    ///
    /// # Errors
    /// What keeps the set from being known; a licence that is not allowed is no error.
    pub fn licences(&self, scope: &Scope, host: &dyn Host) -> Result<Vec<Licensed>, OpError> {
        self.licences_of(&self.lockfile_of(scope, host)?)
    }

    /// Refuses packages whose licences the settings do not allow.
    pub(super) fn check_licences(&self, lockfile: &Lockfile) -> Result<(), OpError> {
        if self.config.licenses.allows_everything() {
            return Ok(());
        }
        for Licensed { package, refused, .. } in self.licences_of(lockfile)? {
            if let Some(reason) = refused {
                return Err(OpError::Licence { package, reason });
            }
        }
        Ok(())
    }

    fn licences_of(&self, lockfile: &Lockfile) -> Result<Vec<Licensed>, OpError> {
        let registry = self.registry();
        let mut all = Vec::new();
        for package in lockfile.packages() {
            let licence = published(&registry, package)?.about.license;
            let refused = refusal(&self.config.licenses, &package.name, licence.as_deref());
            all.push(Licensed { package: format!("{}@{}", package.name, package.version), licence, refused });
        }
        Ok(all)
    }
}

/// Says why a licence may not be used. Without settings every licence may.
pub(super) fn refusal(config: &LicenceConfig, name: &PackageName, licence: Option<&str>) -> Option<String> {
    if config.allows_everything() || config.exceptions.contains(name.as_str()) {
        return None;
    }
    let Some(text) = licence.map(str::trim).filter(|text| !text.is_empty()) else {
        return (!config.allow.is_empty()).then(|| "it names no licence".to_owned());
    };
    let expression = match Expression::parse(text) {
        Ok(expression) => expression,
        Err(error) => return Some(format!("`{text}` is no SPDX expression: {}", error.reason)),
    };
    // One choice of every `OR` and all of every `AND` must be allowed, so a denied alternative harms nobody.
    let is_allowed = |requirement: &spdx::LicenseReq| {
        let name = match &requirement.license {
            LicenseItem::Spdx { id, .. } => id.name.to_owned(),
            other @ LicenseItem::Other(_) => other.to_string(),
        };
        let is_named = |list: &[String]| list.contains(&name);
        !is_named(&config.deny) && (config.allow.is_empty() || is_named(&config.allow))
    };
    expression.evaluate_with_failures(is_allowed).err().map(|failed| {
        let mut names: Vec<String> = failed.iter().map(|failed| format!("`{}`", failed.req)).collect();
        names.dedup();
        format!("{} is not allowed", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alternative_and_all_parts_must_be_allowed() {
        let config = |allow: &[&str], deny: &[&str]| LicenceConfig {
            allow: allow.iter().map(ToString::to_string).collect(),
            deny: deny.iter().map(ToString::to_string).collect(),
            exceptions: ["trusted".to_owned()].into(),
        };
        let refused = |config: &LicenceConfig, licence| {
            refusal(config, &"a".parse().expect("a name"), licence).unwrap_or_default()
        };
        let open = config(&["MIT", "Apache-2.0"], &[]);
        assert_eq!(refused(&open, Some("MIT")), "");
        assert_eq!(refused(&open, Some("GPL-3.0-only OR MIT")), "");
        assert_eq!(refused(&open, Some("MIT AND Apache-2.0")), "");
        assert_eq!(refused(&open, Some("MIT AND GPL-3.0-only")), "`GPL-3.0-only` is not allowed");
        assert_eq!(refused(&open, None), "it names no licence");
        assert!(refused(&open, Some("mine, all mine")).starts_with("`mine, all mine` is no SPDX expression"));
        let closed = config(&[], &["AGPL-3.0-only"]);
        assert_eq!(refused(&closed, Some("MIT")), "");
        assert_eq!(refused(&closed, None), "");
        assert_eq!(refused(&closed, Some("AGPL-3.0-only")), "`AGPL-3.0-only` is not allowed");
        assert_eq!(refused(&config(&[], &[]), Some("nonsense (")), "");
        assert_eq!(refusal(&open, &"trusted".parse().expect("a name"), None), None);
    }
}
