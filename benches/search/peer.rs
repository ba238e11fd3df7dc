//! Others that search the same: SQLite's FTS5, and `apt-cache search`.

use std::process::Command;
use std::time::{Duration, Instant};

use catalog::search::Document;
use rusqlite::Connection;

use crate::corpus::Question;
use crate::{Asked, asked, cpu, ms, us};

/// How many queries `apt-cache` is asked; it takes half a second for each.
const APT_QUESTIONS: usize = 8;

pub(crate) struct Fts {
    connection: Connection,
    pub(crate) cpu: Duration,
}

impl Fts {
    pub(crate) fn new(documents: &[Document]) -> Self {
        let start = cpu();
        let mut connection = Connection::open_in_memory().expect("opens");
        let table = "CREATE VIRTUAL TABLE docs USING fts5(name, tags, description, tokenize = 'porter unicode61', prefix = '3')";
        connection.execute(table, []).expect("FTS5 is built in");
        let transaction = connection.transaction().expect("begins");
        for Document { name, tags, description, .. } in documents {
            let mut insert = transaction.prepare_cached("INSERT INTO docs VALUES (?1, ?2, ?3)").expect("prepares");
            insert.execute((name, tags.join(" "), description)).expect("inserts");
        }
        transaction.commit().expect("commits");
        Self { connection, cpu: cpu() - start }
    }

    /// The same meaning as ours: any of the words, names weighing six times a description; the last word may go on.
    pub(crate) fn search(&self, text: &str, limit: usize) -> Vec<String> {
        let words: Vec<String> = text
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(|word| format!("\"{word}\""))
            .collect();
        let sql = "SELECT name FROM docs WHERE docs MATCH ?1 ORDER BY bm25(docs, 6.0, 3.0, 1.0) LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql).expect("prepares");
        let query = format!("{}*", words.join(" OR "));
        let names = statement.query_map((query, limit as i64), |row| row.get(0)).expect("asks");
        names.map(|name| name.expect("reads")).collect()
    }
}

/// Asks `apt-cache search`, which lists what holds every word, in order of name.
pub(crate) fn apt(kinds: &[(&'static str, Vec<Question>)], ours: &Asked) {
    if Command::new("apt-cache").arg("--version").output().is_err() {
        return;
    }
    for (kind, questions) in kinds {
        let start = Instant::now();
        let answered = asked(&questions[..APT_QUESTIONS.min(questions.len())], |text| {
            let output = Command::new("apt-cache").arg("search").args(text.split(' ')).output().expect("runs");
            let listed = String::from_utf8_lossy(&output.stdout).into_owned();
            listed.lines().take(10).map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
        });
        let ratio = answered.p50().as_secs_f64() / ours.p50().as_secs_f64();
        println!(
            "apt-cache search, {kind:<7} p50 {} ({ratio:.0} times ours, process and lists included), S@1 {:.3}, S@10 {:.3}, MRR {:.3} in {}",
            us(answered.p50()),
            answered.first,
            answered.found,
            answered.reciprocal,
            ms(start.elapsed())
        );
    }
}
