//! A documentation as one page of HTML with everything in it, so that it can be read from a disk, mailed and kept.
//!
//! Whatever an author wrote is escaped where it is written, and a policy of the page itself forbids everything but the one
//! style and the one script of this module, by their digests: nothing is fetched and nothing else can run. Search works
//! without a network, and without scripts the page is whole but for it.

use data_encoding::BASE64;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::api::Kind;
use super::block::{Block, Span, Target, Tone, plain};
use super::document::{Document, Section};
use super::escape;
use super::prose::cut;
use super::{Page, anchors};

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/search.js");
/// The most bytes of text of one entry of the search.
const ENTRY_BYTES_MAX: usize = 200;
/// The most names below the API in the contents of the page.
const CONTENTS_MAX: usize = 300;

/// The ids of the page's own frame, which no heading may take.
pub(super) const IDS: [&str; 6] =
    ["content", "search", "search-words", "search-results", "search-count", "search-index"];

pub(super) fn write(document: &Document) -> Vec<Page> {
    let index = Json::from(index(document));
    let mut out = String::with_capacity(64 << 10);
    head(document, &mut out);
    out.push_str("<body>\n<a class=\"skip\" href=\"#content\">Skip to the content</a>\n<div class=\"frame\">\n");
    side(document, &mut out);
    out.push_str("<main id=\"content\" tabindex=\"-1\">\n<h1>");
    escape::html(document.package.name.as_str(), &mut out);
    out.push_str(" <span>");
    escape::html(&document.package.version.to_string(), &mut out);
    out.push_str("</span></h1>\n");
    for section in &document.sections {
        of_section(section, &mut out);
    }
    footer(document, &mut out);
    out.push_str("</main>\n</div>\n<script type=\"application/json\" id=\"search-index\">");
    out.push_str(&in_script(&index.to_string()));
    out.push_str("</script>\n<script>");
    out.push_str(SCRIPT);
    out.push_str("</script>\n</body>\n</html>\n");
    let entries = format!("{}\n", json!({"format_version": 1, "entries": index})).into_bytes();
    vec![Page { name: "index.html", bytes: out.into_bytes() }, Page { name: "search.json", bytes: entries }]
}

fn head(document: &Document, out: &mut String) {
    let digest = |text: &str| BASE64.encode(&Sha256::digest(text.as_bytes()));
    // The index is data to the browser and needs no leave.
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        digest(STYLE),
        digest(SCRIPT)
    );
    let mut title = String::new();
    escape::html(&super::title(&document.package.name, &document.package.version), &mut title);
    let mut about = String::new();
    escape::html(document.package.about.description.as_deref().unwrap_or_default(), &mut about);
    out.push_str(&format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"{policy}\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"description\" content=\"{about}\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n"
    ));
}

fn side(document: &Document, out: &mut String) {
    out.push_str("<div class=\"side\">\n<header>\n<p class=\"name\">");
    escape::html(document.package.name.as_str(), out);
    out.push_str("</p>\n<p class=\"version\">");
    escape::html(&document.package.version.to_string(), out);
    out.push_str(
        "</p>\n</header>\n<div class=\"search\" id=\"search\" role=\"search\" hidden>\n<label for=\"search-words\">Search \
         (press /)</label>\n<input id=\"search-words\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\" \
         aria-controls=\"search-results\">\n<p class=\"count\" id=\"search-count\" role=\"status\"></p>\n\
         <ol id=\"search-results\"></ol>\n</div>\n<nav aria-label=\"Contents\">\n<ol>\n",
    );
    for section in &document.sections {
        out.push_str(&format!("<li><a href=\"#{}\">{}</a>", section.id, section.title));
        if section.id == "api" {
            names(document, out);
        }
        out.push_str("</li>\n");
    }
    out.push_str("</ol>\n</nav>\n</div>\n");
}

/// The names that a package offers, in the contents.
fn names(document: &Document, out: &mut String) {
    let mut shown = document.items.iter().filter(|(item, _)| item.is_public() && item.kind != Kind::Export).peekable();
    if shown.peek().is_none() {
        return;
    }
    out.push_str("\n<ol>\n");
    for (item, anchor) in shown.take(CONTENTS_MAX) {
        out.push_str("<li><a href=\"#");
        anchor_name(anchor, out);
        out.push_str("\">");
        escape::html(&item.name, out);
        out.push_str("</a></li>\n");
    }
    out.push_str("</ol>");
}

fn footer(document: &Document, out: &mut String) {
    let figures = document.figures();
    out.push_str("<footer>\n<p>");
    let minutes = if figures.reading_minutes == 1 { "minute" } else { "minutes" };
    escape::html(
        &format!(
            "{} words, about {} {minutes} to read. {} of {} public names are documented. Archive {}.",
            figures.words, figures.reading_minutes, figures.documented, figures.public, document.digest
        ),
        out,
    );
    out.push_str("</p>\n</footer>\n");
}

fn of_section(section: &Section, out: &mut String) {
    out.push_str(&format!("<section aria-labelledby=\"{0}\">\n<h2 id=\"{0}\">{1}", section.id, section.title));
    link_to(section.id, section.title, out);
    out.push_str("</h2>\n");
    blocks(&section.blocks, out);
    out.push_str("</section>\n");
}

/// A link by which a heading can be pointed to.
fn link_to(id: &str, words: &str, out: &mut String) {
    out.push_str("<a class=\"anchor\" href=\"#");
    anchor_name(id, out);
    out.push_str("\" aria-label=\"Link to ");
    escape::html(words, out);
    out.push_str("\">#</a>");
}

fn anchor_name(id: &str, out: &mut String) {
    escape::html(id, out);
}

fn blocks(list: &[Block], out: &mut String) {
    list.iter().for_each(|block| write_block(block, out));
}

fn write_block(block: &Block, out: &mut String) {
    match block {
        Block::Heading { level, id, spans } if id.is_empty() => {
            out.push_str(&format!("<h{level}>"));
            write_spans(spans, out);
            out.push_str(&format!("</h{level}>\n"));
        }
        Block::Heading { level, id, spans } => {
            out.push_str(&format!("<h{level} id=\""));
            anchor_name(id, out);
            out.push_str("\">");
            write_spans(spans, out);
            link_to(id, &plain(spans), out);
            out.push_str(&format!("</h{level}>\n"));
        }
        Block::Paragraph(spans) => element("p", spans, out),
        Block::Code { language, text, .. } => {
            // A box that scrolls must be reached by keys.
            out.push_str("<pre tabindex=\"0\"><code");
            if !language.is_empty() {
                out.push_str(&format!(" class=\"language-{language}\""));
            }
            out.push('>');
            escape::html(text.trim_end_matches('\n'), out);
            out.push_str("</code></pre>\n");
        }
        Block::List { start, items } => {
            match start {
                Some(1) => out.push_str("<ol>\n"),
                Some(start) => out.push_str(&format!("<ol start=\"{start}\">\n")),
                None => out.push_str("<ul>\n"),
            }
            items.iter().for_each(|item| of_item(item, out));
            out.push_str(if start.is_some() { "</ol>\n" } else { "</ul>\n" });
        }
        Block::Quote(inner) => {
            out.push_str("<blockquote>\n");
            blocks(inner, out);
            out.push_str("</blockquote>\n");
        }
        Block::Table { head, rows } => table(head, rows, out),
        Block::Rule => out.push_str("<hr>\n"),
        Block::Note { tone, spans } => {
            let class = match tone {
                Tone::Good => "note good",
                Tone::Plain => "note",
                Tone::Bad => "note bad",
            };
            out.push_str(&format!("<p class=\"{class}\">"));
            write_spans(spans, out);
            out.push_str("</p>\n");
        }
    }
}

fn of_item(item: &[Block], out: &mut String) {
    out.push_str("<li>");
    match item {
        [Block::Paragraph(spans)] => write_spans(spans, out),
        item => blocks(item, out),
    }
    out.push_str("</li>\n");
}

fn table(head: &[Vec<Span>], rows: &[Vec<Vec<Span>>], out: &mut String) {
    out.push_str("<div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr>");
    for cell in head {
        out.push_str("<th scope=\"col\">");
        write_spans(cell, out);
        out.push_str("</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            out.push_str("<td>");
            write_spans(cell, out);
            out.push_str("</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

fn element(name: &str, spans: &[Span], out: &mut String) {
    out.push_str(&format!("<{name}>"));
    write_spans(spans, out);
    out.push_str(&format!("</{name}>\n"));
}

fn write_spans(spans: &[Span], out: &mut String) {
    let wrapped = |name: &str, inner: &[Span], out: &mut String| {
        out.push_str(&format!("<{name}>"));
        write_spans(inner, out);
        out.push_str(&format!("</{name}>"));
    };
    for span in spans {
        match span {
            Span::Text(text) => escape::html(text, out),
            Span::Code(text) => {
                out.push_str("<code>");
                escape::html(text, out);
                out.push_str("</code>");
            }
            Span::Emphasis(inner) => wrapped("em", inner, out),
            Span::Strong(inner) => wrapped("strong", inner, out),
            Span::Link { target, spans } => {
                out.push_str("<a href=\"");
                match target {
                    Target::Here(id) => {
                        out.push('#');
                        anchor_name(id, out);
                        out.push_str("\">");
                    }
                    Target::Away(url) => {
                        escape::html(url, out);
                        out.push_str("\" rel=\"noopener noreferrer nofollow\">");
                    }
                }
                write_spans(spans, out);
                out.push_str("</a>");
            }
            Span::Break => out.push_str("<br>"),
        }
    }
}

/// What search looks through: sections, headings and names, each with the beginning of its text.
fn index(document: &Document) -> Vec<Json> {
    let entry = |id: &str, title: &str, kind: &str, text: &str| json!({"id": id, "title": title, "kind": kind, "text": cut(text, ENTRY_BYTES_MAX)});
    let mut entries: Vec<Json> = Vec::new();
    for (item, anchor) in &document.items {
        entries.push(entry(anchor, &item.full_name(), item.kind.label(), &item.summary()));
    }
    for section in &document.sections {
        entries.push(entry(section.id, section.title, "section", ""));
        anchors::headings(&section.blocks, &mut |id, spans| {
            if !id.starts_with("api-") {
                entries.push(entry(id, &plain(spans), section.title, ""));
            }
        });
    }
    entries
}

/// JSON between the tags of a script: no end of the script can stand in it.
fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}
