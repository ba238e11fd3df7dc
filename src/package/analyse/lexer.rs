//! Tokens of Lua and Julia as the analysers want them: without comments and ends of lines, texts without their quotes.

use crate::package::kind::Language;
use crate::package::scan::{julia, lua};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or keyword, in Julia with a leading `@`.
    Word,
    /// What stands between quotes.
    Text,
    /// What stands between backquotes in Julia: a command of the system.
    Command,
    /// A sign of one character, or of more that belong together, as `..` and `&&`.
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
    let mut found = Vec::new();
    match language {
        Language::Lua => {
            for token in lua::tokens(text) {
                let (whole, line) = (&text[token.range], token.line);
                match token.kind {
                    lua::Kind::Comment => {}
                    lua::Kind::Word => found.push(Token { kind: Kind::Word, text: whole, line }),
                    lua::Kind::Sign => found.push(Token { kind: Kind::Sign, text: whole, line }),
                    lua::Kind::Text => {
                        let width = lua::long_level(whole).map_or(1, |level| level + 2);
                        found.push(Token { kind: Kind::Text, text: within(whole, width), line });
                    }
                }
            }
        }
        Language::Julia => {
            for token in julia::tokens(text) {
                let (whole, line) = (&text[token.range], token.line);
                match token.kind {
                    julia::Kind::End => {}
                    julia::Kind::Word => found.push(Token { kind: Kind::Word, text: whole, line }),
                    julia::Kind::Sign => found.push(Token { kind: Kind::Sign, text: whole, line }),
                    julia::Kind::Text => found.extend(julia_text(whole, line)),
                }
            }
        }
    }
    found
}

/// Gives a text of Julia, behind the word that says how it is read, as in `raw"…"`.
fn julia_text(whole: &str, line: u32) -> impl Iterator<Item = Token<'_>> {
    let (word, quoted) = whole.split_at(whole.find(['"', '`', '\'']).unwrap_or(0));
    let is_triple = ["\"\"\"", "```"].iter().any(|quotes| quoted.starts_with(quotes));
    let kind = if quoted.starts_with('`') { Kind::Command } else { Kind::Text };
    let word = (!word.is_empty()).then_some(Token { kind: Kind::Word, text: word, line });
    let text = within(quoted, if is_triple { 3 } else { 1 });
    word.into_iter().chain([Token { kind, text, line }])
}

/// Gives what stands between quotes of some width; the end may be missing.
fn within(whole: &str, width: usize) -> &str {
    whole.len().checked_sub(width).and_then(|end| whole.get(width..end)).unwrap_or_default()
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
