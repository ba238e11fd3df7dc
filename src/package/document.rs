//! A manifest as a tree of plain values, each with its place in the text, whichever format it was written in.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// A place in a text; both from 1, 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A field by its path, and its place in the text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) path: String,
    pub(crate) position: Position,
}

/// One value of a document.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    /// A number, truth value or null as it was written, for messages.
    pub(crate) text: Option<String>,
    pub(crate) tree: Tree,
}

/// What a [`Node`] holds.
#[derive(Debug)]
pub(crate) enum Tree {
    /// Neither list nor map.
    Scalar(Json),
    /// A list.
    List(Vec<Node>),
    /// A map.
    Map(BTreeMap<String, Entry>),
}

/// One field of a map.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where its key stands.
    pub(crate) at: Position,
    pub(crate) node: Node,
}

/// A field that is there or not: where it is, or the nearest thing around it that is there.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    node: Option<&'a Node>,
    pub(crate) place: Place,
}

impl Node {
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.tree {
            Tree::Map(entries) => entries.get(key),
            _ => None,
        }
    }

    pub(crate) fn to_json(&self) -> Json {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::List(nodes) => nodes.iter().map(Self::to_json).collect(),
            Tree::Map(entries) => {
                Json::Object(entries.iter().map(|(key, entry)| (key.clone(), entry.node.to_json())).collect())
            }
        }
    }

    /// Makes a tree that stands at one place.
    pub(crate) fn from_json(json: Json, at: Position) -> Self {
        let tree = match json {
            Json::Array(values) => Tree::List(values.into_iter().map(|value| Self::from_json(value, at)).collect()),
            Json::Object(fields) => Tree::Map(
                fields.into_iter().map(|(key, value)| (key, Entry { at, node: Self::from_json(value, at) })).collect(),
            ),
            scalar => Tree::Scalar(scalar),
        };
        Self { at, text: None, tree }
    }
}

impl Place {
    pub(crate) fn key(&self, key: &str, position: Position) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { path, position }
    }

    pub(crate) fn index(&self, index: usize, position: Position) -> Self {
        Self { path: format!("{}[{index}]", self.path), position }
    }
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(root: &'a Node) -> Self {
        Self { node: Some(root), place: Place { path: String::new(), position: root.at } }
    }

    /// Moves to a field; a field that is not there keeps the place of what is around it.
    pub(crate) fn key(&self, key: &str) -> Self {
        let entry = self.node.and_then(|node| node.entry(key));
        let position = entry.map_or(self.place.position, |entry| entry.node.at);
        Self { node: entry.map(|entry| &entry.node), place: self.place.key(key, position) }
    }

    /// Moves to an item of a list.
    pub(crate) fn index(&self, index: usize) -> Self {
        let node = match self.node.map(|node| &node.tree) {
            Some(Tree::List(nodes)) => nodes.get(index),
            _ => None,
        };
        Self { node, place: self.place.index(index, node.map_or(self.place.position, |node| node.at)) }
    }

    /// Gives the texts of a list.
    pub(crate) fn texts(&self) -> Option<Vec<&'a str>> {
        match self.node.map(|node| &node.tree) {
            Some(Tree::List(nodes)) => Some(
                nodes
                    .iter()
                    .map(|node| match &node.tree {
                        Tree::Scalar(value) => value.as_str().unwrap_or_default(),
                        _ => "",
                    })
                    .collect(),
            ),
            _ => None,
        }
    }
}
