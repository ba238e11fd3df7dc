//! Terms and names that begin with what was asked for, or are nearly it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use fst::map::Stream;
use fst::{Automaton, IntoStreamer, Map, Streamer};
use levenshtein_automata::{DFA, Distance, LevenshteinAutomatonBuilder, SINK_STATE};

use super::text::WORD_BYTES_MAX;

/// The most terms or names that are looked at for one word.
pub(super) const NEARBY_MAX: usize = 1_024;
/// The shortest word that may stand for those that begin with it, in characters.
const PREFIX_CHARS_MIN: usize = 2;
/// The shortest words that may have one fault and two, in characters: among shorter ones too many are near each other.
const ONE_FAULT_CHARS_MIN: usize = 3;
const TWO_FAULTS_CHARS_MIN: usize = 6;

/// One fault is a letter missing, doubled, wrong, or swapped with the next.
static ONE_FAULT: LazyLock<LevenshteinAutomatonBuilder> = LazyLock::new(|| LevenshteinAutomatonBuilder::new(1, true));
static TWO_FAULTS: LazyLock<LevenshteinAutomatonBuilder> = LazyLock::new(|| LevenshteinAutomatonBuilder::new(2, true));

/// How a word may stand for another, the likeliest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// It begins the other.
    Begins,
    /// It differs by one fault.
    OneFault,
    /// It differs by two faults and has the same first letter.
    TwoFaults,
}

impl Tier {
    pub(super) const ALL: [Self; 3] = [Self::Begins, Self::OneFault, Self::TwoFaults];

    /// Gives the words of some maps that a word may stand for, and how much of each that is; the first [`NEARBY_MAX`] in order.
    pub(super) fn nearby<'m>(self, maps: impl Iterator<Item = &'m Map<Vec<u8>>>, word: &str) -> BTreeMap<String, f32> {
        let length = word.chars().count();
        let least = match self {
            Self::Begins => PREFIX_CHARS_MIN,
            Self::OneFault => ONE_FAULT_CHARS_MIN,
            Self::TwoFaults => TWO_FAULTS_CHARS_MIN,
        };
        // An automaton takes some kilobytes for each letter, and nothing that long is nearly something else.
        if length < least || (self != Self::Begins && word.len() > WORD_BYTES_MAX) {
            return BTreeMap::new();
        }
        let near = match self {
            Self::Begins => None,
            Self::OneFault => Some(Near { dfa: ONE_FAULT.build_dfa(word), first: None }),
            Self::TwoFaults => Some(Near { dfa: TWO_FAULTS.build_dfa(word), first: word.bytes().next() }),
        };
        let mut found = BTreeMap::new();
        for map in maps {
            match &near {
                None => gather(map.range().ge(word).into_stream(), word, &mut found),
                Some(near) => gather(map.search(near).into_stream(), "", &mut found),
            }
        }
        if near.is_none() {
            found.iter_mut().for_each(|(key, share)| *share = word.len() as f32 / key.len() as f32);
        }
        found
    }
}

/// Takes in the keys of a stream as long as they begin so; of all that were taken in the first in order stay.
fn gather<A: Automaton>(mut stream: Stream<'_, A>, begins: &str, found: &mut BTreeMap<String, f32>) {
    let mut seen = 0;
    while let Some((key, _)) = stream.next()
        && key.starts_with(begins.as_bytes())
        && seen < NEARBY_MAX
    {
        seen += 1;
        if let Ok(key) = std::str::from_utf8(key) {
            found.insert(key.to_owned(), 1.0);
        }
    }
    while found.len() > NEARBY_MAX {
        found.pop_last();
    }
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

    fn near(tier: Tier, word: &str, words: &[&str]) -> Vec<String> {
        tier.nearby(std::iter::once(&map(words)), word).into_keys().collect()
    }

    #[test]
    fn one_fault_is_found_and_two_in_longer_words() {
        let words = ["light", "lights", "night", "tracer", "tracers", "trade", "vec"];
        for typo in ["lihgt", "ligt", "lightt", "lixht"] {
            let found = near(Tier::OneFault, typo, &words);
            assert!(found.contains(&"light".to_owned()), "{typo}: {found:?}");
        }
        assert_eq!(near(Tier::OneFault, "tarcre", &words), Vec::<String>::new());
        assert_eq!(near(Tier::TwoFaults, "tarcre", &words), ["tracer"]);
        assert_eq!(near(Tier::TwoFaults, "artcer", &words), Vec::<String>::new(), "the first letter is kept");
        assert_eq!(near(Tier::TwoFaults, "lghht", &words), Vec::<String>::new(), "five letters have one fault");
        assert_eq!(near(Tier::OneFault, "ve", &words), Vec::<String>::new());
        assert_eq!(near(Tier::OneFault, "vex", &words), ["vec"]);
        let long = "v".repeat(WORD_BYTES_MAX);
        assert_eq!(near(Tier::OneFault, &long, &[&long]), [long.as_str()]);
        let longer = "v".repeat(WORD_BYTES_MAX + 1);
        assert_eq!(near(Tier::OneFault, &longer, &[&longer]), Vec::<String>::new());
    }

    #[test]
    fn beginnings_are_found_up_to_the_bound() {
        let many: Vec<String> = (0..=NEARBY_MAX).map(|i| format!("word{i:05}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (map, other) = (map(&many), map(&["word", "word9"]));
        let found = |maps: &[&Map<Vec<u8>>], word| Tier::Begins.nearby(maps.iter().copied(), word).len();
        assert_eq!(found(&[&map], "word"), NEARBY_MAX);
        assert_eq!(found(&[&map, &other], "word"), NEARBY_MAX, "of all maps together");
        assert_eq!(found(&[&map], "word0000"), 10);
        assert_eq!(found(&[&map], "w"), 0);
    }
}
