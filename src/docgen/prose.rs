//! What authors write in Markdown (CommonMark 0.31 with tables), as blocks.
//!
//! Raw HTML stays the text that it is, pictures become the words that stand for them, and a link that leads neither to the
//! web nor to a heading of the page becomes its words: the page asks nobody for anything, and cannot be made to.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::block::{Block, Cell, Span, Target, away};

/// The most bytes of one text of an author; what comes after is cut.
pub const PROSE_BYTES_MAX: usize = 256 << 10;
/// The deepest that lists, quotes and stress are told apart; what lies deeper stands at this depth.
const DEPTH_MAX: usize = 16;

/// What stands behind the language of a program that is not to be run.
pub const READ_ONLY: &str = "no-run";

/// Reads Markdown. Headings begin at a level: the highest one of the text becomes that one.
pub fn read(text: &str, level_first: u8) -> Vec<Block> {
    let text = cut(text, PROSE_BYTES_MAX);
    let mut reader = Reader { stack: vec![Frame::Blocks(Vec::new())], deep: Vec::new() };
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        reader.take(event);
    }
    let mut blocks = reader.finish();
    shift(&mut blocks, level_first);
    blocks
}

/// Gives the beginning of a text, of so many bytes at most, at the border of a character.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Gives a text as a name for links: lower-case words with `-` between them.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars().take(96) {
        match c {
            _ if c.is_alphanumeric() || c == '_' => slug.extend(c.to_lowercase()),
            _ if slug.ends_with('-') || slug.is_empty() => {}
            _ => slug.push('-'),
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// What is being read, and what was read of it.
enum Frame {
    Blocks(Vec<Block>),
    Quote(Vec<Block>),
    List { start: Option<u64>, items: Vec<Vec<Block>> },
    Item(Vec<Block>),
    Paragraph(Vec<Span>),
    Heading(u8, Vec<Span>),
    Code(CodeBlock, String),
    Emphasis(Vec<Span>),
    Strong(Vec<Span>),
    Link(String, Vec<Span>),
    Table { head: Vec<Cell>, rows: Vec<Vec<Cell>> },
    Row(Vec<Cell>),
    Cell(Vec<Span>),
}

struct Reader {
    stack: Vec<Frame>,
    /// The ends that belong to what lies too deep to be told apart.
    deep: Vec<TagEnd>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.open(tag),
            Event::End(end) if self.deep.last() == Some(&end) => drop(self.deep.pop()),
            Event::End(end) => self.close(end),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(text) => self.span(Span::Code(text.into_string())),
            Event::SoftBreak => self.text(" "),
            Event::HardBreak => self.span(Span::Break),
            Event::Rule => self.block(Block::Rule),
            Event::InlineMath(text) | Event::DisplayMath(text) => self.text(&text),
            Event::FootnoteReference(name) => self.text(&name),
            Event::TaskListMarker(done) => self.text(if done { "[x] " } else { "[ ] " }),
        }
    }

    fn open(&mut self, tag: Tag<'_>) {
        if self.stack.len() >= DEPTH_MAX && tag_nests(&tag) {
            self.deep.push(tag.to_end());
            return;
        }
        let frame = match tag {
            Tag::Paragraph | Tag::HtmlBlock => Frame::Paragraph(Vec::new()),
            Tag::Heading { level, .. } => Frame::Heading(level_of(level), Vec::new()),
            Tag::BlockQuote(_) => Frame::Quote(Vec::new()),
            Tag::CodeBlock(kind) => Frame::Code(CodeBlock::of(&kind), String::new()),
            Tag::List(start) => Frame::List { start, items: Vec::new() },
            Tag::Item => Frame::Item(Vec::new()),
            Tag::Emphasis => Frame::Emphasis(Vec::new()),
            Tag::Strong => Frame::Strong(Vec::new()),
            Tag::Link { dest_url, .. } => Frame::Link(dest_url.into_string(), Vec::new()),
            // A picture would be fetched from somewhere; its words stand in for it.
            Tag::Image { .. } => Frame::Link(String::new(), Vec::new()),
            Tag::Table(_) => Frame::Table { head: Vec::new(), rows: Vec::new() },
            Tag::TableHead | Tag::TableRow => Frame::Row(Vec::new()),
            Tag::TableCell => Frame::Cell(Vec::new()),
            other => {
                self.deep.push(other.to_end());
                return;
            }
        };
        self.stack.push(frame);
    }

    fn close(&mut self, end: TagEnd) {
        if self.stack.len() < 2 {
            return;
        }
        let Some(frame) = self.stack.pop() else { return };
        match frame {
            Frame::Blocks(blocks) | Frame::Item(blocks) if end == TagEnd::Item => self.item(blocks),
            Frame::Blocks(blocks) | Frame::Item(blocks) => blocks.into_iter().for_each(|block| self.block(block)),
            Frame::Quote(blocks) => self.block(Block::Quote(blocks)),
            Frame::List { start, items } => self.block(Block::List { start, items }),
            Frame::Paragraph(spans) if spans.is_empty() => {}
            Frame::Paragraph(spans) => self.block(Block::Paragraph(spans)),
            Frame::Heading(level, spans) => self.block(Block::Heading { level, id: String::new(), spans }),
            Frame::Code(CodeBlock { language, read_only }, text) => {
                self.block(Block::Code { language, text, read_only });
            }
            Frame::Emphasis(spans) => self.span(Span::Emphasis(spans)),
            Frame::Strong(spans) => self.span(Span::Strong(spans)),
            Frame::Link(url, spans) => match target(&url) {
                Some(target) => self.span(Span::Link { target, spans }),
                None => spans.into_iter().for_each(|span| self.span(span)),
            },
            Frame::Table { head, mut rows } => {
                rows.iter_mut().for_each(|row| row.resize(head.len(), Vec::new()));
                self.block(Block::Table { head, rows });
            }
            Frame::Row(cells) => match self.stack.last_mut() {
                Some(Frame::Table { head, .. }) if end == TagEnd::TableHead => *head = cells,
                Some(Frame::Table { rows, .. }) => rows.push(cells),
                _ => cells.into_iter().flatten().for_each(|span| self.span(span)),
            },
            Frame::Cell(spans) => match self.stack.last_mut() {
                Some(Frame::Row(cells)) => cells.push(spans),
                _ => spans.into_iter().for_each(|span| self.span(span)),
            },
        }
    }

    fn item(&mut self, blocks: Vec<Block>) {
        match self.stack.last_mut() {
            Some(Frame::List { items, .. }) => items.push(blocks),
            _ => blocks.into_iter().for_each(|block| self.block(block)),
        }
    }

    fn block(&mut self, block: Block) {
        match self.stack.last_mut() {
            Some(Frame::Blocks(blocks) | Frame::Quote(blocks) | Frame::Item(blocks)) => blocks.push(block),
            Some(Frame::List { items, .. }) => items.push(vec![block]),
            // Blocks inside running text do not happen; if they did, their words are kept.
            _ => {
                let mut words = String::new();
                if let Block::Paragraph(spans) = &block {
                    super::block::words_of(spans, &mut words);
                }
                self.text(&words);
            }
        }
    }

    fn span(&mut self, span: Span) {
        match self.stack.last_mut() {
            Some(
                Frame::Paragraph(spans)
                | Frame::Heading(_, spans)
                | Frame::Emphasis(spans)
                | Frame::Strong(spans)
                | Frame::Link(_, spans)
                | Frame::Cell(spans),
            ) => push(spans, span),
            Some(Frame::Code(_, text)) => super::block::words_of(&[span], text),
            Some(Frame::Blocks(blocks) | Frame::Quote(blocks) | Frame::Item(blocks)) => match blocks.last_mut() {
                // Items of tight lists hold words without a paragraph around them.
                Some(Block::Paragraph(spans)) => push(spans, span),
                _ => blocks.push(Block::Paragraph(vec![span])),
            },
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.span(Span::Text(text.to_owned()));
        }
    }

    fn finish(mut self) -> Vec<Block> {
        while self.stack.len() > 1 {
            self.close(TagEnd::Paragraph);
        }
        match self.stack.pop() {
            Some(Frame::Blocks(blocks)) => blocks,
            _ => Vec::new(),
        }
    }
}

/// Adds a span; words join the words before them.
fn push(spans: &mut Vec<Span>, span: Span) {
    match (spans.last_mut(), span) {
        (Some(Span::Text(before)), Span::Text(words)) => before.push_str(&words),
        (_, span) => spans.push(span),
    }
}

fn tag_nests(tag: &Tag<'_>) -> bool {
    matches!(
        tag,
        Tag::BlockQuote(_)
            | Tag::List(_)
            | Tag::Item
            | Tag::Emphasis
            | Tag::Strong
            | Tag::Link { .. }
            | Tag::Image { .. }
    )
}

fn level_of(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

/// What stands behind a fence.
struct CodeBlock {
    language: String,
    read_only: bool,
}

impl CodeBlock {
    /// The first word is the language, if it is one that can be shown and compared; `no-run` may stand behind it.
    fn of(kind: &CodeBlockKind<'_>) -> Self {
        let CodeBlockKind::Fenced(words) = kind else { return Self { language: String::new(), read_only: true } };
        let mut words = words.split(|c: char| c.is_whitespace() || "{},;".contains(c));
        let word = words.next().unwrap_or_default();
        let fits = word.len() <= 32 && word.chars().all(|c| c.is_ascii_alphanumeric() || "-+_".contains(c));
        let language = if fits { word.to_ascii_lowercase() } else { String::new() };
        Self { language, read_only: words.any(|word| word == READ_ONLY) }
    }
}

fn target(url: &str) -> Option<Target> {
    match url.strip_prefix('#') {
        Some(name) => Some(Target::Here(slug(name))),
        None => away(url),
    }
}

/// Moves headings so that the highest has a level, and none is below 6.
fn shift(blocks: &mut [Block], level_first: u8) {
    let level = |block: &Block| if let Block::Heading { level, .. } = block { Some(*level) } else { None };
    let Some(highest) = blocks.iter().filter_map(level).min() else { return };
    for block in blocks {
        if let Block::Heading { level, .. } = block {
            *level = (*level - highest).saturating_add(level_first).min(6);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::block::{count_words, paragraph};
    use super::*;

    #[test]
    fn blocks_and_spans_keep_their_kind() {
        let text = "# Title\n\nOne *two* **three** `four` [five](https://a.example).\n\n1. six\n   - seven\n\n> eight\n\n\
                    | a | b |\n|---|---|\n| 1 |\n\n```lua,run\nreturn 1\n```\n---\n";
        let blocks = read(text, 3);
        insta::assert_debug_snapshot!(blocks.iter().map(kind).collect::<Vec<_>>(), @r#"
        [
            "h3 Title",
            "p One two three four five.",
            "list Some(1) of 1",
            "quote",
            "table 2 x 1",
            "code lua",
            "rule",
        ]
        "#);
    }

    fn kind(block: &Block) -> String {
        match block {
            Block::Heading { level, spans, .. } => format!("h{level} {}", super::super::block::plain(spans)),
            Block::Paragraph(spans) => format!("p {}", super::super::block::plain(spans)),
            Block::Code { language, .. } => format!("code {language}"),
            Block::List { start, items } => format!("list {start:?} of {}", items.len()),
            Block::Quote(_) => "quote".into(),
            Block::Table { head, rows } => format!("table {} x {}", head.len(), rows.len()),
            Block::Rule => "rule".into(),
            Block::Note { .. } => "note".into(),
        }
    }

    #[test]
    fn raw_html_pictures_and_other_links_are_words() {
        assert_eq!(read("<script>x()</script>\n", 3), [paragraph("<script>x()</script>\n")]);
        assert_eq!(read("a <b>c</b>", 3), [paragraph("a <b>c</b>")]);
        assert_eq!(read("![a picture](https://a.example/b.png)", 3), [paragraph("a picture")]);
        assert_eq!(read("[a](javascript:alert(1)) [b](../c.md)", 3), [paragraph("a b")]);
    }

    #[test]
    fn what_is_nested_too_deep_keeps_its_words() {
        let deep = format!("{}word", "> ".repeat(200));
        assert_eq!(count_words(&read(&deep, 3)), 1);
        let stressed = format!("{}word{}", "*_".repeat(100), "_*".repeat(100));
        assert!(count_words(&read(&stressed, 3)) >= 1);
        assert_eq!(cut("aé", 2), "a");
    }

    #[test]
    fn names_for_links_have_words_and_hyphens() {
        assert_eq!(slug("Vec3.new(x, y)"), "vec3-new-x-y");
        assert_eq!(slug("  Größe & Weg! "), "größe-weg");
        assert_eq!(slug("--"), "");
    }

    proptest! {
        #[test]
        fn any_text_gives_blocks(text in "(\\PC|[*_`#>|\\[\\]()<!\n -]|```|~~~|1\\.){0,80}") {
            let level = |block: &Block| if let Block::Heading { level, .. } = block { *level } else { 3 };
            prop_assert!(read(&text, 3).iter().map(level).all(|level| (3..=6).contains(&level)));
        }
    }
}
