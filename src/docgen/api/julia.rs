//! Definitions of Julia: functions in both forms, macros, types with their fields, constants and modules, each with the text
//! that documents it.
//!
//! One walk over the tokens keeps track of what is open. Where a statement begins at the top of a module, a look ahead that
//! is bounded says whether it defines something; what is inside functions is never looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::comment::{self, arguments};
use super::{ITEMS_MAX, Item, Kind, PARTS_MAX, Part, Place, SIGNATURE_BYTES_MAX, Visibility};
use crate::docgen::prose::cut;
use crate::package::scan::julia::{Kind as Lexed, Token, tokens};

/// How far a look ahead goes, in tokens.
const AHEAD_MAX: usize = 2_048;
/// How deep modules stand in each other; what lies deeper is not looked at.
const MODULES_MAX: usize = 16;

/// What one file defines.
pub(super) struct Found {
    file: String,
    /// The module that the file is if nobody includes it.
    module: String,
    /// Items whose module is the path inside the file, empty for none.
    items: Vec<Item>,
    /// Names by the module inside the file that exports them.
    exports: BTreeMap<String, BTreeSet<String>>,
    /// Paths by the module inside the file that includes them.
    includes: Vec<(String, String)>,
}

impl Found {
    /// How many names and includes there are.
    pub(super) fn count(&self) -> usize {
        self.items.len() + self.includes.len()
    }
}

pub(super) fn read(text: &str, place: Place<'_>) -> Found {
    let mut reader = Reader {
        text,
        tokens: tokens(text),
        at: 0,
        open: Vec::new(),
        opaque: 0,
        modules: Vec::new(),
        by_name: HashMap::new(),
        place: Place { module: "", ..place },
        found: Found {
            file: place.file.to_owned(),
            module: place.module.to_owned(),
            items: Vec::new(),
            exports: BTreeMap::new(),
            includes: Vec::new(),
        },
        exported_to: 0,
    };
    reader.walk();
    reader.found
}

/// Puts the files of a package together: what is included belongs to the module that includes it, and a module that exports
/// names offers those.
pub(super) fn join(files: Vec<Found>) -> Vec<Item> {
    let bases = bases(&files);
    let mut exports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let whole = |file: usize, inner: &str| {
        let (base, included) = &bases[file];
        match (inner.is_empty(), included) {
            (true, _) => base.clone(),
            (false, true) => format!("{base}.{inner}"),
            (false, false) => inner.to_owned(),
        }
    };
    for (index, file) in files.iter().enumerate() {
        for (module, names) in &file.exports {
            exports.entry(whole(index, module)).or_default().extend(names.iter().cloned());
        }
    }
    let mut items = Vec::new();
    for (index, file) in files.into_iter().enumerate() {
        for mut item in file.items {
            item.module = whole(index, &item.module);
            if item.kind == Kind::Module {
                item.name.clone_from(&item.module);
            }
            let exported = exports.get(&item.module).map(|names| names.contains(&item.name));
            let is_own = !item.name.starts_with('_') && !item.name.contains('.');
            let public = item.kind == Kind::Module || exported.unwrap_or(is_own);
            item.visibility = if public { Visibility::Public } else { Visibility::Internal };
            items.push(item);
        }
    }
    items
}

/// Gives the module that each file stands in, and whether another file includes it there.
fn bases(files: &[Found]) -> Vec<(String, bool)> {
    let mut bases: Vec<(String, bool)> = files.iter().map(|file| (file.module.clone(), false)).collect();
    let index: HashMap<&str, usize> = files.iter().enumerate().map(|(at, file)| (file.file.as_str(), at)).collect();
    // A file that is included may include others; each round goes one step further, and circles end with the rounds.
    const ROUNDS: usize = 8;
    for _ in 0..ROUNDS {
        for (at, file) in files.iter().enumerate() {
            for (path, module) in &file.includes {
                let beside = file.file.rsplit_once('/').map_or(String::new(), |(parent, _)| format!("{parent}/"));
                let Some(&to) = index.get(format!("{beside}{path}").as_str()).filter(|to| **to != at) else { continue };
                let (base, included) = &bases[at];
                let whole = match (module.is_empty(), included) {
                    (true, _) => base.clone(),
                    (false, true) => format!("{base}.{module}"),
                    (false, false) => module.clone(),
                };
                if whole.len() <= SIGNATURE_BYTES_MAX {
                    bases[to] = (whole, true);
                }
            }
        }
    }
    bases
}

/// What is open where the walk is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Module,
    /// A block whose statements are as good as outside of it: `begin`, `if`.
    Clear,
    Block,
    Bracket,
}

struct Reader<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    open: Vec<Open>,
    /// How many of `open` hide what is in them.
    opaque: usize,
    modules: Vec<String>,
    by_name: HashMap<(String, String), usize>,
    place: Place<'a>,
    found: Found,
    /// Up to where names were taken from `export`, which goes on over lines.
    exported_to: usize,
}

impl<'a> Reader<'a> {
    fn walk(&mut self) {
        while self.at < self.tokens.len() && self.found.items.len() <= ITEMS_MAX {
            if self.opaque == 0 && self.begins() {
                let (first, doc) = self.documented(self.at);
                self.define(first, doc.as_deref());
                self.at = first;
            }
            self.step();
        }
    }

    fn begins(&self) -> bool {
        self.at == 0 || self.tokens[self.at - 1].kind == Lexed::End
    }

    fn word(&self, at: usize) -> &'a str {
        self.tokens
            .get(at)
            .filter(|token| token.kind == Lexed::Word)
            .map_or("", |token| &self.text[token.range.clone()])
    }

    fn sign(&self, at: usize) -> &'a str {
        self.tokens
            .get(at)
            .filter(|token| token.kind == Lexed::Sign)
            .map_or("", |token| &self.text[token.range.clone()])
    }

    fn is_end(&self, at: usize) -> bool {
        self.tokens.get(at).is_none_or(|token| token.kind == Lexed::End)
    }

    /// Gives the text from one token up to another.
    fn text(&self, from: usize, to: usize) -> &'a str {
        match (self.tokens.get(from), to.checked_sub(1).and_then(|last| self.tokens.get(last))) {
            (Some(first), Some(last)) if from < to => &self.text[first.range.start..last.range.end],
            _ => "",
        }
    }

    /// Gives what a text documents, if it stands directly above a statement, and the text.
    fn documented(&self, at: usize) -> (usize, Option<String>) {
        let doc_at = if self.word(at) == "@doc" { at + 1 } else { at };
        let Some(token) = self.tokens.get(doc_at).filter(|token| token.kind == Lexed::Text) else { return (at, None) };
        let newline = self.tokens.get(doc_at + 1).is_some_and(|token| &self.text[token.range.clone()] == "\n");
        let first = doc_at + 1 + usize::from(newline);
        let follows = newline || doc_at > at;
        if !follows || self.is_end(first) {
            return (at, None);
        }
        match comment::docstring(&self.text[token.range.clone()]) {
            Some(doc) => (first, Some(doc)),
            None => (at, None),
        }
    }

    /// Goes over one token and keeps track of what it opens or closes.
    fn step(&mut self) {
        let at = self.at;
        self.at += 1;
        match self.tokens[at].kind {
            Lexed::Sign => match self.sign(at) {
                "(" | "[" | "{" => self.push(Open::Bracket),
                ")" | "]" | "}" if self.open.last() == Some(&Open::Bracket) => self.pop(),
                _ => {}
            },
            Lexed::Word if !self.is_name(at) => self.keyword(at),
            Lexed::Word | Lexed::Text | Lexed::End => {}
        }
    }

    /// A keyword after `.` or directly after `:` is a name.
    fn is_name(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1) else { return false };
        let adjacent = self.tokens[before].range.end == self.tokens[at].range.start;
        match self.sign(before) {
            "." => true,
            ":" => {
                let value = before.checked_sub(1).filter(|two| {
                    self.tokens[*two].range.end == self.tokens[before].range.start
                        && (self.tokens[*two].kind == Lexed::Word || matches!(self.sign(*two), ")" | "]" | "}"))
                });
                adjacent && value.is_none()
            }
            _ => false,
        }
    }

    fn keyword(&mut self, at: usize) {
        let in_bracket = self.open.last() == Some(&Open::Bracket);
        let first = at.checked_sub(1).is_some_and(|before| matches!(self.sign(before), "(" | "[" | "{"));
        match self.word(at) {
            "end" if !in_bracket => self.pop(),
            "module" | "baremodule" if self.modules.len() >= MODULES_MAX => self.push(Open::Block),
            "module" | "baremodule" => {
                let name = cut(self.word(at + 1), SIGNATURE_BYTES_MAX).to_owned();
                self.modules.push(name);
                self.push(Open::Module);
            }
            "begin" if in_bracket && matches!(self.sign(at + 1), "]" | ":" | "+" | "," | "-") => {}
            "begin" => self.push(Open::Clear),
            "if" | "for" if in_bracket && !first => {}
            "if" => self.push(Open::Clear),
            "for" | "while" | "let" | "try" | "quote" | "do" | "function" | "macro" | "struct" => {
                self.push(Open::Block);
            }
            "type" if matches!(at.checked_sub(1).map(|before| self.word(before)), Some("abstract" | "primitive")) => {
                self.push(Open::Block);
            }
            "include" if self.opaque == 0 && self.sign(at + 1) == "(" && self.sign(at + 3) == ")" => {
                self.include(at + 2);
            }
            _ => {}
        }
    }

    fn include(&mut self, at: usize) {
        let path = self.tokens.get(at).filter(|token| token.kind == Lexed::Text);
        let path = path.and_then(|token| comment::docstring(&self.text[token.range.clone()]));
        if let Some(path) = path.filter(|_| self.found.includes.len() < ITEMS_MAX) {
            self.found.includes.push((path, self.module()));
        }
    }

    fn push(&mut self, open: Open) {
        self.open.push(open);
        self.opaque += usize::from(matches!(open, Open::Block | Open::Bracket));
    }

    fn pop(&mut self) {
        match self.open.pop() {
            Some(Open::Block | Open::Bracket) => self.opaque -= 1,
            Some(Open::Module) => drop(self.modules.pop()),
            Some(Open::Clear) | None => {}
        }
    }

    fn module(&self) -> String {
        cut(&self.modules.join("."), SIGNATURE_BYTES_MAX).to_owned()
    }

    /// Looks at what begins at a token, and notes what it defines.
    fn define(&mut self, first: usize, doc: Option<&str>) {
        let mut at = first;
        // `@inline function …`, `Base.@kwdef struct …`
        for _ in 0..4 {
            let qualified = self.sign(at + 1) == "." && self.word(at + 2).starts_with('@');
            let macro_at = if qualified { at + 2 } else { at };
            match self.word(macro_at) {
                "@enum" => return self.note_enum(macro_at + 1, doc),
                word if word.starts_with('@') => at = macro_at + 1,
                _ => break,
            }
        }
        match (self.word(at), self.word(at + 1)) {
            ("module" | "baremodule", name) if !name.is_empty() => {
                // A module stands in itself: its text is the first that is read of it.
                let path = self.modules.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
                let item = self.item(Kind::Module, &path, at).with_signature(&format!("module {name}"));
                self.note(item, doc);
            }
            ("function", _) => {
                self.function(at + 1, doc, Kind::Function);
            }
            ("macro", _) => {
                self.function(at + 1, doc, Kind::Macro);
            }
            ("mutable", "struct") => self.structure(at + 2, at, doc),
            ("struct", _) => self.structure(at + 1, at, doc),
            ("abstract" | "primitive", "type") => {
                let to = self.line_end(at);
                let to = if self.word(to - 1) == "end" { to - 1 } else { to };
                let item = self.item(Kind::Type, self.word(at + 2), at).with_signature(self.text(at, to));
                self.note(item, doc);
            }
            ("const", "global") => self.constant(at + 2, at, doc),
            ("const", _) => self.constant(at + 1, at, doc),
            ("export" | "public", _) => self.exported(at + 1),
            _ if self.function(at, doc, Kind::Function).is_some() => {}
            ("", _) => {}
            (name, _) if doc.is_some() && self.sign(at + 1) == "=" => {
                let item = self.item(Kind::Constant, name, at).with_signature(self.text(at, self.line_end(at)));
                self.note(item, doc);
            }
            // A text above a bare name documents what the name stands for.
            (name, _) if doc.is_some() && self.is_end(at + 1) => {
                let item = self.item(Kind::Constant, name, at).with_signature(name);
                self.note(item, doc);
            }
            _ => {}
        }
    }

    fn item(&self, kind: Kind, name: &str, at: usize) -> Item {
        let line = self.tokens.get(at).map_or(0, |token| token.line);
        Item::new(kind, cut(name, SIGNATURE_BYTES_MAX), self.place, line)
    }

    /// Adds an item, or joins it with the one of its name: a function has many methods, and one text or several.
    fn note(&mut self, mut item: Item, doc: Option<&str>) {
        if item.name.is_empty() {
            return;
        }
        item.module = if item.kind == Kind::Module { item.name.clone() } else { self.module() };
        if let Some(doc) = doc {
            item.doc = doc.to_owned();
            arguments(&mut item);
        }
        match self.by_name.get(&(item.module.clone(), item.name.clone())) {
            Some(&index) => {
                let known = &mut self.found.items[index];
                item.signatures.iter().for_each(|signature| known.sign(signature));
                comment::append(&mut known.doc, &item.doc);
                for part in item.parameters {
                    if known.parameters.len() < PARTS_MAX
                        && known.parameters.iter().all(|other| other.name != part.name)
                    {
                        known.parameters.push(part);
                    }
                }
            }
            None => {
                self.by_name.insert((item.module.clone(), item.name.clone()), self.found.items.len());
                self.found.items.push(item);
            }
        }
    }

    /// Notes a function whose name begins at a token; nothing if there is none.
    fn function(&mut self, from: usize, doc: Option<&str>, kind: Kind) -> Option<()> {
        let long = from > 0 && matches!(self.word(from - 1), "function" | "macro");
        let open = self.parentheses(from, long)?;
        let Some(open) = open else {
            // `function name end` declares a function without a method.
            let name = self.text(from, self.line_end(from)).trim_end_matches("end").trim();
            let item = self.item(kind, name, from).with_signature(name);
            self.note(item, doc);
            return Some(());
        };
        let close = self.matching(open)?;
        let to = self.tail(close + 1);
        if !long && self.sign(to) != "=" {
            return None;
        }
        let name = self.text(from, open);
        let name = name.split('{').next().unwrap_or(name).replace(".:", ".");
        let name = if kind == Kind::Macro { format!("@{name}") } else { name };
        let signature = self.text(from, to);
        let signature = if kind == Kind::Macro { format!("@{signature}") } else { signature.to_owned() };
        let mut item = self.item(kind, name.trim(), from).with_signature(&signature);
        item.parameters = self.parameters(open + 1, close);
        self.note(item, doc);
        Some(())
    }

    /// Finds the parenthesis that begins the parameters: none inside for a function without; none at all if this is no
    /// function.
    fn parentheses(&self, from: usize, long: bool) -> Option<Option<usize>> {
        // `function (f::F)(x)`: the first pair names what is called.
        let mut at = if long && self.sign(from) == "(" {
            let close = self.matching(from)?;
            if self.sign(close + 1) == "(" { close + 1 } else { from }
        } else {
            from
        };
        for _ in 0..16 {
            match self.tokens.get(at)?.kind {
                Lexed::Sign if self.sign(at) == "(" && (at > from || long) => return Some(Some(at)),
                Lexed::Sign if self.sign(at) == "{" && at > from => at = self.matching(at)? + 1,
                Lexed::Sign
                    if at > from && !matches!(self.sign(at), "." | ":") && !matches!(self.sign(at - 1), "." | ":") =>
                {
                    return None;
                }
                Lexed::Sign if at == from && matches!(self.sign(at), "(" | "[" | "{" | ":" | "." | "$") => return None,
                Lexed::Word if long && self.word(at) == "end" => return Some(None),
                Lexed::Word if at > from && self.tokens[at - 1].kind == Lexed::Word => return None,
                Lexed::Text => return None,
                Lexed::End => return if long && self.word(at + 1) == "end" { Some(None) } else { None },
                _ => at += 1,
            }
        }
        None
    }

    /// Finds the bracket that closes one; none within the bound.
    fn matching(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for at in open..self.tokens.len().min(open + AHEAD_MAX) {
            match self.sign(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Gives where `::T` and `where T` after parameters end.
    fn tail(&self, from: usize) -> usize {
        let mut at = from;
        for _ in 0..8 {
            let is_tail = self.sign(at) == "::" || self.word(at) == "where";
            if !is_tail {
                break;
            }
            at = self.type_end(at + 1);
        }
        at
    }

    fn type_end(&self, from: usize) -> usize {
        let mut at = from;
        for _ in 0..64 {
            at = match (self.sign(at), self.word(at)) {
                ("{" | "(" | "[", _) => match self.matching(at) {
                    Some(close) => close + 1,
                    None => break,
                },
                ("." | "<:" | ">:", _) => at + 1,
                (_, word) if !word.is_empty() && word != "where" && (at == from || !self.sign(at - 1).is_empty()) => {
                    match self.sign(at - 1) {
                        "}" | ")" | "]" if at > from => break,
                        _ => at + 1,
                    }
                }
                _ => break,
            };
        }
        at
    }

    /// Reads what stands between parentheses, or the fields of a statement.
    fn parameters(&self, from: usize, to: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        let (mut depth, mut start) = (0_usize, from);
        for at in from..=to {
            match self.sign(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" if at < to => depth = depth.saturating_sub(1),
                _ => {}
            }
            let semicolon = self.tokens.get(at).is_some_and(|token| &self.text[token.range.clone()] == ";");
            let splits = at == to || (depth == 0 && (self.sign(at) == "," || semicolon));
            if splits {
                parts.extend(self.part(start, at));
                start = at + 1;
            }
            if parts.len() >= PARTS_MAX {
                break;
            }
        }
        parts
    }

    /// Reads `name::Type = default`.
    fn part(&self, from: usize, to: usize) -> Option<Part> {
        let mut depth = 0_usize;
        let (mut kind_at, mut default_at) = (None, None);
        for at in from..to {
            match self.sign(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                "::" if depth == 0 && default_at.is_none() => kind_at = kind_at.or(Some(at)),
                "=" if depth == 0 => default_at = default_at.or(Some(at)),
                _ => {}
            }
        }
        let end = default_at.unwrap_or(to);
        let name = super::on_one_line(self.text(from, kind_at.unwrap_or(end)));
        let kind = kind_at.map(|at| super::on_one_line(self.text(at + 1, end)));
        let default = default_at.map(|at| super::on_one_line(self.text(at + 1, to)));
        (!name.is_empty() || kind.is_some()).then_some(Part { name, kind, default, doc: String::new() })
    }

    /// Gives the first end of a line that is not inside brackets.
    fn line_end(&self, from: usize) -> usize {
        let mut depth = 0_usize;
        let last = self.tokens.len().min(from + AHEAD_MAX);
        for at in from..last {
            match self.sign(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ if depth == 0 && self.is_end(at) => return at,
                _ => {}
            }
        }
        last
    }

    fn constant(&mut self, name_at: usize, first: usize, doc: Option<&str>) {
        let item = self.item(Kind::Constant, self.word(name_at), first);
        let item = item.with_signature(self.text(first, self.line_end(first)));
        self.note(item, doc);
    }

    fn note_enum(&mut self, name_at: usize, doc: Option<&str>) {
        let to = self.line_end(name_at);
        let item = self.item(Kind::Type, self.word(name_at), name_at);
        let item = item.with_signature(&format!("@enum {}", self.text(name_at, to)));
        self.note(item, doc);
    }

    fn exported(&mut self, from: usize) {
        if from < self.exported_to {
            return;
        }
        let module = self.module();
        let names = self.found.exports.entry(module).or_default();
        for at in from..self.tokens.len().min(from + AHEAD_MAX) {
            self.exported_to = at;
            let token = &self.tokens[at];
            let text = &self.text[token.range.clone()];
            let goes_on = at > from && self.text[self.tokens[at - 1].range.clone()] == *",";
            match token.kind {
                Lexed::Word => {
                    names.insert(text.to_owned());
                }
                Lexed::End if !goes_on => break,
                _ => {}
            }
        }
    }

    /// Reads a type with its fields; inner constructors are none.
    fn structure(&mut self, name_at: usize, first: usize, doc: Option<&str>) {
        let header = self.line_end(name_at);
        let mut item = self.item(Kind::Type, self.word(name_at), first).with_signature(self.text(first, header));
        let last = self.tokens.len().min(header + AHEAD_MAX);
        let (mut at, mut depth) = (header, 0_usize);
        while at < last && item.fields.len() < PARTS_MAX {
            let begins = self.tokens.get(at.wrapping_sub(1)).is_some_and(|token| token.kind == Lexed::End);
            if begins && depth == 0 {
                let (field, doc) = self.documented(at);
                at = field;
                let to = self.line_end(at);
                let is_field = self.sign(at + 1) == "::" || self.sign(at + 1) == "=" || to == at + 1;
                let word = if self.word(at) == "const" { at + 1 } else { at };
                if word > at || (is_field && !matches!(self.word(at), "" | "end" | "function")) {
                    let part = self.part(word, to);
                    item.fields.extend(part.map(|part| Part { doc: doc.unwrap_or_default(), ..part }));
                    at = to;
                    continue;
                }
            }
            match self.word(at) {
                "function" | "if" | "for" | "while" | "let" | "begin" | "try" | "do" => depth += 1,
                "end" if depth == 0 => break,
                "end" => depth -= 1,
                _ => {}
            }
            at += 1;
        }
        self.note(item, doc);
    }
}
