//! Answers of search: hits with what matched, batches, imports.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use hypermesh_abi::records::Response;
use serde_json::{Value as Json, json};

use crate::ops::OpError;
use crate::ops::search::Searched;
use crate::registry::ImportedCount;
use crate::search::Hit;

/// The most of a description that an answer shows, in bytes: a thousand hits must fit into one message.
const DESCRIPTION_BYTES_SHOWN: usize = 1_000;
/// The most bytes of the answers of a batch that are not written to a file; a message takes 4 MiB with the text beside them.
const BATCH_BYTES_MAX: usize = 2 << 20;
/// What stands around a match in texts for people.
const MARK: &str = "*";

/// Hits of one search. Places of matches are counted in characters.
pub(in crate::extension) fn found(searched: &Searched, offset: usize) -> Response {
    let (hits, total) = (&searched.found.hits, searched.found.total);
    let mut text = String::new();
    let mut results = Vec::new();
    for hit in hits {
        let document = &hit.document;
        let (shown, places) = shown(&document.description, &hit.description_matches);
        let named = format!("{} {}", marked_name(&document.name, &hit.name_matches), document.version);
        let source = if document.kind.is_none() { "  (imported)" } else { "" };
        let _ = writeln!(text, "{}", format!("{named:<28} {}{source}", marked(shown, places)).trim_end());
        let mut result = json!({"name": document.name, "version": document.version, "score": hit.score,
            "description": shown, "type": document.kind.map(|kind| kind.as_str()), "tags": document.tags,
            "installable": document.kind.is_some(), "downloads": document.downloads, "rating": document.rating,
            "highlights": {"name": in_characters(&document.name, &hit.name_matches),
                "description": in_characters(shown, places)}});
        if document.kind.is_none() {
            result["source"] = "import".into();
        }
        results.push(result);
    }
    let until = offset.saturating_add(hits.len());
    match hits.len() {
        0 if total == 0 => text.push_str("nothing found\n"),
        0 => {
            let _ = writeln!(text, "{total} found, none of them after the first {offset}");
        }
        shown if until < total => {
            let _ = writeln!(text, "… and {} more; --offset {until} -n {shown} shows the next", total - until);
        }
        _ => {}
    }
    let data = json!({"results": results, "total": total, "elapsed_us": micros(searched.elapsed)});
    Response { data, text }
}

/// The answers of a batch as they come.
pub(in crate::extension) struct Batch {
    /// How long each took, in microseconds.
    times: Vec<f64>,
    rows: Vec<Json>,
    text: String,
    /// The bytes of both.
    size: usize,
}

impl Batch {
    pub(in crate::extension) fn new() -> Self {
        Self { times: Vec::new(), rows: Vec::new(), text: String::new(), size: 0 }
    }

    /// Gives an answer as a line of a file.
    pub(in crate::extension) fn row(&mut self, query: &str, searched: &Searched) -> Json {
        self.times.push(micros(searched.elapsed));
        let result = |hit: &Hit| {
            json!({"name": hit.document.name, "version": hit.document.version, "score": hit.score,
                "installable": hit.document.kind.is_some()})
        };
        json!({"query": query, "results": searched.found.hits.iter().map(result).collect::<Vec<_>>(),
            "total": searched.found.total, "elapsed_us": micros(searched.elapsed)})
    }

    /// Keeps an answer for the message.
    pub(in crate::extension) fn keep(&mut self, query: &str, searched: &Searched) -> Result<(), OpError> {
        let names: Vec<&str> = searched.found.hits.iter().map(|hit| hit.document.name.as_str()).collect();
        let line = format!("{query}: {}\n", if names.is_empty() { "-".into() } else { names.join(" ") });
        let row = self.row(query, searched);
        self.size += row.to_string().len() + line.len();
        if self.size > BATCH_BYTES_MAX {
            return Err(OpError::BatchTooLarge { what: "the answers", limit: BATCH_BYTES_MAX as u64 });
        }
        self.text.push_str(&line);
        self.rows.push(row);
        Ok(())
    }

    /// Gives the answer; `out` is the file that has the rows.
    pub(in crate::extension) fn finish(mut self, out: Option<&Path>) -> Response {
        self.times.sort_by(f64::total_cmp);
        let (p50, p99) = (percentile(&self.times, 50), percentile(&self.times, 99));
        let timing = json!({"queries": self.times.len(), "p50_us": p50, "p99_us": p99});
        let _ = writeln!(self.text, "{} queries: p50 {p50:.0} µs, p99 {p99:.0} µs each", self.times.len());
        let data = match out {
            None => json!({"batches": self.rows, "timing": timing}),
            Some(out) => {
                let _ = writeln!(self.text, "written to {}", out.display());
                json!({"timing": timing, "file": out})
            }
        };
        Response { data, text: self.text }
    }
}

pub(in crate::extension) fn descriptions_imported(counted: ImportedCount, indexed: usize) -> Response {
    let ImportedCount { read, removed, total } = counted;
    let mut text = format!("{read} descriptions imported");
    if removed > 0 {
        let _ = write!(text, " in the place of {removed}");
    }
    let _ = writeln!(text, "; {total} are here, and search looks through {indexed}");
    Response { data: json!({"imported": read, "replaced": removed, "descriptions": total, "indexed": indexed}), text }
}

/// Cuts a description to what is shown, and the places of its matches with it.
fn shown<'a>(description: &'a str, places: &'a [Range<usize>]) -> (&'a str, &'a [Range<usize>]) {
    let shown = &description[..description.floor_char_boundary(DESCRIPTION_BYTES_SHOWN)];
    let within = places.iter().take_while(|place| place.end <= shown.len()).count();
    (shown, &places[..within])
}

/// Marks the matches in a text for people.
fn marked(text: &str, places: &[Range<usize>]) -> String {
    let (mut marked, mut done) = (String::new(), 0);
    for Range { start, end } in places {
        let _ = write!(marked, "{}{MARK}{}{MARK}", &text[done..*start], &text[*start..*end]);
        done = *end;
    }
    marked.push_str(&text[done..]);
    marked
}

/// Marks the matches in a name, unless all of it matches: names are copied into commands.
fn marked_name(name: &str, places: &[Range<usize>]) -> String {
    let matched: usize = places.iter().map(|place| place.len()).sum();
    let signs: usize = name.chars().filter(|c| !c.is_alphanumeric()).map(char::len_utf8).sum();
    marked(name, if matched + signs >= name.len() { &[] } else { places })
}

/// Gives places as pairs of characters, from the first to the one after the last.
fn in_characters(text: &str, places: &[Range<usize>]) -> Vec<[usize; 2]> {
    let count = |to: usize| text[..to].chars().count();
    places.iter().map(|place| [count(place.start), count(place.end)]).collect()
}

fn micros(elapsed: Duration) -> f64 {
    (elapsed.as_nanos() as f64 / 100.0).round() / 10.0
}

/// The value that so many per cent of some sorted ones do not pass; 0 of none.
fn percentile(sorted: &[f64], per_cent: usize) -> f64 {
    let rank = (sorted.len() * per_cent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_are_marked_and_counted_in_characters() {
        let text = "größe of rays";
        let places = [0..7, 11..15];
        assert_eq!(marked(text, &places), "*größe* of *rays*");
        assert_eq!(in_characters(text, &places), [[0, 5], [9, 13]]);
        assert_eq!(marked_name("ray-tracer", &[0..3, 4..10]), "ray-tracer");
        assert_eq!(marked_name("ray-ray-tracer", &[0..3, 4..7]), "*ray*-*ray*-tracer");
        let long = format!("{}ä match", "x".repeat(DESCRIPTION_BYTES_SHOWN - 1));
        let places = [2..4, DESCRIPTION_BYTES_SHOWN + 2..DESCRIPTION_BYTES_SHOWN + 7];
        let (cut, within) = shown(&long, &places);
        assert_eq!((cut.len(), within.len()), (DESCRIPTION_BYTES_SHOWN - 1, 1));
    }

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99), percentile(&[], 50)), (50.0, 99.0, 0.0));
        assert_eq!((percentile(&[7.0], 50), percentile(&[7.0], 99)), (7.0, 7.0));
    }
}
