//! Terms and names that begin with what was asked for, or are nearly it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use fst::{Automaton, IntoStreamer, Map, Streamer};
use levenshtein_automata::{DFA, Distance, LevenshteinAutomatonBuilder, SINK_STATE};

/// The most terms or names of one segment that are looked at for one word.
pub(super) const NEARBY_MAX: usize = 1_024;
/// The shortest word that may stand for those that begin with it, in characters.
const PREFIX_CHARS_MIN: usize = 2;
/// The shortest words that may have one fault and two, in characters: among shorter ones too many are near each other.
const ONE_FAULT_CHARS_MIN: usize = 3;
const TWO_FAULTS_CHARS_MIN: usize = 6;

/// One fault is a letter missing, doubled, wrong, or swapped with the next.
static ONE_FAULT: LazyLock<LevenshteinAutomatonBuilder> = LazyLock::new(|| LevenshteinAutomatonBuilder::new(1, true));
static TWO_FAULTS: LazyLock<LevenshteinAutomatonBuilder> = LazyLock::new(|| LevenshteinAutomatonBuilder::new(2, true));

/// Gives the words of some maps that begin with one, and how much of each that is.
pub(super) fn beginning<'m>(maps: impl Iterator<Item = &'m Map<Vec<u8>>>, word: &str) -> BTreeMap<String, f32> {
    let mut found = BTreeMap::new();
    if word.chars().count() < PREFIX_CHARS_MIN {
        return found;
    }
    for map in maps {
        let mut stream = map.range().ge(word).into_stream();
        let mut seen = 0;
        while let Some((key, _)) = stream.next()
            && key.starts_with(word.as_bytes())
            && seen < NEARBY_MAX
        {
            seen += 1;
            if let Ok(key) = std::str::from_utf8(key) {
                found.insert(key.to_owned(), word.len() as f32 / key.len() as f32);
            }
        }
    }
    found
}

/// Gives the words of some maps that are nearly one, and in how many faults they differ from it: one, or else two with the
/// same first letter.
pub(super) fn nearly<'m>(
    maps: impl Iterator<Item = &'m Map<Vec<u8>>> + Clone,
    word: &str,
) -> (BTreeMap<String, f32>, u8) {
    let length = word.chars().count();
    if length < ONE_FAULT_CHARS_MIN {
        return (BTreeMap::new(), 0);
    }
    let found = within(maps.clone(), &Near { dfa: ONE_FAULT.build_dfa(word), first: None });
    if !found.is_empty() || length < TWO_FAULTS_CHARS_MIN {
        return (found, 1);
    }
    let first = word.as_bytes().first().copied();
    (within(maps, &Near { dfa: TWO_FAULTS.build_dfa(word), first }), 2)
}

fn within<'m>(maps: impl Iterator<Item = &'m Map<Vec<u8>>>, near: &Near) -> BTreeMap<String, f32> {
    let mut found = BTreeMap::new();
    for map in maps {
        let mut stream = map.search(near).into_stream();
        let mut seen = 0;
        while let Some((key, _)) = stream.next()
            && seen < NEARBY_MAX
        {
            seen += 1;
            if let Ok(key) = std::str::from_utf8(key) {
                found.insert(key.to_owned(), 1.0);
            }
        }
    }
    found
}

/// Accepts words near one. With a first byte only those that begin with it: two faults reach so much of a map that the first
/// letter, which is seldom wrong, must bound the walk.
struct Near {
    dfa: DFA,
    first: Option<u8>,
}

impl Automaton for &Near {
    /// Whether the first byte has passed, and the state of the automaton.
    type State = (bool, u32);

    fn start(&self) -> Self::State {
        (false, self.dfa.initial_state())
    }

    fn is_match(&self, (_, state): &Self::State) -> bool {
        matches!(self.dfa.distance(*state), Distance::Exact(_))
    }

    fn can_match(&self, (_, state): &Self::State) -> bool {
        *state != SINK_STATE
    }

    fn accept(&self, (passed, state): &Self::State, byte: u8) -> Self::State {
        // What begins with a control character is a label, and no word.
        if !passed && (byte < b' ' || self.first.is_some_and(|first| first != byte)) {
            return (true, SINK_STATE);
        }
        (true, self.dfa.transition(*state, byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(words: &[&str]) -> Map<Vec<u8>> {
        let mut words: Vec<_> = words.iter().map(|word| (*word, 0)).collect();
        words.sort_unstable();
        Map::from_iter(words).expect("a map")
    }

    fn near(word: &str, words: &[&str]) -> (Vec<String>, u8) {
        let map = map(words);
        let (found, faults) = nearly(std::iter::once(&map), word);
        (found.into_keys().collect(), faults)
    }

    #[test]
    fn one_fault_is_found_first_and_two_in_longer_words() {
        let words = ["light", "lights", "night", "tracer", "tracers", "trade", "vec"];
        for typo in ["lihgt", "ligt", "lightt", "lixht"] {
            let (found, faults) = near(typo, &words);
            assert!(found.contains(&"light".to_owned()) && faults == 1, "{typo}: {found:?}");
        }
        assert_eq!(near("tarcre", &words), (vec!["tracer".to_owned()], 2));
        assert_eq!(near("artcer", &words).0, Vec::<String>::new(), "two faults keep the first letter");
        assert_eq!(near("lghht", &words).0, Vec::<String>::new(), "five letters have one fault");
        assert_eq!(near("ve", &words).0, Vec::<String>::new());
        assert_eq!(near("vex", &words).0, ["vec"]);
    }

    #[test]
    fn beginnings_are_found_up_to_the_bound() {
        let many: Vec<String> = (0..=NEARBY_MAX).map(|i| format!("word{i:05}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let map = map(&many);
        assert_eq!(beginning(std::iter::once(&map), "word").len(), NEARBY_MAX);
        assert_eq!(beginning(std::iter::once(&map), "word0000").len(), 10);
        assert_eq!(beginning(std::iter::once(&map), "w").len(), 0);
    }
}
