//! Answering a query: which documents it finds, and in what order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fst::Map;
use semver::Version;

use super::highlight::Matches;
use super::nearby::Tier;
use super::part::Part;
use super::segment::{AUTHOR, BASE, Columns, FIELDS, LENGTH_MAX, TAG, Table, kind_number, read_list};
use super::text::{Terms, words};
use super::{Found, HITS_MAX, Hit, Index, QUERY_BYTES_MAX, QUERY_WORDS_MAX, Query, SearchError, Sort};

/// The most terms that one word of a query stands for.
pub(super) const EXPANSIONS_MAX: usize = 32;

/// The shortest list that is kept from one query to the next, in entries of 8 bytes, and the most entries of all of them.
const KEPT_MIN: usize = 256;
const KEPT_MAX: usize = 2 << 20;

/// How soon more of the same word stops to count; 1.2 is the usual value.
const SATURATION: f32 = 1.2;
/// What a term counts that begins with the word asked for, and one that is nearly it, by faults.
const BEGINS: f32 = 0.6;
const ONE_FAULT: f32 = 0.5;
const TWO_FAULTS: f32 = 0.25;
/// What is added to the score of a document whose name begins with what was asked for, by the share of it, or is nearly
/// that, by faults. A rare word in a name counts about as much.
const NAME_BEGINS: f32 = 12.0;
const NAME_ONE_FAULT: f32 = 12.0;
const NAME_TWO_FAULTS: f32 = 6.0;

/// Room for one search, kept for the next: filling it anew would cost more than small searches.
#[derive(Default)]
pub(super) struct Scratch {
    /// A score for each document of a part; 0 for those not found.
    scores: Vec<f32>,
    /// The best that one word says about each document; 0 but while a word with several terms is added.
    best: Vec<f32>,
    /// The documents of a part whose score is not 0.
    touched: Vec<u32>,
    known: Known,
}

/// What a term says about each document that holds it, by part.
type Lists = Arc<[Vec<(u32, f32)>]>;

/// The lists of frequent terms, which most queries have one of and which cost most to read.
#[derive(Default)]
pub(super) struct Known {
    lists: HashMap<String, Posted>,
    entries: usize,
}

/// A term with what it counts and the documents that hold it.
#[derive(Clone)]
struct Posted {
    factor: f32,
    lists: Lists,
}

/// What a query comes to.
struct Plan<'q> {
    /// For each word the terms it stands for.
    words: Vec<Vec<Posted>>,
    terms: BTreeSet<String>,
    /// What is added for names that are like what was asked for.
    names: BTreeMap<String, f32>,
    /// What was asked for, as a name would be written, and as it was.
    asked: &'q str,
    written: &'q str,
}

/// A document on its way into the answer.
#[derive(Clone, Copy)]
struct Candidate {
    /// More comes first.
    key: (u8, u64),
    score: f32,
    part: usize,
    number: u32,
}

impl Index {
    /// Finds documents. One is found if it holds any of the words and passes every filter.
    ///
    /// # Errors
    /// A segment that is damaged.
    pub fn search(&mut self, query: &Query) -> Result<Found, SearchError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let found = self.search_in(query, &mut scratch);
        // What a damaged segment left behind would be found by the next query.
        if found.is_ok() {
            self.scratch = scratch;
        }
        found
    }

    fn search_in(&self, query: &Query, scratch: &mut Scratch) -> Result<Found, SearchError> {
        let text = query.text[..query.text.floor_char_boundary(QUERY_BYTES_MAX)].trim();
        let asked = text.to_lowercase();
        let plan = self.plan(text, &asked, scratch)?;
        let wanted = query.offset.saturating_add(query.limit.min(HITS_MAX));
        let (mut candidates, mut total) = (Vec::new(), 0);
        for (index, part) in self.parts.iter().enumerate() {
            let passing = Passing::new(part, query)?;
            let mut best = Best::new(wanted);
            let is_open = passing.is_open();
            let mut take = |number, score: f32, tier| -> Result<(), SearchError> {
                if is_open || passing.lets(number)? {
                    total += 1;
                    let key = if is_open { by_relevance(score, tier) } else { passing.key(number, score, tier)? };
                    best.push(Candidate { key, score, part: index, number });
                }
                Ok(())
            };
            if text.is_empty() {
                let mut live = (0..part.segment.documents()).filter(|number| !part.is_dead(*number));
                live.try_for_each(|number| take(number, 0.0, 0))?;
            } else {
                let exact = self.score(index, &plan, scratch)?;
                let Scratch { scores, touched, .. } = &mut *scratch;
                for (number, tier) in exact {
                    take(number, std::mem::take(&mut scores[number as usize]), tier)?;
                }
                // Of those with the name nothing is left.
                for number in touched.drain(..) {
                    let score = std::mem::take(&mut scores[number as usize]);
                    if score > 0.0 {
                        take(number, score, 0)?;
                    }
                }
            }
            candidates.append(&mut best.finish());
        }
        let shown = self.page(candidates, query)?;
        let matches = Matches { terms: &plan.terms, asked: plan.asked };
        let mut terms = Terms::new();
        let hit = |candidate: Candidate| {
            let document = self.parts[candidate.part].segment.document(candidate.number)?;
            let name_matches = matches.places_of_name(&mut terms, &document.name);
            let description_matches = matches.places(&mut terms, &document.description);
            Ok(Hit { document, score: candidate.score.into(), name_matches, description_matches })
        };
        let hits: Result<Vec<Hit>, SearchError> = shown.into_iter().map(hit).collect();
        Ok(Found { hits: hits?, total })
    }

    /// Reads the lists of every word, or of what it stands for where no document holds it.
    fn plan<'q>(&self, text: &'q str, asked: &'q str, scratch: &mut Scratch) -> Result<Plan<'q>, SearchError> {
        let mut stems = Terms::new();
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        for word in words(text).filter_map(|(_, word)| stems.of(word)) {
            if wanted.len() < QUERY_WORDS_MAX {
                wanted.insert(word);
            }
        }
        let mut plan =
            Plan { words: Vec::new(), terms: BTreeSet::new(), names: self.names_like(asked)?, asked, written: text };
        for word in wanted {
            if let Some(posted) = self.posted(&word, 1.0, scratch)? {
                plan.words.push(vec![posted]);
                plan.terms.insert(word);
                continue;
            }
            let mut stands_for = Vec::new();
            // A term that only dead documents hold stands for nothing, and makes nobody stop looking.
            for tier in Tier::ALL {
                let maps = self.parts.iter().map(|part| part.segment.terms());
                for (term, factor) in likeliest(tier, maps, &word) {
                    if let Some(posted) = self.posted(&term, factor, scratch)? {
                        stands_for.push(posted);
                        plan.terms.insert(term);
                    }
                    if stands_for.len() == EXPANSIONS_MAX {
                        break;
                    }
                }
                if !stands_for.is_empty() {
                    break;
                }
            }
            plan.words.push(stands_for);
        }
        Ok(plan)
    }

    /// Gives the names that begin with one that is not there, or else are nearly it, and what is added for each.
    fn names_like(&self, asked: &str) -> Result<BTreeMap<String, f32>, SearchError> {
        let is_name = !asked.is_empty() && !asked.contains(char::is_whitespace);
        if !is_name || self.parts.iter().any(|part| part.live_number(asked).is_some()) {
            return Ok(BTreeMap::new());
        }
        let is_live = |name: &str| self.parts.iter().any(|part| part.live_number(name).is_some());
        for tier in Tier::ALL {
            let maps = self.parts.iter().map(|part| part.segment.names());
            let near = tier.nearby(maps, asked).into_iter();
            let mut live: Vec<(String, f32)> = near.filter(|(name, _)| is_live(name)).collect();
            if !live.is_empty() {
                live.sort_by_key(|(name, _)| name.len());
                live.truncate(EXPANSIONS_MAX);
                let bonus = match tier {
                    Tier::Begins => NAME_BEGINS,
                    Tier::OneFault => NAME_ONE_FAULT,
                    Tier::TwoFaults => NAME_TWO_FAULTS,
                };
                return Ok(live.into_iter().map(|(name, share)| (name, bonus * share)).collect());
            }
        }
        Ok(BTreeMap::new())
    }

    /// Reads what a term says about each document that holds it; nothing if none does.
    fn posted(&self, term: &str, factor: f32, scratch: &mut Scratch) -> Result<Option<Posted>, SearchError> {
        if let Some(Posted { factor: rarity, lists }) = scratch.known.lists.get(term) {
            return Ok(Some(Posted { factor: factor * rarity, lists: Arc::clone(lists) }));
        }
        let mut lists = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let mut list = Vec::new();
            if let Some(bytes) = part.segment.list(term)? {
                self.weigh_list(part, &bytes, &mut list)?;
            }
            lists.push(list);
        }
        let live: usize = lists.iter().map(Vec::len).sum();
        if live == 0 {
            return Ok(None);
        }
        let (all, with) = (self.len() as f32, live as f32);
        let posted = Posted { factor: (1.0 + (all - with + 0.5) / (with + 0.5)).ln(), lists: lists.into() };
        scratch.known.keep(term, &posted, live);
        Ok(Some(Posted { factor: factor * posted.factor, ..posted }))
    }

    fn weigh_list(&self, part: &Part, bytes: &[u8], list: &mut Vec<(u32, f32)>) -> Result<(), SearchError> {
        let lengths = part.segment.lengths()?.as_chunks::<FIELDS>().0;
        let weights: &[[f32; LENGTH_MAX + 1]; FIELDS] = self.weights.first_chunk().ok_or(SearchError::Damaged)?;
        let all_live = part.live() == part.segment.documents();
        read_list(bytes, part.segment.documents(), |number, mask, counts| {
            if !all_live && part.is_dead(number) {
                return;
            }
            let lengths = &lengths[number as usize];
            let mut frequency = 0.0;
            let mut mask = mask & ((1 << FIELDS) - 1);
            while mask != 0 {
                let field = mask.trailing_zeros() as usize;
                frequency += weights[field][lengths[field] as usize] * counts[field] as f32;
                mask &= mask - 1;
            }
            list.push((number, frequency / (SATURATION + frequency)));
        })
    }

    /// Scores the documents of a part that hold any of the words, and gives those that have the name.
    fn score(&self, index: usize, plan: &Plan<'_>, scratch: &mut Scratch) -> Result<HashMap<u32, u8>, SearchError> {
        let part = &self.parts[index];
        let documents = part.segment.documents() as usize;
        for room in [&mut scratch.scores, &mut scratch.best] {
            room.resize(room.len().max(documents), 0.0);
        }
        for word in &plan.words {
            add_word(word, index, scratch);
        }
        for (name, bonus) in &plan.names {
            if let Some(number) = part.live_number(name) {
                add(&mut scratch.scores, &mut scratch.touched, number, *bonus);
            }
        }
        exact(part, plan)
    }

    /// Puts the best of every part together.
    fn page(&self, mut candidates: Vec<Candidate>, query: &Query) -> Result<Vec<Candidate>, SearchError> {
        let first = candidates.first().map(|candidate| candidate.part);
        if candidates.iter().any(|candidate| Some(candidate.part) != first) {
            let named = candidates.into_iter().map(|candidate| {
                let (name, _) = self.parts[candidate.part].segment.title(candidate.number)?;
                Ok(((Reverse(candidate.key), name), candidate))
            });
            let mut named = named.collect::<Result<Vec<_>, SearchError>>()?;
            named.sort_by(|(a, _), (b, _)| a.cmp(b));
            candidates = named.into_iter().map(|(_, candidate)| candidate).collect();
        }
        Ok(candidates.into_iter().skip(query.offset).take(query.limit.min(HITS_MAX)).collect())
    }
}

impl Scratch {
    /// Forgets what follows from the documents, since they changed.
    pub(super) fn forget(&mut self) {
        self.known = Known::default();
    }
}

impl Known {
    fn keep(&mut self, term: &str, posted: &Posted, entries: usize) {
        if !(KEPT_MIN..=KEPT_MAX).contains(&entries) {
            return;
        }
        if self.entries + entries > KEPT_MAX {
            *self = Self::default();
        }
        self.entries += entries;
        self.lists.insert(term.to_owned(), posted.clone());
    }
}

impl Part {
    /// Gives the number of the document of a name, if it counts.
    fn live_number(&self, name: &str) -> Option<u32> {
        self.segment.number(name).filter(|number| !self.is_dead(*number))
    }
}

/// Gives the terms that a word may stand for, the likeliest first.
fn likeliest<'m>(tier: Tier, maps: impl Iterator<Item = &'m Map<Vec<u8>>>, word: &str) -> Vec<(String, f32)> {
    let factor = match tier {
        Tier::Begins => BEGINS,
        Tier::OneFault => ONE_FAULT,
        Tier::TwoFaults => TWO_FAULTS,
    };
    let near = tier.nearby(maps, word).into_iter();
    let mut found: Vec<(String, f32)> = near.map(|(term, share)| (term, factor * share)).collect();
    found.sort_by(|(a, left), (b, right)| right.total_cmp(left).then_with(|| a.cmp(b)));
    found
}

/// Adds what a word says about the documents of a part: the best of the terms it stands for.
fn add_word(word: &[Posted], index: usize, scratch: &mut Scratch) {
    let Scratch { scores, best, touched, .. } = scratch;
    if let [only] = word {
        for (number, weight) in &only.lists[index] {
            add(scores, touched, *number, only.factor * weight);
        }
        return;
    }
    let mut of_word = Vec::new();
    for posted in word {
        for (number, weight) in &posted.lists[index] {
            let best = &mut best[*number as usize];
            if *best == 0.0 {
                of_word.push(*number);
            }
            *best = best.max(posted.factor * weight);
        }
    }
    for number in of_word {
        add(scores, touched, number, std::mem::take(&mut best[number as usize]));
    }
}

#[inline]
fn add(scores: &mut [f32], touched: &mut Vec<u32>, number: u32, score: f32) {
    let sum = &mut scores[number as usize];
    if *sum == 0.0 {
        touched.push(number);
    }
    *sum += score;
}

/// Gives the documents whose name is what was asked for: 2 for the whole name, 1 for that name in a namespace or in capitals.
fn exact(part: &Part, plan: &Plan<'_>) -> Result<HashMap<u32, u8>, SearchError> {
    let mut exact = HashMap::new();
    if let Some(list) = part.segment.list(&format!("{BASE}{}", plan.asked))? {
        read_list(&list, part.segment.documents(), |number, _, _| {
            if !part.is_dead(number) {
                exact.insert(number, 1);
            }
        })?;
    }
    for name in [plan.asked, plan.written] {
        if let Some(number) = part.live_number(name) {
            exact.insert(number, 2);
        }
    }
    Ok(exact)
}

/// The best so many candidates of one part, of any number.
struct Best {
    wanted: usize,
    kept: Vec<Candidate>,
    /// What the worst of the best had when that was last looked at; less is left out at once.
    least: (u8, u64),
}

impl Best {
    fn new(wanted: usize) -> Self {
        Self { wanted, kept: Vec::new(), least: (0, 0) }
    }

    #[inline]
    fn push(&mut self, candidate: Candidate) {
        if candidate.key < self.least {
            return;
        }
        self.kept.push(candidate);
        if self.kept.len() >= self.wanted.saturating_mul(2).max(64) {
            self.cut();
        }
    }

    /// Documents of a part are in order of name, so among equals the first numbers are the best.
    fn order(candidate: &Candidate) -> (Reverse<(u8, u64)>, u32) {
        (Reverse(candidate.key), candidate.number)
    }

    fn cut(&mut self) {
        if self.wanted == 0 {
            self.kept.clear();
        } else if self.kept.len() > self.wanted {
            let (_, worst, _) = self.kept.select_nth_unstable_by_key(self.wanted - 1, Self::order);
            self.least = worst.key;
            self.kept.truncate(self.wanted);
        }
    }

    fn finish(mut self) -> Vec<Candidate> {
        self.cut();
        self.kept.sort_unstable_by_key(Self::order);
        self.kept
    }
}

/// The filters and the order of a query, over the documents of one part.
struct Passing<'a> {
    part: &'a Part,
    query: &'a Query,
    /// Which documents have every label asked for, if any is.
    labelled: Option<Vec<bool>>,
    kind: Option<u8>,
    is_dated: bool,
    columns: Option<Table<'a>>,
}

impl<'a> Passing<'a> {
    fn new(part: &'a Part, query: &'a Query) -> Result<Self, SearchError> {
        let documents = part.segment.documents();
        let tags = query.tags.iter().map(|tag| format!("{TAG}{tag}"));
        let author = query.author.iter().map(|author| format!("{AUTHOR}{}", author.trim().to_lowercase()));
        let mut labelled: Option<Vec<bool>> = None;
        for label in tags.chain(author) {
            let mut with = vec![false; documents as usize];
            if let Some(list) = part.segment.list(&label)? {
                let before = |number: usize| labelled.as_ref().is_none_or(|labelled| labelled[number]);
                read_list(&list, documents, |number, _, _| with[number as usize] = before(number as usize))?;
            }
            labelled = Some(with);
        }
        let is_dated = query.updated != (i64::MIN..i64::MAX);
        let looks = query.kind.is_some() || is_dated || !matches!(query.sort, Sort::Relevance | Sort::Name);
        let columns = looks.then(|| part.segment.columns()).transpose()?;
        let kind = query.kind.map(|kind| kind_number(Some(kind)));
        Ok(Self { part, query, labelled, kind, is_dated, columns })
    }

    /// Whether every document passes, and the best match comes first: most queries ask for no more.
    fn is_open(&self) -> bool {
        let Query { sort, version, .. } = self.query;
        *sort == Sort::Relevance && self.labelled.is_none() && self.columns.is_none() && version.is_none()
    }

    fn lets(&self, number: u32) -> Result<bool, SearchError> {
        if self.labelled.as_ref().is_some_and(|labelled| !labelled[number as usize]) {
            return Ok(false);
        }
        if self.kind.is_some() || self.is_dated {
            let Some(columns) = self.columns else { return Err(SearchError::Damaged) };
            let columns = columns.get(number)?;
            let is_kind = self.kind.is_none_or(|kind| kind == columns.kind);
            if !is_kind || (self.is_dated && !self.query.updated.contains(&columns.updated)) {
                return Ok(false);
            }
        }
        let Some(requirement) = &self.query.version else { return Ok(true) };
        let (_, version) = self.part.segment.title(number)?;
        Ok(Version::parse(&version).is_ok_and(|version| requirement.matches(&version)))
    }

    /// Gives the place in the order asked for; more comes first.
    fn key(&self, number: u32, score: f32, tier: u8) -> Result<(u8, u64), SearchError> {
        match (self.query.sort, self.columns) {
            (Sort::Relevance, _) => Ok(by_relevance(score, tier)),
            (sort, Some(columns)) => Ok((0, key(sort, columns.get(number)?))),
            (_, None) => Ok((0, 0)),
        }
    }
}

fn by_relevance(score: f32, tier: u8) -> (u8, u64) {
    // The bits of positive numbers are in order of the numbers.
    (tier, score.to_bits().into())
}

fn key(sort: Sort, columns: Columns) -> u64 {
    // Flipping the first bit puts negative numbers below positive ones.
    let time = |at: i64| at.cast_unsigned() ^ 1 << 63;
    match sort {
        Sort::DateCreated => time(columns.created),
        Sort::DateUpdated => time(columns.updated),
        Sort::Popularity => columns.downloads,
        Sort::Rating => columns.rating.map_or(0, |rating| 1 + u64::from(rating.max(0.0).to_bits())),
        Sort::Relevance | Sort::Name => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_kept_up_to_the_bound() {
        let mut known = Known::default();
        let posted = Posted { factor: 1.0, lists: Arc::new([]) };
        known.keep("short", &posted, KEPT_MIN - 1);
        known.keep("long", &posted, KEPT_MAX + 1);
        assert!(known.lists.is_empty());
        known.keep("half", &posted, KEPT_MAX / 2);
        known.keep("other", &posted, KEPT_MAX / 2);
        assert_eq!((known.lists.len(), known.entries), (2, KEPT_MAX));
        known.keep("more", &posted, KEPT_MIN);
        assert_eq!((known.lists.len(), known.entries), (1, KEPT_MIN));
    }
}
