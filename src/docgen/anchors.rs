//! Headings of a page: no level is passed over, anchors are unique, and every link inside the page has one.

use std::collections::{BTreeMap, BTreeSet};

use super::block::{Block, Span, Target, plain};
use super::document::Document;
use super::html;
use super::prose::slug;

/// The level of a section's title.
const SECTION: (u8, u8) = (2, 2);
/// The lowest level that formats have.
const LEVEL_MAX: u8 = 6;

/// Gives headings the level below what they stand under, names every heading that has no name, makes the names of all headings unique, and leaves of links that lead nowhere their
/// words. Headings that were given a name come with names that are unique already.
pub(super) fn settle(document: &mut Document) {
    for section in &mut document.sections {
        relevel(&mut section.blocks, &mut vec![SECTION]);
    }
    let mut taken: BTreeMap<String, usize> = html::IDS.iter().map(|id| ((*id).to_owned(), 1)).collect();
    for section in &document.sections {
        taken.insert(section.id.to_owned(), 1);
        headings(&section.blocks, &mut |id, _| {
            taken.insert(id.to_owned(), 1);
        });
    }
    for section in &mut document.sections {
        name(&mut section.blocks, &mut taken);
    }
    let mut known: BTreeSet<String> = document.sections.iter().map(|section| section.id.to_owned()).collect();
    for section in &document.sections {
        headings(&section.blocks, &mut |id, _| {
            known.insert(id.to_owned());
        });
    }
    for section in &mut document.sections {
        section.blocks.iter_mut().for_each(|block| spans_of(block, &mut |spans| links(spans, &known)));
    }
}

/// Calls with every anchor of headings and its words, in the order of the page.
pub(super) fn headings(blocks: &[Block], found: &mut impl FnMut(&str, &[Span])) {
    for block in blocks {
        match block {
            Block::Heading { id, spans, .. } if !id.is_empty() => found(id, spans),
            Block::List { items, .. } => items.iter().for_each(|item| headings(item, &mut *found)),
            Block::Quote(inner) => headings(inner, &mut *found),
            _ => {}
        }
    }
}

/// Gives each heading a level one below the heading it stands under: authors begin at any level, and pass some over. `above`
/// are the headings that it stands under, each with the level that its author gave it and the one it has now.
fn relevel(blocks: &mut [Block], above: &mut Vec<(u8, u8)>) {
    for block in blocks {
        match block {
            Block::Heading { level, .. } => {
                while above.len() > 1 && above.last().is_some_and(|(given, _)| *given >= *level) {
                    above.pop();
                }
                let now = above.last().map_or(SECTION.1, |(_, now)| *now).saturating_add(1).min(LEVEL_MAX);
                above.push((*level, now));
                *level = now;
            }
            Block::List { items, .. } => items.iter_mut().for_each(|item| relevel(item, above)),
            Block::Quote(inner) => relevel(inner, above),
            _ => {}
        }
    }
}

/// Gives a name that is not taken yet.
pub(super) fn unique(wanted: &str, taken: &mut BTreeMap<String, usize>) -> String {
    let mut wanted = wanted.to_owned();
    if wanted.is_empty() {
        wanted.push_str("part");
    }
    loop {
        let count = taken.entry(wanted.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            return wanted;
        }
        let next = format!("{wanted}-{count}");
        if !taken.contains_key(&next) {
            taken.insert(next.clone(), 1);
            return next;
        }
    }
}

fn name(blocks: &mut [Block], taken: &mut BTreeMap<String, usize>) {
    for block in blocks {
        match block {
            Block::Heading { id, spans, .. } if id.is_empty() => *id = unique(&slug(&plain(spans)), taken),
            Block::List { items, .. } => items.iter_mut().for_each(|item| name(item, taken)),
            Block::Quote(inner) => name(inner, taken),
            _ => {}
        }
    }
}

fn spans_of(block: &mut Block, change: &mut impl FnMut(&mut Vec<Span>)) {
    match block {
        Block::Heading { spans, .. } | Block::Paragraph(spans) | Block::Note { spans, .. } => change(spans),
        Block::List { items, .. } => items.iter_mut().flatten().for_each(|block| spans_of(block, &mut *change)),
        Block::Quote(inner) => inner.iter_mut().for_each(|block| spans_of(block, &mut *change)),
        Block::Table { head, rows } => rows.iter_mut().chain([head]).flatten().for_each(change),
        Block::Code { .. } | Block::Rule => {}
    }
}

fn links(spans: &mut Vec<Span>, known: &BTreeSet<String>) {
    let mut settled = Vec::with_capacity(spans.len());
    for mut span in spans.drain(..) {
        match &mut span {
            Span::Emphasis(inner) | Span::Strong(inner) => links(inner, known),
            Span::Link { target: Target::Here(to), spans: inner } if !known.contains(to) => {
                links(inner, known);
                settled.append(inner);
                continue;
            }
            Span::Link { spans: inner, .. } => links(inner, known),
            Span::Text(_) | Span::Code(_) | Span::Break => {}
        }
        settled.push(span);
    }
    *spans = settled;
}
