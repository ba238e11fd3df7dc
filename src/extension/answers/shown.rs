//! Values, sizes and times as people read them. What is left out here is in the data of the answer.

use serde_json::Value as Json;

/// A value that fits into so many characters stands on one line.
const ONE_LINE_MAX: usize = 100;
/// The most characters of a text that are shown.
const TEXT_CHARS_MAX: usize = 100;
/// The most items of a list, or fields of a map, that are shown.
const ITEMS_MAX: usize = 16;
/// The deepest level that is shown.
const DEPTH_MAX: usize = 6;

/// Gives a value with long texts and lists cut: on one line if it is short, indented otherwise.
pub(super) fn shown(value: &Json) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

fn write(value: &Json, depth: usize, text: &mut String) {
    match value {
        Json::String(string) => text.push_str(&cut(string)),
        Json::Array(items) if depth >= DEPTH_MAX && !items.is_empty() => text.push_str("[…]"),
        Json::Object(fields) if depth >= DEPTH_MAX && !fields.is_empty() => text.push_str("{…}"),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().take(ITEMS_MAX).map(|item| nested(item, depth)).collect();
            group('[', items, value.as_array().map_or(0, Vec::len), ']', depth, text);
        }
        Json::Object(fields) => {
            let shown = fields.iter().take(ITEMS_MAX);
            let shown = shown.map(|(name, field)| format!("{}: {}", cut(name), nested(field, depth))).collect();
            group('{', shown, fields.len(), '}', depth, text);
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

fn nested(value: &Json, depth: usize) -> String {
    let mut text = String::new();
    write(value, depth + 1, &mut text);
    text
}

fn group(open: char, mut parts: Vec<String>, count: usize, close: char, depth: usize, text: &mut String) {
    if count > parts.len() {
        parts.push(format!("… {} more", count - parts.len()));
    }
    text.push(open);
    let length: usize = parts.iter().map(|part| part.len() + 2).sum();
    if length <= ONE_LINE_MAX && !parts.iter().any(|part| part.contains('\n')) {
        text.push_str(&parts.join(", "));
    } else {
        let indent = "  ".repeat(depth + 1);
        text.push_str(&format!("\n{indent}{}\n{}", parts.join(&format!(",\n{indent}")), "  ".repeat(depth)));
    }
    text.push(close);
}

/// Quotes a text; one of several lines is only counted, a long one is cut.
pub(super) fn cut(text: &str) -> String {
    let lines = text.lines().count();
    let chars = text.chars().count();
    if lines > 1 && chars > ONE_LINE_MAX {
        return format!("\"…({lines} lines)\"");
    }
    if chars <= TEXT_CHARS_MAX {
        return Json::from(text).to_string();
    }
    let kept: String = text.chars().take(TEXT_CHARS_MAX).collect();
    format!("{} …({chars} characters)", Json::from(kept))
}

/// Gives a number of bytes in the largest unit that leaves at least one.
pub(in crate::extension) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// Gives microseconds in a readable unit.
pub(in crate::extension) fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn short_values_stand_on_one_line_as_they_are() {
        assert_eq!(shown(&json!(42)), "42");
        assert_eq!(shown(&json!({"a": [1, 2.5, null], "b": "x\ny"})), r#"{"a": [1, 2.5, null], "b": "x\ny"}"#);
    }

    #[test]
    fn long_texts_lists_and_depths_are_cut_and_counted() {
        assert_eq!(shown(&json!({"image": "line\n".repeat(28)})), r#"{"image": "…(28 lines)"}"#);
        let long = shown(&json!("y".repeat(101)));
        assert_eq!(long, format!("\"{}\" …(101 characters)", "y".repeat(100)));
        assert_eq!(shown(&json!("y".repeat(100))), format!("\"{}\"", "y".repeat(100)));
        let list: Vec<u32> = (0..17).collect();
        assert_eq!(shown(&json!(list)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, … 1 more]");
        assert!(!shown(&json!(list[..16])).contains("more"));
        let deep = (0..7).fold(json!([1]), |inner, _| json!([inner]));
        assert_eq!(shown(&deep), "[[[[[[[…]]]]]]]");
    }

    #[test]
    fn what_does_not_fit_on_a_line_is_indented() {
        let value = json!({"first": "x".repeat(60), "second": {"third": "y".repeat(60)}});
        let expected = format!(
            "{{\n  \"first\": \"{}\",\n  \"second\": {{\"third\": \"{}\"}}\n}}",
            "x".repeat(60),
            "y".repeat(60)
        );
        assert_eq!(shown(&value), expected);
    }

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!([0, 1023, 1 << 10, 3 << 29].map(size), ["0 B", "1023 B", "1.0 KiB", "1.5 GiB"]);
        assert_eq!([999, 1_500, 2_000_000].map(micros), ["999 µs", "1.5 ms", "2.00 s"]);
    }
}
