//! A documentation in CommonMark with tables. It reads back as the same blocks; raw HTML of an author stays text.

use super::block::{Block, Span, Target, Tone};
use super::document::Document;
use super::prose::slug;
use super::{escape, title};

pub(super) fn write(document: &Document) -> String {
    let mut out = String::from("# ");
    escape::markdown(&title(&document.package.name, &document.package.version), &mut out);
    out.push_str("\n\n");
    for section in &document.sections {
        out.push_str(&format!("- [{}](#{})\n", section.title, slug(section.title)));
    }
    for section in &document.sections {
        out.push_str(&format!("\n## {}\n\n", section.title));
        blocks(&section.blocks, &mut out);
    }
    out
}

fn blocks(list: &[Block], out: &mut String) {
    for (at, block) in list.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        write_block(block, out);
    }
}

fn write_block(block: &Block, out: &mut String) {
    match block {
        Block::Heading { level, spans, .. } => {
            out.push_str(&"#".repeat(usize::from(*level)));
            out.push(' ');
            write_spans(spans, Place::Line, out);
            out.push('\n');
        }
        Block::Paragraph(spans) => {
            write_spans(spans, Place::Text, out);
            out.push('\n');
        }
        Block::Code { language, text, .. } => {
            // A lone `\r` ends a line for readers of Markdown, and what follows would stand outside of the block.
            let text: String = text.chars().map(|c| if escape::is_hidden(c) { '\u{fffd}' } else { c }).collect();
            let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
            let fence = "`".repeat(longest.max(2) + 1);
            let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
            out.push_str(&format!("{fence}{language}\n{text}{end}{fence}\n"));
        }
        Block::List { start, items } => {
            for (at, item) in items.iter().enumerate() {
                let bullet = start.map_or("- ".to_owned(), |start| format!("{}. ", start.saturating_add(at as u64)));
                let mut inner = String::new();
                blocks(item, &mut inner);
                indented(&inner, &bullet, &" ".repeat(bullet.len()), out);
            }
        }
        Block::Quote(inner) => {
            let mut text = String::new();
            blocks(inner, &mut text);
            indented(&text, "> ", "> ", out);
        }
        Block::Table { head, rows } => {
            row(head, out);
            out.push_str(&format!("|{}\n", "---|".repeat(head.len())));
            rows.iter().for_each(|cells| row(cells, out));
        }
        Block::Rule => out.push_str("---\n"),
        Block::Note { tone, spans } => {
            let mut text = String::new();
            write_spans(spans, Place::Text, &mut text);
            let text = if *tone == Tone::Bad { format!("**{}**", text.trim()) } else { text };
            indented(&text, "> ", "> ", out);
        }
    }
}

fn indented(text: &str, first: &str, rest: &str, out: &mut String) {
    for (at, line) in text.trim_end_matches('\n').split('\n').enumerate() {
        let line = format!("{}{line}", if at == 0 { first } else { rest });
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

fn row(cells: &[Vec<Span>], out: &mut String) {
    out.push('|');
    for cell in cells {
        let mut text = String::new();
        write_spans(cell, Place::Cell, &mut text);
        out.push_str(&format!(" {} |", text.trim()));
    }
    out.push('\n');
}

/// Where spans stand, which decides what a line may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Line,
    Cell,
}

fn write_spans(spans: &[Span], place: Place, out: &mut String) {
    for span in spans {
        match span {
            Span::Text(text) => escape::markdown(text, out),
            Span::Code(text) => inline_code(text, place, out),
            Span::Emphasis(inner) => wrapped("*", inner, place, out),
            Span::Strong(inner) => wrapped("**", inner, place, out),
            Span::Link { target: Target::Away(url), spans: inner } => {
                out.push('[');
                write_spans(inner, place, out);
                let escaped = [('<', "%3C"), ('>', "%3E"), ('\\', "%5C"), ('|', "%7C")];
                let url = escaped.iter().fold(url.clone(), |url, (sign, code)| url.replace(*sign, code));
                out.push_str(&format!("](<{url}>)"));
            }
            // Names of headings differ between readers of Markdown; the words stay.
            Span::Link { spans: inner, .. } => write_spans(inner, place, out),
            Span::Break if place == Place::Text => out.push_str("\\\n"),
            Span::Break => out.push(' '),
        }
    }
}

fn wrapped(mark: &str, inner: &[Span], place: Place, out: &mut String) {
    let mut text = String::new();
    write_spans(inner, place, &mut text);
    let trimmed = text.trim();
    if !trimmed.is_empty() {
        out.push_str(&format!("{mark}{trimmed}{mark}"));
    }
}

fn inline_code(text: &str, place: Place, out: &mut String) {
    if place == Place::Cell && text.contains("\\|") {
        // No form of code in a cell keeps both signs for every reader.
        return escape::markdown(text, out);
    }
    let text: String = text.chars().map(|c| if c == '\n' || escape::is_hidden(c) { ' ' } else { c }).collect();
    let text = if place == Place::Cell { text.replace('|', "\\|") } else { text };
    if text.trim().is_empty() {
        return;
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    out.push_str(&format!("{fence}{space}{text}{space}{fence}"));
}
