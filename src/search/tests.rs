//! A known corpus, the formula, every filter and order, and an index that changes beside one made from nothing.

use proptest::prelude::*;

use super::rank::EXPANSIONS_MAX;
use super::*;

pub(super) fn document(name: &str, tags: &[&str], description: &str) -> Document {
    let kind = if tags.contains(&"lua") { PackageType::LuaScript } else { PackageType::JuliaProgram };
    Document {
        name: name.to_owned(),
        version: "1.0.0".into(),
        kind: Some(kind),
        description: description.to_owned(),
        tags: tags.iter().map(ToString::to_string).collect(),
        keywords: vec![],
        author: None,
        entry: None,
        created: 0,
        updated: 0,
        downloads: 0,
        rating: None,
    }
}

pub(super) fn query(text: &str) -> Query {
    Query { limit: 10, ..Query::words(text) }
}

pub(super) fn names(found: &Found) -> Vec<&str> {
    found.hits.iter().map(|hit| hit.document.name.as_str()).collect()
}

pub(super) fn corpus() -> Vec<Document> {
    vec![
        document("ray-tracer", &["graphics", "gpu"], "Traces rays of light on a GPU."),
        document("light", &["graphics"], "Sources of light for any renderer."),
        document("acme/light", &["lua"], "Switches lamps."),
        document("light-field", &["graphics"], "Light fields."),
        document("solver", &["math", "gpu"], "Solves sparse systems; the ray of light in linear algebra."),
        document("words", &["lua", "text"], "Counts words."),
    ]
}

/// An index made from nothing.
pub(super) fn index_of(mut documents: Vec<Document>) -> Index {
    documents.sort_by(|a, b| a.name.cmp(&b.name));
    let mut builder = IndexBuilder::begin();
    documents.iter().for_each(|document| builder.add(document).expect("in order"));
    builder.finish().expect("an index")
}

pub(super) fn search(index: &mut Index, query: &Query) -> Found {
    index.search(query).expect("an index that is whole")
}

/// The names that a query finds in the corpus.
fn found(query: &Query) -> String {
    names(&search(&mut index_of(corpus()), query)).join(" ")
}

#[test]
fn a_known_corpus_gives_a_known_ranking() {
    let mut index = index_of(corpus());
    let found = search(&mut index, &query("light"));
    assert_eq!(names(&found), ["light", "acme/light", "light-field", "ray-tracer", "solver"]);
    assert_eq!(found.total, 5);
    assert!(found.hits[2].score > found.hits[3].score && found.hits[4].score > 0.0);
    assert_eq!(names(&search(&mut index, &query("Ray TRACER!"))), ["ray-tracer", "solver"]);
    assert_eq!(names(&search(&mut index, &query("renders counting"))), ["words", "light"], "endings do not matter");
    assert!(search(&mut index, &query("nowhere")).hits.is_empty());
}

#[test]
fn scores_are_those_of_the_formula() {
    // Two documents, one word: N = 2, n = 1, so the rarity is ln(1 + 1.5 / 1.5) = ln 2. The word is once in the name
    // "a" of one word, the mean length is 1, so the frequency is 6 and the score is ln 2 * 6 / 7.2.
    let mut index = index_of(vec![document("a", &[], ""), document("b", &[], "")]);
    let score = search(&mut index, &query("a")).hits[0].score;
    assert!((score - 2.0_f64.ln() * 6.0 / 7.2).abs() < 1e-6, "{score}");

    // Twice in a description of two words, where the mean is 1.5: 2 / (0.25 + 0.75 * 2 / 1.5) = 1.6, and the other
    // document holds it once in one word: 1 / (0.25 + 0.75 / 1.5) = 4 / 3. Rarity: ln(1 + 0.5 / 2.5).
    let mut index = index_of(vec![document("a", &[], "fog fog"), document("b", &[], "fog")]);
    let hits = search(&mut index, &query("fog")).hits;
    for (hit, frequency) in hits.iter().zip([1.6, 4.0 / 3.0]) {
        let expected = 1.2_f64.ln() * frequency / (1.2 + frequency);
        assert!((hit.score - expected).abs() < 1e-6, "{}: {} {expected}", hit.document.name, hit.score);
    }

    // A word of two that is a fault away counts half of what it is.
    let mut index = index_of(vec![document("a", &[], "window"), document("b", &[], "")]);
    let whole = search(&mut index, &query("window")).hits[0].score;
    assert!((search(&mut index, &query("windwo")).hits[0].score - whole / 2.0).abs() < 1e-6);
}

#[test]
fn every_field_is_searched() {
    let whole = Document {
        keywords: vec!["photons".into()],
        entry: Some("src/start_here.lua".into()),
        author: Some("Ada <ada@example.org>".into()),
        ..document("acme/tracer", &["lua", "gpu"], "Casts shadows.")
    };
    let mut index = index_of(vec![whole, document("other", &[], "")]);
    for text in ["acme", "tracer", "lua", "gpu", "photon", "start", "script", "shadow"] {
        assert_eq!(names(&search(&mut index, &query(text))), ["acme/tracer"], "{text}");
    }
    assert_eq!(search(&mut index, &query("ada")).total, 0, "authors are filtered by, not searched");
}

#[test]
fn typos_and_beginnings_are_found() {
    assert_eq!(
        found(&query("ligth")),
        found(&query("light")).replace("light acme/light light-field", "light light-field acme/light")
    );
    assert_eq!(found(&query("sovler")), "solver");
    assert_eq!(found(&query("ray-trcaer")), "ray-tracer solver");
    assert_eq!(found(&query("ray-tra")), "ray-tracer solver");
    assert_eq!(found(&query("rend")), "light");
    assert_eq!(found(&query("alegbra")), "solver");
    assert_eq!(found(&query("graphisc")), found(&query("graphics")));
    assert_eq!(found(&query("r")), "", "one letter is no beginning");
    assert_eq!(found(&query("lightr sparxe")), "solver light light-field acme/light ray-tracer");
}

#[test]
fn what_only_dead_documents_hold_makes_nobody_stop_looking() {
    let documents = || vec![document("lightning", &[], "lightning"), document("light", &[], "light")];
    let mut index = index_of(documents());
    index.apply(vec![("lightning".to_owned(), None)]).expect("is taken out");
    let mut fresh = index_of(documents().split_off(1));
    for typed in ["lightn", "lightnin", "lihgt"] {
        assert_eq!(names(&search(&mut index, &query(typed))), names(&search(&mut fresh, &query(typed))), "{typed}");
    }
    assert_eq!(names(&search(&mut index, &query("lightn"))), ["light"]);
}

#[test]
fn an_exact_name_comes_first_whatever_others_say() {
    let mut documents = corpus();
    documents.push(document("light-light-light", &["light"], "light light light light"));
    let mut index = index_of(documents);
    assert_eq!(names(&search(&mut index, &query("light")))[..2], ["light", "acme/light"]);
    assert_eq!(names(&search(&mut index, &query("acme/light")))[0], "acme/light");
    assert_eq!(names(&search(&mut index, &query("LIGHT")))[0], "light");
    // Names of imported descriptions may have capitals, and signs alone.
    let mut index = index_of(vec![
        document("Light", &[], ""),
        document("light-light", &["light"], "light"),
        document("++", &[], ""),
    ]);
    for (text, expected) in [("light", "Light"), ("Light", "Light"), ("LIGHT", "Light"), ("++", "++")] {
        assert_eq!(names(&search(&mut index, &query(text)))[0], expected, "{text}");
    }
}

#[test]
fn filters_are_exact() {
    let filtered = |text: &str, tags: &[&str], kind| {
        found(&Query { tags: tags.iter().map(ToString::to_string).collect(), kind, ..query(text) })
    };
    assert_eq!(filtered("", &["graphics", "gpu"], None), "ray-tracer");
    assert_eq!(filtered("light", &["gpu"], None), "ray-tracer solver");
    assert_eq!(filtered("light", &["absent"], None), "");
    assert_eq!(filtered("", &["absent"], None), "");
    assert_eq!(filtered("", &["Graphics"], None), "");
    assert_eq!(filtered("", &[], Some(PackageType::LuaScript)), "acme/light words");
    assert_eq!(filtered("light", &[], Some(PackageType::Binary)), "");
    assert_eq!(filtered("!", &[], None), "");
}

#[test]
fn authors_versions_and_dates_are_filtered_by() {
    let by = |name: &str, author: &str, version: &str, updated| Document {
        author: (!author.is_empty()).then(|| author.to_owned()),
        version: version.to_owned(),
        updated,
        ..document(name, &[], "thing")
    };
    let mut index = index_of(vec![
        by("a", "Ada Lovelace <ada@example.org>", "1.2.0", 100),
        by("b", "ada lovelace", "2.0.0", 200),
        by("c", "", "2.1.0-rc.1", 300),
    ]);
    let mut filtered = |query: Query| names(&search(&mut index, &query)).join(" ");
    let author = |author: &str| Query { author: Some(author.into()), ..query("thing") };
    assert_eq!(filtered(author("Ada Lovelace")), "a b");
    assert_eq!(filtered(author("Ada Lovelace <ada@example.org>")), "a");
    assert_eq!(filtered(author("Ada")), "");
    let version = |text: &str| Query { version: Some(text.parse().expect("valid")), ..query("") };
    assert_eq!(filtered(version("^1")), "a");
    assert_eq!(filtered(version(">=1, <3")), "a b");
    assert_eq!(filtered(version("=3")), "");
    let updated = |range| Query { updated: range, ..query("thing") };
    assert_eq!(filtered(updated(200..300)), "b");
    assert_eq!(filtered(updated(101..i64::MAX)), "b c");
    assert_eq!(filtered(updated(i64::MIN..100)), "");
}

#[test]
fn every_order_is_kept_with_and_without_words() {
    let numbers = |name: &str, created, updated, downloads, rating| Document {
        created,
        updated,
        downloads,
        rating,
        ..document(name, &[], "thing")
    };
    let documents = [
        numbers("a", -5, 30, 7, None),
        numbers("b", 2, 20, 7, Some(0.0)),
        numbers("c", 1, 40, 9, Some(4.5)),
        numbers("d", 3, 10, 0, Some(4.5)),
    ];
    // In one segment, and each in its own.
    for mut index in [index_of(documents.to_vec()), documents.iter().cloned().map(Some).fold(Index::default(), changed)]
    {
        for text in ["", "thing"] {
            let mut ordered = |sort| names(&search(&mut index, &Query { sort, ..query(text) })).concat();
            assert_eq!(ordered(Sort::DateCreated), "dbca");
            assert_eq!(ordered(Sort::DateUpdated), "cabd");
            assert_eq!(ordered(Sort::Popularity), "cabd");
            assert_eq!(ordered(Sort::Rating), "cdba");
            assert_eq!(ordered(Sort::Name), "abcd");
            assert_eq!(ordered(Sort::Relevance), "abcd", "equals are in order of name");
        }
    }
}

#[test]
fn matches_are_shown_where_they_are() {
    let mut index = index_of(vec![document("ray-größe", &[], "Größe of rays, as a ray is.")]);
    let shown = |index: &mut Index, text: &str| {
        let hit = search(index, &query(text)).hits.remove(0);
        let cut = |text: &str, places: &[Range<usize>]| {
            places.iter().map(|place| text[place.clone()].to_owned()).collect::<Vec<_>>().join("|")
        };
        let Hit { document, name_matches, description_matches, .. } = hit;
        (cut(&document.name, &name_matches), cut(&document.description, &description_matches))
    };
    assert_eq!(shown(&mut index, "rays"), ("ray".into(), "rays|ray".into()));
    assert_eq!(shown(&mut index, "größe"), ("größe".into(), "Größe".into()));
    assert_eq!(shown(&mut index, "ray-gr"), ("ray|größe".into(), "Größe|rays|ray".into()));
    assert_eq!(shown(&mut index, ""), (String::new(), String::new()));
    let many = "fog ".repeat(highlight::PLACES_MAX + 1);
    let mut index = index_of(vec![document("a", &[], &many)]);
    assert_eq!(search(&mut index, &query("fog")).hits[0].description_matches.len(), highlight::PLACES_MAX);
}

#[test]
fn pages_follow_each_other() {
    let page = |offset, limit| search(&mut index_of(corpus()), &Query { offset, limit, ..query("light") });
    let all = page(0, 10);
    assert_eq!(page(1, 2).hits, all.hits[1..3]);
    assert_eq!((page(9, 1).hits.len(), page(9, 1).total), (0, 5));
    assert_eq!((page(0, 0).hits.len(), page(usize::MAX, 5).hits.len()), (0, 0));
}

#[test]
fn the_index_follows_changes() {
    let mut index = index_of(corpus());
    index.apply(vec![("light".into(), Some(document("light", &[], "Now about shade.")))]).expect("applies");
    assert_eq!(names(&search(&mut index, &query("shade"))), ["light"]);
    assert!(!names(&search(&mut index, &query("renderer"))).contains(&"light"));
    index.apply(vec![("light".into(), None), ("never-there".into(), None)]).expect("applies");
    assert!(search(&mut index, &query("shade")).hits.is_empty());
    assert_eq!(index.len(), 5);
    index.apply(corpus().into_iter().map(|document| (document.name, None)).collect()).expect("applies");
    assert!(index.is_empty() && index.parts.is_empty());
    assert_eq!(search(&mut index, &query("")).total, 0);
}

#[test]
fn segments_are_merged_as_they_grow() {
    let mut index = Index::default();
    for number in 0..500 {
        index = changed(index, Some(document(&format!("p{number:03}"), &[], "same")));
    }
    let sizes: Vec<u32> = index.parts.iter().map(Part::live).collect();
    assert!(sizes.len() <= 6 && sizes.windows(2).all(|pair| pair[0] >= STEP * pair[1]), "{sizes:?}");
    assert_eq!((index.len(), search(&mut index, &query("same")).total), (500, 500));
    // Half of a segment gone is when it is made anew.
    for number in 0..300 {
        index.apply(vec![(format!("p{number:03}"), None)]).expect("applies");
    }
    assert!(index.parts.iter().all(|part| part.live() >= part.segment.documents() / 2));
    assert_eq!(search(&mut index, &query("same")).total, 200);
}

#[test]
fn the_bounds_hold() {
    let mut many = index_of((0..=HITS_MAX).map(|i| document(&format!("p{i}"), &[], "same")).collect());
    let found = search(&mut many, &Query { limit: usize::MAX, ..query("same") });
    assert_eq!((found.hits.len(), found.total), (HITS_MAX, HITS_MAX + 1));
    // Not the words that begin so are all taken, only the likeliest.
    let begun = (0..=EXPANSIONS_MAX).map(|i| document(&format!("x{i}"), &[], &format!("begun{i:03}"))).collect();
    assert_eq!(search(&mut index_of(begun), &query("begun")).total, EXPANSIONS_MAX);

    let total = |description: &str, text: &str| {
        search(&mut index_of(vec![document("a", &[], description)]), &query(text)).total
    };
    let filler = "x ".repeat(DOCUMENT_WORDS_MAX - 2);
    assert_eq!(total(&format!("{filler}last beyond"), "last"), 1);
    assert_eq!(total(&format!("{filler}last beyond"), "beyond"), 0);

    let long = "y".repeat(WORD_BYTES_MAX);
    assert_eq!(total(&format!("{long} {long}z"), &long), 1);
    assert_eq!(total(&format!("{long} {long}z"), &format!("{long}z")), 0);

    let words: Vec<_> = (0..QUERY_WORDS_MAX).map(|i| format!("w{i}")).collect();
    assert_eq!(total("", &format!("{} a", words[1..].join(" "))), 1);
    assert_eq!(total("", &format!("{} a", words.join(" "))), 0);
    assert_eq!(total("", &format!("{}a", "-".repeat(QUERY_BYTES_MAX - 1))), 1);
    assert_eq!(total("", &format!("ä{}a", "-".repeat(QUERY_BYTES_MAX - 1))), 0);
}

#[test]
fn documents_out_of_order_are_refused() {
    let mut builder = IndexBuilder::begin();
    builder.add(&document("b", &[], "")).expect("the first");
    assert!(matches!(builder.add(&document("a", &[], "")), Err(SearchError::Order)));
    assert!(matches!(builder.add(&document("b", &[], "")), Err(SearchError::Order)));
}

/// Puts a document into an index as a change of its own.
fn changed(mut index: Index, document: Option<Document>) -> Index {
    if let Some(document) = document {
        index.apply(vec![(document.name.clone(), Some(document))]).expect("applies");
    }
    index
}

/// A change: which name, and what it says now, or that it goes.
fn changes() -> impl Strategy<Value = Vec<(String, Option<Document>)>> {
    let words =
        prop::collection::vec(prop::sample::select(vec!["ray", "rays", "light", "gpu", "word", "solver"]), 0..5);
    let said = (words, prop::sample::subsequence(vec!["gpu", "lua", "math"], 0..3), 0..3_u64, 0..3_i64);
    let name = prop::sample::select(vec!["ray", "light", "acme/light", "ray-light", "gpu", "x", "y", "z"]);
    let change = (name, prop::option::weighted(0.8, said)).prop_map(|(name, said)| {
        let said = said.map(|(words, tags, downloads, updated): (Vec<&str>, Vec<&str>, _, _)| Document {
            downloads,
            updated,
            ..document(name, &tags, &words.join(" "))
        });
        (name.to_owned(), said)
    });
    prop::collection::vec(change, 0..24)
}

proptest! {
    #[test]
    fn order_of_arrival_does_not_matter(order in Just(corpus()).prop_shuffle(), text in "(light|ray|gpu|words|ligth| ){0,4}") {
        let mut shuffled = order.into_iter().map(Some).fold(Index::default(), changed);
        prop_assert_eq!(search(&mut shuffled, &query(&text)), search(&mut index_of(corpus()), &query(&text)));
    }

    #[test]
    fn an_index_that_followed_changes_is_as_one_made_from_nothing(
        batches in prop::collection::vec(changes(), 1..4),
        text in "(light|ray|gpu|wor|ligth|acme/light| ){0,4}",
        tag in prop::option::of(prop::sample::select(vec!["gpu", "lua"])),
        sort in prop::sample::select(vec![Sort::Relevance, Sort::Popularity, Sort::DateUpdated, Sort::Name]),
        offset in 0..3_usize,
    ) {
        let mut state = std::collections::BTreeMap::new();
        let mut followed = Index::default();
        for changes in batches {
            state.extend(changes.iter().cloned());
            followed.apply(changes).expect("applies");
        }
        let mut made = index_of(state.into_values().flatten().collect());
        let query = Query { tags: tag.into_iter().map(str::to_owned).collect(), sort, offset, ..query(&text) };
        prop_assert_eq!(followed.len(), made.len());
        prop_assert_eq!(search(&mut followed, &query), search(&mut made, &query));
    }

    #[test]
    fn bytes_that_are_no_segment_are_refused(at in any::<prop::sample::Index>(), bit in 0..8, cut in any::<bool>()) {
        let mut bytes = index_of(corpus()).parts[0].segment.bytes().expect("in memory").to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1_u8 << bit }
        prop_assert!(Segment::from_bytes(bytes).is_err());
    }
}

#[test]
fn what_an_import_reads_is_found_by_its_name() {
    let names = ["g++", "R", "ImageMagick", "acme/Compiler", "0ad", "++", "Größe", "a b c"];
    let lines: String = names.iter().map(|name| format!("{{\"name\": \"{name}\"}}\n")).collect();
    // Asserts it for each; what comes after is read by nobody else.
    exercise(lines.as_bytes());
    exercise(b"{\"name\": \"a\", \"tags\": [\"\\u0004a\", \"\\u0001\"]}\nnonsense");
    let segment = index_of(corpus()).parts[0].segment.bytes().expect("in memory").to_vec();
    exercise(&segment);
}
