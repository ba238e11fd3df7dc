//! The skeleton of a document: where each value stands, built from events of a prescan that hold the bounds.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::package::document::{Entry, Node, Place, Position, Tree};
use crate::package::fault::{Fault, Faults};

use super::{Bounds, KEY_BYTES_MAX, KEY_HINT, KEY_MESSAGE};

/// Where a value and its parts stand.
#[derive(Debug)]
pub(super) struct Shape {
    at: Position,
    text: Option<String>,
    parts: Parts,
}

#[derive(Debug)]
enum Parts {
    None,
    List(Vec<Shape>),
    Map(HashMap<String, (Position, Shape)>),
}

/// A list or map that begins.
#[derive(Clone, Copy)]
pub(super) enum Opening {
    List,
    Map,
}

/// The prescan must end: a bound was passed, or the text is not what the reader expects.
#[derive(Debug)]
pub(super) struct Stop;

/// Builds a [`Shape`] from events.
pub(super) struct Builder<'a> {
    open: Vec<Open>,
    root: Option<Shape>,
    bounds: Bounds,
    nodes: usize,
    faults: &'a mut Faults,
}

struct Open {
    shape: Shape,
    key: Option<(String, Position)>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(bounds: Bounds, faults: &'a mut Faults) -> Self {
        Self { open: Vec::new(), root: None, bounds, nodes: 0, faults }
    }

    /// Refuses the document.
    pub(super) fn refuse(&mut self, code: &'static str, at: Position, message: &str, hint: &str) -> Stop {
        let place = Place { path: self.path(), position: at };
        self.faults.push(Fault::error(code, &place, message).hint(hint));
        Stop
    }

    pub(super) fn begin(&mut self, opening: Opening, at: Position) -> Result<(), Stop> {
        if self.expects_key() {
            return Err(self.refuse("KEY_IS_NO_TEXT", at, "a key is a list or a map", "write keys as plain text"));
        }
        if self.open.len() >= self.bounds.depth_max {
            let message = format!("values are nested more than {} deep", self.bounds.depth_max);
            return Err(self.refuse("TOO_DEEP", at, &message, "nest less"));
        }
        let parts = match opening {
            Opening::List => Parts::List(Vec::new()),
            Opening::Map => Parts::Map(HashMap::new()),
        };
        self.open.push(Open { shape: Shape { at, text: None, parts }, key: None });
        Ok(())
    }

    /// Takes a scalar or, where one is expected, a key; `plain` is the text of a scalar that is not in quotes.
    pub(super) fn scalar(&mut self, value: &str, is_plain: Plain, at: Position) -> Result<(), Stop> {
        if self.expects_key() {
            if value.len() > KEY_BYTES_MAX {
                return Err(self.refuse("KEY_TOO_LONG", at, KEY_MESSAGE, KEY_HINT));
            }
            if let Some(open) = self.open.last_mut() {
                open.key = Some((value.to_owned(), at));
            }
            return Ok(());
        }
        let text = matches!(is_plain, Plain::Yes).then(|| value.to_owned());
        self.add(Shape { at, text, parts: Parts::None })
    }

    pub(super) fn end(&mut self) -> Result<(), Stop> {
        match self.open.pop() {
            Some(Open { shape, key: None }) => self.add(shape),
            _ => Err(Stop),
        }
    }

    pub(super) fn finish(self) -> Option<Shape> {
        self.root.filter(|_| self.open.is_empty())
    }

    /// Gives whether the next scalar is a key.
    pub(super) fn expects_key(&self) -> bool {
        self.open.last().is_some_and(|open| matches!(open.shape.parts, Parts::Map(_)) && open.key.is_none())
    }

    fn add(&mut self, shape: Shape) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > self.bounds.nodes_max {
            let message = format!("the manifest has more than {} values", self.bounds.nodes_max);
            return Err(self.refuse("TOO_MANY_VALUES", shape.at, &message, "move large content into files"));
        }
        let Some(open) = self.open.last_mut() else {
            return if self.root.replace(shape).is_none() { Ok(()) } else { Err(Stop) };
        };
        match (&mut open.shape.parts, open.key.take()) {
            (Parts::List(shapes), None) => shapes.push(shape),
            (Parts::Map(fields), Some((key, at))) => {
                if let Some((first, _)) = fields.insert(key.clone(), (at, shape)) {
                    self.duplicate(&key, first, at);
                }
            }
            _ => return Err(Stop),
        }
        Ok(())
    }

    fn duplicate(&mut self, key: &str, first: Position, again: Position) {
        let place = Place { path: self.path(), position: again }.key(key, again);
        let message = format!("`{key}` is given on line {} and again on line {}", first.line, again.line);
        self.faults.push(Fault::error("DUPLICATE_KEY", &place, message).hint("keep one of the two"));
    }

    fn path(&self) -> String {
        let mut place = Place::default();
        for open in &self.open {
            place = match (&open.shape.parts, &open.key) {
                (Parts::List(shapes), _) => place.index(shapes.len(), open.shape.at),
                (_, Some((key, at))) => place.key(key, *at),
                _ => place,
            };
        }
        place.path
    }
}

/// Whether a scalar stands without quotes.
#[derive(Clone, Copy)]
pub(super) enum Plain {
    Yes,
    No,
}

impl Shape {
    /// Joins values with their places. Where the two readers of a text disagree, values keep the place of what is around
    /// them.
    pub(super) fn join(self, json: Json) -> Node {
        let at = self.at;
        let tree = match (self.parts, json) {
            (Parts::List(shapes), Json::Array(values)) if shapes.len() == values.len() => {
                Tree::List(shapes.into_iter().zip(values).map(|(shape, value)| shape.join(value)).collect())
            }
            (Parts::Map(mut shapes), Json::Object(fields)) => Tree::Map(
                fields
                    .into_iter()
                    .map(|(key, value)| match shapes.remove(&key) {
                        Some((at, shape)) => (key, Entry { at, node: shape.join(value) }),
                        None => (key, Entry { at, node: Node::from_json(value, at) }),
                    })
                    .collect(),
            ),
            (_, json) => return Node { text: self.text, ..Node::from_json(json, at) },
        };
        Node { at, text: None, tree }
    }
}
