//! What a host does with libraries that are not what they should be: each is refused or contained, with a reason in one
//! line, and the host lives.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host_sim::check::{self, CheckOptions, CheckReport};
use host_sim::child::ChildCommand;
use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use host_sim::loader::LibraryBytes;
use host_sim::manifest;
use host_sim::signature::Subject;
use host_sim::trust::{InitOptions, TrustHome, Unlock};
use hypermesh_abi::records::Health;
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};

use super::support::{Home, Node, block_on, child_command, library, publisher};

/// Every extension of the workspace that must conform, by the name of its library, with a configuration.
const EXTENSIONS: &[(&str, &str)] =
    &[("catalog", "{}"), ("echo_extension", "{}"), ("witness_extension", "{}"), ("hostile_extension", "{}")];

#[test]
fn every_extension_of_the_workspace_conforms_to_the_highest_level() {
    for (name, config) in EXTENSIONS {
        let report = checked(&library(name), 3, serde_json::from_str(config).expect("is JSON"));
        assert_eq!((failures(&report), report.level), (Vec::new(), 3), "{name}");
        assert_eq!(report.checks.len(), check::catalogue().count());
        assert_eq!(report.digest, LibraryBytes::read(&library(name)).expect("read").digest());
    }
}

#[test]
fn the_kit_finds_what_misbehaves() {
    for (fault, level, check, reason) in [
        ("create:abort", 1, "create", "it aborted the process (SIGABRT)"),
        (
            "describe:panic",
            1,
            "describe",
            "describe answered PANIC: extension panicked: hostile on purpose in describe",
        ),
        (
            "register:panic",
            1,
            "register",
            "register answered PANIC: extension panicked: hostile on purpose in register",
        ),
        ("activate:exit", 1, "activate", "it ended the process with exit status 7"),
        ("health:overflow", 1, "health", "it aborted the process (SIGABRT)"),
        ("request:abort", 1, "unknown-verb", "it aborted the process (SIGABRT)"),
        (
            "request:panic",
            1,
            "unknown-verb",
            "it said PANIC where UNSUPPORTED was due: extension panicked: hostile on purpose in request",
        ),
        ("activate:threads", 1, "stop", "it left 4 threads and 0 descriptors behind"),
        ("stop:panic", 1, "stop", "stop answered PANIC: extension panicked: hostile on purpose in stop"),
        (
            "quiesce:panic",
            2,
            "pause-resume",
            "quiesce answered PANIC: extension panicked: hostile on purpose in quiesce",
        ),
    ] {
        let report = checked(&library("hostile_extension"), level, json!({"hostile": fault}));
        assert_eq!(report.level, level - 1, "{fault}: {:?}", failures(&report));
        let found = report.checks.iter().find(|result| result.id == check).expect("was run");
        assert!(!found.ok && found.reason.starts_with(reason), "{fault}: {}", found.reason);
    }
}

#[test]
fn a_library_that_cannot_be_loaded_has_no_further_checks() {
    let home = Home::new();
    let text = home.path().join("text.so");
    std::fs::write(&text, "no library").expect("written");
    let report = checked(&text, 3, Json::Null);
    assert_eq!((report.level, report.checks.len()), (0, 1));
    assert!(report.checks[0].reason.contains("not an ELF file"), "{}", report.checks[0].reason);
}

#[test]
fn faults_while_a_library_is_loaded_or_constructed_stay_in_the_trial() {
    block_on(async {
        let node = Node::with_echo().await;
        for place in ["load", "create"] {
            for (fault, reason) in [
                ("abort", "it aborted the process (SIGABRT)"),
                ("exit", "it ended the process with exit status 7"),
                ("overflow", "it aborted the process (SIGABRT)"),
                ("hang", "it did not answer in time and was killed"),
            ] {
                let error = hostile_load(place, fault).await.expect_err("refused");
                assert_eq!(error.code, Code::INITIALIZATION_FAILED, "{place}:{fault}");
                let start = format!("library refused by a trial in a child process: {reason}");
                assert!(error.to_string().starts_with(&start), "{place}:{fault}: {error}");
                one_line(&error);
            }
        }
        // A panic in an initialiser cannot unwind; one in a constructor is an orderly answer.
        let error = hostile_load("load", "panic").await.expect_err("refused");
        assert!(error.to_string().contains("aborted the process"), "{error}");
        let error = hostile_load("create", "panic").await.expect_err("refused");
        assert_eq!(error.code, Code::PANIC, "{error}");
        hostile_load("nowhere", "panic").await.expect("the same library without a fault loads");
        node.lives().await;
    });
}

/// Loads the hostile extension with a fault into another host of this process.
async fn hostile_load(place: &str, fault: &str) -> Result<(), Error> {
    let home = Home::new();
    let asked = format!("{place}:{fault}");
    let bundle = hostile(&home, &asked);
    let timeout = if fault == "hang" { Duration::from_millis(500) } else { Duration::from_secs(30) };
    let ChildCommand { program, arguments, .. } = child_command();
    let arguments = [format!("HOSTILE={asked}").into(), program.into()].into_iter().chain(arguments).collect();
    let child = Some(ChildCommand { program: "/usr/bin/env".into(), arguments, timeout });
    open(HostOptions { child, ..home.options() }).load(Source::Bundle(bundle)).await
}

#[test]
fn a_panic_in_any_method_is_an_error_and_no_more() {
    block_on(async {
        let node = Node::with_echo().await;
        for place in ["describe", "register", "activate"] {
            let error = node.host.load(source(&node.home, &format!("{place}:panic"))).await.expect_err("refused");
            assert_eq!(error.code, Code::PANIC, "{place}: {error}");
            assert_eq!(error.to_string(), format!("extension panicked: hostile on purpose in {place}"));
        }
        for place in ["request", "validate", "export_state", "import_state", "quiesce"] {
            node.host.load(source(&node.home, &format!("{place}:panic"))).await.expect("loads");
            let error = match place {
                "request" => node.try_ask("hostile", "work", json!({})).await.map(drop),
                "validate" => node.host.validate("hostile").await.map(drop),
                "export_state" => node.host.export_state("hostile").await.map(drop),
                "import_state" => node.host.import_state("hostile", whole_state()).await,
                _ => node.host.pause("hostile").await,
            };
            let error = error.expect_err("panics");
            assert_eq!(error.code, Code::PANIC, "{place}: {error}");
            node.host.unload("hostile").await.expect("unloads");
        }
        node.host.load(source(&node.home, "health:panic")).await.expect("loads");
        let report = node.host.report().await.into_iter().find(|report| report.id == "hostile").expect("there");
        assert!(matches!(report.health, Some(Health::Unhealthy(reason)) if reason.contains("panicked")));
        node.host.unload("hostile").await.expect("unloads");
        node.host.load(source(&node.home, "stop:panic")).await.expect("loads");
        node.host.unload("hostile").await.expect("it is gone, whatever it says");
        node.lives().await;
    });
}

/// Gives a state whose checksum is right, so that it reaches the extension.
fn whole_state() -> Vec<u8> {
    let checksum = format!("blake3:{}", blake3::hash(b"null").to_hex());
    json!({"version": 1, "extension": "hostile", "state": null, "checksum": checksum}).to_string().into_bytes()
}

#[test]
fn an_extension_that_hangs_is_given_up() {
    block_on(async {
        let node = Node::with_echo().await;
        // Without a trial, so that the faults reach the host.
        let short = Duration::from_millis(200);
        let home = Home::new();
        let host = open(HostOptions { child: None, step_timeout: short, stop_grace: short, ..home.options() });
        for place in ["create", "describe", "register", "activate"] {
            let error = host.load(source(&home, &format!("{place}:hang"))).await.expect_err("given up");
            assert_eq!(error.code, Code::DEADLINE_EXCEEDED, "{place}: {error}");
        }
        for place in ["request", "quiesce", "stop"] {
            host.load(source(&home, &format!("{place}:hang"))).await.expect("loads");
            let options = RequestOptions { timeout: Some(short), ..RequestOptions::default() };
            let answer = host.request("hostile", "work", &json!({}), options).await;
            let late = match place {
                "request" => answer.err(),
                "quiesce" => host.pause("hostile").await.err(),
                _ => None,
            };
            assert!(late.is_none_or(|error| error.code == Code::DEADLINE_EXCEEDED), "{place}");
            host.unload("hostile").await.expect("unloads");
        }
        node.lives().await;
    });
}

#[test]
fn a_file_that_is_no_extension_is_refused_in_one_line() {
    block_on(async {
        let node = Node::with_echo().await;
        let echo = std::fs::read(library("echo_extension")).expect("read");
        let foreign_machine = [&echo[..18], &[0x08, 0x00], &echo[20..]].concat();
        for (name, bytes, expected) in [
            ("text", b"no library".to_vec(), "not an ELF file"),
            ("empty", Vec::new(), "not an ELF file"),
            ("truncated", echo[..echo.len() - 100].to_vec(), "the file is truncated"),
            ("foreign", foreign_machine, "built for machine 8"),
            ("no-symbol", std::fs::read(plain_library()).expect("read"), "exports no HyperMesh extension"),
        ] {
            let bundle = copied(&node.home, name);
            replace_library(&node.home, &bundle, &bytes);
            let error = node.host.load(Source::Bundle(bundle)).await.expect_err("refused");
            assert!(error.to_string().contains(expected), "{name}: {error}");
            one_line(&error);
        }
        node.lives().await;
    });
}

#[test]
fn what_the_publisher_did_not_sign_is_refused() {
    block_on(async {
        let node = Node::with_echo().await;
        let refused = async |bundle: PathBuf| node.host.load(Source::Bundle(bundle)).await.expect_err("refused");

        let bundle = copied(&node.home, "digest");
        append(&bundle.join("libwitness_extension.so"));
        let error = refused(bundle).await;
        assert_eq!(error.code, Code::INTEGRITY);
        assert!(error.to_string().contains("the manifest names blake3:"), "{error}");

        let bundle = copied(&node.home, "worse-digest");
        append(&bundle.join("libwitness_extension.so"));
        name_digest(&bundle, &bundle.join("libwitness_extension.so"));
        assert_refused_signature(&refused(bundle).await, "the signature is for library");

        let bundle = copied(&node.home, "version");
        edit(&bundle, "version: \"1.0.0\"", "version: \"1.0.1\"");
        assert_refused_signature(&refused(bundle).await, "the signature is for");

        let bundle = copied(&node.home, "forged");
        let path = bundle.join("signature.json");
        let text = std::fs::read_to_string(&path).expect("text");
        for (at, algorithm) in ["ed25519", "falcon-1024-r3"].into_iter().enumerate() {
            let signature: Json = serde_json::from_str(&text).expect("is JSON");
            let sig = signature["signatures"][at]["sig"].as_str().expect("text");
            let middle = sig.len() / 2;
            let other = if &sig[middle..=middle] == "A" { "B" } else { "A" };
            let forged = format!("{}{other}{}", &sig[..middle], &sig[middle + 1..]);
            std::fs::write(&path, text.replace(sig, &forged)).expect("written");
            assert_refused_signature(
                &refused(bundle.clone()).await,
                &format!("the `{algorithm}` signature was made by another key"),
            );
        }

        let bundle = copied(&node.home, "stranger");
        let manifest = manifest::read(&bundle.join(manifest::FILE_NAME)).expect("valid");
        let contract = hypermesh_abi::host::CONTRACT_VERSION.parse().expect("a version");
        let stranger = tempfile::tempdir().expect("temporary directory");
        TrustHome::init(stranger.path(), &InitOptions::default(), &Unlock::key_file()).expect("makes certificates");
        let signature = Subject::of(&manifest, contract).sign(&publisher(stranger.path())).expect("signs");
        std::fs::write(bundle.join("signature.json"), signature).expect("written");
        assert_refused_signature(&refused(bundle.clone()).await, "nobody known issued the certificate of");
        let (roots, theirs) = (node.home.path().join("trust/roots"), stranger.path().join("trust"));
        std::fs::create_dir(&roots).expect("made");
        std::fs::copy(theirs.join("root.pem"), roots.join("stranger.pem")).expect("copied");
        assert_refused_signature(&refused(bundle.clone()).await, "no revocation list covers the certificate of");
        for list in ["root", "publisher-authority"] {
            let to = node.home.path().join(format!("trust/lists/stranger-{list}.json"));
            std::fs::copy(theirs.join(format!("lists/{list}.json")), to).expect("copied");
        }
        node.host.load(Source::Bundle(bundle)).await.expect("a stranger that the administrator believes");
        node.host.unload("witness").await.expect("unloads");

        let bundle = copied(&node.home, "unsigned");
        std::fs::remove_file(bundle.join("signature.json")).expect("was there");
        assert_eq!(refused(bundle).await.code, Code::IO);

        assert_eq!(node.audit().matches("InvalidSignature").count(), 6);
        node.host.load(Source::Bundle(copied(&node.home, "whole"))).await.expect("the same bundle, untouched, loads");
        node.lives().await;
    });
}

fn assert_refused_signature(error: &Error, expected: &str) {
    assert_eq!(error.code, Code::CERTIFICATE_VALIDATION_FAILED, "{error}");
    assert!(error.to_string().contains(expected), "{error}");
    one_line(error);
}

#[test]
fn a_manifest_that_does_not_fit_is_refused() {
    block_on(async {
        let node = Node::with_echo().await;
        for (name, from, to, code, expected) in [
            (
                "id",
                "id: witness",
                "id: somebody",
                Code::INVALID_ARGUMENT,
                "library is `witness 1.0.0`, the manifest says `somebody 1.0.0`",
            ),
            (
                "version",
                "version: \"1.0.0\"",
                "version: \"2.0.0\"",
                Code::INVALID_ARGUMENT,
                "library is `witness 1.0.0`, the manifest says `witness 2.0.0`",
            ),
            ("off", "enabled: true", "enabled: false", Code::POLICY_DENIED, "extension `witness` is not enabled"),
            (
                "host",
                "hypermesh: \"^1\"",
                "hypermesh: \"^2\"",
                Code::VERSION_INCOMPATIBLE,
                "extension `witness` wants HyperMesh ^2, this is 1.0.0",
            ),
        ] {
            let bundle = copied(&node.home, name);
            edit(&bundle, from, to);
            node.home.sign_again(&bundle);
            let error = node.host.load(Source::Bundle(bundle)).await.expect_err("refused");
            assert_eq!((error.code, error.to_string().as_str()), (code, expected), "{name}");
        }
        let error = node.host.load(Source::Bundle(node.home.path().join("nowhere"))).await.expect_err("not there");
        assert_eq!(error.code, Code::INVALID_ARGUMENT, "{error}");
        node.lives().await;
    });
}

#[test]
fn what_is_mapped_is_what_was_verified() {
    let home = Home::new();
    let path = home.path().join("library.so");
    std::fs::copy(library("echo_extension"), &path).expect("copied");
    let verified = LibraryBytes::read(&path).expect("read");
    let digest = verified.digest();
    // Between the check and the mapping somebody puts another library in its place.
    std::fs::remove_file(&path).expect("was there");
    std::fs::copy(library("hostile_extension"), &path).expect("copied");
    verified.expect(&digest).expect("the bytes in memory are the verified ones");
    let image = verified.image().expect("sealed");
    let write = std::fs::OpenOptions::new().write(true).open(image.path()).and_then(|mut file| {
        use std::io::Write;
        file.write_all(b"x")
    });
    assert!(write.is_err(), "a sealed image takes no write");
    assert_eq!(image.open().expect("opens").id(), "echo");
}

#[test]
fn a_manifest_may_require_conformance() {
    block_on(async {
        let node = Node::with_echo().await;
        let rest = json!({"conformance": {"level": 2}});
        let witness = node.home.bundle("witness", &library("witness_extension"), &rest).expect("laid out");
        node.host.load(Source::Bundle(witness)).await.expect("conforms");

        let rest = json!({"conformance": {"level": 1}, "configuration": {"hostile": "activate:threads"}});
        let bundle = node.home.bundle("hostile", &library("hostile_extension"), &rest).expect("laid out");
        let error = node.host.load(Source::Bundle(bundle)).await.expect_err("leaks threads");
        assert_eq!(error.code, Code::POLICY_DENIED);
        let expected = "library does not conform to level 1: `stop` it left 4 threads and 0 descriptors behind";
        assert_eq!(error.to_string(), expected);

        let home = Home::new();
        let rest = json!({"conformance": {"level": 2}});
        let witness = home.bundle("witness", &library("witness_extension"), &rest).expect("laid out");
        let host = open(HostOptions { child: None, ..home.options() });
        let error = host.load(Source::Bundle(witness)).await.expect_err("cannot be checked here");
        assert_eq!(error.code, Code::POLICY_DENIED, "{error}");
        node.lives().await;
    });
}

#[test]
fn docs_list_every_check() {
    let text = documentation();
    let (_, table) = text.split_once("\n## Conformance\n").expect("has the section");
    for (id, level, about) in check::catalogue() {
        let row = format!("| {level} | `{id}` | {about} |");
        assert!(table.contains(&row), "docs/abi.md has no row {row}");
    }
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains("` | ")).count();
    assert_eq!(rows, check::catalogue().count(), "docs/abi.md lists a check that does not exist");
}

#[test]
fn docs_list_every_error_code() {
    let text = documentation();
    let (_, after) = text.split_once("\n## Errors\n").expect("has the section");
    let (table, _) = after.split_once("\n## ").expect("is not the last");
    for code in Code::ALL {
        let row = format!("| {} | `{}` | {} |", code.0, code.name(), code.usual_fault().name());
        assert!(table.contains(&row), "docs/abi.md has no row {row}");
    }
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains("` | ")).count();
    assert_eq!(rows, Code::ALL.len(), "docs/abi.md lists a code that does not exist");
}

fn documentation() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/abi.md")).expect("there")
}

fn checked(library: &Path, level: u8, config: Json) -> CheckReport {
    let options = CheckOptions { level, config, workers: std::collections::BTreeMap::new() };
    check::run(&child_command(), library, &options, &mut |_| {}).expect("runs")
}

fn failures(report: &CheckReport) -> Vec<String> {
    report.checks.iter().filter(|check| !check.ok).map(|check| format!("{}: {}", check.id, check.reason)).collect()
}

fn hostile(home: &Home, fault: &str) -> PathBuf {
    let rest = json!({"configuration": {"hostile": fault}});
    home.bundle(&fault.replace(':', "-"), &library("hostile_extension"), &rest).expect("laid out")
}

fn source(home: &Home, fault: &str) -> Source {
    Source::Bundle(hostile(home, fault))
}

fn open(options: HostOptions) -> Host {
    Host::open(options).expect("opens")
}

/// Lays out a bundle of the witness under a name of its own.
fn copied(home: &Home, name: &str) -> PathBuf {
    let rest = json!({"enabled": true, "hypermesh": "^1"});
    home.bundle(name, &library("witness_extension"), &rest).expect("laid out")
}

fn append(path: &Path) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes.push(0);
    std::fs::write(path, bytes).expect("written");
}

/// Puts other bytes into a bundle, as a publisher who signs anything would.
fn replace_library(home: &Home, bundle: &Path, bytes: &[u8]) {
    let path = bundle.join("libwitness_extension.so");
    std::fs::write(&path, bytes).expect("written");
    name_digest(bundle, &path);
    home.sign_again(bundle);
}

fn name_digest(bundle: &Path, library: &Path) {
    let manifest = manifest::read(&bundle.join(manifest::FILE_NAME)).expect("valid");
    let actual = LibraryBytes::read(library).expect("read").digest();
    edit(bundle, &manifest.library.digest.to_string(), &actual);
}

fn edit(bundle: &Path, from: &str, to: &str) {
    let path = bundle.join(manifest::FILE_NAME);
    let text = std::fs::read_to_string(&path).expect("text");
    assert_eq!(text.matches(from).count(), 1, "`{from}` is there once in {text}");
    std::fs::write(&path, text.replace(from, to)).expect("written");
}

/// Finds a library that every program of this system has mapped, and that is no extension.
fn plain_library() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("text");
    let path = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("libgcc_s"));
    path.expect("programs that unwind have it").into()
}

fn one_line(error: &Error) {
    assert!(!error.to_string().contains('\n'), "{error}");
}
