//! TOML: the `toml` crate reads values with their places; its own depth bound holds while reading, ours after.

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use crate::package::document::{Entry, Node, Place, Tree};
use crate::package::fault::{Fault, Faults};

use super::lines::Lines;
use super::{Bounds, KEY_BYTES_MAX, KEY_HINT, KEY_MESSAGE};

pub(super) fn read(text: &str, bounds: Bounds, faults: &mut Faults) -> Option<Node> {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut is_readable = true;
    for error in errors.into_iter().take(Faults::COUNT_MAX) {
        let position = error.span().map_or_else(Default::default, |span| lines.position(span.start));
        let (code, hint) = match error.message() {
            "duplicate key" => ("DUPLICATE_KEY", "keep one of the two"),
            message if message.contains("recursi") => ("TOO_DEEP", "nest less"),
            _ => ("SYNTAX", "check quotes, brackets and `=` here"),
        };
        is_readable &= code == "DUPLICATE_KEY";
        faults.push(Fault::error(code, &Place { path: String::new(), position }, error.message()).hint(hint));
    }
    let mut reader = Reader { lines, bounds, nodes: 0 };
    let root = Place { path: String::new(), position: reader.lines.position(0) };
    match is_readable.then(|| reader.table(table.get_ref(), &root, 1))? {
        Ok(tree) => Some(Node { at: root.position, text: None, tree }),
        Err(fault) => {
            faults.push(*fault);
            None
        }
    }
}

struct Reader<'a> {
    lines: Lines<'a>,
    bounds: Bounds,
    nodes: usize,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, place: &Place, depth: usize) -> Result<Tree, Box<Fault>> {
        self.count(place, depth)?;
        let entries = table.iter().map(|(key, value)| {
            let at = self.lines.position(key.span().start);
            if key.get_ref().len() > KEY_BYTES_MAX {
                return Err(Box::new(Fault::error("KEY_TOO_LONG", place, KEY_MESSAGE).hint(KEY_HINT)));
            }
            let node = self.value(value.get_ref(), value.span().start, &place.key(key.get_ref(), at), depth)?;
            Ok((key.get_ref().to_string(), Entry { at, node }))
        });
        entries.collect::<Result<_, _>>().map(Tree::Map)
    }

    fn value(&mut self, value: &DeValue<'_>, offset: usize, place: &Place, depth: usize) -> Result<Node, Box<Fault>> {
        let at = self.lines.position(offset);
        let number = |text: &str, json: Option<Json>| {
            (Some(text.to_owned()), Tree::Scalar(json.unwrap_or_else(|| Json::String(text.to_owned()))))
        };
        let (text, tree) = match value {
            DeValue::Table(table) => (None, self.table(table, place, depth + 1)?),
            DeValue::Array(values) => {
                self.count(place, depth + 1)?;
                let nodes = values.iter().enumerate().map(|(index, value)| {
                    self.value(value.get_ref(), value.span().start, &place.index(index, at), depth + 1)
                });
                (None, Tree::List(nodes.collect::<Result<_, _>>()?))
            }
            DeValue::String(text) => (None, Tree::Scalar(Json::String(text.to_string()))),
            DeValue::Boolean(value) => (Some(value.to_string()), Tree::Scalar(Json::Bool(*value))),
            DeValue::Datetime(time) => (None, Tree::Scalar(Json::String(time.to_string()))),
            DeValue::Integer(int) => {
                number(int.as_str(), i64::from_str_radix(int.as_str(), int.radix()).ok().map(Json::from))
            }
            DeValue::Float(float) => {
                let parsed = float.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                number(float.as_str(), parsed.map(Json::Number))
            }
        };
        if matches!(tree, Tree::Scalar(_)) {
            self.count(place, depth)?;
        }
        Ok(Node { at, text, tree })
    }

    fn count(&mut self, place: &Place, depth: usize) -> Result<(), Box<Fault>> {
        self.nodes += 1;
        if depth > self.bounds.depth_max {
            let message = format!("values are nested more than {} deep", self.bounds.depth_max);
            return Err(Box::new(Fault::error("TOO_DEEP", place, message).hint("nest less")));
        }
        if self.nodes > self.bounds.nodes_max {
            let message = format!("the manifest has more than {} values", self.bounds.nodes_max);
            return Err(Box::new(
                Fault::error("TOO_MANY_VALUES", place, message).hint("move large content into files"),
            ));
        }
        Ok(())
    }
}
