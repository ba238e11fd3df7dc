//! JSON: a small scanner prescans, `serde_json` reads. A YAML reader would refuse tabs and surrogate pairs of real JSON.

use serde_json::Value as Json;

use crate::package::document::{Node, Place, Position};
use crate::package::fault::{Fault, Faults};

use super::Bounds;
use super::lines::Lines;
use super::shape::{Builder, Opening, Plain, Shape, Stop};

pub(super) fn read(text: &str, bounds: Bounds, faults: &mut Faults) -> Option<Node> {
    let known = faults.list.len();
    let shape = prescan(text, bounds, faults);
    if shape.is_none() && faults.list.len() > known {
        return None;
    }
    match (serde_json::from_str::<Json>(text), shape) {
        (Ok(json), Some(shape)) => Some(shape.join(json)),
        (Ok(json), None) => Some(Node::from_json(json, Position { line: 1, column: 1 })),
        (Err(error), _) => {
            let position = Position {
                line: u32::try_from(error.line()).unwrap_or(0),
                column: u32::try_from(error.column()).unwrap_or(0),
            };
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            let place = Place { path: String::new(), position };
            faults.push(Fault::error("SYNTAX", &place, message).hint("check commas, quotes and brackets here"));
            None
        }
    }
}

/// Takes down the places of a text that need not be well-formed; `None` where it is not, or a bound was passed.
fn prescan(text: &str, bounds: Bounds, faults: &mut Faults) -> Option<Shape> {
    let lines = Lines::new(text);
    let mut builder = Builder::new(bounds, faults);
    let mut offset = 0;
    while let Some(byte) = text.as_bytes().get(offset) {
        let length = token_length(&text.as_bytes()[offset..]);
        let token = text.get(offset..offset + length)?;
        if matches!(byte, b',' | b':' | b' ' | b'\t' | b'\r' | b'\n') {
            offset += length;
            continue;
        }
        let at = lines.position(offset);
        match byte {
            b'{' => builder.begin(Opening::Map, at),
            b'[' => builder.begin(Opening::List, at),
            b'}' | b']' => builder.end(),
            b'"' if builder.expects_key() => serde_json::from_str::<String>(token)
                .map_err(|_| Stop)
                .and_then(|key| builder.scalar(&key, Plain::No, at)),
            b'"' => builder.scalar("", Plain::No, at),
            _ if builder.expects_key() => Err(Stop),
            _ => builder.scalar(token, Plain::Yes, at),
        }
        .ok()?;
        offset += length;
    }
    builder.finish()
}

/// Gives the bytes of the token at the front: a whole string, a whole number or word, else one byte.
fn token_length(bytes: &[u8]) -> usize {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    match bytes[0] {
        b'"' => {
            let mut escaped = false;
            let end = bytes[1..].iter().position(|byte| {
                let ends = *byte == b'"' && !escaped;
                escaped = *byte == b'\\' && !escaped;
                ends
            });
            end.map_or(bytes.len(), |end| end + 2)
        }
        _ => bytes.iter().take_while(|byte| is_word(byte)).count().max(1),
    }
}
