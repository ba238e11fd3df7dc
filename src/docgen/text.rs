//! A documentation as plain text, for terminals and for mail.

use super::block::{Block, Span, Target, Tone, plain};
use super::document::{Document, Section};
use super::{escape, title};

/// The longest line where words allow it, in characters.
const WIDTH: usize = 100;
/// The least width that is left to text however deep it stands.
const WIDTH_MIN: usize = 40;

pub(super) fn write(document: &Document) -> String {
    let mut out = String::new();
    let heading = title(&document.package.name, &document.package.version);
    underlined(&heading, '=', &mut out);
    for section in &document.sections {
        out.push('\n');
        underlined(section.title, '-', &mut out);
        out.push('\n');
        blocks(&section.blocks, WIDTH, &mut out);
    }
    out
}

/// Gives what one section says.
pub(super) fn of_section(section: &Section) -> String {
    let mut out = String::new();
    blocks(&section.blocks, WIDTH, &mut out);
    out
}

fn underlined(text: &str, line: char, out: &mut String) {
    let line: String = std::iter::repeat_n(line, text.chars().count()).collect();
    out.push_str(&format!("{text}\n{line}\n"));
}

fn blocks(list: &[Block], width: usize, out: &mut String) {
    for (at, block) in list.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        write_block(block, width, out);
    }
}

fn write_block(block: &Block, width: usize, out: &mut String) {
    match block {
        Block::Heading { level, spans, .. } => {
            let words = clean(&plain(spans));
            if *level <= 3 { underlined(&words, '.', out) } else { out.push_str(&format!("{words}\n")) }
        }
        Block::Paragraph(spans) => wrapped(&readable(spans), width, out),
        Block::Code { text, .. } => {
            for line in text.trim_end_matches('\n').split('\n') {
                out.push_str(format!("    {}", clean(line)).trim_end());
                out.push('\n');
            }
        }
        Block::List { start, items } => {
            for (at, item) in items.iter().enumerate() {
                let bullet = start.map_or("- ".to_owned(), |start| format!("{}. ", start.saturating_add(at as u64)));
                nested(item, &bullet, &" ".repeat(bullet.len()), width, out);
            }
        }
        Block::Quote(inner) => nested(inner, "| ", "| ", width, out),
        Block::Table { head, rows } => table(head, rows, out),
        Block::Rule => out.push_str(&format!("{}\n", "-".repeat(WIDTH_MIN))),
        Block::Note { tone, spans } => {
            let mark = match tone {
                Tone::Good => "ok: ",
                Tone::Plain => "note: ",
                Tone::Bad => "! ",
            };
            wrapped(&format!("{mark}{}", readable(spans)), width, out);
        }
    }
}

fn nested(inner: &[Block], first: &str, rest: &str, width: usize, out: &mut String) {
    let mut text = String::new();
    blocks(inner, width.saturating_sub(first.len()).max(WIDTH_MIN), &mut text);
    for (at, line) in text.trim_end_matches('\n').split('\n').enumerate() {
        out.push_str(format!("{}{line}", if at == 0 { first } else { rest }).trim_end());
        out.push('\n');
    }
}

/// Writes rows with columns as wide as their widest cell, up to a third of the line; a cell that is wider pushes the rest.
fn table(head: &[Vec<Span>], rows: &[Vec<Vec<Span>>], out: &mut String) {
    let texts: Vec<Vec<String>> = std::iter::once(head)
        .chain(rows.iter().map(Vec::as_slice))
        .map(|row| row.iter().map(|cell| readable(cell)).collect())
        .collect();
    let columns = head.len();
    let width = |column: usize| {
        texts
            .iter()
            .map(|row| row.get(column).map_or(0, |cell| cell.chars().count()))
            .filter(|width| *width <= WIDTH / 3)
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for (at, row) in texts.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
        if at == 0 {
            let lines = widths.iter().map(|width| "-".repeat((*width).max(3)));
            out.push_str(&format!("{}\n", lines.collect::<Vec<_>>().join("  ")));
        }
    }
}

/// Gives the words of spans, with the addresses that links lead to.
fn readable(spans: &[Span]) -> String {
    let mut text = String::new();
    for span in spans {
        match span {
            Span::Link { target: Target::Away(url), spans } => {
                let words = plain(spans);
                text.push_str(&if words == *url { words } else { format!("{words} <{url}>") });
            }
            Span::Emphasis(inner) | Span::Strong(inner) | Span::Link { spans: inner, .. } => {
                text.push_str(&readable(inner));
            }
            Span::Text(words) | Span::Code(words) => text.push_str(words),
            Span::Break => text.push('\n'),
        }
    }
    clean(&text)
}

/// A terminal must not take what an author writes for commands.
fn clean(text: &str) -> String {
    text.chars().map(|c| if escape::is_hidden(c) { '\u{fffd}' } else { c }).collect()
}

fn wrapped(text: &str, width: usize, out: &mut String) {
    for line in text.split('\n') {
        let mut used = 0;
        for word in line.split_whitespace() {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > width {
                out.push('\n');
                used = 0;
            }
            if used > 0 {
                out.push(' ');
                used += 1;
            }
            out.push_str(word);
            used += length;
        }
        out.push('\n');
    }
}
