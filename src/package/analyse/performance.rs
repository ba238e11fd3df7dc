//! Complexity of functions and depth of nesting.

use crate::package::kind::Language;

use super::lexer::{Kind, Token};
use super::{Analyser, Findings, Level, Rule, Source};

const COMPLEX: Rule =
    Rule::new(Analyser::Performance, "COMPLEX_FUNCTION", Level::Low, "split it into functions with one job each");
const VERY_COMPLEX: Rule = Rule::new(
    Analyser::Performance,
    "VERY_COMPLEX_FUNCTION",
    Level::Medium,
    "split it into functions with one job each",
);
const NESTED: Rule =
    Rule::new(Analyser::Performance, "DEEP_NESTING", Level::Low, "return early, or move the inside out");

/// The greatest cyclomatic complexity (McCabe 1976) that is not remarked on; he gave 10 as reasonable.
const COMPLEXITY_MAX: u32 = 15;
/// Beyond this, one test per path is out of reach.
const COMPLEXITY_HIGH: u32 = 30;
/// The deepest nesting of blocks that is not remarked on.
const NESTING_MAX: usize = 8;

pub(super) fn analyse(sources: &[Source<'_>], findings: &mut Findings) {
    for source in sources {
        let measured = measure(&source.tokens, source.language);
        for function in measured.functions {
            let rule = match function.complexity {
                complexity if complexity <= COMPLEXITY_MAX => continue,
                complexity if complexity <= COMPLEXITY_HIGH => &COMPLEX,
                _ => &VERY_COMPLEX,
            };
            let message = format!("a function with {} paths", function.complexity);
            findings.add(rule, Some(source.path), function.line, message);
        }
        if measured.depth > NESTING_MAX {
            let message = format!("blocks are nested {} deep", measured.depth);
            findings.add(&NESTED, Some(source.path), measured.deepest_line, message);
        }
    }
}

#[derive(Default)]
struct Measured {
    functions: Vec<Function>,
    depth: usize,
    deepest_line: u32,
}

#[derive(Clone, Copy)]
struct Function {
    line: u32,
    complexity: u32,
}

/// Follows blocks by their keywords. Lua's `for` and `while` are not counted as blocks: the `do` that follows is.
fn measure(tokens: &[Token<'_>], language: Language) -> Measured {
    let mut measured = Measured::default();
    let mut blocks: Vec<Block> = Vec::new();
    let mut functions: Vec<Function> = Vec::new();
    let mut brackets = 0_usize;
    for token in tokens {
        match (token.kind, token.text) {
            (Kind::Sign, "[" | "(") => brackets += 1,
            (Kind::Sign, "]" | ")") => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        if is_branch(token, language)
            && let Some(function) = functions.last_mut()
        {
            function.complexity += 1;
        }
        match block(token, language, brackets) {
            Block::None => {}
            Block::Plain => blocks.push(Block::Plain),
            Block::Function => {
                blocks.push(Block::Function);
                functions.push(Function { line: token.line, complexity: 1 });
            }
            Block::End => {
                if let Some(Block::Function) = blocks.pop() {
                    measured.functions.extend(functions.pop());
                }
            }
        }
        if blocks.len() > measured.depth {
            (measured.depth, measured.deepest_line) = (blocks.len(), token.line);
        }
    }
    measured
}

enum Block {
    None,
    Function,
    Plain,
    End,
}

fn block(token: &Token<'_>, language: Language, brackets: usize) -> Block {
    match (language, token.kind, token.text) {
        (_, Kind::Word, "function") | (Language::Julia, Kind::Word, "macro") => Block::Function,
        (Language::Lua, Kind::Word, "if" | "do" | "repeat") => Block::Plain,
        (Language::Lua, Kind::Word, "end" | "until") => Block::End,
        // Inside brackets these are parts of generators and indices.
        (Language::Julia, Kind::Word, "if" | "for" | "end") if brackets > 0 => Block::None,
        (
            Language::Julia,
            Kind::Word,
            "if" | "for" | "while" | "begin" | "let" | "try" | "do" | "quote" | "struct" | "module" | "baremodule",
        ) => Block::Plain,
        (Language::Julia, Kind::Word, "end") => Block::End,
        _ => Block::None,
    }
}

fn is_branch(token: &Token<'_>, language: Language) -> bool {
    match (token.kind, token.text) {
        (Kind::Word, "if" | "elseif" | "for" | "while") => true,
        (Kind::Word, "repeat" | "and" | "or") => language == Language::Lua,
        (Kind::Word, "catch") | (Kind::Sign, "&&" | "||" | "?") => language == Language::Julia,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::codes;
    use super::*;

    fn of(main: &str, text: &str) -> Vec<(&'static str, u32)> {
        codes(Analyser::Performance, main, text)
    }

    #[test]
    fn complexity_is_measured_per_function_at_its_bounds() {
        let lua = |branches: usize| format!("local function f(a)\n{}end\n", "if a then a = 1 end\n".repeat(branches));
        assert_eq!(of("a.lua", &lua(14)), []);
        assert_eq!(of("a.lua", &lua(15)), [("COMPLEX_FUNCTION", 1)]);
        assert_eq!(of("a.lua", &lua(30)), [("VERY_COMPLEX_FUNCTION", 1)]);
        assert_eq!(of("a.lua", &(lua(10) + &lua(10))), []);
        let inner =
            format!("local function f()\nlocal g = function(a)\n{}end\nend", "if a and a then a = 1 end\n".repeat(10));
        assert_eq!(of("a.lua", &inner), [("COMPLEX_FUNCTION", 2)]);
    }

    #[test]
    fn julia_generators_and_indices_are_no_blocks() {
        let text =
            "function f(a)\n  x = [i for i in a if i > 0]\n  a[end] = sum(y for y in x)\n  return a\nend\n".repeat(10);
        assert_eq!(of("a.jl", &text), []);
        let branches = format!("function f(a)\n{}end\n", "a && b\n".repeat(15));
        assert_eq!(of("a.jl", &branches), [("COMPLEX_FUNCTION", 1)]);
    }

    #[test]
    fn nesting_is_measured_at_its_bound() {
        let nested = |depth: usize| format!("{}{}", "do\n".repeat(depth), "end\n".repeat(depth));
        assert_eq!(of("a.lua", &nested(8)), []);
        assert_eq!(of("a.lua", &nested(9)), [("DEEP_NESTING", 9)]);
    }
}
