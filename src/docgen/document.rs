//! A whole documentation: sections of blocks for people, and the same as values for programs.

use serde::Serialize;

use super::api::Item;
use super::block::{Block, count_words};
use super::example::Example;
use super::history::Step;
use super::{Warning, anchors};
use crate::digest::Digest;
use crate::package::Package;

/// Words that somebody reads in a minute (HyperMesh's measure).
const WORDS_PER_MINUTE: usize = 200;

/// A documentation before it is written in a format.
#[derive(Clone, Debug)]
pub struct Document {
    /// The package.
    pub package: Package,
    /// The digest of its archive.
    pub digest: Digest,
    /// The sections, in the order in which they are read.
    pub sections: Vec<Section>,
    /// What the package offers, with the anchor of each on the page.
    pub items: Vec<(Item, String)>,
    /// The examples with their results.
    pub examples: Vec<Example>,
    /// What the package asks for, in plain words.
    pub capabilities: Vec<String>,
    /// The versions, the latest first.
    pub steps: Vec<Step>,
    /// What was left out.
    pub warnings: Vec<Warning>,
}

/// A part of a documentation that has a title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its anchor, the same for every package.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it says.
    pub blocks: Vec<Block>,
}

/// How a documentation is made up, in figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// The words of all sections.
    pub words: usize,
    /// How long reading takes, in minutes, rounded up.
    pub reading_minutes: usize,
    /// Names that the package offers to others.
    pub public: usize,
    /// Those of them that their author says something about.
    pub documented: usize,
}

impl Section {
    /// Counts its words, those of the title included.
    pub fn words(&self) -> usize {
        self.title.split_whitespace().count() + count_words(&self.blocks)
    }
}

impl Document {
    /// Makes every anchor unique, and words of links that lead nowhere.
    pub(super) fn settle(mut self) -> Self {
        anchors::settle(&mut self);
        self
    }

    /// Gives the figures.
    pub fn figures(&self) -> Figures {
        let words: usize = self.sections.iter().map(Section::words).sum();
        let public = || self.items.iter().filter(|(item, _)| item.is_public());
        Figures {
            words,
            reading_minutes: words.div_ceil(WORDS_PER_MINUTE),
            public: public().count(),
            documented: public().filter(|(item, _)| !item.doc.is_empty()).count(),
        }
    }
}
