//! Search over what is published: an inverted index, ranked by BM25F, with exact filters.
//!
//! A word in the name weighs more than one among tags or keywords, and those more than one in the description. A package
//! whose name is what was asked for comes first. Filters are exact: every tag asked for must be there, and a filter that
//! matches nothing gives nothing. The same documents and query give the same hits in the same order, whatever the order
//! in which documents came.
//!
//! Ranking: BM25F as in Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009),
//! equations 3.15 to 3.18, with the never negative inverse document frequency ln(1 + (N - n + 0.5) / (n + 0.5)).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::package::model::PackageType;
use crate::package::name::PackageName;
use crate::registry::Release;

/// The longest query text that is looked at, in bytes; the rest is ignored.
pub const QUERY_BYTES_MAX: usize = 1024;
/// The most different words of a query that are looked at.
pub const QUERY_WORDS_MAX: usize = 32;
/// The most hits given at once.
pub const HITS_MAX: usize = 1_000;
/// The most words of one document that are indexed, field by field in the order of [`Document`].
pub const DOCUMENT_WORDS_MAX: usize = 10_000;
/// The longest word that is indexed, in bytes; longer ones are left out.
pub const WORD_BYTES_MAX: usize = 64;

/// What is found: one document for each package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The package.
    pub name: PackageName,
    /// What it is.
    pub kind: PackageType,
    /// Exact-match labels; searched too.
    pub tags: Vec<String>,
    /// Words for search.
    pub keywords: Vec<String>,
    /// What it says about itself.
    pub description: String,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Words; without any, everything that the filters let through is found.
    pub text: String,
    /// Labels that must all be there.
    pub tags: Vec<String>,
    /// What the package must be.
    pub kind: Option<PackageType>,
    /// How many of the best hits to leave out.
    pub offset: usize,
    /// How many hits to give, [`HITS_MAX`] at most.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The hits asked for, the best first; equally good ones in order of name.
    pub hits: Vec<Hit>,
    /// How many there are in all.
    pub total: usize,
}

/// One package that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The package.
    pub name: PackageName,
    /// How well it matches; only comparable within one answer, 0 without words.
    pub score: f64,
}

/// The index. It holds one document for each name.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// The documents by their numbers; a number is used again when its document has gone.
    documents: Vec<Option<Indexed>>,
    numbers: BTreeMap<PackageName, Number>,
    free: Vec<Number>,
    /// For each word the documents that hold it, and how often in each field.
    postings: HashMap<String, BTreeMap<Number, Counts>>,
    /// The words of all documents in each field.
    lengths: [u64; FIELDS],
}

const FIELDS: usize = 4;
/// What a word weighs in name, tags, keywords and description.
const WEIGHTS: [f64; FIELDS] = [6.0, 3.0, 3.0, 1.0];
/// How much the length of a field counts against it: short ones are short by nature, descriptions are not.
const LENGTH_SHARE: [f64; FIELDS] = [0.3, 0.3, 0.3, 0.75];
/// How soon more of the same word stops to count; 1.2 is the usual value.
const SATURATION: f64 = 1.2;

type Counts = [u32; FIELDS];
type Number = usize;

#[derive(Clone, Debug)]
struct Indexed {
    name: PackageName,
    kind: PackageType,
    tags: BTreeSet<String>,
    words: BTreeMap<String, Counts>,
    lengths: Counts,
}

impl From<&Release> for Document {
    fn from(release: &Release) -> Self {
        Self {
            name: release.name.clone(),
            kind: release.kind,
            tags: release.tags.clone(),
            keywords: release.keywords.clone(),
            description: release.description.clone().unwrap_or_default(),
        }
    }
}

impl FromIterator<Document> for Index {
    fn from_iter<I: IntoIterator<Item = Document>>(documents: I) -> Self {
        let mut index = Self::default();
        for document in documents {
            index.insert(&document);
        }
        index
    }
}

impl Index {
    /// Takes in a document; one of the same name is replaced.
    pub fn insert(&mut self, document: &Document) {
        self.remove(&document.name);
        let indexed = Indexed::of(document);
        let number = self.free.pop().unwrap_or_else(|| {
            self.documents.push(None);
            self.documents.len() - 1
        });
        for (word, counts) in &indexed.words {
            self.postings.entry(word.clone()).or_default().insert(number, *counts);
        }
        for (total, length) in self.lengths.iter_mut().zip(indexed.lengths) {
            *total += u64::from(length);
        }
        self.numbers.insert(document.name.clone(), number);
        self.documents[number] = Some(indexed);
    }

    /// Takes out the document of a package, if there is one.
    pub fn remove(&mut self, name: &PackageName) {
        let Some(number) = self.numbers.remove(name) else { return };
        let Some(indexed) = self.documents[number].take() else { return };
        self.free.push(number);
        for word in indexed.words.keys() {
            if let Some(documents) = self.postings.get_mut(word) {
                documents.remove(&number);
                if documents.is_empty() {
                    self.postings.remove(word);
                }
            }
        }
        for (total, length) in self.lengths.iter_mut().zip(indexed.lengths) {
            *total -= u64::from(length);
        }
    }

    /// Gives the number of documents.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Finds packages. A document is found if it holds any of the words and passes every filter.
    pub fn search(&self, query: &Query) -> Found {
        let text = &query.text[..query.text.floor_char_boundary(QUERY_BYTES_MAX)];
        let words: BTreeSet<String> = words(text).take(QUERY_WORDS_MAX).collect();
        let mut scores: HashMap<Number, f64> = HashMap::new();
        if text.trim().is_empty() {
            scores.extend(self.numbers.values().map(|number| (*number, 0.0)));
        }
        for word in &words {
            let Some(documents) = self.postings.get(word) else { continue };
            let rarity = self.rarity(documents.len());
            for (number, counts) in documents {
                if let Some(document) = &self.documents[*number] {
                    *scores.entry(*number).or_default() += rarity * self.weight(document, counts);
                }
            }
        }
        let asked = text.trim().to_lowercase();
        let scored = scores.into_iter().filter_map(|(number, score)| Some((self.documents[number].as_ref()?, score)));
        let mut hits: Vec<_> = scored
            .filter(|(document, _)| document.passes(query))
            .map(|(document, score)| (exactness(&document.name, &asked), score, &document.name))
            .collect();
        hits.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| b.1.total_cmp(&a.1)).then_with(|| a.2.cmp(b.2)));
        let total = hits.len();
        let shown = hits.into_iter().skip(query.offset).take(query.limit.min(HITS_MAX));
        Found { hits: shown.map(|(_, score, name)| Hit { name: name.clone(), score }).collect(), total }
    }

    /// The inverse document frequency of a word that so many documents hold.
    fn rarity(&self, documents: usize) -> f64 {
        let (all, with) = (self.len() as f64, documents as f64);
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }

    /// What a word that a document holds so often says about it.
    fn weight(&self, document: &Indexed, counts: &Counts) -> f64 {
        let mut frequency = 0.0;
        for field in 0..FIELDS {
            let mean = self.lengths[field] as f64 / self.len() as f64;
            if counts[field] > 0 {
                let length = f64::from(document.lengths[field]) / mean;
                let share = LENGTH_SHARE[field];
                frequency += WEIGHTS[field] * f64::from(counts[field]) / (1.0 - share + share * length);
            }
        }
        frequency / (SATURATION + frequency)
    }
}

impl Indexed {
    fn of(document: &Document) -> Self {
        let mut indexed = Self {
            name: document.name.clone(),
            kind: document.kind,
            tags: document.tags.iter().cloned().collect(),
            words: BTreeMap::new(),
            lengths: [0; FIELDS],
        };
        let fields = [
            vec![document.name.to_string()],
            document.tags.clone(),
            document.keywords.clone(),
            vec![document.description.clone()],
        ];
        let all = fields
            .iter()
            .enumerate()
            .flat_map(|(field, texts)| texts.iter().flat_map(move |text| words(text).map(move |word| (field, word))));
        for (field, word) in all.take(DOCUMENT_WORDS_MAX) {
            indexed.words.entry(word).or_default()[field] += 1;
            indexed.lengths[field] += 1;
        }
        indexed
    }

    fn passes(&self, query: &Query) -> bool {
        query.kind.is_none_or(|kind| kind == self.kind) && query.tags.iter().all(|tag| self.tags.contains(tag))
    }
}

/// Cuts a text into lower-case words of letters and digits.
fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
    words.filter(|word| !word.is_empty() && word.len() <= WORD_BYTES_MAX)
}

/// 2 for the name asked for, 1 for that name in a namespace, 0 for others.
fn exactness(name: &PackageName, asked: &str) -> u8 {
    if name.as_str() == asked { 2 } else { u8::from(name.base() == asked) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(name: &str, tags: &[&str], description: &str) -> Document {
        Document {
            name: name.parse().expect("valid"),
            kind: if tags.contains(&"lua") { PackageType::LuaScript } else { PackageType::JuliaProgram },
            tags: tags.iter().map(ToString::to_string).collect(),
            keywords: vec![],
            description: description.to_owned(),
        }
    }

    fn query(text: &str) -> Query {
        Query { text: text.into(), tags: vec![], kind: None, offset: 0, limit: 10 }
    }

    fn names(found: &Found) -> Vec<&str> {
        found.hits.iter().map(|hit| hit.name.as_str()).collect()
    }

    fn corpus() -> Vec<Document> {
        vec![
            document("ray-tracer", &["graphics", "gpu"], "Traces rays of light on a GPU."),
            document("light", &["graphics"], "Sources of light for any renderer."),
            document("acme/light", &["lua"], "Switches lamps."),
            document("light-field", &["graphics"], "Light fields."),
            document("solver", &["math", "gpu"], "Solves sparse systems; the ray of light in linear algebra."),
            document("words", &["lua", "text"], "Counts words."),
        ]
    }

    fn index() -> Index {
        corpus().into_iter().collect()
    }

    #[test]
    fn a_known_corpus_gives_a_known_ranking() {
        let found = index().search(&query("light"));
        assert_eq!(names(&found), ["light", "acme/light", "light-field", "ray-tracer", "solver"]);
        assert_eq!(found.total, 5);
        assert!(found.hits[2].score > found.hits[3].score && found.hits[4].score > 0.0);
        assert_eq!(names(&index().search(&query("Ray TRACER!"))), ["ray-tracer", "solver"]);
        assert!(index().search(&query("nothing here")).hits.is_empty());
    }

    #[test]
    fn scores_are_those_of_the_formula() {
        // Two documents, one word: N = 2, n = 1, so the rarity is ln(1 + 1.5 / 1.5) = ln 2. The word is once in the name
        // "a" of one word, the mean length is 1, so the frequency is 6 and the score is ln 2 * 6 / 7.2.
        let index: Index = [document("a", &[], ""), document("b", &[], "")].into_iter().collect();
        let score = index.search(&query("a")).hits[0].score;
        assert!((score - 2.0_f64.ln() * 6.0 / 7.2).abs() < 1e-12, "{score}");
    }

    #[test]
    fn filters_are_exact() {
        let search = |text: &str, tags: &[&str], kind| {
            let tags = tags.iter().map(ToString::to_string).collect();
            let found = index().search(&Query { tags, kind, ..query(text) });
            names(&found).join(" ")
        };
        assert_eq!(search("", &["graphics", "gpu"], None), "ray-tracer");
        assert_eq!(search("light", &["gpu"], None), "ray-tracer solver");
        assert_eq!(search("light", &["absent"], None), "");
        assert_eq!(search("", &["Graphics"], None), "");
        assert_eq!(search("", &[], Some(PackageType::LuaScript)), "acme/light words");
        assert_eq!(search("light", &[], Some(PackageType::Binary)), "");
        assert_eq!(search("!", &[], None), "");
    }

    #[test]
    fn pages_follow_each_other() {
        let page = |offset, limit| index().search(&Query { offset, limit, ..query("light") });
        let all = page(0, 10);
        assert_eq!(page(1, 2).hits, all.hits[1..3]);
        assert_eq!((page(9, 1).hits.len(), page(9, 1).total), (0, 5));
    }

    #[test]
    fn the_index_follows_changes() {
        let mut index = index();
        index.insert(&document("light", &[], "Now about shade."));
        assert_eq!(names(&index.search(&query("shade"))), ["light"]);
        assert!(!names(&index.search(&query("renderer"))).contains(&"light"));
        index.remove(&"light".parse().expect("valid"));
        assert!(index.search(&query("shade")).hits.is_empty());
        assert_eq!(index.len(), 5);
        for document in corpus() {
            index.remove(&document.name);
        }
        assert!(index.is_empty() && index.postings.is_empty() && index.lengths == [0; FIELDS]);
    }

    #[test]
    fn the_bounds_hold() {
        let many = (0..=HITS_MAX).map(|i| document(&format!("p{i}"), &[], "same")).collect::<Index>();
        let found = many.search(&Query { limit: usize::MAX, ..query("same") });
        assert_eq!((found.hits.len(), found.total), (HITS_MAX, HITS_MAX + 1));

        let filler = "x ".repeat(DOCUMENT_WORDS_MAX - 2);
        let index: Index = [document("a", &[], &format!("{filler}last beyond"))].into_iter().collect();
        assert_eq!(index.search(&query("last")).total, 1);
        assert_eq!(index.search(&query("beyond")).total, 0);

        let long = "y".repeat(WORD_BYTES_MAX);
        let index: Index = [document("a", &[], &format!("{long} {long}z"))].into_iter().collect();
        assert_eq!(index.search(&query(&long)).total, 1);
        assert_eq!(index.search(&query(&format!("{long}z"))).total, 0);

        let words: Vec<_> = (0..QUERY_WORDS_MAX).map(|i| format!("w{i}")).collect();
        assert_eq!(index.search(&query(&format!("{} a", words[1..].join(" ")))).total, 1);
        assert_eq!(index.search(&query(&format!("{} a", words.join(" ")))).total, 0);
        assert_eq!(index.search(&query(&format!("{}a", " ".repeat(QUERY_BYTES_MAX - 1)))).total, 1);
        assert_eq!(index.search(&query(&format!("ä{}a", " ".repeat(QUERY_BYTES_MAX - 1)))).total, 0);
    }

    proptest! {
        #[test]
        fn order_of_arrival_does_not_matter(order in Just(corpus()).prop_shuffle(), text in "(light|ray|gpu|words| ){0,4}") {
            let shuffled: Index = order.into_iter().collect();
            prop_assert_eq!(shuffled.search(&query(&text)), index().search(&query(&text)));
        }
    }
}
