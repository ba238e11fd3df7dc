//! Tokens of Julia with their places. Any text gives tokens; nothing is refused, and nothing is nested deeper than a count.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name, a keyword or a number; a macro with its `@`.
    Word,
    /// A text between quotes, with what stands before it as in `raw"…"`.
    Text,
    /// A sign: `==`, `=>`, `::`, `<:` and the like, or one character.
    Sign,
    /// The end of a line, or `;`.
    End,
}

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
    /// The line, from 1.
    pub(crate) line: u32,
}

/// Signs of more than one character, the longest first.
const SIGNS: [&str; 16] =
    ["===", "!==", "...", "::", "==", "!=", "<=", ">=", "=>", "->", "<:", ">:", "&&", "||", "|>", "=~"];
/// The deepest that texts stand in each other by interpolation; deeper ones are read as if they had none.
const INTERPOLATION_MAX: usize = 16;

pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut scan = Scan { text, at: 0, line: 1, tokens: Vec::new() };
    while scan.at < text.len() {
        scan.step();
    }
    scan.tokens
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    tokens: Vec<Token>,
}

impl Scan<'_> {
    fn step(&mut self) {
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else { return };
        match first {
            '\n' | ';' => self.push(Kind::End, first.len_utf8()),
            _ if first.is_whitespace() => self.skip(first.len_utf8()),
            '#' if rest.starts_with("#=") => self.skip(block_comment(rest)),
            '#' => self.skip(rest.find('\n').unwrap_or(rest.len())),
            '"' | '`' => self.push(Kind::Text, quoted(rest, true)),
            '\'' if !self.after_value() => self.push(Kind::Text, character(rest)),
            _ if is_word(first) || first == '@' => self.word(rest),
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                self.push(Kind::Sign, sign.map_or(first.len_utf8(), |sign| sign.len()));
            }
        }
    }

    fn word(&mut self, rest: &str) {
        let start = usize::from(rest.starts_with('@'));
        let length = rest[start..].find(|c| !is_word(c) && c != '!').map_or(rest.len(), |end| start + end);
        // `a != b` without spaces: the sign belongs to what follows.
        let word = &rest[..length];
        let length = if word.ends_with('!') && rest[length..].starts_with('=') && !rest[length..].starts_with("==") {
            length - 1
        } else {
            length
        };
        match rest[length..].chars().next() {
            // `raw"…"` and `r"…"` have no interpolation and are one token.
            Some('"' | '`') if start == 0 && !word.starts_with(|c: char| c.is_ascii_digit()) => {
                self.push(Kind::Text, length + quoted(&rest[length..], false));
            }
            _ => self.push(Kind::Word, length.max(1)),
        }
    }

    /// After a value an apostrophe is the adjoint, not the beginning of a character.
    fn after_value(&self) -> bool {
        let Some(last) = self.tokens.last().filter(|token| token.range.end == self.at) else { return false };
        match last.kind {
            Kind::Word | Kind::Text => true,
            Kind::Sign => matches!(&self.text[last.range.clone()], ")" | "]" | "}" | "'"),
            Kind::End => false,
        }
    }

    fn push(&mut self, kind: Kind, length: usize) {
        self.tokens.push(Token { kind, range: self.at..self.at + length, line: self.line });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        let passed = &self.text.as_bytes()[self.at..self.at + length];
        let lines = passed.iter().filter(|byte| **byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.at += length;
    }
}

pub(crate) fn is_word(c: char) -> bool {
    // Names of Julia may have signs of mathematics, subscripts and primes in them.
    c.is_alphanumeric() || c == '_' || matches!(c, '′' | '∂' | '∇' | '√' | '∞' | '₀'..='₉')
}

fn block_comment(rest: &str) -> usize {
    let (bytes, mut at, mut depth) = (rest.as_bytes(), 0, 0_usize);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'#', b'=', ..] => (depth, at) = (depth + 1, at + 2),
            [b'=', b'#', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Gives the length of a character in single quotes; of the quote alone if it is none.
fn character(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1).take(12) {
        match c {
            '\n' => return 1,
            '\'' if !escaped && at > 1 => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    1
}

/// Gives the length of a text with its quotes; to the end if it does not end.
fn quoted(rest: &str, interpolates: bool) -> usize {
    /// A text that is open, or parentheses within one.
    enum Open {
        Text(u8, usize),
        Parentheses(usize),
    }
    let bytes = rest.as_bytes();
    let opening = |at: usize| {
        let quote = bytes[at];
        let triple = bytes[at..].starts_with(&[quote; 3]);
        // An empty text of two quotes is not the beginning of a triple.
        Open::Text(quote, if triple { 3 } else { 1 })
    };
    let mut open = vec![opening(0)];
    let mut at = if let Some(Open::Text(_, width)) = open.last() { *width } else { 1 };
    while at < bytes.len() {
        let depth = open.len();
        match open.last_mut() {
            None => break,
            Some(Open::Text(quote, width)) => match bytes[at] {
                b'\\' => at += 2,
                b if b == *quote && bytes[at..].starts_with(&[b; 3][..*width]) => {
                    at += *width;
                    open.pop();
                }
                b'$' if interpolates && bytes.get(at + 1) == Some(&b'(') && depth < 2 * INTERPOLATION_MAX => {
                    at += 2;
                    open.push(Open::Parentheses(1));
                }
                _ => at += 1,
            },
            Some(Open::Parentheses(count)) => {
                match bytes[at] {
                    b'(' => *count += 1,
                    b')' => *count -= 1,
                    _ => {}
                }
                let closed = *count == 0;
                if bytes[at] == b'"' && depth < 2 * INTERPOLATION_MAX {
                    let inner = opening(at);
                    at += if let Open::Text(_, width) = inner { width } else { 1 };
                    open.push(inner);
                    continue;
                }
                at += 1;
                if closed {
                    open.pop();
                }
            }
        }
    }
    // An escape may have led beyond the end, or into the middle of a character.
    rest.ceil_char_boundary(at.min(rest.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Vec<&str> {
        tokens(text).into_iter().map(|token| &text[token.range]).collect()
    }

    #[test]
    fn texts_end_where_they_end() {
        assert_eq!(shown(r#"a "b $(c("d)") ) e" f"#), ["a", r#""b $(c("d)") ) e""#, "f"]);
        assert_eq!(shown("\"\"\"a \"b\" c\"\"\" d"), ["\"\"\"a \"b\" c\"\"\"", "d"]);
        assert_eq!(shown(r#""" "\"" raw"\$(" x"#), [r#""""#, r#""\"""#, r#"raw"\$(""#, "x"]);
        assert_eq!(shown("\"never"), ["\"never"]);
        assert_eq!(shown("\"\\"), ["\"\\"]);
    }

    #[test]
    fn characters_adjoints_and_comments_are_told_apart() {
        assert_eq!(shown("'a' + x' - '\\'' # c 'd\ne"), ["'a'", "+", "x", "'", "-", "'\\''", "\n", "e"]);
        assert_eq!(shown("a #= b #= c =# d =# e"), ["a", "e"]);
        assert_eq!(shown("push!(a) != b!=c"), ["push!", "(", "a", ")", "!=", "b", "!=", "c"]);
    }

    #[test]
    fn signs_and_lines_have_their_place() {
        assert_eq!(shown("f(x::T)=x;y<:Z"), ["f", "(", "x", "::", "T", ")", "=", "x", ";", "y", "<:", "Z"]);
        let lines: Vec<u32> = tokens("a\n\n\"b\nc\" d").iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 1, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn any_text_gives_tokens_in_order(text in "(\\PC|[\"'`$()\\\\#=@\n;!]|\"\"\"|\\$\\(){0,80}") {
            let mut at = 0;
            for token in tokens(&text) {
                prop_assert!(token.range.start >= at && token.range.end > token.range.start);
                prop_assert!(text.get(token.range.clone()).is_some());
                at = token.range.end;
            }
        }
    }
}
