//! How bad a weakness is: CVSS vectors as scores, scores and words as ratings.
//!
//! Vectors of CVSS 3.0, 3.1 and 4.0 are scored. Those of version 2 are not: no specification says what rating a score of
//! version 2 has. A vector that lacks a base metric says nothing, rather than "no impact".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::record::SeveritySchema;

/// The qualitative scale of CVSS 3 and 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rating {
    /// A score of 0.0.
    None,
    /// 0.1 to 3.9.
    Low,
    /// 4.0 to 6.9.
    Medium,
    /// 7.0 to 8.9.
    High,
    /// 9.0 to 10.0.
    Critical,
}

/// What a record says about how bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Severity {
    /// The rating; nothing if the record has no vector that can be scored and no word for it.
    pub rating: Option<Rating>,
    /// The base score from 0.0 to 10.0, if the record has a vector.
    pub score: Option<f64>,
}

impl Severity {
    /// Gives the rating to act on: what nobody has rated counts as high.
    pub fn level(&self) -> Rating {
        self.rating.unwrap_or(Rating::High)
    }

    /// Gives the worse of two; what is rated stands above what is not.
    pub(super) fn worse(self, other: Self) -> Self {
        let order = |severity: &Self| (severity.rating, severity.score.unwrap_or(0.0));
        if order(&other) > order(&self) { other } else { self }
    }

    /// Reads the vectors of a record, or the words of its database where no vector can be scored.
    pub(super) fn of<'a>(vectors: &[SeveritySchema], words: impl IntoIterator<Item = &'a str>) -> Self {
        let score = vectors.iter().filter_map(score).max_by(f64::total_cmp);
        if let Some(score) = score {
            return Self { rating: Some(Rating::of_score(score)), score: Some(score) };
        }
        Self { rating: words.into_iter().filter_map(|word| word.parse().ok()).max(), score: None }
    }
}

impl Rating {
    /// Gives the rating of a score by section 5 of CVSS 3.1 and section 6 of CVSS 4.0.
    pub fn of_score(score: f64) -> Self {
        match score {
            score if score < 0.1 => Self::None,
            score if score < 4.0 => Self::Low,
            score if score < 7.0 => Self::Medium,
            score if score < 9.0 => Self::High,
            _ => Self::Critical,
        }
    }

    /// Gives its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Rating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no rating.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rating: none, low, medium, high, critical")]
pub struct ParseRatingError(String);

/// Reads the words that databases use, in any letter case.
impl FromStr for Rating {
    type Err = ParseRatingError;

    fn from_str(text: &str) -> Result<Self, ParseRatingError> {
        match text.to_ascii_lowercase().as_str() {
            "none" => Ok(Self::None),
            "low" => Ok(Self::Low),
            "medium" | "moderate" => Ok(Self::Medium),
            "high" => Ok(Self::High),
            "critical" => Ok(Self::Critical),
            _ => Err(ParseRatingError(text.to_owned())),
        }
    }
}

/// The longest vector that is read, in bytes; one with every metric of version 4 has about 200.
const VECTOR_BYTES_MAX: usize = 512;

/// Scores a vector: the base score of version 3, the score of all given metrics of version 4.
fn score(severity: &SeveritySchema) -> Option<f64> {
    let text = severity.score.as_str();
    if text.len() > VECTOR_BYTES_MAX {
        return None;
    }
    match severity.kind.as_str() {
        "CVSS_V3" => {
            let vector: cvss::v3::Vector = text.parse().ok()?;
            let exploitability = vector.av.is_some() && vector.ac.is_some() && vector.pr.is_some();
            let impact = vector.s.is_some() && vector.c.is_some() && vector.i.is_some() && vector.a.is_some();
            (exploitability && vector.ui.is_some() && impact).then(|| vector.base_score().value())
        }
        "CVSS_V4" => text.parse::<cvss::v4::Vector>().ok().map(|vector| vector.score().value()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn severity(kind: &str, score: &str) -> SeveritySchema {
        SeveritySchema { kind: kind.into(), score: score.into() }
    }

    /// Vectors and scores of the examples that FIRST publishes beside each specification.
    #[test]
    fn the_examples_of_the_specifications_have_their_scores() {
        let check = |vector: &str, expected: f64, rating: Rating| {
            let kind = if vector.starts_with("CVSS:4") { "CVSS_V4" } else { "CVSS_V3" };
            let of = Severity::of(&[severity(kind, vector)], []);
            assert_eq!((of.score, of.rating), (Some(expected), Some(rating)), "{vector}");
        };
        for minor in ["3.0", "3.1"] {
            let check = |rest: &str, expected, rating| check(&format!("CVSS:{minor}/{rest}"), expected, rating);
            check("AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1, Rating::Medium); // phpMyAdmin, CVE-2013-1937
            check("AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4, Rating::Medium); // MySQL, CVE-2013-0375
            check("AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1, Rating::Low); // POODLE, CVE-2014-3566
            check("AV:N/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:H", 9.9, Rating::Critical); // VMware, CVE-2012-1516
            check("AV:L/AC:L/PR:H/UI:N/S:U/C:L/I:L/A:L", 4.2, Rating::Medium); // Apache Tomcat, CVE-2009-0783
            check("AV:N/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", 8.8, Rating::High); // Cisco IOS, CVE-2012-0384
            check("AV:L/AC:L/PR:N/UI:R/S:U/C:H/I:H/A:H", 7.8, Rating::High); // Apple iWork, CVE-2015-1098
            check("AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 7.5, Rating::High); // Heartbleed, CVE-2014-0160
            check("AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8, Rating::Critical); // Shellshock, CVE-2014-6271
            check("AV:N/AC:H/PR:N/UI:N/S:C/C:N/I:H/A:N", 6.8, Rating::Medium); // Kaminsky, CVE-2008-1447
            check("AV:P/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 6.8, Rating::Medium); // Sophos, CVE-2014-2005
            check("AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0, Rating::None);
        }
        check("CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 7.3, Rating::High); // CVE-2022-41741
        check("CVSS:4.0/AV:N/AC:L/AT:P/PR:N/UI:P/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 7.7, Rating::High); // CVE-2020-3549
        check("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:L/VA:L/SC:N/SI:N/SA:N", 8.8, Rating::High);
        check("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:N/SC:N/SI:N/SA:N", 0.0, Rating::None);
        check("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", 10.0, Rating::Critical);
    }

    #[test]
    fn what_cannot_be_scored_is_unknown_and_counts_as_high() {
        for (kind, vector) in [
            ("CVSS_V3", "CVSS:3.1/AV:N"),
            ("CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N"),
            ("CVSS_V3", "9.8"),
            ("CVSS_V3", ""),
            ("CVSS_V4", "CVSS:4.0/AV:N/AC:L"),
            ("CVSS_V4", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"),
            ("CVSS_V2", "AV:L/AC:M/Au:N/C:N/I:P/A:C"),
            ("Ubuntu", "low"),
        ] {
            let of = Severity::of(&[severity(kind, vector)], []);
            assert_eq!((of.rating, of.score, of.level()), (None, None, Rating::High), "{kind} {vector}");
            let by_word = Severity::of(&[severity(kind, vector)], ["MODERATE"]);
            assert_eq!(by_word.rating, Some(Rating::Medium), "{kind} {vector}");
        }
        let long = format!("CVSS:3.1/{}", "AV:N/".repeat(200));
        assert_eq!(Severity::of(&[severity("CVSS_V3", &long)], ["new"]), Severity::default());
    }

    #[test]
    fn the_highest_score_counts_and_a_score_beats_a_word() {
        let vectors = [
            severity("CVSS_V3", "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N"),
            severity("CVSS_V4", "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H"),
        ];
        assert_eq!(Severity::of(&vectors, ["LOW"]).rating, Some(Rating::Critical));
        assert_eq!(Severity::of(&vectors[..1], ["critical"]).rating, Some(Rating::Low));
        let (unknown, low) = (Severity::default(), Severity { rating: Some(Rating::Low), score: None });
        assert_eq!((unknown.worse(low).rating, low.worse(unknown).rating), (Some(Rating::Low), Some(Rating::Low)));
    }
}
