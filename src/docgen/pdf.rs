//! A documentation as pages of A4 to print, with an outline of its sections.
//!
//! Lines are set here, and `pdf-writer` writes the objects. Text is laid out in the fonts that every reader has, so nothing is
//! embedded and the same package gives the same bytes; there is no time and no random identifier in the file.

mod font;
mod sheet;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pdf_writer::{Filter, Finish, Name, Pdf, Rect, Ref, TextStr};
use std::io::Write as _;

use self::font::Font;
use self::sheet::{HEIGHT, Sheet, WIDTH};
use super::block::{Block, Span, Target, Tone, plain};
use super::document::Document;
use super::{Warning, title};

/// Sizes of text, in points.
const TITLE: f32 = 20.0;
const SECTION: f32 = 14.0;
const TEXT: f32 = 10.0;
const CODE: f32 = 8.5;
/// How far lists and quotes stand in, and the deepest that they do.
const INDENT: f32 = 14.0;
const INDENT_MAX: f32 = 8.0 * INDENT;

/// A word, or the space or break between two.
type Run = (Font, String);

/// Gives the file, and what could not be shown as it is.
pub(super) fn write(document: &Document) -> (Vec<u8>, Vec<Warning>) {
    let name = title(&document.package.name, &document.package.version);
    let mut sheet = Sheet::new(&name);
    sheet.words(&[(Font::Bold, name.clone())], TITLE, 0.0);
    let mut outline = Vec::new();
    for section in &document.sections {
        sheet.keep(SECTION * 4.0);
        sheet.space(SECTION);
        outline.push((section.title, sheet.page()));
        sheet.words(&[(Font::Bold, section.title.to_owned())], SECTION, 0.0);
        sheet.line();
        blocks(&section.blocks, 0.0, &mut sheet);
    }
    let (pages, lacking, cut) = sheet.finish();
    let rest = cut.then(|| "the rest is left out: a PDF has so many pages at most; take another format".to_owned());
    let signs = (lacking > 0).then(|| {
        format!(
            "{lacking} characters are shown as `?`: the fonts of every PDF reader lack them; print the HTML instead"
        )
    });
    let warnings = [rest, signs].into_iter().flatten().map(|text| Warning { code: "PDF_NOT_WHOLE", text }).collect();
    (objects(&name, &pages, &outline), warnings)
}

fn objects(name: &str, pages: &[Vec<u8>], outline: &[(&str, usize)]) -> Vec<u8> {
    let mut next = 0;
    let mut id = || {
        next += 1;
        Ref::new(next)
    };
    let (catalog, tree, info, outlines, fonts) = (id(), id(), id(), id(), [id(), id(), id()]);
    let page_ids: Vec<(Ref, Ref)> = pages.iter().map(|_| (id(), id())).collect();
    let outline_ids: Vec<Ref> = outline.iter().map(|_| id()).collect();
    let mut pdf = Pdf::new();
    let mut root = pdf.catalog(catalog);
    root.pages(tree).outlines(outlines).lang(TextStr("en"));
    root.finish();
    pdf.document_info(info).title(TextStr(name));
    pdf.pages(tree).kids(page_ids.iter().map(|(page, _)| *page)).count(i32::try_from(pages.len()).unwrap_or(i32::MAX));
    for ((page_id, content_id), content) in page_ids.iter().zip(pages) {
        let mut page = pdf.page(*page_id);
        page.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).parent(tree).contents(*content_id);
        let mut resources = page.resources();
        let mut named = resources.fonts();
        for (font, id) in [Font::Plain, Font::Bold, Font::Fixed].into_iter().zip(fonts) {
            named.pair(Name(font.name()), id);
        }
        named.finish();
        resources.finish();
        page.finish();
        let packed = packed(content);
        pdf.stream(*content_id, &packed).filter(Filter::FlateDecode);
    }
    let bases: [&[u8]; 3] = [b"Helvetica", b"Helvetica-Bold", b"Courier"];
    for (base, id) in bases.into_iter().zip(fonts) {
        pdf.type1_font(id).base_font(Name(base)).encoding_predefined(Name(b"WinAnsiEncoding"));
    }
    if let (Some(first), Some(last)) = (outline_ids.first(), outline_ids.last()) {
        pdf.outline(outlines).first(*first).last(*last).count(i32::try_from(outline.len()).unwrap_or(i32::MAX));
    }
    for (at, ((title, page), id)) in outline.iter().zip(&outline_ids).enumerate() {
        let mut item = pdf.outline_item(*id);
        item.title(TextStr(title)).parent(outlines);
        if let Some(before) = at.checked_sub(1).and_then(|before| outline_ids.get(before)) {
            item.prev(*before);
        }
        if let Some(after) = outline_ids.get(at + 1) {
            item.next(*after);
        }
        if let Some((page, _)) = page_ids.get(*page) {
            item.dest().page(*page).fit();
        }
    }
    pdf.finish()
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail; if it did, the page would be empty.
    let written = encoder.write_all(content);
    written.and_then(|()| encoder.finish()).unwrap_or_default()
}

fn blocks(list: &[Block], indent: f32, sheet: &mut Sheet) {
    for block in list {
        write_block(block, indent.min(INDENT_MAX), sheet);
    }
}

fn write_block(block: &Block, indent: f32, sheet: &mut Sheet) {
    match block {
        Block::Heading { level, spans, .. } => {
            let size = TEXT + f32::from(6_u8.saturating_sub(*level)) * 0.6;
            sheet.keep(size * 4.0);
            sheet.space(TEXT * 0.8);
            sheet.words(&[(Font::Bold, plain(spans))], size, indent);
        }
        Block::Paragraph(spans) => paragraph(spans, Font::Plain, indent, sheet),
        Block::Code { text, .. } => {
            sheet.space(TEXT * 0.3);
            text.trim_end_matches('\n').split('\n').for_each(|line| sheet.fixed(line, CODE, indent + INDENT / 2.0));
            sheet.space(TEXT * 0.5);
        }
        Block::List { start, items } => {
            for (at, item) in items.iter().enumerate() {
                let mark = start.map_or("•".to_owned(), |start| format!("{}.", start.saturating_add(at as u64)));
                sheet.mark(&mark, TEXT, indent);
                blocks(item, indent + INDENT, sheet);
            }
        }
        Block::Quote(inner) => blocks(inner, indent + INDENT, sheet),
        Block::Table { head, rows } => table(head, rows, indent, sheet),
        Block::Rule => sheet.line(),
        Block::Note { tone, spans } => {
            let font = if *tone == Tone::Bad { Font::Bold } else { Font::Plain };
            paragraph(spans, font, indent + INDENT / 2.0, sheet);
        }
    }
}

fn paragraph(spans: &[Span], font: Font, indent: f32, sheet: &mut Sheet) {
    let mut runs = Vec::new();
    runs_of(spans, font, &mut runs);
    sheet.words(&runs, TEXT, indent);
    sheet.space(TEXT * 0.4);
}

fn runs_of(spans: &[Span], font: Font, runs: &mut Vec<Run>) {
    for span in spans {
        match span {
            Span::Text(text) => runs.push((font, text.clone())),
            Span::Code(text) => runs.push((Font::Fixed, text.clone())),
            Span::Emphasis(inner) => runs_of(inner, font, runs),
            Span::Strong(inner) => runs_of(inner, Font::Bold, runs),
            Span::Link { target: Target::Away(url), spans } if plain(spans) != *url => {
                runs_of(spans, font, runs);
                runs.push((font, format!(" <{url}>")));
            }
            Span::Link { spans, .. } => runs_of(spans, font, runs),
            Span::Break => runs.push((font, "\n".into())),
        }
    }
}

fn table(head: &[Vec<Span>], rows: &[Vec<Vec<Span>>], indent: f32, sheet: &mut Sheet) {
    let runs = |cells: &[Vec<Span>], font: Font| -> Vec<Vec<Run>> {
        cells
            .iter()
            .map(|cell| {
                let mut runs = Vec::new();
                runs_of(cell, font, &mut runs);
                runs
            })
            .collect()
    };
    let mut all = vec![runs(head, Font::Bold)];
    all.extend(rows.iter().map(|row| runs(row, Font::Plain)));
    sheet.table(&all, TEXT - 1.0, indent);
    sheet.space(TEXT * 0.6);
}
