//! The files of the workspace as rules see them: text, and Rust without comments and literals.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file.
pub(super) struct File {
    /// Its path from the root of the workspace, with `/`.
    pub(super) path: String,
    /// Its size.
    pub(super) size_bytes: usize,
    /// Its text; empty if it is none.
    pub(super) text: String,
    /// Of Rust, the text without comments, line by line.
    pub(super) uncommented: String,
    /// Of Rust, the text without comments and without what stands in literals, line by line.
    pub(super) code: String,
}

/// All files that are or could be committed, by path.
pub(super) struct Tree(pub(super) Vec<File>);

impl Tree {
    /// Reads the workspace.
    pub(super) fn of_workspace() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let read = |path: PathBuf| {
            let bytes = fs::read(root.join(&path)).ok()?;
            Some(File::new(path.to_str()?, bytes))
        };
        Self(list(root).into_iter().filter_map(read).collect())
    }

    /// Makes a tree for a test of a rule.
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| File::new(path, text.as_bytes().to_vec())).collect())
    }

    /// Gives the Rust files.
    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.0.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// Gives a file.
    pub(super) fn get(&self, path: &str) -> Option<&File> {
        self.0.iter().find(|file| file.path == path)
    }
}

impl File {
    fn new(path: &str, bytes: Vec<u8>) -> Self {
        let size_bytes = bytes.len();
        let text = String::from_utf8(bytes).unwrap_or_default();
        let (uncommented, code) = if path.ends_with(".rs") { blank(&text) } else { (String::new(), String::new()) };
        Self { path: path.to_owned(), size_bytes, text, uncommented, code }
    }

    /// Gives the lines of Rust code before the tests at the end of the file, numbered from 1.
    pub(super) fn shipped_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.uncommented).take_while(|(_, line)| !line.starts_with("mod tests {"))
    }
}

/// Numbers lines from 1.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Gives the line, from 1, of an offset.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Finds a word that is not part of a longer one.
pub(super) fn find_word(text: &str, word: &str) -> Option<usize> {
    let outside = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word)
        .map(|(at, _)| at)
        .find(|at| outside(text[..*at].chars().next_back()) && outside(text[at + word.len()..].chars().next()))
}

/// Lists what git holds or would add; without git, everything but build output and hidden folders.
fn list(root: &Path) -> BTreeSet<PathBuf> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    match Command::new("git").args(arguments).current_dir(root).output() {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            String::from_utf8_lossy(&output.stdout).split_terminator('\0').map(PathBuf::from).collect()
        }
        _ => {
            let skipped =
                |name: &str| name == "target" || (name.starts_with('.') && ![".cargo", ".ci"].contains(&name));
            let entries = walkdir::WalkDir::new(root).min_depth(1).into_iter();
            let kept = entries
                .filter_entry(|entry| !(entry.file_type().is_dir() && skipped(&entry.file_name().to_string_lossy())));
            let files = kept.filter_map(Result::ok).filter(|entry| entry.file_type().is_file());
            files.filter_map(|entry| Some(entry.path().strip_prefix(root).ok()?.to_owned())).collect()
        }
    }
}

/// Replaces comments by spaces, and in the second text what stands in literals too.
fn blank(text: &str) -> (String, String) {
    let (mut uncommented, mut code) = (String::with_capacity(text.len()), String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, length) = token(rest, first, uncommented.chars().next_back());
        let part = &rest[..length];
        let spaces = || part.chars().map(|c| if c == '\n' { '\n' } else { ' ' });
        match token {
            Token::Code => {
                uncommented.push_str(part);
                code.push_str(part);
            }
            Token::Literal => {
                uncommented.push_str(part);
                code.extend(spaces());
            }
            Token::Comment => {
                uncommented.extend(spaces());
                code.extend(spaces());
            }
        }
        rest = &rest[length..];
    }
    (uncommented, code)
}

enum Token {
    Code,
    Literal,
    Comment,
}

fn token(rest: &str, first: char, before: Option<char>) -> (Token, usize) {
    if rest.starts_with("//") {
        return (Token::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Token::Comment, rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    if first == '"' {
        return (Token::Literal, quoted(rest));
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let raw = rest.trim_start_matches(['b', 'c']);
    if let Some(raw) = raw.strip_prefix('r').filter(|_| !in_word) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = rest.len() - raw.len() + hashes + 1;
            return (Token::Literal, rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len()));
        }
    }
    if first == '\'' {
        return character(rest).map_or((Token::Code, 1), |length| (Token::Literal, length));
    }
    (Token::Code, first.len_utf8())
}

/// Gives the length of a text literal.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Gives the length of a character literal, or nothing for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let inner = rest.chars().nth(1)?;
    if inner == '\\' {
        return rest[3..].find('\'').map(|end| 3 + end + 1);
    }
    let end = 1 + inner.len_utf8();
    rest[end..].starts_with('\'').then_some(end + 1)
}

#[test]
fn code_is_told_from_comments_and_literals() {
    let check = |text: &str, expected: &str| {
        let (_, code) = blank(text);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{text}");
        assert_eq!(code.lines().count(), text.lines().count());
    };
    check("a // b\nc /* d\n e */ f", "a c f");
    check(r#"let x = "a \" // b"; y"#, "let x = ; y");
    check("r#\"a \" b\"# c br\"d\" e for r in b", "c e for r in b");
    check(r"fn f<'a>(c: &'a str) { '\'' ; '\u{41}' ; '/' }", "fn f<'a>(c: &'a str) { ; ; }");
}
