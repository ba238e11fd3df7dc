//! Looks into a package for what a valid manifest can hide: six analysers, each with its findings and a score.
//!
//! The analysers read and never run anything; they see tokens, not meaning, so a clean result is no proof of harmlessness —
//! the sandbox is what holds. Checking the grammar of a language belongs to a higher layer, which hands its check in.

mod compliance;
mod content;
mod dependencies;
mod lexer;
mod performance;
mod security;
mod syntax;

use std::collections::HashMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kind::Language;
use super::model::Package;
use super::path::FilePath;
use super::read::PackageFile;

/// The largest file whose text is looked into, in bytes.
pub const SOURCE_BYTES_MAX: usize = 4 << 20;
/// The longest message, in characters: names in it come from the package.
const MESSAGE_CHARS_MAX: usize = 200;
/// The deepest chain of dependencies that is not remarked on.
pub const DEPENDENCY_DEPTH_MAX: usize = 10;

/// What looks into a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Analyser {
    /// Credentials, injection, traversal, dynamic code.
    Security,
    /// Grammar and style.
    Syntax,
    /// Complexity and size.
    Performance,
    /// Licence, privacy, export.
    Compliance,
    /// Whether files are what they are said to be.
    Content,
    /// What the package builds on.
    Dependencies,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nice to know.
    Info,
    /// Worth a look.
    Low,
    /// Should be changed.
    Medium,
    /// Must be changed before the package runs.
    High,
    /// Must be changed before the package goes anywhere.
    Critical,
}

/// What a finding's deduction is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A weakness.
    Vulnerability,
    /// Data may become code.
    Injection,
    /// It looks like harm was meant.
    Malware,
}

/// One kind of remark about one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Who found it.
    pub analyser: Analyser,
    /// Stable, upper case, such as `COMMAND_INJECTION` or `LUA001`.
    pub code: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What its deduction is measured by.
    pub class: Class,
    /// The file; the manifest if not given.
    pub file: Option<FilePath>,
    /// Line of the first place, from 1; 0 for the whole file.
    pub line: u32,
    /// Number of places in this file.
    pub count: u32,
    /// What was found.
    pub message: String,
    /// What to do.
    pub hint: &'static str,
}

/// How strict a package is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Security score 70 and no critical finding.
    #[default]
    Standard,
    /// Security score 90 and no critical finding.
    Strict,
    /// Security score 60 and at most three critical findings.
    Development,
}

/// A place where the grammar of a language is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxFault {
    /// Line, from 1; 0 if unknown.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

/// Checks the grammar of one source text.
pub type SyntaxCheck<'a> = dyn Fn(Language, &FilePath, &str) -> Result<(), SyntaxFault> + 'a;

/// Checks a program that has no text form.
pub type ModuleCheck<'a> = dyn Fn(&FilePath, &[u8]) -> Result<(), SyntaxFault> + 'a;

/// How a package is analysed.
pub struct Options<'a> {
    /// How strict it is judged.
    pub profile: Profile,
    /// Checks grammar; without it only style is checked.
    pub syntax: Option<&'a SyntaxCheck<'a>>,
    /// Checks WebAssembly; without it only its first bytes are looked at.
    pub module: Option<&'a ModuleCheck<'a>>,
    /// Length of the longest chain of dependencies, where the caller has resolved them.
    pub dependency_depth: Option<usize>,
}

/// What was found, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Analysis {
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
    /// Each analyser's score, 0 to 100.
    pub scores: Vec<(Analyser, u8)>,
    /// The security score reaches the profile's minimum, and no more findings are critical than it allows.
    pub passed: bool,
    /// Nothing found is critical or high, and the security score is at least 70.
    pub execution_ready: bool,
    /// The worst level found.
    pub risk: Option<Level>,
}

impl Analyser {
    /// Every analyser.
    pub const ALL: [Self; 6] =
        [Self::Security, Self::Syntax, Self::Performance, Self::Compliance, Self::Content, Self::Dependencies];
}

impl Profile {
    /// Gives the least security score.
    pub fn score_min(self) -> u8 {
        match self {
            Self::Standard => 70,
            Self::Strict => 90,
            Self::Development => 60,
        }
    }

    /// Gives how many findings may be critical.
    pub fn critical_max(self) -> usize {
        match self {
            Self::Standard | Self::Strict => 0,
            Self::Development => 3,
        }
    }
}

impl Analysis {
    /// The least security score of a package that may run.
    pub const EXECUTION_SCORE_MIN: u8 = 70;

    /// Gives the score of one analyser.
    pub fn score(&self, analyser: Analyser) -> u8 {
        self.scores.iter().find(|(of, _)| *of == analyser).map_or(100, |(_, score)| *score)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_ref().map_or("the manifest", FilePath::as_str);
        write!(f, "{file}:{}: {:?}[{}] {}", self.line, self.level, self.code, self.message)?;
        if self.count > 1 {
            write!(f, " ({} places)", self.count)?;
        }
        write!(f, "; {}", self.hint)
    }
}

/// Analyses a package with its files, as [`super::read_files`] gives them. Takes time proportional to their size.
pub fn analyse(package: &Package, files: &[PackageFile], options: &Options<'_>) -> Analysis {
    let sources: Vec<Source<'_>> = files.iter().filter_map(Source::of).collect();
    let mut findings = Findings::default();
    security::analyse(package, files, &sources, &mut findings);
    syntax::analyse(&sources, options.syntax, &mut findings);
    syntax::analyse_module(package, files, options.module, &mut findings);
    performance::analyse(&sources, &mut findings);
    compliance::analyse(package, &sources, &mut findings);
    content::analyse(package, files, &mut findings);
    dependencies::analyse(package, &sources, options.dependency_depth, &mut findings);
    findings.judge(options.profile)
}

/// A source text and its tokens.
struct Source<'a> {
    path: &'a FilePath,
    language: Language,
    text: &'a str,
    tokens: Vec<lexer::Token<'a>>,
}

impl<'a> Source<'a> {
    fn of(file: &'a PackageFile) -> Option<Self> {
        let language = Language::of_extension(file.path.extension()?)?;
        let text = text_of(file)?;
        Some(Self { path: &file.path, language, text, tokens: lexer::tokens(text, language) })
    }
}

/// Gives the text of a file that is one and is not too large to look into.
fn text_of(file: &PackageFile) -> Option<&str> {
    if file.bytes.len() > SOURCE_BYTES_MAX { None } else { std::str::from_utf8(&file.bytes).ok() }
}

/// A remark before it is placed.
#[derive(Clone, Copy)]
struct Rule {
    analyser: Analyser,
    code: &'static str,
    level: Level,
    class: Class,
    hint: &'static str,
}

impl Rule {
    const fn new(analyser: Analyser, code: &'static str, level: Level, hint: &'static str) -> Self {
        Self { analyser, code, level, class: Class::Vulnerability, hint }
    }

    const fn class(self, class: Class) -> Self {
        Self { class, ..self }
    }
}

/// Collects findings; the same remark about the same file is one finding with a count.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    places: HashMap<(&'static str, Level, Option<FilePath>), usize>,
}

impl Findings {
    fn add(&mut self, rule: &Rule, file: Option<&FilePath>, line: u32, message: impl Into<String>) {
        let known = *self.places.entry((rule.code, rule.level, file.cloned())).or_insert(self.list.len());
        if let Some(found) = self.list.get_mut(known) {
            found.count = found.count.saturating_add(1);
            return;
        }
        self.list.push(Finding {
            analyser: rule.analyser,
            code: rule.code,
            level: rule.level,
            class: rule.class,
            file: file.cloned(),
            line,
            count: 1,
            message: message.into().chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect(),
            hint: rule.hint,
        });
    }

    fn judge(mut self, profile: Profile) -> Analysis {
        self.list.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| (&a.file, a.line).cmp(&(&b.file, b.line))));
        let score = |analyser| {
            let of = self.list.iter().filter(|finding| finding.analyser == analyser);
            100_u8.saturating_sub(of.map(deduction).fold(0, u8::saturating_add))
        };
        let scores = Analyser::ALL.map(|analyser| (analyser, score(analyser))).to_vec();
        let security = score(Analyser::Security);
        let critical = self.list.iter().filter(|finding| finding.level == Level::Critical).count();
        let risk = self.list.iter().map(|finding| finding.level).max();
        Analysis {
            passed: security >= profile.score_min() && critical <= profile.critical_max(),
            execution_ready: security >= Analysis::EXECUTION_SCORE_MIN && risk.is_none_or(|risk| risk < Level::High),
            findings: self.list,
            scores,
            risk,
        }
    }
}

/// HyperMesh's deductions.
fn deduction(finding: &Finding) -> u8 {
    match (finding.class, finding.level) {
        (Class::Vulnerability, Level::Critical) => 30,
        (Class::Vulnerability, Level::High) => 20,
        (Class::Vulnerability, Level::Medium) => 10,
        (Class::Vulnerability, Level::Low) => 5,
        (Class::Injection, Level::Critical) => 25,
        (Class::Injection, Level::High) => 15,
        (Class::Injection, Level::Medium) => 8,
        (Class::Injection, Level::Low) => 3,
        (Class::Malware, Level::Critical) => 50,
        (Class::Malware, Level::High) => 30,
        (Class::Malware, _) => 10,
        (_, Level::Info) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, examples, parse};
    use super::*;

    pub(super) const OPTIONS: Options<'static> =
        Options { profile: Profile::Standard, syntax: None, module: None, dependency_depth: None };

    pub(super) fn file(path: &str, text: &str) -> PackageFile {
        PackageFile { path: path.parse().expect("is a path"), bytes: text.into() }
    }

    /// Analyses a package whose main file has a text.
    pub(super) fn analyse_main(main: &str, text: &str, spec: &str) -> Analysis {
        let kind = if main.ends_with(".jl") { "julia-program" } else { "lua-script" };
        let manifest = format!(
            "apiVersion: catalog.v1\nmetadata: {{name: a, version: 1.0.0, license: MIT, description: d}}\nspec:\n  type: {kind}\n  content: {{main: {main}}}\n{spec}"
        );
        let package = parse(&manifest, Format::Yaml, "p").unwrap_or_else(|faults| panic!("{faults}")).0;
        analyse(&package, &[file(main, text)], &OPTIONS)
    }

    /// Gives the codes one analyser finds in a text, with their lines.
    pub(super) fn codes(analyser: Analyser, main: &str, text: &str) -> Vec<(&'static str, u32)> {
        let found = analyse_main(main, text, "").findings;
        let mut of: Vec<_> = found.iter().filter(|f| f.analyser == analyser).map(|f| (f.code, f.line)).collect();
        of.sort_unstable();
        of
    }

    #[test]
    fn the_example_packages_pass_the_strict_profile() {
        for (name, (package, files)) in examples::all() {
            let analysis = analyse(&package, &files, &Options { profile: Profile::Strict, ..OPTIONS });
            assert!(analysis.findings.is_empty(), "{name}: {:#?}", analysis.findings);
            assert!(analysis.passed && analysis.execution_ready && analysis.risk.is_none());
            assert!(analysis.scores.iter().all(|(_, score)| *score == 100));
        }
    }

    #[test]
    fn profiles_differ_in_what_they_let_pass() {
        // One critical injection: score 75.
        let text = "os.execute('ls')\n";
        let passes = |profile| {
            let package = parse(
                "apiVersion: catalog.v1\nmetadata: {name: a, version: 1.0.0, license: MIT}\nspec: {type: lua-script, content: {main: a.lua}}",
                Format::Yaml,
                "p",
            )
            .expect("is valid")
            .0;
            let analysis = analyse(&package, &[file("a.lua", text)], &Options { profile, ..OPTIONS });
            assert_eq!((analysis.score(Analyser::Security), analysis.execution_ready), (75, false));
            analysis.passed
        };
        assert!(!passes(Profile::Standard) && !passes(Profile::Strict) && passes(Profile::Development));
    }

    #[test]
    fn messages_are_bounded_and_hold_no_control_characters() {
        let long = analyse_main("a.lua", &format!("{} = 1", "x".repeat(300)), "").findings;
        assert_eq!((long[0].code, long[0].message.chars().count()), ("AVOID_GLOBAL", MESSAGE_CHARS_MAX));
        let hostile = analyse_main("a.lua", "require('\u{1b}[2J')", "").findings;
        assert_eq!((hostile[0].code, hostile[0].message.contains('\u{1b}')), ("UNDECLARED_DEPENDENCY", false));
    }

    #[test]
    fn repeated_remarks_are_one_finding_with_a_count_and_scores_stop_at_zero() {
        let many = "os.execute('a')\n".repeat(3);
        let analysis = analyse_main("a.lua", &many, "");
        let found = analysis.findings.iter().find(|f| f.code == "COMMAND_INJECTION").expect("is found");
        assert_eq!((found.line, found.count), (1, 3));
        assert_eq!(
            found.to_string(),
            "a.lua:1: Critical[COMMAND_INJECTION] `os.execute` starts a program (3 places); use what Catalog offers instead of programs of the system"
        );
        let worst = "os.execute('a')\nload(x)\npassword = 'hunter2hunter'\nlocal u = 'stratum+tcp://x'\n";
        assert!(analyse_main("a.lua", worst, "").score(Analyser::Security) < 10);
    }
}
