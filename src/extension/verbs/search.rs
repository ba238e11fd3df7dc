//! The verbs of search.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use hypermesh_abi::records::{Response, Verb};
use hypermesh_abi::sdk::Call;
use hypermesh_abi::{Code, Error};
use schemars::JsonSchema;
use semver::VersionReq;
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::extension::{CatalogExtension, answers};
use crate::ops::{Catalog, OpError};
use crate::package::model::PackageType;
use crate::registry::Earlier;
use crate::search::{Query, Sort};

/// The largest file of a batch in bytes.
const BATCH_BYTES_MAX: u64 = 16 << 20;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    /// The words to look for; everything if none is given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "WORD"}))]
    words: Vec<String>,
    /// Only packages with this tag; given twice, with both
    #[serde(default)]
    #[schemars(extend("x-cli" = {"short": "t", "value": "TAG"}))]
    tag: Vec<String>,
    /// Only packages of this type
    #[serde(default, rename = "type")]
    #[schemars(extend("x-cli" = {"value": "TYPE"}, "enum" = PackageType::spellings()))]
    kind: Option<String>,
    /// Only packages of this author, as `Name <mail>` or `Name`
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NAME"}))]
    author: Option<String>,
    /// Only packages whose latest version meets this, as `^1.2`
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "REQUIREMENT"}))]
    version: Option<String>,
    /// Only packages whose latest version was published on this day or later, as 2026-11-24 or RFC 3339
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "DATE"}))]
    since: Option<String>,
    /// Only packages whose latest version was published before this day
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "DATE"}))]
    until: Option<String>,
    /// What comes first
    #[serde(default = "relevance")]
    #[schemars(extend("x-cli" = {"value": "ORDER"}, "enum" = ["relevance", "created", "updated", "popularity", "rating", "name"]))]
    sort: String,
    /// Leave out so many of the first
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "COUNT"}))]
    offset: usize,
    /// At most so many
    #[serde(default = "twenty")]
    #[schemars(extend("x-cli" = {"short": "n", "value": "COUNT"}))]
    limit: usize,
    /// Answer every line of this file, each as one query with the filters given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    batch: Option<PathBuf>,
    /// Write the answers of a batch into this file, one JSON object a line
    #[serde(default)]
    #[schemars(extend("x-cli" = {"short": "o", "value": "FILE", "path": true}))]
    out: Option<PathBuf>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportIndex {
    /// A file with a JSON object on each line: `name`, and if wanted `version`, `description`, `keywords`, `tags`
    #[schemars(extend("x-cli" = {"position": 1, "value": "FILE", "path": true}))]
    file: PathBuf,
    /// Let descriptions of earlier imports go that are not in it
    #[serde(default)]
    replace: bool,
}

pub(super) fn table() -> Vec<Verb> {
    vec![
        Verb::new::<Search>("search", "Find packages by words, tags, type, author, version, date")
            .description(
                "Looks in names, descriptions, keywords, tags, entry points and types. An exact name comes first; a word \
                 that is nowhere stands for those that begin with it, or are one or two letters from it. Descriptions \
                 that were imported are found too, and marked: nothing of them can be installed.",
            )
            .example("search ray tracer", "by words")
            .example("search --tag math --type lua-library", "by tag and type")
            .example("search solver --sort popularity --since 2026-01-01", "what is used most of this year's")
            .example("search --batch queries.txt --limit 10", "many queries at once"),
        Verb::new::<ImportIndex>("index import", "Import descriptions to be found by search, all or none")
            .description(
                "Reads newline-delimited JSON. What it describes is found by `search` beside the packages of this node, \
                 and cannot be installed. A later description of a name takes the place of an earlier one; a package \
                 that is published here stands before a description of its name.",
            )
            .example("index import corpus.ndjson", "add to what was imported before")
            .example("index import corpus.ndjson --replace", "this is all of it")
            .streaming(),
    ]
}

pub(super) async fn search(extension: &CatalogExtension, call: Call, params: Search) -> Result<Response, Error> {
    let query = query(&params)?;
    let Some(batch) = params.batch else {
        if params.out.is_some() {
            let message = "parameter `out` is for the answers of a batch";
            return Err(Error::new(Code::INVALID_ARGUMENT, message).help("give queries with `--batch FILE`"));
        }
        return extension
            .blocking(call, move |catalog, _| Ok(answers::found(&catalog.search(&query)?, query.offset)))
            .await;
    };
    if !params.words.is_empty() {
        let message = "parameters `words` and `batch` exclude each other";
        return Err(Error::new(Code::INVALID_ARGUMENT, message).help("give words or a file of queries"));
    }
    extension.blocking(call, move |catalog, _| answer_batch(catalog, &query, &batch, params.out)).await
}

/// Answers every line of a file, each as soon as it is known.
fn answer_batch(catalog: &Catalog, like: &Query, batch: &Path, out: Option<PathBuf>) -> Result<Response, OpError> {
    let lines = lines(batch)?;
    let queries: Vec<Query> = lines.iter().map(|line| Query { text: line.clone(), ..like.clone() }).collect();
    let mut answered = answers::Batch::new();
    let Some(path) = out else {
        catalog.search_each(&queries, &mut |number, searched| answered.keep(&lines[number], searched))?;
        return Ok(answered.finish(None));
    };
    let fault = |source| OpError::File { path: path.clone(), source };
    let mut file = BufWriter::new(File::create(&path).map_err(fault)?);
    catalog.search_each(&queries, &mut |number, searched| {
        writeln!(file, "{}", answered.row(&lines[number], searched)).map_err(fault)
    })?;
    file.flush().map_err(fault)?;
    Ok(answered.finish(Some(&path)))
}

pub(super) async fn import(extension: &CatalogExtension, call: Call, params: ImportIndex) -> Result<Response, Error> {
    let earlier = if params.replace { Earlier::Remove } else { Earlier::Keep };
    extension
        .blocking(call, move |catalog, host| {
            let counted = catalog.import_descriptions(&params.file, earlier, host)?;
            Ok(answers::descriptions_imported(counted, catalog.indexed()?))
        })
        .await
}

fn query(params: &Search) -> Result<Query, Error> {
    let invalid =
        |field: &str, reason: String| Error::new(Code::INVALID_ARGUMENT, format!("parameter `{field}`: {reason}"));
    let kind = params.kind.as_deref().map(str::parse::<PackageType>).transpose();
    let version = params.version.as_deref().map(VersionReq::parse).transpose();
    let moment = |field, text: &Option<String>, missing| match text {
        None => Ok(missing),
        Some(text) => seconds(text).ok_or_else(|| {
            invalid(field, format!("`{text}` is no date")).help("write it as 2026-11-24, or as 2026-11-24T12:00:00Z")
        }),
    };
    Ok(Query {
        text: params.words.join(" "),
        tags: params.tag.clone(),
        kind: kind.map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?,
        author: params.author.clone(),
        version: version
            .map_err(|error| invalid("version", error.to_string()).help("write it as `1.2`, `^1.2` or `>=1, <3`"))?,
        updated: moment("since", &params.since, i64::MIN)?..moment("until", &params.until, i64::MAX)?,
        sort: match params.sort.as_str() {
            "relevance" => Sort::Relevance,
            "created" => Sort::DateCreated,
            "updated" => Sort::DateUpdated,
            "popularity" => Sort::Popularity,
            "rating" => Sort::Rating,
            "name" => Sort::Name,
            other => {
                let orders = "orders are relevance, created, updated, popularity, rating and name";
                return Err(invalid("sort", format!("`{other}` is no order")).help(orders));
            }
        },
        offset: params.offset,
        limit: params.limit,
    })
}

fn seconds(text: &str) -> Option<i64> {
    let day = Date::parse(text, format_description!("[year]-[month]-[day]"));
    let at = day.map(|day| day.midnight().assume_utc()).or_else(|_| OffsetDateTime::parse(text, &Rfc3339));
    at.ok().map(OffsetDateTime::unix_timestamp)
}

/// Reads the queries of a file; empty lines are none.
fn lines(path: &Path) -> Result<Vec<String>, OpError> {
    let fault = |source| OpError::File { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(fault)?;
    file.take(BATCH_BYTES_MAX + 1).read_to_string(&mut text).map_err(fault)?;
    if text.len() as u64 > BATCH_BYTES_MAX {
        return Err(OpError::BatchTooLarge { what: "the queries", limit: BATCH_BYTES_MAX });
    }
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn relevance() -> String {
    "relevance".into()
}

fn twenty() -> usize {
    20
}
