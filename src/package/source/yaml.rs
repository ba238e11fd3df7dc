//! YAML: `saphyr-parser` prescans, `serde_yaml` reads.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};
use serde_json::Value as Json;

use crate::package::document::{Node, Place, Position, Tree};
use crate::package::fault::{Fault, Faults};

use super::Bounds;
use super::shape::{Builder, Opening, Plain, Shape, Stop};

pub(super) fn read(text: &str, bounds: Bounds, faults: &mut Faults) -> Option<Node> {
    let shape = prescan(text, bounds, faults)?;
    match serde_yaml::from_str::<Json>(text) {
        Ok(json) => {
            let mut node = shape.join(json);
            restore_not_finite(&mut node);
            Some(node)
        }
        Err(error) => {
            let at = error.location().map_or_else(Position::default, |at| position(at.line(), at.column()));
            faults.push(syntax(at, &error.to_string()));
            None
        }
    }
}

fn prescan(text: &str, bounds: Bounds, faults: &mut Faults) -> Option<Shape> {
    let mut documents = 0_usize;
    let mut failure = None;
    let mut builder = Builder::new(bounds, faults);
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((Event::DocumentStart(_), span)) => {
                documents += 1;
                if documents > 1 {
                    let hint = "put each package into a directory of its own";
                    Err(builder.refuse("MORE_DOCUMENTS", place(&span.start), "a second document begins", hint))
                } else {
                    Ok(())
                }
            }
            Ok((event, span)) => feed(&mut builder, &event, place(&span.start)),
            Err(error) => {
                failure = Some(syntax(place(error.marker()), error.info()));
                Err(Stop)
            }
        };
        if step.is_err() {
            break;
        }
    }
    let shape = builder.finish();
    match (failure, &shape) {
        (Some(fault), _) => faults.push(fault),
        (None, None) if faults.list.is_empty() => faults.push(syntax(Position::default(), "the manifest is empty")),
        _ => return shape,
    }
    None
}

fn feed(builder: &mut Builder<'_>, event: &Event<'_>, at: Position) -> Result<(), Stop> {
    let (anchor, tag) = match event {
        Event::Scalar(_, _, anchor, tag) | Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
            (*anchor, tag.is_some())
        }
        Event::Alias(_) => (1, false),
        _ => (0, false),
    };
    if anchor != 0 {
        let hint = "write the value out where it is needed";
        return Err(builder.refuse("ALIAS", at, "anchors and aliases are not allowed", hint));
    }
    if tag {
        return Err(builder.refuse("TAG", at, "tags are not allowed", "write the plain value"));
    }
    match event {
        Event::Scalar(value, ScalarStyle::Plain, ..) => builder.scalar(value, Plain::Yes, at),
        Event::Scalar(value, ..) => builder.scalar(value, Plain::No, at),
        Event::SequenceStart(..) => builder.begin(Opening::List, at),
        Event::MappingStart(..) => builder.begin(Opening::Map, at),
        Event::SequenceEnd | Event::MappingEnd => builder.end(),
        _ => Ok(()),
    }
}

/// Gives `.nan` and `.inf`, which JSON cannot hold, back as text, so that a check finds them wrong instead of absent.
fn restore_not_finite(node: &mut Node) {
    match &mut node.tree {
        Tree::Scalar(value @ Json::Null) => {
            if let Some(text) = node.text.as_deref().filter(|text| text.to_ascii_lowercase().ends_with(['n', 'f'])) {
                *value = Json::String(text.to_owned());
            }
        }
        Tree::Scalar(_) => {}
        Tree::List(nodes) => nodes.iter_mut().for_each(restore_not_finite),
        Tree::Map(entries) => entries.values_mut().for_each(|entry| restore_not_finite(&mut entry.node)),
    }
}

fn syntax(at: Position, message: &str) -> Fault {
    Fault::error("SYNTAX", &Place { path: String::new(), position: at }, message.to_owned())
        .hint("check indentation, quotes and brackets on this line and the one above")
}

fn place(marker: &Marker) -> Position {
    position(marker.line(), marker.col() + 1)
}

fn position(line: usize, column: usize) -> Position {
    Position { line: u32::try_from(line).unwrap_or(0), column: u32::try_from(column).unwrap_or(0) }
}
