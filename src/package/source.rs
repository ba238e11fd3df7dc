//! The text of a manifest into a tree of values: YAML, JSON and TOML alike, with the place of every value.
//!
//! Bounds are checked before or while the text is read, never after. YAML and JSON are read twice: a prescan of events
//! checks the bounds and takes down the places, then `serde_yaml` or `serde_json` reads the values, which are joined with
//! their places. What is read here is values only; what they mean is told by `check` and `convert`, because a serde type
//! stops at its first fault and an author wants all of them.

mod json;
mod lines;
mod shape;
mod toml;
mod yaml;

use std::path::Path;

use super::document::{Node, Place};
use super::fault::{Fault, Faults};

/// The most bytes of a manifest an author writes.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// The most values in a manifest, keys not counted.
pub const MANIFEST_NODES_MAX: usize = 200_000;
/// The deepest nesting in a manifest.
pub const MANIFEST_DEPTH_MAX: usize = 64;

/// The longest key in a manifest; paths in messages are made of keys.
pub const KEY_BYTES_MAX: usize = 256;

const KEY_MESSAGE: &str = "a key is longer than 256 bytes";
const KEY_HINT: &str = "shorten it";

/// How a manifest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// YAML 1.2 without anchors, aliases and tags.
    Yaml,
    /// JSON (RFC 8259).
    Json,
    /// TOML 1.
    Toml,
}

/// Bounds on a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes_max: usize,
    pub(crate) nodes_max: usize,
    pub(crate) depth_max: usize,
}

impl Bounds {
    pub(crate) const MANIFEST: Self =
        Self { bytes_max: MANIFEST_BYTES_MAX, nodes_max: MANIFEST_NODES_MAX, depth_max: MANIFEST_DEPTH_MAX };
}

impl Format {
    /// Gives the format of a file by its extension.
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// Reads a text; `None` if no tree could be made, and then `faults` says why.
pub(crate) fn read(text: &str, format: Format, bounds: Bounds, faults: &mut Faults) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > bounds.bytes_max {
        let message = format!("the manifest has {} bytes, more than {}", text.len(), bounds.bytes_max);
        faults.push(
            Fault::error("TOO_LARGE", &Place::default(), message).hint("move large content into files of the package"),
        );
        return None;
    }
    match format {
        Format::Yaml => yaml::read(text, bounds, faults),
        Format::Json => json::read(text, bounds, faults),
        Format::Toml => toml::read(text, bounds, faults),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str, format: Format) -> Vec<(&'static str, u32, u32)> {
        let mut faults = Faults::new("t");
        let node = read(text, format, Bounds { bytes_max: 4096, nodes_max: 50, depth_max: 6 }, &mut faults);
        assert_eq!(node.is_none(), faults.list.iter().any(|fault| fault.code != "DUPLICATE_KEY"), "{:?}", faults.list);
        faults.list.iter().map(|fault| (fault.code, fault.line, fault.column)).collect()
    }

    fn json_of(text: &str, format: Format) -> (serde_json::Value, Node) {
        let mut faults = Faults::new("t");
        let node = read(text, format, Bounds::MANIFEST, &mut faults).unwrap_or_else(|| panic!("{faults}"));
        (node.to_json(), node)
    }

    #[test]
    fn the_three_formats_give_the_same_values_and_their_places() {
        let yaml = json_of("a:\n  b: [1, 2.5, true]\n  c: \"x\"\n", Format::Yaml);
        let json = json_of("{\"a\":\n\t{\"b\":\t[1, 2.5, true],\n  \"c\": \"\\u0078\"}}", Format::Json);
        let toml = json_of("[a]\nb = [1, 2.5, true]\nc = 'x'\n", Format::Toml);
        assert_eq!(yaml.0, serde_json::json!({"a": {"b": [1, 2.5, true], "c": "x"}}));
        assert_eq!((&yaml.0, &yaml.0), (&json.0, &toml.0));
        let place = |node: &Node| {
            let c = super::super::document::Cursor::new(node).key("a").key("c");
            (c.place.path, c.place.position.line, c.place.position.column)
        };
        assert_eq!(place(&yaml.1), ("a.c".into(), 3, 6));
        assert_eq!(place(&json.1), ("a.c".into(), 3, 8));
        assert_eq!(place(&toml.1), ("a.c".into(), 3, 5));
    }

    #[test]
    fn every_bound_is_held_in_every_format() {
        for (format, deep, many) in [
            (Format::Yaml, format!("a: {}1{}", "[".repeat(5), "]".repeat(5)), format!("a: [{}]", "1,".repeat(49))),
            (Format::Json, format!("{{\"a\":{}{}}}", "[".repeat(5), "]".repeat(5)), format!("[1{}]", ",1".repeat(48))),
            (Format::Toml, format!("a = {}{}", "[".repeat(5), "]".repeat(5)), format!("a = [{}]", "1,".repeat(48))),
        ] {
            assert_eq!(codes(&deep, format), [], "{format:?} at the bounds");
            let deeper = deep.replace('[', "[[").replace(']', "]]");
            assert_eq!(codes(&deeper, format)[0].0, "TOO_DEEP", "{format:?}");
            let more = many.replacen("1,", "1,1,1,", 1).replacen(",1", ",1,1,1", 1);
            assert_eq!(codes(&more, format)[0].0, "TOO_MANY_VALUES", "{format:?}");
            assert_eq!(codes(&" ".repeat(4097), format)[0].0, "TOO_LARGE", "{format:?}");
            let key = |length| match format {
                Format::Yaml => format!("{}: 1", "k".repeat(length)),
                Format::Json => format!("{{\"{}\": 1}}", "k".repeat(length)),
                Format::Toml => format!("{} = 1", "k".repeat(length)),
            };
            assert_eq!(codes(&key(256), format), [], "{format:?}");
            assert_eq!(codes(&key(257), format)[0].0, "KEY_TOO_LONG", "{format:?}");
        }
    }

    #[test]
    fn hostile_and_broken_texts_are_refused_at_their_place() {
        assert_eq!(codes("a: &x 1\nb: *x\n", Format::Yaml), [("ALIAS", 1, 4)]);
        assert_eq!(codes("a: 1\nb: !!python/object 1\n", Format::Yaml)[0].0, "TAG");
        assert_eq!(codes("a: 1\n---\nb: 1\n", Format::Yaml)[0].0, "MORE_DOCUMENTS");
        assert_eq!(codes("? [a]\n: 1\n", Format::Yaml)[0].0, "KEY_IS_NO_TEXT");
        assert_eq!(codes("a: [1\n", Format::Yaml)[0].0, "SYNTAX");
        assert_eq!(codes("", Format::Yaml)[0].0, "SYNTAX");
        assert_eq!(codes("{\"a\": 1,}", Format::Json), [("SYNTAX", 1, 9)]);
        assert_eq!(codes("{\"a\" 1}", Format::Json)[0].0, "SYNTAX");
        assert_eq!(codes("a = \nb = 1 1\n", Format::Toml).len(), 2);
    }

    #[test]
    fn duplicate_keys_are_reported_with_both_lines_and_reading_goes_on() {
        let mut faults = Faults::new("t");
        let node = read("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", Format::Yaml, Bounds::MANIFEST, &mut faults);
        assert_eq!(node.expect("is read").to_json(), serde_json::json!({"a": 3, "b": {"c": 2}}));
        let found: Vec<_> = faults.list.iter().map(|f| (f.path.as_str(), f.line, f.message.as_str())).collect();
        assert_eq!(
            found,
            [
                ("b.c", 4, "`c` is given on line 3 and again on line 4"),
                ("a", 5, "`a` is given on line 1 and again on line 5")
            ]
        );
        assert_eq!(codes("{\"a\": 1,\n\"a\": 2}", Format::Json), [("DUPLICATE_KEY", 2, 1)]);
        assert_eq!(codes("a = 1\na = 2\n", Format::Toml), [("DUPLICATE_KEY", 2, 1)]);
    }

    #[test]
    fn a_number_json_cannot_hold_stays_text() {
        for (text, format) in [("a: .nan", Format::Yaml), ("a = nan", Format::Toml)] {
            assert!(json_of(text, format).0["a"].is_string(), "{text}");
        }
    }
}
