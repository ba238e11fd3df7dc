//! Examples: code between fences in the README and in the texts about names, in the package's language. Whoever can run them
//! puts what came of it in; here they are found and shown.
//!
//! A block that is followed by one of the language `output` says what must come out. In Julia a block of `julia>` lines is a
//! session: what stands below a line is what must come out of it. For WebAssembly a block of the language `call` calls an
//! exported function, with arguments in JSON: `count(100)`.

use serde::Serialize;

use super::Warning;
use super::api::Item;
use super::block::{Block, Span, Tone, program};
use super::prose;
use crate::package::Package;
use crate::package::model::PackageType;

/// The most examples of one package.
pub const EXAMPLES_MAX: usize = 100;
/// The longest example, in bytes.
pub const EXAMPLE_BYTES_MAX: usize = 16 << 10;
/// The most of a result that is shown, in bytes.
pub const RESULT_BYTES_MAX: usize = 8 << 10;
/// The most lines of one session.
pub const STEPS_MAX: usize = 64;
/// Where a session of Julia waits for a line, and where it waits for more of one.
const PROMPT: &str = "julia> ";
const PROMPT_MORE: &str = "       ";
/// The language of a block that says what must come out.
const OUTPUT: &str = "output";

/// An example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Where it stands: `README`, or the module and name it is about.
    pub origin: String,
    /// What it does.
    pub code: Code,
    /// What must come out, if the author says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What came of it.
    pub result: Outcome,
}

/// What an example does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "source", rename_all = "snake_case")]
pub enum Code {
    /// A chunk of Lua.
    Lua(String),
    /// Statements of Julia.
    Julia(String),
    /// Lines typed into Julia one after the other, each with what must come out of it.
    Session(Vec<Line>),
    /// A call of an exported function.
    Call(String),
}

/// One line of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What is typed.
    pub input: String,
    /// What must come out; empty for nothing.
    pub expected: String,
}

/// What came of an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// It was not run.
    NotRun {
        /// Why.
        reason: String,
    },
    /// It ran, and gave what it should if that is said.
    Passed {
        /// What it printed and gave.
        output: String,
    },
    /// It ran, and gave something else than it should.
    Differs {
        /// What it printed and gave.
        output: String,
    },
    /// It did not run to its end.
    Failed {
        /// The error, with its line.
        message: String,
        /// What it printed before.
        output: String,
    },
}

impl Outcome {
    /// Names it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotRun { .. } => "not run",
            Self::Passed { .. } => "passed",
            Self::Differs { .. } => "differs",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether something is wrong with the example.
    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Differs { .. } | Self::Failed { .. })
    }

    /// Holds what came out against what should.
    pub fn compared(output: String, expected: Option<&str>) -> Self {
        let lines = |text: &str| text.trim().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        match expected {
            Some(expected) if lines(expected) != lines(&output) => Self::Differs { output },
            _ => Self::Passed { output },
        }
    }
}

/// Finds the examples of a package, in the order in which they are shown.
pub(super) fn find(package: &Package, readme: &[Block], items: &[Item], warnings: &mut Vec<Warning>) -> Vec<Example> {
    let Some(language) = language(package.kind) else { return Vec::new() };
    let mut examples = Vec::new();
    collect(language, "README", readme, &mut examples);
    for item in items.iter().filter(|item| item.doc.contains("```") || item.doc.contains("~~~")) {
        let blocks = prose::read(&item.doc, 4);
        collect(language, &item.full_name(), &blocks, &mut examples);
    }
    let long = examples.iter().filter(|example| example.code.source_bytes() > EXAMPLE_BYTES_MAX).count();
    if long > 0 || examples.len() > EXAMPLES_MAX {
        let count = examples.len().saturating_sub(EXAMPLES_MAX) + long;
        let text =
            format!("{count} examples are not run: only {EXAMPLES_MAX} are, of {EXAMPLE_BYTES_MAX} bytes at most");
        warnings.push(Warning { code: "EXAMPLES_LEFT_OUT", text });
    }
    examples
}

/// The languages of blocks that are examples of a package.
#[derive(Clone, Copy)]
enum Language {
    Lua,
    Julia,
    Call,
}

fn language(kind: PackageType) -> Option<Language> {
    match kind {
        PackageType::LuaScript | PackageType::LuaLibrary => Some(Language::Lua),
        PackageType::JuliaProgram | PackageType::JuliaLibrary => Some(Language::Julia),
        PackageType::WasmModule => Some(Language::Call),
        _ => None,
    }
}

fn collect(language: Language, origin: &str, blocks: &[Block], examples: &mut Vec<Example>) {
    for (at, block) in blocks.iter().enumerate() {
        let Some(code) = code(language, block) else { continue };
        let expected = blocks.get(at + 1).and_then(expected).map(str::to_owned);
        let result = Outcome::NotRun { reason: "examples were left out".into() };
        examples.push(Example { origin: origin.to_owned(), code, expected, result });
    }
}

/// Gives what a block does, if it is an example.
fn code(language: Language, block: &Block) -> Option<Code> {
    let Block::Code { language: named, text, read_only: false } = block else { return None };
    match (language, named.as_str()) {
        (Language::Lua, "lua") => Some(Code::Lua(text.clone())),
        (Language::Julia, "julia" | "jldoctest" | "julia-repl") if text.starts_with(PROMPT) => {
            Some(Code::Session(session(text)))
        }
        (Language::Julia, "julia" | "jldoctest") => Some(Code::Julia(text.clone())),
        (Language::Call, "call") => Some(Code::Call(text.trim().to_owned())),
        _ => None,
    }
}

fn expected(block: &Block) -> Option<&str> {
    match block {
        Block::Code { language, text, .. } if language == OUTPUT => Some(text),
        _ => None,
    }
}

fn session(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut typing = false;
    for line in text.lines() {
        if let Some(input) = line.strip_prefix(PROMPT) {
            if lines.len() >= STEPS_MAX {
                break;
            }
            lines.push(Line { input: input.to_owned(), expected: String::new() });
            typing = true;
        } else if let Some(last) = lines.last_mut() {
            match line.strip_prefix(PROMPT_MORE) {
                Some(more) if typing && !more.trim().is_empty() => last.input.push_str(&format!("\n{more}")),
                _ => {
                    typing = false;
                    last.expected.push_str(line);
                    last.expected.push('\n');
                }
            }
        }
    }
    lines
}

impl Code {
    /// Gives the length of what is run, in bytes.
    pub fn source_bytes(&self) -> usize {
        match self {
            Self::Lua(source) | Self::Julia(source) | Self::Call(source) => source.len(),
            Self::Session(lines) => lines.iter().map(|line| line.input.len()).sum(),
        }
    }
}

/// Puts the results behind the examples among blocks. `next` are the examples that were not shown yet, in order.
pub(super) fn show<'a>(
    package: &Package,
    blocks: Vec<Block>,
    next: &mut impl Iterator<Item = &'a Example>,
) -> Vec<Block> {
    let Some(language) = language(package.kind) else { return blocks };
    let mut shown = Vec::with_capacity(blocks.len());
    let mut blocks = blocks.into_iter().peekable();
    while let Some(block) = blocks.next() {
        let is_example = code(language, &block).is_some();
        shown.push(block);
        if !is_example {
            continue;
        }
        let Some(example) = next.next() else { continue };
        let says = blocks.next_if(|block| expected(block).is_some());
        shown.extend(result(example, says));
    }
    shown
}

fn result(example: &Example, says: Option<Block>) -> Vec<Block> {
    let note = |tone, text: String| Block::Note { tone, spans: vec![Span::Text(text)] };
    let printed = |output: &str| (!output.trim().is_empty()).then(|| program(OUTPUT, output.trim_end()));
    // What a session should give stands in it already.
    let is_session = matches!(example.code, Code::Session(_));
    let mut blocks = Vec::new();
    match &example.result {
        Outcome::NotRun { .. } => blocks.extend(says),
        Outcome::Passed { output } => {
            blocks.push(note(Tone::Good, "Ran as shown.".into()));
            blocks.extend(printed(output).filter(|_| !is_session));
        }
        Outcome::Differs { output } => {
            blocks.push(note(Tone::Bad, "Failed: this should come out".into()));
            blocks.extend(says.filter(|_| !is_session));
            blocks.push(note(Tone::Bad, "and this did:".into()));
            blocks.extend(printed(output));
        }
        Outcome::Failed { message, output } => {
            blocks.push(note(Tone::Bad, format!("Failed: {message}")));
            blocks.extend(printed(output));
        }
    }
    blocks
}
