//! The `host-sim` program as people and scripts use it: text and JSON, exit codes, a running node, help and completions.

mod asks;
mod files;
mod refusals;
mod templates;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use self::refusals::{REFUSED, Refused, write_packages};
use super::{programs, schemas};

/// A node that runs until it is dropped, with the packages of a test.
struct Node {
    home: TempDir,
    process: Child,
}

/// What a command gave.
struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

/// The longest a test waits for something to become visible.
const SOON: Duration = Duration::from_secs(20);
const GOOD: &str = "return function() return 1 end\n";
const ENDLESS: &str = "return function() while true do end end\n";

impl Node {
    fn up() -> Self {
        let home = programs::home();
        let mut process = command(home.path()).args(["up", "--json"]).stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().expect("is piped"));
        stdout.read_line(&mut line).expect("reads");
        let up: Json = serde_json::from_str(&line).expect("one line of JSON");
        assert_eq!(
            (&up["ok"], &up["state"], &up["extensions"][0]["id"]),
            (&json!(true), &json!("Running"), &json!("catalog"))
        );
        Self { home, process }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn package(&self, name: &str, kind: &str, rest: &str, main: &str) {
        programs::package(self.path(), name, kind, rest, main);
    }

    /// Runs a command in the home, as text.
    fn text(&self, words: &[&str]) -> Answer {
        run(command(self.path()).current_dir(self.path()).args(words))
    }

    /// Runs a command in the home and gives its exit code and the JSON of its last line.
    fn json(&self, words: &[&str]) -> (i32, Json) {
        let (code, json) = json_of(&run(command(self.path()).current_dir(self.path()).arg("--json").args(words)));
        schemas::printed(words, &json);
        (code, json)
    }

    fn good(&self, words: &[&str]) -> Json {
        let (code, json) = self.json(words);
        assert_eq!((code, &json["ok"]), (0, &json!(true)), "{words:?}: {json}");
        json
    }

    /// Waits until the program of an execution is running, and gives its id.
    fn running(&self) -> String {
        soon(|| {
            let active = self.good(&["catalog", "ps", "--active"]);
            let running = active["executions"].as_array()?.iter().find(|execution| execution["state"] == "Running")?;
            running["execution"].as_str().map(str::to_owned)
        })
    }

    fn leases(&self) -> u64 {
        self.good(&["status"])["leases"].as_u64().expect("a number")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(programs::host_sim());
    command.env_remove("RUST_LOG").env("HOME", home).arg("--home").arg(home).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Answer {
    let Output { status, stdout, stderr } = command.output().expect("starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Answer { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

fn json_of(answer: &Answer) -> (i32, Json) {
    let last = answer.stdout.lines().last().unwrap_or_default();
    let json: Json = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}\n{}", answer.stderr));
    assert!(json["ok"].is_boolean(), "{json}");
    (answer.code, json)
}

fn soon<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < SOON, "it did not happen soon");
    }
}

fn with_packages() -> Node {
    let node = Node::up();
    write_packages(&node);
    node.good(&["catalog", "publish", "good", "lib", "user"]);
    node.good(&["catalog", "install", "good", "user"]);
    node
}

#[test]
fn every_refusal_names_what_is_wrong_and_what_to_do_in_text_and_json() {
    let node = with_packages();
    for Refused { words, code, name, place, says } in REFUSED {
        let (json_code, json) = node.json(words);
        let error = &json["error"];
        assert_eq!((json_code, &json["ok"]), (*code, &json!(false)), "{words:?}: {json}");
        assert!(error["name"] == *name || error["code"] == *name, "{words:?}: {json}");
        if let Some((file, line, field)) = place {
            let fault = &error["faults"][0];
            assert_eq!(fault["file"].as_str().map(Path::new), Some(&*node.path().join(file)), "{words:?}: {json}");
            assert_eq!((fault["line"].as_u64(), fault["path"].as_str()), (*line, *field), "{words:?}: {json}");
        }
        let text = node.text(words);
        assert_eq!((text.code, text.stdout.as_str()), (*code, ""), "{words:?}: errors go to stderr");
        // miette breaks lines at spaces and hyphens.
        let squeeze = |text: &str| text.replace("│", "").split_whitespace().collect::<String>();
        let (shown, all) =
            (squeeze(&text.stderr), squeeze(&json.to_string().replace("\\n", " ").replace("\\\"", "\"")));
        for part in *says {
            assert!(shown.contains(&squeeze(part)), "{words:?} does not say {part:?}:\n{}", text.stderr);
        }
        assert!(all.contains("message"), "{words:?}: {json}");
    }
    assert_eq!(node.leases(), 0, "no refusal keeps a lease");
}

#[test]
fn a_gpu_that_is_not_there_is_refused_and_one_that_is_there_is_leased() {
    let node = with_packages();
    let has_gpu = node.good(&["assets"])["assets"]
        .as_array()
        .is_some_and(|all| all.iter().any(|asset| asset["asset_type"] == "gpu"));
    let (code, json) = node.json(&["catalog", "run", "./gpu"]);
    if has_gpu {
        assert!(
            code == 0 && json["leases"].as_array().is_some_and(|all| all.iter().any(|lease| lease["type"] == "gpu")),
            "{json}"
        );
    } else {
        assert_eq!((code, &json["error"]["code"]), (3, &json!("RESOURCE_UNAVAILABLE")), "{json}");
        let message = json["error"]["message"].as_str().expect("a text");
        assert!(
            message.starts_with("package `gpu` does not get its resources: this node has no graphics processor"),
            "{message}"
        );
    }
}

#[test]
fn answers_are_short_in_text_and_whole_in_json() {
    let node = with_packages();
    let long = "return function() local t = {} for i = 1, 33 do t[i] = i end return {list = t, text = ('line\\n'):rep(40)} end\n";
    node.package("long", "lua-script", "", long);
    let text = node.text(&["catalog", "run", "./long"]);
    assert_eq!((text.code, text.stderr.as_str()), (0, ""));
    assert!(text.stdout.contains("16, … 17 more]") && text.stdout.contains("\"…(40 lines)\""), "{}", text.stdout);
    let json = node.good(&["catalog", "run", "./long"]);
    assert_eq!((json["value"]["list"].as_array().map(Vec::len), json["state"].as_str()), (Some(33), Some("Completed")));
    let validated = node.good(&["catalog", "validate", "good"]);
    assert_eq!(
        (&validated["score"], &validated["execution_ready"], &validated["faults"]),
        (&json!(100), &json!(true), &json!([]))
    );
    let text = node.text(&["catalog", "validate", "good/package.yaml"]).stdout;
    assert!(text.contains("good 1.0.0 is a valid lua-script") && text.contains("execution-ready  yes"), "{text}");
    let weak = "return function(x)\n\tglobal = x\n  return global\nend\n";
    node.package("weak", "lua-script", "", weak);
    let weak = node.good(&["catalog", "validate", "weak"]);
    assert!(
        weak["faults"]
            .as_array()
            .is_some_and(|faults| faults.iter().any(|fault| fault["code"] == "NO_TABS" && fault["line"] == 2)),
        "{weak}"
    );
    assert!(node.text(&["catalog", "list"]).stdout.contains("asked for"));
    assert!(node.text(&["catalog", "search", "lib"]).stdout.starts_with("lib 1.0.0"));
}

#[test]
fn a_node_runs_is_asked_upgraded_under_a_call_and_stopped() {
    let mut node = with_packages();
    let status = node.good(&["status"]);
    assert_eq!(
        (&status["state"], &status["health"], &status["leases"]),
        (&json!("Running"), &json!("Healthy"), &json!(0))
    );
    assert!(node.text(&["status"]).stdout.starts_with("node       running\n"));
    node.good(&["catalog", "run", "good"]);
    let metrics = node.text(&["metrics"]).stdout;
    assert!(metrics.contains("hypermesh_requests_total{extension=\"catalog\",verb=\"run\"} 1\n"), "{metrics}");
    assert_eq!(node.good(&["metrics"])["ok"], true);
    let relative = node.good(&["catalog", "pack", "good", "-o", "good.tar.zst"]);
    assert_eq!(relative["file"].as_str().map(Path::new), Some(&*node.path().join("good.tar.zst")));
    assert!(node.path().join("good.tar.zst").exists(), "paths are those of the caller");

    let busy = "return function() local n = 0 for i = 1, 3e7 do n = n + i % 7 end return n end\n";
    node.package("busy", "lua-script", "", busy);
    let call = command(node.path())
        .current_dir(node.path())
        .args(["--json", "catalog", "run", "./busy"])
        .stdout(Stdio::piped())
        .spawn();
    node.running();
    programs::install(&node.path().join("next"), "vm: true");
    let upgraded = node.good(&["upgrade", "next"]);
    assert_eq!((&upgraded["id"], &upgraded["retired_generations"]), (&json!("catalog"), &json!(1)));
    let ended = call.expect("starts").wait_with_output().expect("ends");
    assert!(ended.status.success(), "the call goes on through the upgrade");
    assert_eq!(node.good(&["catalog", "list"])["packages"].as_array().map(Vec::len), Some(3));

    node.good(&["pause", "catalog"]);
    let (code, json) = node.json(&["catalog", "list"]);
    assert_eq!((code, &json["error"]["code"]), (3, &json!("NOT_RUNNING")));
    node.good(&["resume", "catalog"]);
    node.good(&["state", "export", "catalog", "state.json"]);
    assert!(node.good(&["audit"])["lines"].as_u64() > Some(0));
    assert_eq!(node.good(&["down"])["state"], "Stopped");
    assert!(node.process.wait().expect("ends").success());
    let (code, json) = node.json(&["down"]);
    assert_eq!((code, &json["error"]["code"]), (3, &json!("NOT_RUNNING")));

    // Without a node, commands do the work themselves, with what the node has left.
    assert_eq!(node.good(&["status"])["state"], "Stopped");
    assert_eq!(node.good(&["catalog", "run", "good"])["value"], 1);
    let other = programs::home();
    let import = run(command(other.path())
        .arg("--json")
        .args(["state", "import", "catalog"])
        .arg(node.path().join("state.json")));
    assert_eq!(json_of(&import).0, 0, "{}", import.stdout);
    let list = json_of(&run(command(other.path()).args(["--json", "catalog", "list", "--published"]))).1;
    assert_eq!(list["packages"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_caller_that_goes_away_and_a_worker_that_dies_leave_nothing_behind() {
    let node = with_packages();
    let patient = || {
        command(node.path())
            .current_dir(node.path())
            .args(["--json", "catalog", "run", "./patient"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts")
    };
    let mut interrupted = patient();
    node.running();
    assert_eq!(node.leases(), 1);
    // Not INT, which shells make their background jobs ignore.
    send("TERM", interrupted.id());
    assert!(!interrupted.wait().expect("ends").success());
    soon(|| (node.leases() == 0).then_some(()));
    let last = |node: &Node| node.good(&["catalog", "ps"])["executions"][0]["state"].clone();
    assert_eq!(last(&node), "Terminated");

    let mut orphaned = patient();
    node.running();
    let workers = children(node.process.id());
    assert_eq!(workers.len(), 1, "one program, one worker");
    send("KILL", workers[0]);
    let mut stdout = String::new();
    orphaned.stdout.take().expect("is piped").read_to_string(&mut stdout).expect("reads");
    let (code, json) =
        json_of(&Answer { code: orphaned.wait().expect("ends").code().unwrap_or(-1), stdout, stderr: String::new() });
    assert_eq!(
        (code, &json["error"]["fault"], &json["error"]["retryable"]),
        (4, &json!("peer"), &json!(true)),
        "{json}"
    );
    assert_eq!((node.leases(), last(&node)), (0, json!("Failed")));
    assert_eq!(node.good(&["catalog", "run", "good"])["value"], 1, "the node goes on");

    let mut killed = patient();
    let id = node.running();
    node.good(&["catalog", "kill", &id]);
    assert!(!killed.wait().expect("ends").success());
    assert_eq!((node.leases(), last(&node)), (0, json!("Terminated")));
    assert!(children(node.process.id()).iter().all(|pid| *pid != workers[0]));
}

#[test]
fn help_has_examples_that_parse_and_completions_know_the_verbs() {
    let node = Node::up();
    let help = node.text(&["catalog", "--help"]);
    assert_eq!(help.code, 0);
    let verbs = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What does not fit in a line goes on further to the right.
    let verbs: Vec<String> = verbs
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|verb| verb != "help")
        .collect();
    assert!(verbs.len() >= 13, "{verbs:?}");
    let mut examples = 0;
    for verb in &verbs {
        let help = node.text(&["catalog", verb, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (0, ""));
        let shown: Vec<&str> = help.stdout.lines().skip_while(|line| *line != "Examples:").skip(1).collect();
        assert!(!shown.is_empty(), "`{verb}` has no examples");
        for example in shown.iter().filter(|line| line.starts_with("  host-sim ")) {
            // A command ends where two spaces begin what it shows.
            let typed = example.trim_start().split("  ").next().unwrap_or_default();
            let words = split(typed.strip_prefix("host-sim ").expect("just found"));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let (code, json) = node.json(&words);
            assert_ne!(code, 2, "`{typed}` does not parse: {json}");
            assert_ne!(code, 70, "`{typed}`: {json}");
            examples += 1;
        }
    }
    assert!(examples > verbs.len(), "most verbs have more than one example");
    let bash = node.text(&["completions", "bash"]).stdout;
    assert!(bash.contains("complete -F ") && verbs.iter().all(|verb| bash.contains(verb.as_str())), "{bash}");
    let pages = node.home.path().join("man");
    let (code, json) = node.json(&["man", pages.to_str().expect("a path of text")]);
    let files = json["files"].as_array().expect("a list of files");
    assert_eq!(code, 0, "{json}");
    assert!(files.len() > verbs.len() && files.iter().all(|name| pages.join(name.as_str().expect("a name")).is_file()));
    let page = std::fs::read_to_string(pages.join("host-sim-catalog-install.1")).expect("written");
    assert!(page.contains(".SH SYNOPSIS") && page.contains("Examples:"), "{page}");
    let usage = |words: &[&str]| {
        let help = node.text(words);
        assert_eq!(help.code, 0, "{}", help.stderr);
        help.stdout.lines().find(|line| line.starts_with("Usage: ")).map(str::to_owned).expect("says how")
    };
    assert_eq!(usage(&["help", "catalog", "run"]), "Usage: host-sim catalog run [OPTIONS] <PKG> [ARG]...");
    assert_eq!(usage(&["help", "check"]), "Usage: host-sim check [OPTIONS] <FILE>");
    assert_eq!(usage(&["help"]), "Usage: host-sim [OPTIONS] <COMMAND>");
    assert_eq!(node.json(&["catalog", "--help"]).1["ok"], true);
    assert_eq!(node.json(&["--version"]).0, 0);
}

#[test]
fn doctor_says_what_this_machine_can_do_and_how_to_mend_the_rest() {
    let node = Node::up();
    let (code, json) = node.json(&["catalog", "doctor"]);
    assert_eq!(code, 0, "{json}");
    let findings = json["findings"].as_array().expect("a list of findings");
    let of = |area: &str| findings.iter().find(|it| it["area"] == area).unwrap_or_else(|| panic!("nothing of {area}"));
    // What it says of the sandbox is what a worker of this machine says.
    let (_, tried) = node.json(&["catalog", "sandbox", "selftest", "--case", "fork-bomb"]);
    let grade = tried["grade"].as_str().expect("a grade");
    assert!(of("sandbox")["says"].as_str().is_some_and(|says| says.starts_with(grade)), "{json}");
    for ready in ["lua", "wasm", "machine", "disk", "trust"] {
        assert_eq!(of(ready)["state"], "ready", "{json}");
    }
    assert_eq!(of("network")["state"], "absent");
    assert!(of("advisories")["help"].as_str().is_some_and(|help| help.contains("catalog advisories import")));
    let text = node.text(&["catalog", "doctor"]).stdout;
    assert!(text.lines().any(|line| line.starts_with("ready    trust       1 root pinned")), "{text}");
}

#[test]
fn a_home_whose_socket_has_no_room_is_refused_by_its_figures() {
    let home = tempfile::tempdir().expect("temporary directory");
    let long: PathBuf = home.path().join("x".repeat(100));
    let (code, json) = json_of(&run(command(&long).args(["--json", "up"])));
    let message = json["error"]["message"].as_str().expect("a text");
    assert_eq!((code, message.contains("at most 107")), (1, true), "{message}");
    assert!(json["error"]["help"].as_str().is_some_and(|help| help.contains("--home")));
}

/// Splits a command line as a shell does, single quotes included.
fn split(line: &str) -> Vec<String> {
    let pieces = line.split('\'').enumerate();
    pieces
        .flat_map(|(index, piece)| match index % 2 {
            0 => piece.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            _ => vec![piece.to_owned()],
        })
        .collect()
}

fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).status().expect("starts");
    assert!(sent.success(), "cannot send {signal}");
}

#[test]
fn the_sandbox_is_attacked_by_a_command() {
    let node = Node::up();
    let list = node.good(&["catalog", "sandbox", "selftest", "--list"]);
    assert!(list["total"].as_u64().is_some_and(|total| total >= 200), "{}", list["total"]);
    let some = ["catalog", "sandbox", "selftest", "--case", "fork-bomb", "--case", "lua-bytecode"];
    let report = node.good(&some);
    assert_eq!((&report["total"], &report["contained"], &report["grade"]), (&json!(2), &json!(2), &json!("full")));
    assert_eq!(
        report["cases"][0],
        json!({"name": "fork-bomb", "language": "probe", "tries": "makes processes without end", "contained": true,
            "stopped_by": "EPERM", "layer": "seccomp"})
    );
    let text = node.text(&some);
    assert!(
        text.stdout.contains("seccomp            fork-bomb")
            && text.stdout.ends_with("2 of 2 attacks were contained\n"),
        "{}",
        text.stdout
    );

    let open = ["catalog", "sandbox", "selftest", "--without", "seccomp", "--case", "fork-bomb"];
    let (code, json) = node.json(&open);
    let (error, faults) = (&json["error"], &json["error"]["faults"]);
    assert_eq!((code, &error["name"]), (5, &json!("SANDBOX_ESCAPED")), "{json}");
    assert!(faults[0]["message"].as_str().is_some_and(|text| text.starts_with("fork-bomb: makes processes")), "{json}");
    for (word, value) in [("--case", "no-such-attack"), ("--without", "walls")] {
        let (code, json) = node.json(&["catalog", "sandbox", "selftest", word, value]);
        assert_eq!(code, 1, "{json}");
        assert!(json["error"]["message"].as_str().is_some_and(|text| text.contains(value)), "{json}");
    }
}

/// Gives the processes that a process has started.
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("is there").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent_of = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parent_of == Some(parent)
    })
    .collect()
}
