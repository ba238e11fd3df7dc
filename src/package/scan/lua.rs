//! Tokens of Lua 5.4 with their places, comments among them. Any text gives tokens; nothing is refused.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name, a keyword or a number.
    Word,
    /// A text between quotes or long brackets.
    Text,
    /// A comment with its dashes.
    Comment,
    /// `==`, `...` and the like, or one character.
    Sign,
}

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
    /// The line it begins on, from 1.
    pub(crate) line: u32,
}

const SIGNS: [&str; 11] = ["...", "..", "==", "~=", "<=", ">=", "//", "::", "<<", ">>", "->"];

pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    // The first line may say which program runs the file.
    let mut at = if text.starts_with("#!") { text.find('\n').unwrap_or(text.len()) } else { 0 };
    let mut line = 1_u32;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, length) = next(rest, first);
        if let Some(kind) = kind {
            tokens.push(Token { kind, range: at..at + length, line });
        }
        let lines = rest.as_bytes()[..length].iter().filter(|byte| **byte == b'\n').count();
        line = line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        at += length;
    }
    tokens
}

fn next(rest: &str, first: char) -> (Option<Kind>, usize) {
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if let Some(body) = rest.strip_prefix("--") {
        let length = long_bracket(body).unwrap_or_else(|| body.find('\n').unwrap_or(body.len()));
        return (Some(Kind::Comment), length + 2);
    }
    if is_word(first) {
        return (Some(Kind::Word), rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
    }
    match first {
        '"' | '\'' => (Some(Kind::Text), quoted(rest, first)),
        '[' => match long_bracket(rest) {
            Some(length) => (Some(Kind::Text), length),
            None => (Some(Kind::Sign), 1),
        },
        _ => {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            (Some(Kind::Sign), sign.map_or(first.len_utf8(), |sign| sign.len()))
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Gives the length of `[[…]]` or `[=[…]=]`; to the end if it does not end.
fn long_bracket(rest: &str) -> Option<usize> {
    let level = long_level(rest)?;
    let close = format!("]{}]", "=".repeat(level));
    let start = level + 2;
    Some(rest[start..].find(&close).map_or(rest.len(), |end| start + end + close.len()))
}

/// Gives how many `=` a long bracket begins with.
pub(crate) fn long_level(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('[')?;
    let level = inner.bytes().take_while(|byte| *byte == b'=').count();
    inner[level..].starts_with('[').then_some(level)
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return at,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Vec<&str> {
        tokens(text).into_iter().map(|token| &text[token.range]).collect()
    }

    #[test]
    fn texts_and_comments_are_told_from_code() {
        assert_eq!(
            shown("#!/usr/bin/lua\na='x\\'y' --- b\n--[==[ c ]] ]==] d[e[1]]"),
            ["a", "=", "'x\\'y'", "--- b", "--[==[ c ]] ]==]", "d", "[", "e", "[", "1", "]", "]"]
        );
        assert_eq!(shown("[[never"), ["[[never"]);
        assert_eq!(shown("a 'broken\nb"), ["a", "'broken", "b"]);
        assert_eq!(
            shown("function M:f(...) return a..b end"),
            ["function", "M", ":", "f", "(", "...", ")", "return", "a", "..", "b", "end"]
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_tokens_in_order(text in "(\\PC|[\"'\\[\\]=\\\\\n-]|--\\[\\[|\\]\\]){0,80}") {
            let mut at = 0;
            for token in tokens(&text) {
                prop_assert!(token.range.start >= at && token.range.end > token.range.start);
                prop_assert!(text.get(token.range.clone()).is_some());
                at = token.range.end;
            }
        }
    }
}
