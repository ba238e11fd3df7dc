//! The console as a person has it: a browser, a running node with Catalog, and whoever writes packages or other pages.

pub(crate) mod browser;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value as Json, json};

use self::browser::Browser;
use super::programs;
use super::web::Web;

/// What a hostile author writes wherever text goes.
const MARKUP: &str = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script>";

/// A node that is killed when the test ends.
struct Node {
    process: Child,
    url: String,
}

impl Node {
    fn up(home: &Path) -> Self {
        let up = ["--json", "up", "--console", "127.0.0.1:0"];
        let mut process = command(home).args(up).stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("is piped")).read_line(&mut line).expect("reads");
        let said: Json = serde_json::from_str(&line).expect("is JSON");
        Self { process, url: said["console"].as_str().expect("a URL").to_owned() }
    }

    /// The address of the page without the token.
    fn origin(&self) -> &str {
        self.url.split_once("#").expect("a token").0
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
    command.env_remove("RUST_LOG").env("HOME", home).current_dir(home).arg("--home").arg(home).stdin(Stdio::null());
    command
}

fn good(home: &Path, words: &[&str]) -> Json {
    let output = command(home).arg("--json").args(words).output().expect("starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let answer: Json = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("is JSON");
    assert_eq!(answer["ok"], true, "{words:?}: {answer}");
    answer
}

/// Publishes and installs a program that prints and then computes for a while.
fn installed(home: &Path, name: &str, main: &str) {
    programs::package(home, name, "lua-script", "", main);
    let manifest = home.join(name).join("package.yaml");
    let text = std::fs::read_to_string(&manifest).expect("text");
    let described = text.replace("license: MIT", &format!("license: MIT, description: {}", json!(MARKUP)));
    std::fs::write(&manifest, described).expect("written");
    good(home, &["catalog", "publish", &format!("./{name}")]);
    good(home, &["catalog", "install", name]);
}

#[test]
fn a_package_is_seen_run_with_confirmation_and_followed_and_nobody_else_is_asked() {
    let Some(mut browser) = Browser::start() else { return };
    let home = programs::home();
    let home = home.path();
    let node = Node::up(home);
    let print = format!("return function() print({}) print('second line') return 42 end", json!(MARKUP));
    installed(home, "painter", &print);

    browser.open(&node.url);
    browser.wait_for("document.querySelector('h1').innerText === 'Overview'");
    browser.wait_for("document.querySelector('#health').innerText === 'Healthy'");
    let address = browser.value("location.href");
    assert_eq!(address, format!("{}#/", node.origin()), "the token is gone from the address and the history");

    browser.click("nav a", "Packages");
    browser.click("main table a", "painter");
    browser.wait_for("document.querySelector('h1').innerText.startsWith('painter')");
    // What its author wrote is text, and its provenance is told.
    browser.wait_for_text(MARKUP);
    browser.wait_for("[...document.querySelectorAll('.card')].some((card) => card.innerText.startsWith('Provenance') && card.querySelectorAll('tbody tr').length > 3)");
    browser.wait_for("document.querySelector('svg.graph a')");

    browser.click("main button", "Run");
    browser.wait_for("document.querySelector('dialog').open");
    let preview = browser.value("document.querySelector('.preview code').innerText");
    assert!(preview.as_str().is_some_and(|line| line.starts_with("host-sim catalog run painter")), "{preview}");
    assert_eq!(good(home, &["catalog", "ps"])["executions"], json!([]), "nothing happens before it is confirmed");
    browser.click("dialog button", "Cancel");
    browser.wait_for("!document.querySelector('dialog').open");
    assert_eq!(good(home, &["catalog", "ps"])["executions"], json!([]));
    browser.click("main button", "Run");
    browser.click("dialog button", "Yes, run");
    browser.wait_for("location.hash.startsWith('#/executions/catalog/')");
    browser.wait_for_text("Completed");
    browser.wait_for("document.querySelector('.output').innerText.includes('second line')");
    let output = browser.value("document.querySelector('.output').innerText");
    assert_eq!(output, format!("{MARKUP}\nsecond line\n"));
    assert_eq!(good(home, &["catalog", "ps"])["executions"][0]["state"], "Completed");

    assert_eq!(browser.value("window.hacked ?? 'no'"), "no");
    assert_eq!(browser.value("document.querySelectorAll('img, script').length"), 2, "the page's own");
    assert_eq!(browser.faults(), [""; 0]);
    let foreign: Vec<String> =
        browser.fetched().into_iter().filter(|url| !url.starts_with(node.origin()) && url != "about:blank").collect();
    assert_eq!(foreign, [""; 0]);
}

#[test]
fn output_comes_as_it_is_printed_and_a_run_is_ended() {
    let Some(mut browser) = Browser::start() else { return };
    let home = programs::home();
    let home = home.path();
    let node = Node::up(home);
    installed(home, "patient", "return function() print('has begun') while true do end end");
    let id = good(home, &["catalog", "run", "patient", "--detach"])["execution"].as_str().expect("an id").to_owned();
    browser.open(&node.url);
    browser.wait_for("document.querySelector('h1')");
    browser.open(&format!("{}#/executions/catalog/{id}", node.origin()));
    browser.wait_for("document.querySelector('.output').innerText.includes('has begun')");
    browser.wait_for_text("live");
    // What it uses is drawn over time.
    browser.wait_for("document.querySelectorAll('.plot path.line').length === 2");
    browser.click("main button", "Kill");
    browser.click("dialog button", "Yes, kill");
    browser.wait_for_text("Terminated");
    assert_eq!(good(home, &["catalog", "ps", &id])["state"], "Terminated");
    browser.click("dialog button", "Close");
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn extensions_are_paused_and_what_is_not_loaded_is_told() {
    let Some(mut browser) = Browser::start() else { return };
    let home = programs::home();
    let home = home.path();
    let hostile = home.join("extensions").join("<img src=x onerror='window.hacked=1'>");
    std::fs::create_dir_all(&hostile).expect("made");
    std::fs::write(hostile.join("extension.yaml"), format!("id: {}\n", json!(MARKUP))).expect("written");
    let node = Node::up(home);
    browser.open(&node.url);
    browser.wait_for("document.querySelector('#health').innerText === 'Unhealthy'");
    browser.click("nav a", "Extensions");
    browser.wait_for_text("<img src=x onerror='window.hacked=1'>");
    browser.wait_for_text("not loaded");
    // What the manifest grants, and what was used of it.
    let used = "[...document.querySelectorAll('tbody tr')].some((row) => /^AssetManagement\\s+granted\\s+[1-9]/.test(row.innerText))";
    browser.wait_for(used);
    let state = || good(home, &["status"])["extensions"][0]["state"].clone();
    browser.click("main button", "Disable");
    browser.wait_for("document.querySelector('.preview').innerText.includes('host-sim pause catalog')");
    assert_eq!(state(), "Running");
    browser.click("dialog button", "Yes, disable");
    browser.click("dialog button", "Close");
    browser.wait_for_text("Paused");
    assert_eq!(state(), "Paused");
    browser.click("main button", "Enable");
    browser.click("dialog button", "Yes, enable");
    browser.click("dialog button", "Close");
    browser.click("main button", "Upgrade");
    browser.value("document.querySelector('dialog input').value = '/nowhere'");
    browser.click("dialog button", "Yes, upgrade");
    browser.wait_for("document.querySelector('dialog .alert').innerText.includes('/nowhere')");
    assert_eq!((state(), browser.value("window.hacked ?? 'no'")), (json!("Running"), json!("no")));
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn every_part_fits_a_telephone_and_a_desk_and_says_how_the_node_is() {
    let Some(mut browser) = Browser::start() else { return };
    let home = programs::home();
    let home = home.path();
    let node = Node::up(home);
    installed(home, "painter", "return function() return 1 end");
    good(home, &["catalog", "run", "painter"]);
    browser.open(&node.url);
    browser.wait_for("document.querySelector('h1')");
    let id = good(home, &["catalog", "ps"])["executions"][0]["execution"].as_str().expect("an id").to_owned();
    for (part, shows) in [
        ("overview", "Completed"),
        ("extensions", "Capabilities"),
        ("packages", "painter"),
        ("packages/catalog/painter@1.0.0", "by the policy"),
        ("graph", "painter"),
        ("executions", "Completed"),
        (&format!("executions/catalog/{id}"), "printed nothing"),
        ("network", "Who has which archive"),
        ("audit", "loaded"),
        ("metrics", "requests_total"),
        ("more/catalog/feeds", "entries"),
        ("more/catalog/doctor", "sandbox"),
    ] {
        browser.size(1280, 900);
        browser.open(&format!("{}#/{part}", node.origin()));
        browser.wait_for(&format!("document.querySelector('main').textContent.includes({})", json!(shows)));
        for width in [1280, 400] {
            browser.size(width, 900);
            let wide = browser.value("document.documentElement.scrollWidth");
            assert!(wide.as_u64().is_some_and(|wide| wide <= u64::from(width)), "{part}: {wide} of {width}");
        }
        assert_eq!(browser.value("document.querySelectorAll('h1').length"), 1, "{part}");
        let nameless = "[...document.querySelectorAll('button, a, input, select')].filter((one) => one.checkVisibility() && !(one.textContent.trim() || one.labels?.length || one.ariaLabel)).length";
        assert_eq!(browser.value(nameless), 0, "{part}: everything that can be reached has a name");
    }
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn without_the_token_and_from_another_page_there_is_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let home = programs::home();
    let home = home.path();
    let node = Node::up(home);
    browser.open(node.origin());
    browser.wait_for_text("Token needed");
    browser.value("document.querySelector('#token').value = 'wrong'");
    browser.click("main button", "Open the console");
    browser.wait_for_text("the token is missing or wrong");

    let (origin, token) = (node.origin(), node.url.split_once("token=").expect("a token").1);
    let elsewhere = tempfile::tempdir().expect("temporary directory");
    std::fs::write(elsewhere.path().join("page.html"), "<!doctype html><title>another page</title>").expect("written");
    let web = Web::serve(elsewhere.path());
    browser.open(&format!("{}/page.html", web.url()));
    browser.wait_for("document.readyState === 'complete'");
    // Even with the token: a page that got hold of it is not the console.
    let tried = [
        format!(
            "fetch('{origin}node', {{method: 'POST', body: '\"status\"', headers: {{'authorization': 'Bearer {token}', \
             'content-type': 'application/json'}}}})"
        ),
        format!("fetch('{origin}node', {{method: 'POST', body: '\"status\"'}})"),
        format!("fetch('{origin}main.js')"),
        format!("import('{origin}main.js')"),
    ];
    for attempt in tried {
        let told = browser.value(&format!("{attempt}.then(() => 'read', () => 'refused')"));
        assert_eq!(told, "refused", "{attempt}");
    }
    let framed = format!(
        "new Promise((done) => {{ const frame = document.createElement('iframe'); frame.onload = () => done(frame.contentDocument \
         === null ? 'nothing' : 'seen'); frame.src = '{origin}'; document.body.append(frame); }})"
    );
    assert_eq!(browser.value(&framed), "nothing");
}
