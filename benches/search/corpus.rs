//! Documents and questions. Everything drawn is drawn from seeds.

use std::collections::BTreeMap;
use std::process::Command;

use catalog::search::Document;

/// Documents if this machine has no package lists.
const GENERATED: usize = 60_000;
/// Words that generated texts are made of, by Zipf's law.
const VOCABULARY: u64 = 50_000;

/// What is asked, and the name of what should be found.
pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) wanted: String,
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// The documents in order of name, and where they are from.
pub(crate) fn documents() -> (&'static str, Vec<Document>) {
    let listed = Command::new("apt-cache").arg("dumpavail").output().map(|output| output.stdout).unwrap_or_default();
    let mut documents = BTreeMap::new();
    for paragraph in String::from_utf8_lossy(&listed).split("\n\n") {
        let field = |name: &str| {
            paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
        };
        let name = field("Package");
        if !name.is_empty() {
            let mut document = document(name, field("Description"));
            document.version = field("Version").to_owned();
            document.tags = vec![field("Section").to_owned()];
            documents.insert(name.to_owned(), document);
        }
    }
    if documents.len() > GENERATED / 2 {
        return ("the package lists of this machine", documents.into_values().collect());
    }
    let mut random = Random(1);
    let generated = (0..GENERATED).map(|number| document(&name(number), &sentence(&mut random, 12)));
    let documents: BTreeMap<_, _> = generated.map(|document| (document.name.clone(), document)).collect();
    ("a seeded generator, by Zipf's law", documents.into_values().collect())
}

/// Questions by kind: three words of a description, an exact name, one with a fault, the beginning of one.
pub(crate) fn questions(documents: &[Document], count: usize) -> Vec<(&'static str, Vec<Question>)> {
    let mut random = Random(2);
    let mut kinds: Vec<(&'static str, Vec<Question>)> =
        ["words", "exact", "typo", "prefix"].map(|kind| (kind, Vec::new())).into();
    while kinds[0].1.len() < count {
        let Document { name, description, .. } = &documents[random.below(documents.len())];
        let words: Vec<&str> =
            description.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2).collect();
        if words.len() < 3 || name.len() < 6 {
            continue;
        }
        let words: Vec<&str> = (0..3).map(|_| words[random.below(words.len())]).collect();
        let begin = (name.len() * 6).div_ceil(10).max(3);
        let texts = [words.join(" "), name.clone(), with_fault(name, &mut random), name[..begin].to_owned()];
        for ((_, questions), text) in kinds.iter_mut().zip(texts) {
            questions.push(Question { text, wanted: name.clone() });
        }
    }
    kinds
}

/// Drops, doubles, swaps or changes a letter after the first.
fn with_fault(name: &str, random: &mut Random) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    let at = 1 + random.below(letters.len() - 2);
    match random.below(4) {
        0 => drop(letters.remove(at)),
        1 => letters.insert(at, letters[at]),
        2 => letters.swap(at, at + 1),
        _ => letters[at] = if letters[at] == 'q' { 'x' } else { 'q' },
    }
    letters.into_iter().collect()
}

pub(crate) fn document(name: &str, description: &str) -> Document {
    Document {
        name: name.to_owned(),
        version: "1.0.0".into(),
        kind: None,
        description: description.to_owned(),
        tags: vec![],
        keywords: vec![],
        author: None,
        entry: None,
        created: 0,
        updated: 0,
        downloads: 0,
        rating: None,
    }
}

/// A name of two or three words and the number, so that none is there twice.
pub(crate) fn name(number: usize) -> String {
    let mut random = Random(number as u64);
    format!("{}-{}{number}", word(&mut random), word(&mut random))
}

pub(crate) fn sentence(random: &mut Random, words: usize) -> String {
    (0..words).map(|_| word(random)).collect::<Vec<_>>().join(" ")
}

/// A word of the vocabulary; the one of rank r is about r times rarer than the first.
pub(crate) fn word(random: &mut Random) -> String {
    let share = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
    let rank = (VOCABULARY as f64).powf(share) as u64;
    let mut spelled = Random(rank);
    let syllables = 2 + spelled.below(2);
    (0..syllables)
        .map(|_| {
            ["ba", "ke", "lo", "mi", "nu", "ra", "si", "to", "ve", "zu", "gra", "ple", "sto", "tri", "dex", "nor"]
                [spelled.below(16)]
        })
        .collect()
}
