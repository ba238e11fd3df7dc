//! Rules of a custom policy: when all conditions hold, an action follows.

use glob::MatchOptions;
use schemars::JsonSchema;
use semver::VersionReq;
use serde::Deserialize;
use serde_json::Value as Json;

use super::evidence::Evidence;
use crate::package::analyse::Analyser;

/// The longest pattern, in characters.
pub(super) const PATTERN_CHARS_MAX: usize = 256;
/// The most conditions of a rule.
pub(super) const CONDITIONS_MAX: usize = 16;

/// One rule.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name, which decisions show.
    pub name: String,
    /// The conditions, all of which must hold.
    pub when: Vec<Condition>,
    /// What follows.
    pub action: Action,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// The package's whole name matches a pattern with `*` and `?`.
    PackageNamePattern(Pattern),
    /// The publisher's domain matches; an unsigned package has none.
    PublisherPattern(Pattern),
    /// The archive's tar has more bytes.
    PackageSizeExceeds(u64),
    /// It depends on a package, `name` or `name@requirement`; with a requirement, one that asks for exactly that text.
    HasDependency(String),
    /// The subject of an authority in the signer's chain matches.
    CertificateIssuer(Pattern),
    /// The publisher's reputation is below.
    ReputationBelow(f64),
    /// The path of a file matches.
    ContainsFilePattern(Pattern),
    /// A field of the manifest has a value.
    Custom {
        /// The field in the manifest's canonical form, such as `spec.security.sandbox_level`.
        field: String,
        /// How it is compared.
        operator: Operator,
        /// With what; not for `exists` and `absent`.
        #[serde(default)]
        value: Json,
    },
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// It is that value.
    Equals,
    /// It is another value, or absent.
    Differs,
    /// It is one of a list.
    In,
    /// It is there.
    Exists,
    /// It is not there.
    Absent,
    /// It is a larger number.
    Above,
    /// It is a smaller number.
    Below,
}

/// What follows when a rule matches.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// The package is refused.
    Block,
    /// It is reported.
    Warn,
    /// Somebody must say once more that it is wanted.
    RequireConfirmation,
    /// No further rule is looked at. Checks of the policy are not taken back.
    Allow,
    /// One of the package's analysers must give it a score.
    RunValidator {
        /// Which.
        validator: Analyser,
        /// The least score, 0 to 100.
        score_min: u8,
    },
}

/// A pattern with `*` and `?`; it matches the whole text, and `*` also matches `/`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Pattern(glob::Pattern);

impl Rule {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.chars().count() > 64 {
            return Err("`name` has 1 to 64 characters".into());
        }
        if self.when.is_empty() || self.when.len() > CONDITIONS_MAX {
            return Err(format!("`when` has 1 to {CONDITIONS_MAX} conditions"));
        }
        for condition in &self.when {
            match condition {
                Condition::ReputationBelow(bound) if !(0.0..=1.0).contains(bound) => {
                    return Err("`reputation_below` is 0 to 1".into());
                }
                Condition::HasDependency(text) if requirement(text).is_err() => {
                    return Err(format!("`has_dependency`: `{text}` is no `name` or `name@requirement`"));
                }
                Condition::Custom { operator: Operator::In, value, .. } if !value.is_array() => {
                    return Err("`custom` with `in` needs a list as `value`".into());
                }
                Condition::Custom { operator: Operator::Above | Operator::Below, value, .. } if !value.is_number() => {
                    return Err("`custom` with `above` or `below` needs a number as `value`".into());
                }
                _ => {}
            }
        }
        match self.action {
            Action::RunValidator { score_min, .. } if score_min > 100 => Err("`score_min` is 0 to 100".into()),
            _ => Ok(()),
        }
    }

    /// Says whether all conditions hold. The manifest is made when one asks for it.
    pub(super) fn matches(&self, evidence: &Evidence<'_>) -> bool {
        self.when.iter().all(|condition| condition.holds(evidence))
    }
}

impl Condition {
    fn holds(&self, evidence: &Evidence<'_>) -> bool {
        let signer = evidence.signer.as_ref().ok();
        match self {
            Self::PackageNamePattern(pattern) => pattern.matches(evidence.package.name.as_str()),
            Self::PublisherPattern(pattern) => signer.is_some_and(|signer| pattern.matches(&signer.publisher)),
            Self::PackageSizeExceeds(bytes) => evidence.size_bytes > *bytes,
            Self::HasDependency(text) => requirement(text).is_ok_and(|(name, wanted)| {
                evidence.package.dependencies.iter().any(|dependency| {
                    dependency.name.as_str() == name
                        && wanted.as_ref().is_none_or(|wanted| *wanted == dependency.requirement)
                })
            }),
            Self::CertificateIssuer(pattern) => {
                signer.is_some_and(|signer| signer.path.iter().skip(1).any(|subject| pattern.matches(subject)))
            }
            Self::ReputationBelow(bound) => evidence.reputation < *bound,
            Self::ContainsFilePattern(pattern) => evidence.files.iter().any(|file| pattern.matches(file)),
            Self::Custom { field, operator, value } => compare(manifest(evidence).as_ref(), field, *operator, value),
        }
    }
}

impl Pattern {
    /// Says whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        let options =
            MatchOptions { case_sensitive: true, require_literal_separator: false, require_literal_leading_dot: false };
        self.0.matches_with(text, options)
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.chars().count() > PATTERN_CHARS_MAX {
            return Err(format!("a pattern has 1 to {PATTERN_CHARS_MAX} characters"));
        }
        let pattern = glob::Pattern::new(&text).map_err(|error| format!("`{text}` is no pattern: {error}"))?;
        Ok(Self(pattern))
    }
}

fn requirement(text: &str) -> Result<(&str, Option<VersionReq>), semver::Error> {
    match text.split_once('@') {
        Some((name, wanted)) => Ok((name, Some(VersionReq::parse(wanted)?))),
        None => Ok((text, None)),
    }
}

fn manifest(evidence: &Evidence<'_>) -> Option<Json> {
    serde_json::from_slice(&evidence.package.to_canonical_json()).ok()
}

fn compare(manifest: Option<&Json>, field: &str, operator: Operator, value: &Json) -> bool {
    let found = manifest.and_then(|manifest| field.split('.').try_fold(manifest, |at, key| at.get(key)));
    let numbers = || Some((found?.as_f64()?, value.as_f64()?));
    match operator {
        Operator::Equals => found == Some(value),
        Operator::Differs => found != Some(value),
        Operator::In => found.is_some_and(|found| value.as_array().is_some_and(|list| list.contains(found))),
        Operator::Exists => found.is_some(),
        Operator::Absent => found.is_none(),
        Operator::Above => numbers().is_some_and(|(found, bound)| found > bound),
        Operator::Below => numbers().is_some_and(|(found, bound)| found < bound),
    }
}
