//! The answer about documentation that was written.

use std::fmt::Write;

use hypermesh_abi::records::Response;
use serde_json::{Value as Json, json};

use super::size;
use crate::docgen::example::Example;
use crate::ops::document::Documented;

pub(in crate::extension) fn documented(documented: &Documented) -> Response {
    let Documented { name, version, directory, files, sections, figures, examples, warnings } = documented;
    let mut text = format!("{name} {version} is documented in {}\n", directory.display());
    for (file, bytes) in files {
        let _ = writeln!(text, "  {file:<20} {}", size(*bytes));
    }
    let minutes = figures.reading_minutes;
    let _ = writeln!(text, "  {} words, {minutes} min to read", figures.words);
    let _ = writeln!(text, "  {} of {} public names are documented", figures.documented, figures.public);
    let count = |state: &str| examples.iter().filter(|example| example.result.as_str() == state).count();
    if !examples.is_empty() {
        let states = ["passed", "failed", "differs", "not run"].into_iter().filter(|state| count(state) > 0);
        let states: Vec<String> = states.map(|state| format!("{} {state}", count(state))).collect();
        let _ = writeln!(text, "  examples: {}", states.join(", "));
    }
    warnings.iter().for_each(|warning| _ = writeln!(text, "  ! {}", warning.text));
    let example = |example: &Example| json!({"origin": example.origin, "state": example.result.as_str().replace(' ', "_"), "result": example.result});
    let data = json!({
        "package": name,
        "version": version,
        "directory": directory,
        "files": files.iter().map(|(name, bytes)| json!({"name": name, "bytes": bytes})).collect::<Vec<_>>(),
        "sections": sections.iter().map(|(id, words)| json!({"id": id, "words": words})).collect::<Vec<_>>(),
        "words": figures.words,
        "reading_minutes": minutes,
        "api": {"public": figures.public, "documented": figures.documented},
        "examples": examples.iter().map(example).collect::<Vec<Json>>(),
        "warnings": warnings,
    });
    Response { data, text }
}
