//! Definitions of Lua: functions, tables and values that a file gives to whoever requires it, with the comments above them.
//!
//! What a file returns decides what is public: the fields of the table that it returns, or the function; a file that returns
//! nothing offers its globals. One walk over the tokens counts blocks and brackets; only what stands outside of both is looked
//! at, and a look ahead is bounded.

use std::collections::BTreeMap;

use super::comment::{self, Comment};
use super::{ITEMS_MAX, Item, Kind, PARTS_MAX, Part, Place, Visibility};
use crate::docgen::prose::cut;
use crate::package::scan::lua::{Kind as Lexed, Token, long_level, tokens};

/// How far a look ahead goes, in tokens.
const AHEAD_MAX: usize = 4_096;
/// The longest value that is shown, in bytes.
const VALUE_BYTES_MAX: usize = 200;
/// The most lines of one comment.
const COMMENT_LINES_MAX: usize = 2_000;
/// The name by which the function is called that a file returns.
const MAIN: &str = "main";

pub(super) fn read(text: &str, place: Place<'_>) -> Vec<Item> {
    let mut reader = Reader {
        text,
        tokens: tokens(text),
        pending: None,
        module: None,
        definitions: Vec::new(),
        exports: BTreeMap::new(),
        returned: Returned::Nothing,
    };
    reader.walk();
    reader.items(place)
}

/// A comment that may belong to what comes next.
struct Pending<'a> {
    lines: Vec<(&'a str, bool)>,
    last_line: u32,
    /// Nothing but comments stands before it.
    first: bool,
}

/// Something that has a name.
struct Definition<'a> {
    path: Vec<&'a str>,
    /// Defined with a colon, so that it takes what it belongs to.
    method: bool,
    local: bool,
    kind: Kind,
    parameters: Vec<&'a str>,
    value: &'a str,
    comment: Comment,
    line: u32,
}

/// How a local is known outside, and what is said of it where it gets there.
struct Export<'a> {
    name: &'a str,
    comment: Comment,
}

/// What a file returns.
enum Returned<'a> {
    Nothing,
    Name(&'a str),
    Table,
    Other,
}

struct Reader<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    pending: Option<Pending<'a>>,
    module: Option<Comment>,
    definitions: Vec<Definition<'a>>,
    /// What locals are known as outside, by their names in the file.
    exports: BTreeMap<&'a str, Export<'a>>,
    returned: Returned<'a>,
}

impl<'a> Reader<'a> {
    fn walk(&mut self) {
        let (mut blocks, mut brackets, mut seen_code) = (0_usize, 0_usize, false);
        for at in 0..self.tokens.len() {
            if self.definitions.len() > ITEMS_MAX {
                break;
            }
            if self.tokens[at].kind == Lexed::Comment {
                self.comment(at, !seen_code);
                continue;
            }
            if !seen_code {
                seen_code = true;
                self.take_module(at);
            }
            if blocks == 0 && brackets == 0 {
                self.define(at);
            }
            self.pending = None;
            match self.part(at) {
                "(" | "{" | "[" => brackets += 1,
                ")" | "}" | "]" => brackets = brackets.saturating_sub(1),
                "function" | "do" | "if" | "repeat" => blocks += 1,
                "end" | "until" => blocks = blocks.saturating_sub(1),
                _ => {}
            }
        }
        if !seen_code {
            self.module = self.pending.take().map(|pending| comment::lua(&pending.lines));
        }
    }

    /// Gives a token that is no text; empty for one that is, and beyond the end.
    fn part(&self, at: usize) -> &'a str {
        let token = self.tokens.get(at).filter(|token| matches!(token.kind, Lexed::Word | Lexed::Sign));
        token.map_or("", |token| &self.text[token.range.clone()])
    }

    fn name(&self, at: usize) -> Option<&'a str> {
        let token = self.tokens.get(at).filter(|token| token.kind == Lexed::Word)?;
        let name = &self.text[token.range.clone()];
        (!name.starts_with(|c: char| c.is_ascii_digit()) && !KEYWORDS.contains(&name)).then_some(name)
    }

    fn line(&self, at: usize) -> u32 {
        self.tokens.get(at).map_or(0, |token| token.line)
    }

    /// Takes a comment in: `---` begins one that documents, and lines with two dashes directly below go on with it.
    fn comment(&mut self, at: usize, first: bool) {
        let token = &self.tokens[at];
        let text = &self.text[token.range.clone()];
        let body = &text[2..];
        if let Some(level) = long_level(body) {
            let inner = body.get(level + 2..).unwrap_or_default();
            let inner = inner.strip_suffix(&format!("]{}]", "=".repeat(level))).unwrap_or(inner);
            // `--[[-- … ]]` documents, `--[[ … ]]` does not.
            self.pending = inner.strip_prefix("--").map(|inner| Pending {
                lines: inner.lines().take(COMMENT_LINES_MAX).map(|line| (line, false)).collect(),
                last_line: token.line + u32::try_from(text.matches('\n').count()).unwrap_or(0),
                first,
            });
            return;
        }
        let documents = body.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        let below = self.pending.as_ref().is_some_and(|pending| pending.last_line + 1 == token.line);
        let line = documents.unwrap_or(body);
        let direct = documents.is_some_and(|rest| rest.starts_with('@'));
        match &mut self.pending {
            Some(pending) if below => {
                pending.last_line = token.line;
                if pending.lines.len() < COMMENT_LINES_MAX {
                    pending.lines.push((line.trim_end(), direct));
                }
            }
            _ if documents.is_some() => {
                let lines = vec![(line.trim_end(), direct)];
                self.pending = Some(Pending { lines, last_line: token.line, first });
            }
            _ => self.pending = None,
        }
    }

    /// The first comment belongs to the file, unless it stands directly above a function.
    fn take_module(&mut self, at: usize) {
        let above_function =
            self.part(at) == "function" || self.part(at + 1) == "function" || self.part(at) == "return";
        let Some(pending) = self.pending.take_if(|pending| pending.first) else { return };
        let apart = self.line(at) > pending.last_line + 1;
        let comment = comment::lua(&pending.lines);
        if apart || !above_function || comment.names.is_some() {
            self.module = Some(comment);
        } else {
            self.pending = Some(pending);
        }
    }

    /// Looks at what begins at a token outside of all blocks.
    fn define(&mut self, at: usize) {
        let is_value = at > 0 && matches!(self.part(at - 1), "=" | "," | "." | ":" | "local" | "function");
        match self.part(at) {
            "local" if self.part(at + 1) == "function" => {
                if let Some(name) = self.name(at + 2) {
                    self.function(at + 3, vec![name], Form { local: true, method: false }, at);
                }
            }
            "local" => {
                if let Some(name) = self.name(at + 1) {
                    // `local name <const> = …`
                    let equals = if self.part(at + 2) == "<" { at + 5 } else { at + 2 };
                    self.assigned(vec![name], equals, Form { local: true, method: false }, at);
                }
            }
            "function" if !is_value && at.checked_sub(1).is_none_or(|before| self.part(before) != "return") => {
                if let Some((path, method, next)) = self.path(at + 1) {
                    self.function(next, path, Form { local: false, method }, at);
                }
            }
            "return" => self.returns(at + 1),
            _ if !is_value => {
                if let Some((path, false, next)) = self.path(at) {
                    self.assigned(path, next, Form { local: false, method: false }, at);
                }
            }
            _ => {}
        }
    }

    /// Reads `a.b.c` or `a.b:c`; gives what follows.
    fn path(&self, from: usize) -> Option<(Vec<&'a str>, bool, usize)> {
        let mut path = vec![self.name(from)?];
        let mut at = from + 1;
        while path.len() < 8 {
            match (self.part(at), self.name(at + 1)) {
                (".", Some(name)) => path.push(name),
                (":", Some(name)) => {
                    path.push(name);
                    return Some((path, true, at + 2));
                }
                _ => break,
            }
            at += 2;
        }
        Some((path, false, at))
    }

    fn comment_above(&mut self, at: usize) -> Comment {
        let line = self.line(at);
        let pending = self.pending.take().filter(|pending| line <= pending.last_line + 1);
        pending.map(|pending| comment::lua(&pending.lines)).unwrap_or_default()
    }

    fn function(&mut self, open: usize, path: Vec<&'a str>, form: Form, at: usize) {
        let Some(parameters) = self.parameters(open) else { return };
        let comment = self.comment_above(at);
        self.note(path, form, Kind::Function, comment, at).parameters = parameters;
    }

    fn note(&mut self, path: Vec<&'a str>, form: Form, kind: Kind, comment: Comment, at: usize) -> &mut Definition<'a> {
        let line = self.line(at);
        let Form { local, method } = form;
        self.definitions.push(Definition {
            path,
            method,
            local,
            kind,
            parameters: Vec::new(),
            value: "",
            comment,
            line,
        });
        let last = self.definitions.len() - 1;
        &mut self.definitions[last]
    }

    /// Reads `(a, b, ...)`.
    fn parameters(&self, open: usize) -> Option<Vec<&'a str>> {
        if self.part(open) != "(" {
            return None;
        }
        let mut parameters = Vec::new();
        for at in open + 1..open + 1 + 4 * PARTS_MAX {
            match self.part(at) {
                ")" => return Some(parameters),
                "..." => parameters.push("..."),
                "," => {}
                _ => match self.name(at) {
                    Some(name) if parameters.len() < PARTS_MAX => parameters.push(name),
                    Some(_) => {}
                    None if self.tokens.get(at).is_some_and(|token| token.kind == Lexed::Comment) => {}
                    None => return None,
                },
            }
        }
        Some(parameters)
    }

    /// Reads what a name gets: a function, a table with its fields, another name, or a value.
    fn assigned(&mut self, path: Vec<&'a str>, equals: usize, form: Form, at: usize) {
        if self.part(equals) != "=" {
            return;
        }
        let value = equals + 1;
        match self.part(value) {
            "function" => self.function(value + 1, path, form, at),
            "{" => {
                let comment = self.comment_above(at);
                let prefix = path.clone();
                self.note(path, form, Kind::Table, comment, at);
                self.fields(value, &prefix, form.local);
            }
            _ => {
                let comment = self.comment_above(at);
                let passes_on = path.len() > 1 && self.ends(value + 1);
                if let Some(name) = self.name(value).filter(|name| passes_on && *name != path[0]) {
                    self.exports.insert(name, Export { name: path[path.len() - 1], comment });
                    return;
                }
                let text = self.value(value);
                self.note(path, form, Kind::Constant, comment, at).value = text;
            }
        }
    }

    /// Whether a statement may end before a token: a name, a keyword or the end of the file follows.
    fn ends(&self, at: usize) -> bool {
        self.tokens.get(at).is_none_or(|token| token.kind != Lexed::Sign && token.kind != Lexed::Text)
            || self.part(at) == ";"
    }

    /// Gives a value up to the end of its line.
    fn value(&self, at: usize) -> &'a str {
        let Some(token) = self.tokens.get(at) else { return "" };
        let rest = cut(&self.text[token.range.start..], VALUE_BYTES_MAX);
        let line = rest.lines().next().unwrap_or_default();
        line.split(" --").next().unwrap_or(line).trim_end_matches([';', ' '])
    }

    /// Reads the fields of a table: functions and values with names.
    fn fields(&mut self, open: usize, prefix: &[&'a str], local: bool) {
        let mut depth = 0_usize;
        let mut blocks = 0_usize;
        for at in open..self.tokens.len().min(open + AHEAD_MAX) {
            match (self.tokens[at].kind, self.part(at)) {
                (Lexed::Comment, _) if depth == 1 && blocks == 0 => {
                    self.comment(at, false);
                    continue;
                }
                (_, "{" | "(" | "[") => depth += 1,
                (_, "}" | ")" | "]") if depth == 1 => break,
                (_, "}" | ")" | "]") => depth -= 1,
                (_, "function" | "do" | "if" | "repeat") => blocks += 1,
                (_, "end" | "until") => blocks = blocks.saturating_sub(1),
                _ => {}
            }
            let begins = depth == 1 && blocks == 0 && matches!(self.part(at - 1), "{" | "," | ";");
            let before_comment = depth == 1 && blocks == 0 && self.tokens[at - 1].kind == Lexed::Comment;
            if (begins || before_comment) && self.part(at + 1) == "=" {
                self.field(at, prefix, local);
            }
            self.pending = None;
        }
        self.pending = None;
    }

    fn field(&mut self, at: usize, prefix: &[&'a str], local: bool) {
        let Some(name) = self.name(at) else { return };
        let path: Vec<&str> = prefix.iter().copied().chain([name]).collect();
        let form = Form { local: local && prefix.is_empty(), method: false };
        let value = at + 2;
        if self.part(value) == "function" {
            return self.function(value + 1, path, form, at);
        }
        if let (Some(other), "," | "}" | ";") = (self.name(value), self.part(value + 1)) {
            let comment = self.comment_above(at);
            self.exports.insert(other, Export { name, comment });
            return;
        }
        let comment = self.comment_above(at);
        let text = self.value(value).trim_end_matches([',', '}', ' ']);
        self.note(path, form, Kind::Constant, comment, at).value = text;
    }

    fn returns(&mut self, at: usize) {
        self.returned = match self.part(at) {
            "{" => {
                self.pending = None;
                self.fields(at, &[], false);
                Returned::Table
            }
            "function" => {
                self.function(at + 1, vec![MAIN], Form { local: false, method: false }, at - 1);
                Returned::Other
            }
            "setmetatable" => self.name(at + 2).map_or(Returned::Other, Returned::Name),
            _ => match self.name(at) {
                Some(name) if self.ends(at + 1) => Returned::Name(name),
                _ => Returned::Other,
            },
        };
    }

    fn items(self, place: Place<'_>) -> Vec<Item> {
        let short = place.module.rsplit(['.', '/']).next().unwrap_or(place.module).replace('-', "_");
        let Self { definitions, returned, mut exports, .. } = self;
        let global = matches!(returned, Returned::Nothing);
        let mut items = Vec::new();
        let mut module = Item::new(Kind::Module, place.module, place, 1);
        let stated = self.module.as_ref().is_some_and(|comment| !comment.doc.is_empty());
        if let Some(comment) = &self.module {
            module.doc.clone_from(&comment.doc);
            module.fields.clone_from(&comment.fields);
        }
        for mut definition in definitions {
            let Some((name, public)) = seen_as(&definition, &returned, &exports) else {
                // The table that is returned is the module.
                if module.doc.is_empty() {
                    module.doc = definition.comment.doc;
                }
                module.fields.extend(definition.comment.fields);
                continue;
            };
            if let Some(export) = exports.get_mut(definition.path[0]).filter(|_| definition.path.len() == 1)
                && definition.comment.doc.is_empty()
                && !export.comment.doc.is_empty()
            {
                definition.comment = std::mem::take(&mut export.comment);
            }
            let documented = !definition.comment.doc.is_empty();
            let public = public && !definition.comment.hidden && (!name.starts_with('_') || name.starts_with("__"));
            let plain = matches!(definition.kind, Kind::Constant | Kind::Table);
            // Locals that nobody explains, and places such as `vec3.__index = vec3`, are no names for others.
            if !documented && (!public || (plain && (name.starts_with("__") || definition.value.is_empty()))) {
                continue;
            }
            items.push(item(definition, name, if global { "" } else { &short }, public, place));
        }
        if stated || !module.doc.is_empty() || !items.is_empty() {
            let bound = if global { String::new() } else { format!("local {short} = ") };
            items.insert(0, module.with_signature(&format!("{bound}require(\"{}\")", place.module)));
        }
        items
    }
}

#[derive(Clone, Copy)]
struct Form {
    local: bool,
    method: bool,
}

const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil",
    "not", "or", "repeat", "return", "then", "true", "until", "while",
];

/// Gives the name that others know something by, and whether they do; nothing for the table that is the module itself.
fn seen_as(
    definition: &Definition<'_>,
    returned: &Returned<'_>,
    exports: &BTreeMap<&str, Export<'_>>,
) -> Option<(String, bool)> {
    let joined = |path: &[&str]| {
        let (last, before) = path.split_last().map_or(("", &[][..]), |(last, before)| (*last, before));
        let separator = if definition.method { ":" } else { "." };
        if before.is_empty() { last.to_owned() } else { format!("{}{separator}{last}", before.join(".")) }
    };
    let path = &definition.path;
    match returned {
        Returned::Name(root) if path[0] == *root && path.len() == 1 && definition.kind != Kind::Function => None,
        Returned::Name(root) if path[0] == *root && path.len() > 1 => Some((joined(&path[1..]), true)),
        Returned::Name(root) if path[0] == *root => Some((MAIN.to_owned(), true)),
        _ => match exports.get(path[0]).filter(|_| !matches!(returned, Returned::Nothing)) {
            Some(known) => {
                let renamed: Vec<&str> = std::iter::once(known.name).chain(path[1..].iter().copied()).collect();
                Some((joined(&renamed), true))
            }
            None => {
                let public = match returned {
                    Returned::Nothing => !definition.local,
                    Returned::Table => !definition.local && definition.path.len() == 1,
                    Returned::Other => path[..] == [MAIN],
                    Returned::Name(_) => false,
                };
                Some((joined(path), public))
            }
        },
    }
}

fn item(definition: Definition<'_>, name: String, short: &str, public: bool, place: Place<'_>) -> Item {
    let Definition { kind, method, parameters, value, comment, line, .. } = definition;
    let called = match public && name != MAIN && !short.is_empty() && !name.contains(':') {
        true if method => format!("{short}:{name}"),
        true => format!("{short}.{name}"),
        false => name.clone(),
    };
    let signature = match kind {
        Kind::Function => format!("{called}({})", parameters.join(", ")),
        _ if value.is_empty() => called,
        _ => format!("{called} = {value}"),
    };
    let mut item = Item::new(kind, name, place, line).with_signature(&signature);
    item.visibility = if public { Visibility::Public } else { Visibility::Internal };
    item.parameters = parameters.into_iter().map(|name| Part { name: name.to_owned(), ..Part::default() }).collect();
    for told in comment.parameters {
        let bare = told.name.trim_end_matches('?');
        match item.parameters.iter().position(|part| part.name == bare) {
            Some(at) => item.parameters[at] = told,
            None if item.parameters.len() < PARTS_MAX => item.parameters.push(told),
            None => {}
        }
    }
    (item.returns, item.fields, item.doc) = (comment.returns, comment.fields, comment.doc);
    item
}
