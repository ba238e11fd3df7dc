//! Commands at a terminal: `script` gives the program one, what it asks is answered as a person would, and what a terminal of a
//! certain width shows in the end is recorded.

use std::io::{Read as _, Write as _};
use std::process::ChildStdin;

use super::*;
use crate::templates::template;

/// A command at a terminal of its own.
struct Terminal {
    process: Child,
    stdin: Option<ChildStdin>,
    told: std::sync::mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Types a command in the home of a node.
    fn new(node: &Node, words: &str) -> Self {
        Self::typing(node, &format!("{} --home {} {words}", programs::host_sim().display(), node.path().display()))
    }

    /// Types into a shell.
    fn typing(node: &Node, typed: &str) -> Self {
        let mut script = Command::new("script");
        // It says how the command ended, and passes on what is printed at once.
        script.args(["--quiet", "--return", "--flush", "--command", typed, "/dev/null"]);
        script.current_dir(node.path()).env_remove("RUST_LOG").env_remove("NO_COLOR").env("HOME", node.path());
        let mut process = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("`script` is there");
        let (sender, told) = std::sync::mpsc::channel();
        let mut stdout = process.stdout.take().expect("is piped");
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let stdin = process.stdin.take();
        Self { process, stdin, told, seen: String::new() }
    }

    /// Waits for a text, which is gone then.
    fn expect(&mut self, text: &str) {
        let until = Instant::now() + SOON;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.told.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes).replace('\r', "")),
                Err(_) => panic!("{text:?} does not come, but {:?}", self.seen),
            }
        }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("is open"), "{line}").expect("is typed");
    }

    /// Waits for the end, and gives exit code and the rest of what was printed.
    fn end(mut self) -> (i32, String) {
        let status = self.process.wait().expect("ends");
        while let Ok(bytes) = self.told.recv_timeout(SOON) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes).replace('\r', ""));
        }
        (status.code().unwrap_or(-1), self.seen)
    }
}

/// Writes a template with parameters that must be given.
fn asking(node: &Node) {
    let definition = json!({"parameters": [
        {"name": "owner", "type": "string", "required": true, "pattern": "[a-z]+", "description": "who answers for it"},
        {"name": "region", "type": "string", "required": true, "default": "eu", "allowed_values": ["eu", "us"]},
        {"name": "public", "type": "boolean", "required": true},
        {"name": "title", "type": "string", "default": "{{project.name}}"}]});
    template(
        &node.path().join("t"),
        "1.0.0",
        definition,
        &[("files/a.hbs", "{{owner}} {{region}} {{public}} {{title}}\n")],
    );
}

#[test]
fn a_person_is_asked_for_what_is_missing_and_again_for_what_does_not_do() {
    let node = Node::up();
    asking(&node);
    let mut terminal = Terminal::new(&node, "catalog new ./t ./out");
    terminal.expect("owner (who answers for it): ");
    terminal.type_line("Me");
    terminal.expect("region (eu or us) [eu]: ");
    terminal.type_line("");
    terminal.expect("public (yes or no): ");
    terminal.type_line("yes");
    terminal.expect("`Me` does not match `[a-z]+`\nowner (who answers for it): ");
    terminal.type_line("me");
    terminal.expect("made ");
    let (code, rest) = terminal.end();
    assert_eq!(code, 0, "{rest}");
    assert_eq!(std::fs::read_to_string(node.path().join("out/a")).expect("made"), "me eu true out\n");
}

#[test]
fn new_alone_asks_what_to_make_and_where() {
    let node = Node::up();
    let mut terminal = Terminal::new(&node, "catalog new");
    terminal.expect("  2  lua-script\n");
    terminal.expect("template (what to make; a number from 1 to 8, or the word): ");
    terminal.type_line("2");
    terminal.expect("directory (the directory of the new package): ");
    terminal.type_line("mine");
    terminal.expect("made ");
    assert_eq!(terminal.end().0, 0);
    assert_eq!(node.good(&["catalog", "run", "./mine"])["state"], "Completed");
}

#[test]
fn an_input_that_ends_leaves_the_error_and_writes_nothing() {
    let node = Node::up();
    asking(&node);
    let mut terminal = Terminal::new(&node, "catalog new ./t ./out");
    terminal.expect("owner (who answers for it): ");
    terminal.type_line("\u{4}");
    terminal.stdin = None;
    let (code, rest) = terminal.end();
    assert!(code == 1 && rest.contains("does not take these parameters"), "{code}: {rest}");
    assert!(!node.path().join("out").exists());
}

#[test]
fn nobody_is_asked_without_a_terminal_with_json_or_with_yes() {
    let node = Node::up();
    asking(&node);
    let piped = node.text(&["catalog", "new", "./t", "./out"]);
    assert_eq!((piped.code, piped.stdout.as_str()), (1, ""));
    assert!(
        piped.stderr.contains("`owner`: it must be given") && !piped.stderr.contains("owner (who"),
        "{}",
        piped.stderr
    );
    let (code, json) = node.json(&["catalog", "new", "./t", "./out"]);
    let questions = json["error"]["questions"].as_array().expect("are in the error");
    assert_eq!((code, questions.len()), (1, 3), "{json}");
    let schema = json!({"type": "string", "default": "eu", "enum": ["eu", "us"]});
    assert_eq!(
        (&questions[1]["parameter"], &questions[1]["name"], &questions[1]["schema"]),
        (&json!("param"), &json!("region"), &schema)
    );
    let (code, json) = node.json(&["catalog", "new"]);
    assert_eq!((code, &json["error"]["name"]), (1, &json!("MISSING_PARAMETER")));
    assert!(json["error"]["faults"].to_string().contains("\"template\""), "{json}");
    for words in ["catalog new ./t ./out --json", "catalog new ./t ./out --yes"] {
        let (code, told) = Terminal::new(&node, words).end();
        assert!(code == 1 && !told.contains("owner (who"), "{words}: {told}");
    }
}

#[test]
fn who_takes_something_away_is_asked_first() {
    let node = Node::up();
    node.good(&["catalog", "new", "lua-script", "mine"]);
    node.good(&["catalog", "publish", "mine"]);
    node.good(&["catalog", "install", "mine"]);
    let installed = || node.good(&["catalog", "list"])["packages"].as_array().map_or(0, Vec::len);
    for answer in ["n", ""] {
        let mut terminal = Terminal::new(&node, "catalog remove mine");
        terminal.expect("go on with `catalog remove mine`? [y/N]: ");
        terminal.type_line(answer);
        let (code, told) = terminal.end();
        assert!(code == 1 && told.contains("nothing was done") && told.contains("--yes"), "{code}: {told}");
        assert_eq!(installed(), 1);
    }
    let (code, told) = Terminal::new(&node, "catalog remove mine --dry-run").end();
    assert!(code == 0 && !told.contains("[y/N]") && installed() == 1, "{code}: {told}");
    let mut terminal = Terminal::new(&node, "catalog remove mine");
    terminal.expect("[y/N]: ");
    terminal.type_line("y");
    assert_eq!((terminal.end().0, installed()), (0, 0));
    let run = "64a78dd2-e4f4-44cc-a303-fbae48570238";
    for (words, asked) in [
        ("catalog rollback", true),
        ("catalog rollback --yes", false),
        ("catalog yank mine@0.1.0", true),
        ("catalog cache prune", true),
        (&format!("catalog kill {run}"), true),
        ("catalog owner remove mine other", true),
        ("catalog runtime remove julia", true),
        ("trust revoke local", true),
    ] {
        let mut terminal = Terminal::new(&node, words);
        if asked {
            terminal.expect("? [y/N]: ");
            terminal.type_line("no");
        }
        let (code, told) = terminal.end();
        assert_eq!((code, told.contains("[y/N]")), (i32::from(asked), false), "{words}: {told}");
    }
    assert_eq!(installed(), 1, "without a question it went back");
    // Nobody is there to be asked.
    node.good(&["catalog", "remove", "mine"]);
    assert_eq!(installed(), 0);
}

/// Gives what a terminal shows after a command, with what differs each time replaced, and what the command sent to it.
fn recorded(node: &Node, columns: u16, before: &str, words: &str) -> (String, String) {
    let home = node.path().display();
    let typed =
        format!("stty cols {columns} rows 60; {before} {} --home {home} {words}", programs::host_sim().display());
    let mut terminal = Terminal::typing(node, &typed);
    let mut sent = Vec::new();
    while let Ok(bytes) = terminal.told.recv_timeout(SOON) {
        sent.extend(bytes);
    }
    terminal.process.wait().expect("ends");
    let mut screen = vt100::Parser::new(60, columns, 0);
    screen.process(&sent);
    let shown = screen.screen().rows(0, columns).map(|row| row.trim_end().to_owned()).collect::<Vec<_>>().join("\n");
    let digest = regex::Regex::new(r"\b[0-9a-f]{12}\b").expect("is one");
    let shown = digest.replace_all(&shown, "<digest>....").into_owned();
    (format!("$ {words}\n{}\n", shown.trim_end()), String::from_utf8_lossy(&sent).into_owned())
}

#[test]
fn terminals_of_every_width_show_the_same_and_without_colours_where_nobody_wants_them() {
    let node = Node::up();
    node.good(&["catalog", "new", "lua-script", "words"]);
    let show = |columns, words: &str| recorded(&node, columns, "NO_COLOR=1", words).0;
    let wide = [
        "catalog publish words",
        "catalog install words",
        "catalog list",
        "catalog search word",
        "catalog info nobody",
    ];
    insta::assert_snapshot!(wide.map(|words| show(80, words)).concat());
    insta::assert_snapshot!(["catalog search word", "catalog info nobody"].map(|words| show(40, words)).concat());
    let colour = |before| recorded(&node, 80, before, "catalog info nobody").1.contains("\u{1b}[3");
    assert_eq!((colour("TERM=xterm-256color"), colour("TERM=xterm-256color NO_COLOR=1")), (true, false));
    let quiet = recorded(&node, 80, "", "--quiet catalog verify").1;
    assert!(!quiet.contains('\u{1b}'), "no progress: {quiet:?}");
}
