//! A headless Chromium that is driven by its DevTools protocol over two pipes, one JSON message between zero bytes each.
//!
//! It has a profile of its own that goes with it, and resolves no names: whatever a page fetches from elsewhere fails, and is
//! noted.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// How long to wait between two looks at a page.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Names that Chromium has on one system or another.
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A browser with one page.
pub(crate) struct Browser {
    process: Child,
    requests: ChildStdin,
    answers: Receiver<Json>,
    /// What happened that nobody has looked at.
    events: Vec<Json>,
    count: u64,
    /// The page, once there is one.
    session: Option<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; none if there is no Chromium, which is told, and is a failure where everything must be tested.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = program() else {
            let missing = "there is no Chromium, which shows the console: install it, as by `apt-get install chromium`";
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
            eprintln!("NOT TESTED: {missing}");
            return None;
        };
        let profile = tempfile::tempdir().expect("temporary directory");
        // It reads descriptor 3 and writes descriptor 4, which become the two that can be given.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"]).arg(program);
        command.args([
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-extensions",
            "--disable-sync",
            "--disable-background-networking",
            "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        ]);
        if rustix::process::geteuid().is_root() {
            command.arg("--no-sandbox");
        }
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let requests = process.stdin.take().expect("is piped");
        let mut lines = BufReader::new(process.stdout.take().expect("is piped"));
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while lines.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let answer: Json = serde_json::from_slice(&message).expect("is JSON");
                message.clear();
                if sender.send(answer).is_err() {
                    return;
                }
            }
        });
        let mut browser =
            Self { process, requests, answers, events: Vec::new(), count: 0, session: None, _profile: profile };
        let page = browser.call("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", &json!({"targetId": page, "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Asks the protocol.
    pub(crate) fn call(&mut self, method: &str, params: &Json) -> Json {
        self.count += 1;
        let mut message = json!({"id": self.count, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.requests.write_all(&bytes).expect("Chromium reads");
        loop {
            let answer = self.answers.recv_timeout(SOON).unwrap_or_else(|error| panic!("{method}: {error}"));
            if answer["id"] == self.count {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    /// Goes to an address. If only what stands behind `#` differs, the page stays.
    pub(crate) fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", &json!({"url": url}));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
    }

    /// Gives the value of an expression in the page, awaited if it is a promise.
    pub(crate) fn value(&mut self, expression: &str) -> Json {
        let params =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let answer = self.call("Runtime.evaluate", &params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true of the page.
    pub(crate) fn wait_for(&mut self, expression: &str) {
        let started = Instant::now();
        // A page that is being left has no answer, or not the expected one.
        let guarded = format!("(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()");
        while self.value(&guarded) != true {
            let waited = started.elapsed();
            if waited > SOON {
                let shown = self.value("document.body.innerText");
                panic!("`{expression}` is not so after {waited:?}: {shown}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until the page shows a text.
    pub(crate) fn wait_for_text(&mut self, text: &str) {
        self.wait_for(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// Clicks on the first visible element of a selector that shows a text.
    pub(crate) fn click(&mut self, selector: &str, text: &str) {
        let found = format!(
            "[...document.querySelectorAll({})].find((one) => one.innerText?.includes({}) && one.checkVisibility())",
            json!(selector),
            json!(text)
        );
        self.wait_for(&found);
        self.value(&format!("{found}.click()"));
    }

    /// Makes the window so large.
    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let params = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &params);
    }

    /// Gives everything that was fetched so far.
    pub(crate) fn fetched(&mut self) -> Vec<String> {
        self.value("0");
        let requests = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        requests.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// Gives every error of scripts and everything that the policy of a page forbade.
    pub(crate) fn faults(&mut self) -> Vec<String> {
        self.value("0");
        let is_fault = |event: &&Json| {
            event["method"] == "Runtime.exceptionThrown"
                || event["method"] == "Log.entryAdded" && event["params"]["entry"]["level"] == "error"
        };
        self.events.iter().filter(is_fault).map(ToString::to_string).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let all = PROGRAMS.iter().flat_map(|name| places.iter().map(move |place| place.join(name)));
    all.into_iter().find(|program| program.is_file())
}
