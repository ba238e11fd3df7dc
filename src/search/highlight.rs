//! The places of a text that a query found.

use std::collections::BTreeSet;
use std::ops::Range;

use super::text::{Terms, words};

/// The most places of one text that are shown.
pub(super) const PLACES_MAX: usize = 64;

/// The terms that were found, and the name that was asked for.
pub(super) struct Matches<'a> {
    pub(super) terms: &'a BTreeSet<String>,
    pub(super) asked: &'a str,
}

impl Matches<'_> {
    /// Gives the words of a text whose terms were found.
    pub(super) fn places(&self, terms: &mut Terms, text: &str) -> Vec<Range<usize>> {
        let found = words(text).filter(|(_, word)| {
            // Endings go, beginnings stay: most words need no stemming to be told apart.
            let first = word.chars().next().and_then(|c| c.to_lowercase().next());
            let begins = self.terms.iter().any(|term| term.chars().next() == first);
            begins && terms.of(word).is_some_and(|term| self.terms.contains(&term))
        });
        found.take(PLACES_MAX).map(|(at, word)| at..at + word.len()).collect()
    }

    /// Gives the places of a name: its words, or else its beginning.
    pub(super) fn places_of_name(&self, terms: &mut Terms, name: &str) -> Vec<Range<usize>> {
        let places = self.places(terms, name);
        if places.is_empty() && !self.asked.is_empty() && name.starts_with(self.asked) {
            return std::iter::once(0..self.asked.len()).collect();
        }
        places
    }
}
