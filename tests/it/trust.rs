//! Certificates through the `host-sim` program: their life, every fault by its name, and what openssl makes of them.

mod forge;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use host_sim::trust::TrustHome;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use self::forge::Stolen;
use super::programs;
use super::support::trust_into;

/// A home with certificates.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("temporary directory");
        trust_into(home.path());
        Self(home)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn trust(&self) -> TrustHome {
        TrustHome::open(self.path()).expect("opens")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(programs::host_sim());
        command.current_dir(self.path()).env_remove("RUST_LOG").env_remove("HYPERMESH_PASSPHRASE");
        command.env("HOME", self.path()).arg("--home").arg(self.path()).args(words).stdin(Stdio::null());
        command
    }

    fn json(&self, words: &[&str]) -> (i32, Json) {
        answer(self.command(words).arg("--json"))
    }

    fn good(&self, words: &[&str]) -> Json {
        let (code, json) = self.json(words);
        assert_eq!((code, &json["ok"]), (0, &json!(true)), "{words:?}: {json}");
        json
    }

    /// Verifies by the root of this home and gives the name of the fault.
    fn fault(&self, words: &[&str]) -> (String, String) {
        let all = [&["trust", "verify", "--roots", "trust/root.pem"], words].concat();
        let (code, json) = self.json(&all);
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        assert_eq!((code, text("result")), (5, "FAILURE".to_owned()), "{words:?}: {json}");
        assert_eq!((&json["ok"], &json["path"]), (&json!(true), &json!([])), "{json}");
        (text("fault"), text("reason"))
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("written");
    }
}

fn answer(command: &mut Command) -> (i32, Json) {
    let output = command.output().expect("starts");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let last = stdout.lines().last().unwrap_or_default();
    let json = serde_json::from_str(last);
    let json = json.unwrap_or_else(|error| panic!("{error}: {last}\n{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap_or(-1), json)
}

#[test]
fn certificates_live_through_the_command_line() {
    let home = Home(tempfile::tempdir().expect("temporary directory"));
    let (code, json) = home.json(&["trust", "show"]);
    assert_eq!((code, &json["error"]["code"]), (1, &json!("NOT_FOUND")), "{json}");
    assert!(json["error"]["help"].as_str().is_some_and(|help| help.contains("host-sim trust init")), "{json}");
    let made = home.good(&["trust", "init", "--name", "Acme Ltd"]);
    assert_eq!((&made["result"], &made["path"]), (&json!("SUCCESS"), &json!(["CN=Acme Ltd root"])));
    assert_eq!(home.json(&["trust", "init"]).1["error"]["code"], "ALREADY_EXISTS");

    let issued = home.good(&["trust", "issue", "publisher", "acme", "--namespace", "acme", "--days", "30"]);
    assert_eq!(issued["path"], json!(["CN=acme", "CN=Acme Ltd publisher authority", "CN=Acme Ltd root"]));
    assert_eq!(issued["names"], json!(["acme.pub.trustchain"]));
    let verified =
        home.good(&["trust", "verify", "--leaf", "acme", "--eku", "publisher", "--name", "acme.pub.trustchain"]);
    assert_eq!((&verified["result"], &verified["path"]), (&json!("SUCCESS"), &issued["path"]));
    let renewed = home.good(&["trust", "renew", "acme", "--new-keys"]);
    assert_ne!((&renewed["serial"], &renewed["fingerprint"]), (&issued["serial"], &issued["fingerprint"]));
    let revoked =
        home.good(&["trust", "revoke", "acme", "--reason", "key-compromise", "--effective", "2026-01-01T00:00:00Z"]);
    assert_eq!((&revoked["serial"], &revoked["effective"]), (&renewed["serial"], &json!("2026-01-01T00:00:00Z")));
    let (code, json) = home.json(&["trust", "verify", "--leaf", "acme"]);
    assert_eq!((code, &json["fault"]), (5, &json!("REVOKED")), "{json}");
    let (code, json) = home.json(&["trust", "revoke", "acme"]);
    assert_eq!((code, &json["error"]["code"]), (1, &json!("ALREADY_EXISTS")), "{json}");

    let lists = home.good(&["trust", "crl", "--renew"]);
    assert_eq!(lists["renewed"].as_array().map(Vec::len), Some(4));
    let shown = home.good(&["trust", "show"]);
    let of = |name: &str| {
        shown["certificates"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name).cloned())
    };
    assert_eq!(of("acme").map(|one| one["state"].clone()), Some(json!("revoked")));
    assert_eq!(shown["unlock"]["by"], "key-file");
    home.good(&["trust", "issue", "node", "n1", "--address", "192.0.2.1", "--hours", "2"]);
    home.good(&["trust", "verify", "--leaf", "n1", "--eku", "serverAuth", "--name", "192.0.2.1"]);
    let file = home.good(&["trust", "show", "trust/validator-1.pem"]);
    assert_eq!((&file["path"][0], &file["certificates"][0]["hybrid"]), (&json!("CN=validator-1"), &json!(true)));
}

#[test]
fn a_passphrase_opens_keys_and_a_request_keeps_them() {
    let home = Home(tempfile::tempdir().expect("temporary directory"));
    home.write("phrase", "correct horse battery staple\n");
    home.good(&["trust", "init", "--passphrase-file", "phrase"]);
    let shown = home.good(&["trust", "show"]);
    assert_eq!((&shown["unlock"]["by"], &shown["unlock"]["cost"]["memoryKib"]), (&json!("passphrase"), &json!(65_536)));
    let (code, json) = home.json(&["trust", "renew", "local"]);
    assert_eq!(
        (code, json["error"]["help"].as_str().map(|help| help.contains("HYPERMESH_PASSPHRASE"))),
        (5, Some(true)),
        "{json}"
    );
    let by_variable = |passphrase: &str| {
        answer(home.command(&["trust", "renew", "local", "--json"]).env("HYPERMESH_PASSPHRASE", passphrase))
    };
    assert_eq!(by_variable("correct horse battery staple").0, 0);
    assert_eq!(by_variable("wrong horse battery staple").0, 5);

    let (subject, authority) = (Home::new(), Home::new());
    subject.good(&["trust", "request", "publisher", "acme", "--out", "acme.request.json"]);
    let request = subject.path().join("acme.request.json");
    let words = ["trust", "issue", "publisher", "acme", "--request", request.to_str().expect("text")];
    let issued = authority.good(&words);
    assert_eq!(issued["subject"], "CN=acme");
    assert!(!authority.path().join("trust/acme.key").exists() && subject.path().join("trust/acme.key").exists());
}

#[test]
fn every_fault_has_its_name() {
    let home = Home::new();
    let now = time::OffsetDateTime::now_utc();
    let stolen = Stolen::of(&home.trust(), "publisher-authority");
    let along = ["--intermediates", "trust/publisher-authority.pem"];
    let classical = |leaf: &str, more: &[&str]| {
        home.write("leaf.pem", leaf);
        home.fault(&[&["--leaf", "leaf.pem", "--classical"], &along[..], more].concat())
    };
    home.write("leaf.pem", &stolen.issue(|_| {}).0);
    home.good(
        &[&["trust", "verify", "--roots", "trust/root.pem", "--leaf", "leaf.pem", "--classical"], &along[..]].concat(),
    );
    let (fault, reason) = home.fault(&[&["--leaf", "leaf.pem"], &along[..]].concat());
    assert_eq!(fault, "CLASSICAL_ONLY", "{reason}");

    let old = stolen.issue(|params| params.not_after = now - time::Duration::SECOND).0;
    assert_eq!(classical(&old, &[]).0, "EXPIRED");
    let young = stolen.issue(|params| params.not_before = now + time::Duration::HOUR).0;
    assert_eq!(classical(&young, &[]).0, "NOT_YET_VALID");
    let outside = stolen.issue(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("evil.example".try_into().expect("a domain"))];
    });
    let (fault, reason) = classical(&outside.0, &[]);
    assert!(fault == "OUTSIDE_NAMESPACE" && reason.contains("`evil.example`"), "{reason}");
    let critical = stolen.issue(|params| {
        let mut unknown = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
    });
    let (fault, reason) = classical(&critical.0, &[]);
    assert!(fault == "UNKNOWN_CRITICAL_EXTENSION" && reason.contains("`1.2.3.4`"), "{reason}");
    let (below, authority) = stolen.authority();
    home.write("below.pem", &below);
    assert_eq!(classical(&authority.issue(|_| {}).0, &["--intermediates", "below.pem"]).0, "PATH_TOO_LONG");

    let of = |more: &[&str]| home.fault(&[&["--leaf", "local"], more].concat()).0;
    assert_eq!(of(&["--eku", "serverAuth"]), "WRONG_USAGE");
    assert_eq!(of(&["--eku", "1.2.3.4"]), "UNKNOWN_USAGE");
    assert_eq!(of(&["--name", "other.example"]), "WRONG_NAME");
    assert_eq!(of(&["--at", "2100-01-01T00:00:00Z"]), "EXPIRED");
    let crls = ["--crl", "trust/lists/root.crl.pem", "--crl", "trust/lists/publisher-authority.crl.pem"];
    assert_eq!(of(&crls[..2]), "REVOCATION_UNKNOWN");
    let later =
        (now + time::Duration::days(40)).format(&time::format_description::well_known::Rfc3339).expect("formats");
    assert_eq!(of(&[&crls[..], &["--at", &later]].concat()), "REVOCATION_STALE");
    home.good(&["trust", "revoke", "local"]);
    assert_eq!(of(&crls), "REVOKED");
    let stranger = Home(tempfile::tempdir().expect("temporary directory"));
    stranger.good(&["trust", "init"]);
    assert_eq!(
        stranger.fault(&["--leaf", home.path().join("trust/local.pem").to_str().expect("text")]).0,
        "UNKNOWN_ISSUER"
    );
    let (code, json) = home.json(&["trust", "verify", "--roots", "trust/local.pem", "--leaf", "local"]);
    assert_eq!((code, &json["fault"]), (5, &json!("NOT_A_ROOT")), "{json}");
}

#[test]
fn one_of_two_stolen_keys_is_not_enough() {
    let home = Home::new();
    let along = ["--intermediates", "trust/publisher-authority.pem", "--leaf", "leaf.pem"];
    let classical_key = Stolen::of(&home.trust(), "publisher-authority").without_falcon();
    home.write("leaf.pem", &classical_key.issue_hybrid());
    assert_eq!(home.fault(&along).0, "ALTERNATIVE_FORGED");
    assert_eq!(home.fault(&[&along[..], &["--classical"]].concat()).0, "ALTERNATIVE_FORGED");
    home.write("leaf.pem", &classical_key.issue(|_| {}).0);
    assert_eq!(home.fault(&along).0, "CLASSICAL_ONLY");
    let other_key = Stolen::of(&home.trust(), "publisher-authority").without_ed25519();
    home.write("leaf.pem", &other_key.issue_hybrid());
    assert_eq!(home.fault(&along).0, "FORGED");
}

#[test]
fn a_batch_answers_every_line() {
    let home = Home::new();
    let read = |name: &str| std::fs::read_to_string(home.path().join("trust").join(name)).expect("text");
    let (root, local, crl) = (read("root.pem"), read("local.pem"), read("lists/root.crl.pem"));
    let case = |id: u32, more: Json| {
        let mut case = json!({"id": id, "roots": [root], "leaf": local});
        case.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        case.to_string()
    };
    let garbage = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let lines = [
        case(1, json!({"eku": "codeSigning", "name": "local.pub.trustchain"})),
        "no JSON".to_owned(),
        case(3, json!({"leaf": garbage})),
        case(4, json!({"leaf": "nothing"})),
        String::new(),
        case(5, json!({"eku": ["serverAuth"], "expected_peer_name": {"kind": "DNS", "value": "x.example"}})),
        case(6, json!({"crls": [crl]})),
        case(7, json!({"profile": "webpki", "eku": "codeSigning", "validation_time": null})),
        case(8, json!({"profile": "webpki", "eku": "serverAuth"})),
        case(9, json!({"profile": "other"})),
        case(10, json!({"leaf": 5})),
    ];
    let mut process = home
        .command(&["trust", "verify", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    process.stdin.take().expect("is piped").write_all(lines.join("\n").as_bytes()).expect("written");
    let output = process.wait_with_output().expect("ends");
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let answers: Vec<Json> = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let found: Vec<(Json, Json, Json)> =
        answers.iter().map(|answer| (answer["id"].clone(), answer["ok"].clone(), answer["fault"].clone())).collect();
    let expected = [
        (json!(1), json!(true), Json::Null),
        (Json::Null, json!(false), json!("MALFORMED")),
        (json!(3), json!(true), json!("MALFORMED")),
        (json!(4), json!(true), json!("MALFORMED")),
        (json!(5), json!(true), json!("WRONG_USAGE")),
        (json!(6), json!(true), json!("REVOCATION_UNKNOWN")),
        (json!(7), json!(true), Json::Null),
        (json!(8), json!(true), json!("WRONG_USAGE")),
        (json!(9), json!(true), json!("MALFORMED")),
        (json!(10), json!(false), json!("MALFORMED")),
    ];
    assert_eq!(found, expected, "{stdout}");
}

#[test]
fn openssl_reads_what_is_issued() {
    let openssl = |words: &[&str], directory: &Path| {
        let output = Command::new("openssl").args(words).current_dir(directory).stdin(Stdio::null()).output();
        output.ok().map(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            (output.status.success(), text)
        })
    };
    let home = Home::new();
    if openssl(&["version"], home.path()).is_none() {
        // Not every machine has it; what it would say of the same bytes does not differ between machines.
        return;
    }
    let run = |words: &[&str]| openssl(words, home.path()).expect("it was there");
    for name in ["local", "node", "validator-1"] {
        let file = format!("trust/{name}.pem");
        let (good, text) = run(&["verify", "-x509_strict", "-CAfile", "trust/root.pem", "-untrusted", &file, &file]);
        assert!(good && text.contains("OK"), "{name}: {text}");
        let (good, text) = run(&["x509", "-in", &file, "-noout", "-text"]);
        assert!(good && text.contains("ED25519"), "{name}: {text}");
    }
    home.good(&["trust", "revoke", "local"]);
    let lists = ["root", "publisher-authority"].map(|name| home.path().join(format!("trust/lists/{name}.crl.pem")));
    let all: String = lists.iter().map(|list: &PathBuf| std::fs::read_to_string(list).expect("text")).collect();
    home.write("all.crl.pem", &all);
    let checked = ["verify", "-crl_check_all", "-CRLfile", "all.crl.pem", "-CAfile", "trust/root.pem", "-untrusted"];
    let (good, text) = run(&[&checked[..], &["trust/local.pem", "trust/local.pem"]].concat());
    assert!(!good && text.contains("revoked"), "{text}");

    // The other way: what openssl makes is judged by the profile of the public web, and refused by TrustChain's.
    let make = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "9",
        "-subj",
        "/CN=web",
    ];
    assert!(run(&make).0);
    assert!(
        run(&["req", "-newkey", "rsa:2048", "-nodes", "-keyout", "web.key", "-out", "web.csr", "-subj", "/CN=site"]).0
    );
    home.write("web.ext", "basicConstraints=CA:FALSE\nsubjectAltName=DNS:site.example\nextendedKeyUsage=serverAuth\n");
    let sign = [
        "x509",
        "-req",
        "-in",
        "web.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-set_serial",
        "7",
        "-days",
        "8",
        "-extfile",
        "web.ext",
        "-out",
        "web.pem",
    ];
    let (good, text) = run(&sign);
    assert!(good, "{text}");
    let verify =
        ["trust", "verify", "--roots", "ca.pem", "--leaf", "web.pem", "--eku", "serverAuth", "--name", "site.example"];
    let web = home.good(&[&verify[..], &["--profile", "webpki"]].concat());
    assert_eq!(web["path"], json!(["CN=site", "CN=web"]));
    let (code, json) = home.json(&verify);
    assert_eq!((code, &json["fault"]), (5, &json!("MALFORMED")), "{json}");
    assert_eq!(home.json(&["trust", "verify", "--leaf", "web.pem"]).1["fault"], "MALFORMED");
    assert!(json["reason"].as_str().is_some_and(|reason| reason.contains("not of `ed25519`")), "{json}");
}

#[test]
fn a_revoked_publisher_loads_nothing() {
    let home = Home(programs::home());
    home.good(&["catalog", "list"]);
    home.good(&["trust", "revoke", "local", "--reason", "key-compromise"]);
    let (code, json) = home.json(&["catalog", "list"]);
    assert_eq!((code, &json["error"]["code"]), (5, &json!("CERTIFICATE_VALIDATION_FAILED")), "{json}");
    assert!(json["error"].to_string().contains("was revoked"), "{json}");
    let manifest = home.path().join("extensions/catalog/extension.yaml");
    let text = std::fs::read_to_string(&manifest).expect("text");
    assert!(text.contains("trust: required"), "{text}");
    std::fs::write(&manifest, text.replace("trust: required", "trust: basic")).expect("written");
    home.good(&["catalog", "list"]);
    let audit = home.path().join("audit");
    let lines: String = std::fs::read_dir(audit)
        .expect("is there")
        .map(|entry| std::fs::read_to_string(entry.expect("readable").path()).expect("text"))
        .collect();
    assert!(lines.contains(r#""certificate":"SHA256:"#), "the certificate that stood for a library is written down");
}

#[test]
fn three_roots_decide_together() {
    let home = Home(tempfile::tempdir().expect("temporary directory"));
    home.good(&["trust", "init", "--name", "Acme"]);
    let alone = home.good(&["trust", "roots"]);
    assert_eq!((&alone["version"], &alone["threshold"]), (&json!(0), &json!(1)));
    let keepers = ["Ada", "Bob"].map(|name| {
        let keeper = Home(tempfile::tempdir().expect("temporary directory"));
        let made = keeper.good(&["trust", "init", "--name", name, "--root-only"]);
        assert_eq!(made["names"], json!(["root"]));
        keeper
    });
    let roots = keepers.each_ref().map(|keeper| keeper.path().join("trust/root.pem").display().to_string());
    let set = home.path().join("set.json").display().to_string();
    let propose =
        ["trust", "roots", "propose", "--threshold", "2", "--with", &roots[0], "--with", &roots[1], "--out", &set];
    assert_eq!(home.good(&propose)["signed"], 0);
    assert_eq!(home.good(&["trust", "roots", "sign", &set])["signed"], 1);
    let (code, json) = home.json(&["trust", "roots", "accept", &set]);
    assert_eq!((code, &json["error"]["code"]), (5, &json!("POLICY_DENIED")), "{json}");
    assert!(json["error"]["help"].as_str().is_some_and(|help| help.contains("trust roots sign")), "{json}");
    assert_eq!(keepers[0].good(&["trust", "roots", "sign", &set])["signed"], 2);
    for each in [&home, &keepers[0], &keepers[1]] {
        let accepted = each.good(&["trust", "roots", "accept", &set]);
        assert_eq!((&accepted["version"], &accepted["authorities"]), (&json!(1), &json!(3)), "{accepted}");
        assert_eq!(accepted["geneses"].as_array().map(Vec::len), Some(1));
    }
    home.good(&["trust", "verify", "--leaf", "local"]);

    // The root alone makes a new authority, as a thief would: nobody believes it before the next set names it.
    home.good(&["trust", "renew", "publisher-authority", "--new-keys"]);
    home.good(&["trust", "issue", "publisher", "tools"]);
    let (code, json) = home.json(&["trust", "verify", "--leaf", "tools"]);
    assert_eq!((code, &json["fault"]), (5, &json!("NOT_IN_ROOT_SET")), "{json}");
    home.good(&["trust", "verify", "--leaf", "local"]);
    home.good(&["trust", "roots", "propose", "--out", &set]);
    for keeper in &keepers {
        keeper.good(&["trust", "roots", "sign", &set]);
    }
    for each in [&home, &keepers[0], &keepers[1]] {
        each.good(&["trust", "roots", "accept", &set]);
    }
    home.good(&["trust", "verify", "--leaf", "tools"]);

    // The keys of the root of this home are stolen.
    let root = home.path().join("trust/root.pem").display().to_string();
    let given = home.path().join("given.json").display().to_string();
    for name in ["publisher-authority", "publisher-authority.1", "node-authority", "validator-authority"] {
        let authority = home.path().join(format!("trust/{name}.pem")).display().to_string();
        keepers[0].good(&["trust", "roots", "certify", &authority, "--out", &given]);
        assert_eq!(home.good(&["trust", "roots", "accept", &given])["name"], name);
    }
    home.good(&["trust", "roots", "propose", "--without", &root, "--out", &set]);
    for keeper in &keepers {
        keeper.good(&["trust", "roots", "sign", &set]);
    }
    let accepted = home.good(&["trust", "roots", "accept", &set]);
    assert_eq!((&accepted["version"], &accepted["threshold"]), (&json!(3), &json!(2)));
    assert_eq!(accepted["roots"], json!(null));
    for leaf in ["local", "tools", "node", "validator-1"] {
        let verified = home.good(&["trust", "verify", "--leaf", leaf]);
        assert_eq!(verified["path"][2], "CN=Ada root", "{verified}");
    }
    let shown = home.good(&["trust", "roots"]);
    let ends: Vec<bool> =
        shown["roots"].as_array().expect("a list").iter().map(|root| root["list_ends"].is_string()).collect();
    assert_eq!(ends.iter().filter(|known| **known).count(), 1, "Ada's list came with what she certified: {shown}");
}
