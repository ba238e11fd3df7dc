//! What authors say of names: texts above definitions of Julia, and comments above those of Lua with their tags.

use super::{DOC_BYTES_MAX, Item, PARTS_MAX, Part, dedent};
use crate::docgen::prose::cut;

/// Gives what a text of Julia says, as it stands with its quotes: without indentation, and without escapes if it has any.
/// Nothing for a text that is made by another macro than `raw` and `doc`.
pub(super) fn docstring(quoted: &str) -> Option<String> {
    let start = quoted.find('"')?;
    let prefix = &quoted[..start];
    if !["", "raw", "doc"].contains(&prefix) {
        return None;
    }
    let quoted = &quoted[start..];
    let width = if quoted.len() >= 6 && quoted.starts_with("\"\"\"") { 3 } else { 1 };
    let inner = quoted.get(width..)?;
    let inner = inner.strip_suffix(&quoted[..width]).unwrap_or(inner);
    let inner = cut(inner, DOC_BYTES_MAX);
    let text = if prefix == "raw" { inner.to_owned() } else { unescaped(inner) };
    Some(dedent(&text))
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some('t')) => plain.push('\t'),
            ('\\', Some(c @ ('"' | '\\' | '$' | '\''))) => plain.push(c),
            ('\\', Some('\n')) => {}
            ('\\', Some(c)) => plain.extend(['\\', c]),
            (c, _) => plain.push(c),
        }
    }
    plain
}

/// Adds a text to another, as a part of its own.
pub(super) fn append(doc: &mut String, more: &str) {
    if more.is_empty() || doc.len() + more.len() > DOC_BYTES_MAX {
        return;
    }
    if !doc.is_empty() {
        doc.push_str("\n\n");
    }
    doc.push_str(more);
}

/// Gives parameters and fields what the text about an item says of them: lines such as "- `name::Type`: what it is" below a
/// heading `Arguments`, `Keywords` or `Fields`, as Julia's manual asks for.
pub(super) fn arguments(item: &mut Item) {
    let doc = item.doc.clone();
    let mut inside = false;
    for line in doc.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let heading = heading.trim_start_matches('#').trim().to_ascii_lowercase();
            inside = ["arguments", "keywords", "keyword arguments", "fields"].contains(&heading.as_str());
            continue;
        }
        let bullet = line.strip_prefix("- `").or_else(|| line.strip_prefix("* `")).filter(|_| inside);
        let Some((name, text)) = bullet.and_then(|rest| rest.split_once('`')) else { continue };
        let name = name.split(['=', ':']).next().unwrap_or(name).trim();
        let text = text.trim_start_matches([':', ' ']).trim();
        let bare = |part: &Part| part.name.trim_end_matches("...") == name.trim_end_matches("...");
        let known = item.parameters.iter_mut().chain(&mut item.fields).find(|part| bare(part));
        if let Some(part) = known {
            text.clone_into(&mut part.doc);
        }
    }
}

/// What a comment of Lua says.
#[derive(Debug, Default)]
pub(super) struct Comment {
    pub(super) doc: String,
    pub(super) parameters: Vec<Part>,
    pub(super) returns: Vec<Part>,
    pub(super) fields: Vec<Part>,
    /// `@class` or `@module` with its name.
    pub(super) names: Option<String>,
    /// `@local`, `@private` or `@package`.
    pub(super) hidden: bool,
    /// Lines go into an example that `@usage` began.
    example: bool,
}

/// Reads the lines of a comment without their dashes: words, then tags as LDoc and EmmyLua have them. Between the two the
/// order of words differs: EmmyLua writes tags directly behind `---`, with a type before the words; `direct` says for each
/// line whether its first character stood there.
pub(super) fn lua(lines: &[(&str, bool)]) -> Comment {
    let mut comment = Comment::default();
    let mut text = String::new();
    let mut last: Option<Field> = None;
    for (line, direct) in lines {
        match line.trim().strip_prefix('@') {
            Some(tag) => last = comment.tag(tag, *direct, &mut text),
            // What goes on below a tag belongs to it.
            None if last.is_some() && !line.trim().is_empty() => comment.go_on(last, line.trim()),
            None => {
                last = None;
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    comment.doc = dedent(cut(&text, DOC_BYTES_MAX)).trim().to_owned();
    if comment.example {
        comment.doc.push_str("\n```");
    }
    comment
}

#[derive(Clone, Copy)]
enum Field {
    Parameter,
    Return,
    Member,
    Other,
}

impl Comment {
    fn tag(&mut self, tag: &str, direct: bool, text: &mut String) -> Option<Field> {
        if std::mem::take(&mut self.example) {
            text.push_str("```\n");
        }
        let (name, rest) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        let rest = rest.trim();
        let field = match name {
            "param" | "arg" if direct => Some((Field::Parameter, typed_after(rest))),
            "param" | "arg" => Some((Field::Parameter, untyped(rest))),
            "tparam" => Some((Field::Parameter, typed_before(rest))),
            "return" if direct => Some((Field::Return, result(rest))),
            "return" => Some((Field::Return, Part { doc: rest.to_owned(), ..Part::default() })),
            "treturn" => Some((Field::Return, result(rest))),
            "field" if direct => Some((Field::Member, typed_after(rest))),
            "field" => Some((Field::Member, untyped(rest))),
            "tfield" => Some((Field::Member, typed_before(rest))),
            _ => None,
        };
        if let Some((field, part)) = field {
            let list = self.list(field);
            if let Some(list) = list.filter(|list| list.len() < PARTS_MAX) {
                list.push(part);
            }
            return Some(field);
        }
        match name {
            "class" | "module" | "classmod" => {
                let named = rest.split([':', ' ']).next().unwrap_or_default();
                self.names = (!named.is_empty()).then(|| named.to_owned());
            }
            "local" | "private" | "package" => self.hidden = true,
            "deprecated" => text.push_str(&format!("\n**Deprecated.** {rest}\n")),
            "see" => text.push_str(&format!("\nSee also `{}`.\n", rest.replace('`', ""))),
            // What follows is an example, in lines that are indented or not.
            "usage" => {
                self.example = true;
                text.push_str("\n\n```lua\n");
                if !rest.is_empty() {
                    text.push_str(&format!("{rest}\n"));
                }
                return None;
            }
            _ => {}
        }
        Some(Field::Other)
    }

    fn list(&mut self, field: Field) -> Option<&mut Vec<Part>> {
        match field {
            Field::Parameter => Some(&mut self.parameters),
            Field::Return => Some(&mut self.returns),
            Field::Member => Some(&mut self.fields),
            Field::Other => None,
        }
    }

    fn go_on(&mut self, field: Option<Field>, words: &str) {
        let list = field.and_then(|field| self.list(field));
        if let Some(part) = list.and_then(|list| list.last_mut()).filter(|part| part.doc.len() < DOC_BYTES_MAX) {
            part.doc = format!("{} {words}", part.doc).trim().to_owned();
        }
    }
}

/// `name what it is`
fn untyped(rest: &str) -> Part {
    let (name, doc) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Part { name: name.to_owned(), doc: doc.trim().to_owned(), ..Part::default() }
}

/// `name type what it is`; `name?` for what may be left out.
fn typed_after(rest: &str) -> Part {
    let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (kind, doc) = kind(rest.trim());
    Part { name: name.to_owned(), kind, doc, ..Part::default() }
}

/// `type name what it is`
fn typed_before(rest: &str) -> Part {
    let (kind, rest) = kind(rest);
    Part { kind, ..untyped(rest.trim()) }
}

/// `type what it is`
fn result(rest: &str) -> Part {
    let (kind, doc) = kind(rest);
    Part { kind, doc, ..Part::default() }
}

/// Takes a type off the beginning; one in brackets may have spaces in it: `table<string, number>`, `fun(a: x): y`.
fn kind(text: &str) -> (Option<String>, String) {
    let mut depth = 0_usize;
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' | '{' | '[' => depth += 1,
            '>' | ')' | '}' | ']' => depth = depth.saturating_sub(1),
            _ if c.is_whitespace() && depth == 0 && !text[..at].ends_with([',', '|', ':']) => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let doc = text[end..].trim().trim_start_matches('#').trim();
    ((end > 0).then(|| text[..end].to_owned()), doc.to_owned())
}
