//! What a page of documentation is made of, whatever format it is written in.
//!
//! There is no block and no span that holds markup of an output format, so whatever an author writes comes out as text:
//! a writer escapes everything, and has nothing that it would have to pass through.

/// A part of a page that stands below the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A heading inside a section, with the name that links lead to; levels begin at 3, below page and section.
    Heading {
        /// 3 to 6.
        level: u8,
        /// Unique on the page once `anchors` has seen it; empty for none.
        id: String,
        /// The words.
        spans: Vec<Span>,
    },
    /// Running text.
    Paragraph(Vec<Span>),
    /// Text that keeps its lines.
    Code {
        /// The language, in letters, digits, `-`, `+` and `_`; empty if it has none.
        language: String,
        /// The lines.
        text: String,
        /// Whether its author says that it is only to be read.
        read_only: bool,
    },
    /// Items with a bullet, or with numbers from the one given.
    List {
        /// The first number.
        start: Option<u64>,
        /// The items.
        items: Vec<Vec<Block>>,
    },
    /// What somebody else said.
    Quote(Vec<Block>),
    /// Cells below a row of headings.
    Table {
        /// The headings; as many as each row has cells.
        head: Vec<Cell>,
        /// The rows.
        rows: Vec<Vec<Cell>>,
    },
    /// A line between two parts.
    Rule,
    /// A remark that stands out.
    Note {
        /// How it is meant.
        tone: Tone,
        /// What it says.
        spans: Vec<Span>,
    },
}

/// A cell of a table.
pub type Cell = Vec<Span>;

/// How a remark is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth knowing.
    Plain,
    /// Something is wrong.
    Bad,
}

/// A part of running text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// Words.
    Text(String),
    /// Words of a program.
    Code(String),
    /// Words with stress.
    Emphasis(Vec<Span>),
    /// Words with more stress.
    Strong(Vec<Span>),
    /// Words that lead somewhere.
    Link {
        /// To where.
        target: Target,
        /// The words.
        spans: Vec<Span>,
    },
    /// The end of a line.
    Break,
}

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a heading of this page.
    Here(String),
    /// To another place, by `https:`, `http:` or `mailto:` and nothing else.
    Away(String),
}

/// Makes a paragraph of plain words.
pub fn paragraph(text: impl Into<String>) -> Block {
    Block::Paragraph(vec![Span::Text(text.into())])
}

/// Makes a cell of plain words.
pub fn cell(text: impl Into<String>) -> Cell {
    vec![Span::Text(text.into())]
}

/// Makes a cell with words of a program.
pub fn code(text: impl Into<String>) -> Cell {
    vec![Span::Code(text.into())]
}

/// Makes lines of a program, which nobody runs.
pub fn program(language: &str, text: impl Into<String>) -> Block {
    Block::Code { language: language.to_owned(), text: text.into(), read_only: true }
}

/// Makes an unordered list of plain words.
pub fn list(items: impl IntoIterator<Item = String>) -> Block {
    Block::List { start: None, items: items.into_iter().map(|item| vec![paragraph(item)]).collect() }
}

/// Gives a place on the web, if it is one that a page may lead to.
pub fn away(url: &str) -> Option<Target> {
    let scheme = url.split_once(':')?.0.to_ascii_lowercase();
    let known = ["https", "http", "mailto"].contains(&scheme.as_str());
    let clean = !url.chars().any(|c| c.is_control() || c.is_whitespace());
    (known && clean).then(|| Target::Away(url.to_owned()))
}

/// Adds the words of spans to a text, without their form.
pub fn words_of(spans: &[Span], text: &mut String) {
    for span in spans {
        match span {
            Span::Text(words) | Span::Code(words) => text.push_str(words),
            Span::Emphasis(inner) | Span::Strong(inner) | Span::Link { spans: inner, .. } => words_of(inner, text),
            Span::Break => text.push(' '),
        }
    }
}

/// Gives the words of spans, without their form.
pub fn plain(spans: &[Span]) -> String {
    let mut text = String::new();
    words_of(spans, &mut text);
    text
}

/// Counts the words that somebody reads: those between spaces, of text and code alike.
pub fn count_words(blocks: &[Block]) -> usize {
    let in_text = |text: &str| text.split_whitespace().count();
    let in_spans = |spans: &[Span]| in_text(&plain(spans));
    blocks
        .iter()
        .map(|block| match block {
            Block::Heading { spans, .. } | Block::Paragraph(spans) | Block::Note { spans, .. } => in_spans(spans),
            Block::Code { text, .. } => in_text(text),
            Block::List { items, .. } => items.iter().map(|item| count_words(item)).sum(),
            Block::Quote(inner) => count_words(inner),
            Block::Table { head, rows } => {
                rows.iter().chain([head]).flatten().map(|cell| in_spans(cell)).sum::<usize>()
            }
            Block::Rule => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_web_and_nowhere_else() {
        for good in ["https://a.example/b?c#d", "HTTP://a", "mailto:a@b.example"] {
            assert!(away(good).is_some(), "{good}");
        }
        for bad in
            ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//a.example", "a/b", "java\nscript:x"]
        {
            assert!(away(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn words_are_counted_wherever_they_stand() {
        let blocks = [
            Block::Heading { level: 3, id: "a".into(), spans: cell("one two") },
            Block::List {
                start: None,
                items: vec![vec![paragraph("three")], vec![Block::Quote(vec![paragraph("four")])]],
            },
            Block::Table { head: vec![cell("five")], rows: vec![vec![code("six seven")]] },
            program("", "eight\nnine"),
            Block::Rule,
        ];
        assert_eq!(count_words(&blocks), 9);
    }
}
