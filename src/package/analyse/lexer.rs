//! Tokens of Lua and Julia, enough to tell code from texts and comments. Any input gives tokens; nothing is refused.

use crate::package::kind::Language;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or keyword, in Julia with a leading `@`.
    Word,
    /// What stands between quotes.
    Text,
    /// What stands between backquotes in Julia: a command of the system.
    Command,
    /// One other character, or `..`, `==`, `=>`, `&&`, `||`.
    Sign,
}

/// A token and its line, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) line: u32,
}

impl Token<'_> {
    pub(super) fn is_word(&self, text: &str) -> bool {
        self.kind == Kind::Word && self.text == text
    }

    pub(super) fn is_sign(&self, text: &str) -> bool {
        self.kind == Kind::Sign && self.text == text
    }
}

pub(super) fn tokens(text: &str, language: Language) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    let mut after_value = false;
    while let Some(first) = rest.chars().next() {
        let (length, kind) = next(rest, first, language, after_value);
        let whole = &rest[..length];
        if let Some((kind, margin)) = kind {
            let inner = whole.get(margin..length - margin).unwrap_or_default();
            tokens.push(Token { kind, text: inner, line });
            after_value = matches!(kind, Kind::Word | Kind::Text) || matches!(first, ')' | ']' | '}' | '\'');
        } else {
            after_value = false;
        }
        line += u32::try_from(whole.matches('\n').count()).unwrap_or(u32::MAX);
        rest = &rest[length..];
    }
    tokens
}

/// Gives the bytes of the first token or gap and, for a token, its kind and the width of its quotes.
fn next(rest: &str, first: char, language: Language, after_value: bool) -> (usize, Option<(Kind, usize)>) {
    if first.is_whitespace() {
        return (first.len_utf8(), None);
    }
    if let Some(length) = comment(rest, language) {
        return (length, None);
    }
    if first.is_alphanumeric() || first == '_' || (first == '@' && language == Language::Julia) {
        let is_part =
            |c: char| c.is_alphanumeric() || matches!(c, '_' | '!') || (c == '@' && language == Language::Julia);
        return (rest.find(|c| !is_part(c)).unwrap_or(rest.len()), Some((Kind::Word, 0)));
    }
    if let Some((length, margin)) = quoted(rest, first, language, after_value) {
        return (length, Some((if first == '`' { Kind::Command } else { Kind::Text }, margin)));
    }
    let pair = ["..", "==", "=>", "&&", "||", "~=", "<=", ">=", "!="].iter().find(|pair| rest.starts_with(**pair));
    (pair.map_or(first.len_utf8(), |pair| pair.len()), Some((Kind::Sign, 0)))
}

fn comment(rest: &str, language: Language) -> Option<usize> {
    let line_end = || rest.find('\n').unwrap_or(rest.len());
    match language {
        Language::Lua => {
            let body = rest.strip_prefix("--")?;
            Some(long_bracket(body).map_or_else(line_end, |(length, _)| length + 2))
        }
        Language::Julia if rest.starts_with("#=") => {
            let mut depth = 0_usize;
            let mut at = 0;
            while at < rest.len() {
                let here = &rest.as_bytes()[at..];
                match () {
                    () if here.starts_with(b"#=") => (depth, at) = (depth + 1, at + 2),
                    () if here.starts_with(b"=#") => (depth, at) = (depth - 1, at + 2),
                    () => at += 1,
                }
                if depth == 0 {
                    break;
                }
            }
            Some(at)
        }
        Language::Julia => rest.starts_with('#').then(line_end),
    }
}

/// Gives the length of a Lua long bracket (`[[…]]`, `[=[…]=]`) and the width of its brackets.
fn long_bracket(rest: &str) -> Option<(usize, usize)> {
    let inner = rest.strip_prefix('[')?;
    let level = inner.bytes().take_while(|byte| *byte == b'=').count();
    inner[level..].starts_with('[').then_some(())?;
    let close = format!("]{}]", "=".repeat(level));
    let margin = level + 2;
    Some((rest[margin..].find(&close).map_or(rest.len(), |end| margin + end + margin), margin))
}

/// Says whether an apostrophe begins a character of Julia, which ends on its line and is short also when it is escaped.
fn is_character(rest: &str) -> bool {
    rest.chars().skip(2).take(11).find(|c| matches!(c, '\'' | '\n')) == Some('\'')
}

fn quoted(rest: &str, first: char, language: Language, after_value: bool) -> Option<(usize, usize)> {
    if language == Language::Lua && first == '[' {
        return long_bracket(rest);
    }
    let quote = match (language, first) {
        (Language::Julia, '"') if rest.starts_with("\"\"\"") => "\"\"\"",
        (Language::Julia, '`') if rest.starts_with("```") => "```",
        (_, '"') => "\"",
        (Language::Julia, '`') => "`",
        // After a value Julia's apostrophe is the adjoint.
        (Language::Lua, '\'') => "'",
        (Language::Julia, '\'') if !after_value && is_character(rest) => "'",
        _ => return None,
    };
    let margin = quote.len();
    let mut escaped = false;
    for (offset, c) in rest[margin..].char_indices() {
        if !escaped && rest[margin + offset..].starts_with(quote) {
            return Some((offset + 2 * margin, margin));
        }
        if c == '\n' && margin == 1 && !escaped && language == Language::Lua {
            return Some((margin + offset, margin));
        }
        escaped = c == '\\' && !escaped;
    }
    Some((rest.len(), margin))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str, language: Language) -> String {
        tokens(text, language).iter().map(|t| format!("{}{:?}:{} ", t.line, t.kind, t.text)).collect()
    }

    #[test]
    fn lua_texts_and_comments_are_told_from_code() {
        assert_eq!(
            shown("a='x' -- os.execute\n--[[ b\n]] c[[d]] .. \"e\\\"f\"", Language::Lua),
            "1Word:a 1Sign:= 1Text:x 3Word:c 3Text:d 3Sign:.. 3Text:e\\\"f "
        );
    }

    #[test]
    fn julia_commands_nested_comments_and_adjoints_are_told_apart() {
        assert_eq!(
            shown("#= a #= b =# c =# x' * \"\"\"q\"r\"\"\" # d\n`ls $x` @eval 'c'", Language::Julia),
            "1Word:x 1Sign:' 1Sign:* 1Text:q\"r 2Command:ls $x 2Word:@eval 2Text:c "
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_tokens(text in "(\\PC|[\"'`\\[\\]=#\\\\\n-]){0,40}") {
            for language in [Language::Lua, Language::Julia] {
                let lines = u32::try_from(text.matches('\n').count()).expect("is short") + 1;
                prop_assert!(tokens(&text, language).iter().all(|token| token.line <= lines));
            }
        }
    }
}
