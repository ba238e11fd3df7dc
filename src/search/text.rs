//! Words of a text, and the terms that stand for them: lower case, and English words without their endings.
//!
//! Documents and queries go through the same functions, so what is equal here finds each other.

use rust_stemmers::{Algorithm, Stemmer};

/// The longest word that is indexed, in bytes; longer ones are left out.
pub const WORD_BYTES_MAX: usize = 64;
/// The shortest word that loses its ending, in bytes; `bus` and `dns` are no plurals.
const STEMMED_BYTES_MIN: usize = 4;

/// Makes terms of words.
pub(super) struct Terms {
    stemmer: Stemmer,
    lower: String,
}

impl Terms {
    pub(super) fn new() -> Self {
        Self { stemmer: Stemmer::create(Algorithm::English), lower: String::new() }
    }

    /// Gives the term of a word; none for one that is too long.
    pub(super) fn of(&mut self, word: &str) -> Option<String> {
        self.lower.clear();
        self.lower.extend(word.chars().flat_map(char::to_lowercase));
        if self.lower.is_empty() || self.lower.len() > WORD_BYTES_MAX {
            return None;
        }
        let is_english = self.lower.len() >= STEMMED_BYTES_MIN && self.lower.bytes().all(|b| b.is_ascii_lowercase());
        Some(if is_english { self.stemmer.stem(&self.lower).into_owned() } else { self.lower.clone() })
    }
}

/// Cuts a text into words of letters and digits, each with its place in bytes.
pub(super) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| (word.as_ptr().addr() - text.as_ptr().addr(), word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_terms() {
        let mut terms = Terms::new();
        let text = "Traces RAYS of light, C++17-style: rendering Größe größe bus";
        let found: Vec<String> = words(text).filter_map(|(_, word)| terms.of(word)).collect();
        assert_eq!(
            found,
            ["trace", "ray", "of", "light", "c", "17", "style", "render", "größe", "größe", "bus"].map(String::from)
        );
        for (at, word) in words(text) {
            assert_eq!(&text[at..at + word.len()], word);
        }
        assert_eq!(terms.of(&"y".repeat(WORD_BYTES_MAX + 1)), None);
        assert!(terms.of(&"y".repeat(WORD_BYTES_MAX)).is_some());
    }
}
