//! The pages of the documentation, command by command: what they say is typed, and what they show comes of it.
//!
//! A block `console` of a page holds commands behind `$ ` and, below each, what it prints, with `…` for anything. A block behind a
//! line that is a quoted path and a colon is that file. `console exit=N` says how its last command ends. Everything happens in
//! the order of the page, in one shell, in a home of its own where the extension is laid out.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::programs;
use super::support::trust_into;
use super::vm::julia;

/// Pages that are run, each by the test of its name.
const PAGES: [&str; 6] = [
    "README.md",
    "docs/author.md",
    "docs/user.md",
    "docs/administrator.md",
    "docs/extension-developer.md",
    "docs/templates.md",
];
/// The directory of a node's home below that of its user.
const NODE_HOME: &str = ".local/share/hypermesh-sim";
/// Stands before the number of a command, and before its exit code, in what the shell prints.
const MARKS: [&str; 2] = ["\u{1}command ", "\u{1}ended "];

/// One thing that a page says.
enum Step {
    File { path: String, text: String },
    Command { typed: String, shown: Vec<String>, exit: i32 },
}

/// Reads the files and commands of a page, in their order.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut parts = page.split("\n```");
    let mut before = parts.next().unwrap_or_default();
    while let (Some(block), after) = (parts.next(), parts.next().unwrap_or_default()) {
        let (language, body) = block.split_once('\n').unwrap_or((block, ""));
        let named = before.trim_end().rsplit('\n').next().and_then(|line| line.strip_prefix('`')?.strip_suffix("`:"));
        let exit = language.strip_prefix("console exit=").and_then(|code| code.parse().ok()).unwrap_or(0);
        match (language.split(' ').next(), named) {
            (Some("console"), _) => {
                for line in body.lines() {
                    match (line.strip_prefix("$ "), steps.last_mut()) {
                        (Some(typed), _) => {
                            steps.push(Step::Command { typed: typed.into(), shown: Vec::new(), exit: 0 });
                        }
                        (None, Some(Step::Command { shown, .. })) => shown.push(line.to_owned()),
                        (None, _) => panic!("`{line}` comes of no command"),
                    }
                }
                if let Some(Step::Command { exit: last, .. }) = steps.last_mut() {
                    *last = exit;
                }
            }
            (_, Some(path)) => steps.push(Step::File { path: path.to_owned(), text: format!("{body}\n") }),
            _ => {}
        }
        before = after;
    }
    steps
}

/// Makes a script of the steps; what a command prints stands between two marks.
fn script(steps: &[Step]) -> String {
    let mut script = String::from("trap 'kill $(jobs -p) 2>/dev/null' EXIT\n");
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::File { path, text } => {
                script.push_str(&format!(
                    "mkdir -p \"$(dirname '{path}')\"\ncat > '{path}' <<'END OF FILE'\n{text}END OF FILE\n"
                ));
            }
            Step::Command { typed, .. } => {
                script.push_str(&format!("printf '\\n{}{index}\\n'\n", MARKS[0]));
                match typed.strip_suffix(" &") {
                    // Whoever reads waits until it says that it is up.
                    Some(node) => script.push_str(&format!(
                        "{node} > ~/up.log 2>&1 &\nfor i in $(seq 600); do grep -q '^stop it with' ~/up.log && break; sleep 0.1; done\ngrep '^node' ~/up.log\n"
                    )),
                    None => script.push_str(&format!("{typed}\n")),
                }
                script.push_str(&format!("printf '\\n{}%d\\n' $?\n", MARKS[1]));
            }
        }
    }
    script
}

/// Says whether a text has these lines in their order, where `…` is anything.
fn has(text: &str, shown: &[String]) -> bool {
    let mut lines = text.lines().map(str::trim_end);
    let fits = |line: &str, pattern: &str| {
        let mut rest = line;
        let mut parts = pattern.split('…');
        let first = parts.next().unwrap_or_default();
        let Some(behind) = rest.strip_prefix(first) else { return false };
        rest = behind;
        let mut last = None;
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
            last = Some(part);
        }
        // Behind the last dots anything may stand.
        last.is_some_and(str::is_empty) || rest.is_empty()
    };
    let wanted = shown.iter().map(|line| line.trim_end()).filter(|line| !matches!(line.trim(), "" | "…"));
    wanted.into_iter().all(|pattern| lines.any(|line| fits(line, pattern)))
}

/// A user with a home in which commands of a page are typed.
struct User {
    home: TempDir,
    programs: TempDir,
}

impl User {
    fn new() -> Self {
        let user = Self {
            home: tempfile::tempdir().expect("temporary directory"),
            programs: tempfile::tempdir().expect("temporary directory"),
        };
        for name in ["host-sim", "catalog"] {
            symlink(programs::host_sim(), user.programs.path().join(name)).expect("linked");
        }
        // `cargo sim` is an alias that builds a release. The program is built already, and so is what it builds itself: the same
        // command of cargo, for the profile and with the features of the tests, so that nothing is built twice.
        let cargo = format!(
            "#!/bin/sh\n[ \"$1\" = sim ] && shift && exec host-sim \"$@\"\ncd {workspace}\ncase \"$1\" in\nbuild) exec {cargo} build --quiet --workspace --locked \
             --lib --bin catalog-worker --example reconcile --profile dev --message-format=json-render-diagnostics;;\n*) exec {cargo} \"$@\";;\nesac\n",
            workspace = programs::workspace().display(),
            cargo = env!("CARGO"),
        );
        let program = user.programs.path().join("cargo");
        std::fs::write(&program, cargo).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("allowed");
        user
    }

    /// Gives the home of the user's node a trusted publisher and the extension.
    fn with_extension(self) -> Self {
        let node = self.node();
        std::fs::create_dir_all(&node).expect("made");
        trust_into(&node);
        programs::install(&node.join("extensions/catalog"), "vm: true");
        self
    }

    fn with_julia(self) -> Self {
        std::fs::create_dir_all(self.node().join("catalog")).expect("made");
        symlink(julia::home().join("runtimes"), self.node().join("catalog/runtimes")).expect("linked");
        self
    }

    fn node(&self) -> PathBuf {
        self.home.path().join(NODE_HOME)
    }

    /// Types the commands of a page.
    fn follow(&self, page: &str) {
        assert!(PAGES.contains(&page), "{page}");
        let text = std::fs::read_to_string(programs::workspace().join(page)).expect("is there");
        let steps = steps(&text);
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell.env_clear().env("HOME", self.home.path()).env("CLONE", programs::workspace()).env("TERM", "dumb");
        shell.env("PATH", format!("{}:{path}", self.programs.path().display()));
        // The toolchain and what it has fetched are not the user's of the page.
        let own = PathBuf::from(std::env::var_os("HOME").expect("known"));
        for (variable, directory) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            shell.env(variable, std::env::var_os(variable).map_or_else(|| own.join(directory), PathBuf::from));
        }
        // No test changes the toolchain of whoever runs it.
        shell.env("RUSTUP_AUTO_INSTALL", "0");
        shell.envs(std::env::var_os("RUSTUP_TOOLCHAIN").map(|name| ("RUSTUP_TOOLCHAIN", name)));
        shell.env("CARGO", self.programs.path().join("cargo"));
        shell.env("CARGO_TARGET_DIR", programs::target());
        shell.current_dir(self.home.path()).stdin(Stdio::null());
        let script = script(&steps);
        let file = self.programs.path().join("script");
        std::fs::write(&file, format!("exec 2>&1\n{script}")).expect("written");
        let output = shell.arg(&file).output().expect("bash starts");
        let printed = String::from_utf8_lossy(&output.stdout);
        for (index, step) in steps.iter().enumerate() {
            let Step::Command { typed, shown, exit } = step else { continue };
            let begin = printed
                .find(&format!("{}{index}\n", MARKS[0]))
                .unwrap_or_else(|| panic!("{page}: {typed} was not typed:\n{printed}"));
            let rest = &printed[begin..];
            let end = rest.find(MARKS[1]).unwrap_or_else(|| panic!("{page}: `{typed}` does not end:\n{rest}"));
            let code = rest[end + MARKS[1].len()..].lines().next().unwrap_or_default();
            let told = rest[..end].split_once('\n').map_or("", |(_, told)| told);
            assert_eq!(code, exit.to_string(), "{page}: `{typed}` ends so:\n{told}");
            assert!(has(told, shown), "{page}: `{typed}` does not print\n{}\nbut\n{told}", shown.join("\n"));
        }
    }
}

#[test]
fn the_commands_of_the_readme_work() {
    User::new().follow("README.md");
}

#[test]
fn the_guide_of_authors_works() {
    User::new().with_extension().with_julia().follow("docs/author.md");
}

#[test]
fn the_guide_of_users_works() {
    User::new().with_extension().follow("docs/user.md");
}

#[test]
fn the_guide_of_administrators_works() {
    User::new().with_extension().follow("docs/administrator.md");
}

#[test]
fn the_guide_of_extension_developers_works() {
    let user = User::new();
    let page = std::fs::read_to_string(programs::workspace().join("docs/extension-developer.md")).expect("is there");
    let source =
        std::fs::read_to_string(programs::workspace().join("tests/fixtures/echo/src/lib.rs")).expect("is there");
    assert!(page.contains(&format!("```rust\n{source}```")), "the page shows the extension as it is");
    trust_into(&user.node());
    user.follow("docs/extension-developer.md");
}

#[test]
fn the_guide_of_templates_works() {
    let user = User::new().with_extension();
    user.follow("docs/templates.md");
    assert!(user.home.path().join("again/notes.md").exists() && !user.home.path().join("hello/notes.md").exists());
}

#[test]
fn every_page_with_commands_is_run() {
    let docs = std::fs::read_dir(programs::workspace().join("docs")).expect("is there");
    let docs = docs.map(|entry| format!("docs/{}", entry.expect("reads").file_name().to_string_lossy()));
    for page in docs.chain(["README.md".to_owned()]).filter(|page| page.ends_with(".md")) {
        let text = std::fs::read_to_string(programs::workspace().join(&page)).expect("reads");
        assert!(!text.contains("\n```sh") && !text.contains("\n```bash"), "{page}: commands stand in blocks `console`");
        assert_eq!(text.contains("\n```console"), PAGES.contains(&page.as_str()), "{page}");
    }
}

#[test]
fn what_is_shown_is_compared_line_by_line() {
    let check = |text: &str, shown: &[&str], expected: bool| {
        let shown: Vec<String> = shown.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(has(text, &shown), expected, "{shown:?} in {text}");
    };
    check("a 1\nb\nc 2 d\n", &["a …", "…", "c … d"], true);
    check("a 1\nb\n", &["a"], false);
    check("a 1\nb\n", &["b", "a …"], false);
    check("x a 1\n", &["a …"], false);
    check("x a 1\n", &["…a 1"], true);
}
