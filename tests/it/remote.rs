//! A remote registry through the verbs of the loaded library: one node exports, another installs from it, offline the second
//! time, and finds out whoever changes what lies between them.

use std::path::{Path, PathBuf};

use host_sim::consensus::Seating;
use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use host_sim::manifest::Capability;
use host_sim::trust::{InitOptions, IssueOptions, TrustHome, Unlock};
use hypermesh_abi::{Code, Error};
use insta::assert_snapshot;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use trustchain::certificate::Purpose;
use walkdir::WalkDir;

use super::programs;
use super::support::{block_on, copy_directory};
use super::web::{Fault, Web};

/// A host with Catalog, which can be stopped and started again with another configuration.
pub(super) struct Node {
    host: Host,
    pub(super) home: TempDir,
}

impl Node {
    async fn on(home: TempDir, remote: Json) -> Self {
        Self::with(home, json!({"vm": true, "remote": remote}), |_| {}).await
    }

    async fn with(home: TempDir, configuration: Json, change: impl FnOnce(&mut Source)) -> Self {
        let options = HostOptions {
            child: None,
            consensus: Seating::OfHome,
            ..HostOptions::new(home.path().into()).expect("options")
        };
        let host = Host::open(options).expect("opens");
        let mut source = programs::linked(&configuration);
        change(&mut source);
        host.load(source).await.unwrap_or_else(|error| panic!("{error}"));
        Self { host, home }
    }

    /// Makes a node whose packages others want: an application, what it needs, and what that needs.
    pub(super) async fn publisher(name: &str) -> Self {
        let home = programs::bare_home();
        let trust = TrustHome::open(home.path()).expect("opens");
        trust.issue(&IssueOptions::new(Purpose::Publisher, name), &Unlock::key_file()).expect("issues");
        let node = Self::on(home, Json::Null).await;
        let all = [
            node.package("core", "1.0.0", "lua-library", "", "return {answer = function() return 42 end}"),
            node.package("middle", "1.0.0", "lua-library", &needs("core"), "return require('core')"),
            node.package("app", "1.0.0", "lua-script", &needs("middle"), "return require('middle').answer"),
        ];
        node.ask("publish", json!({"directories": all, "publisher": name})).await;
        node
    }

    /// Makes a node that shares the certificates of every other one here, and has a publisher of its own.
    pub(super) async fn reader(remote: Json) -> Self {
        let home = programs::bare_home();
        let trust = TrustHome::open(home.path()).expect("opens");
        trust.issue(&IssueOptions::new(Purpose::Publisher, "reader"), &Unlock::key_file()).expect("issues");
        Self::on(home, remote).await
    }

    async fn again(self, remote: Json, meanwhile: impl FnOnce(&Path)) -> Self {
        self.host.shutdown().await;
        drop(self.host);
        meanwhile(&self.home.path().join("catalog"));
        Self::on(self.home, remote).await
    }

    /// Starts it again with other settings.
    pub(super) async fn again_with(self, configuration: &Json) -> Self {
        self.host.shutdown().await;
        drop(self.host);
        Self::with(self.home, configuration.clone(), |_| {}).await
    }

    fn package(&self, name: &str, version: &str, kind: &str, rest: &str, main: &str) -> PathBuf {
        let directory = programs::package(self.home.path(), name, kind, rest, main);
        let file = directory.join("package.yaml");
        let text = std::fs::read_to_string(&file).expect("text");
        std::fs::write(file, text.replace("version: 1.0.0, l", &format!("version: {version}, l"))).expect("written");
        directory
    }

    pub(super) async fn release(&self, name: &str, version: &str, publisher: &str) -> Result<Json, Error> {
        let text = format!("return {{answer = function() return '{version}' end}}");
        let directory = self.package(name, version, "lua-library", "", &text);
        self.try_ask("publish", json!({"directories": [directory], "publisher": publisher})).await
    }

    async fn export(&self, directory: &Path) -> Json {
        self.ask("registry export", json!({"directory": directory})).await
    }

    pub(super) async fn ask(&self, verb: &str, params: Json) -> Json {
        self.try_ask(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}"))
    }

    pub(super) async fn install(&self, package: &str) -> Result<Json, Error> {
        self.try_ask("install", json!({"packages": [package]})).await
    }

    pub(super) async fn try_ask(&self, verb: &str, params: Json) -> Result<Json, Error> {
        let answer = self.host.request("catalog", verb, &params, RequestOptions::default()).await;
        answer.map(|response| crate::schemas::fitting(verb, response.data))
    }

    pub(super) async fn installed(&self) -> Vec<String> {
        let list = self.ask("list", json!({})).await;
        let packages = list["packages"].as_array().expect("a list").iter();
        packages
            .map(|it| format!("{}@{}", it["name"].as_str().expect("text"), it["version"].as_str().expect("text")))
            .collect()
    }
}

fn needs(name: &str) -> String {
    format!("  dependencies: [{{name: {name}, version: ^1.0}}]\n")
}

/// Makes another text of a file.
type Change<'a> = &'a dyn Fn(&str) -> String;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn of_directory(path: &Path) -> Json {
    json!({"url": format!("file://{}", path.display()), "sync_seconds": 0})
}

pub(super) fn named(error: &Error) -> &str {
    error.detail.name.as_deref().unwrap_or_default()
}

/// Says an error with its causes and its help, and neither ports, directories nor digests.
fn told(error: &Error, url: &str) -> String {
    let help = error.detail.help.as_deref().unwrap_or_default();
    format!("{error}\nhelp: {help}").replace(url, "URL")
}

fn edit(directory: &Path, ends: &str, change: impl Fn(&str) -> String) {
    let files = WalkDir::new(directory).into_iter().map(|entry| entry.expect("readable").into_path());
    let file = files.into_iter().find(|path| path.ends_with(ends)).expect("is there");
    let text = std::fs::read_to_string(&file).expect("text");
    let changed = change(&text);
    assert_ne!(text, changed, "`{ends}` is changed");
    std::fs::write(file, changed).expect("written");
}

#[test]
fn a_stranger_installs_over_http_and_from_a_directory_and_offline_the_second_time() {
    block_on(async {
        let (author, files) = (Node::publisher("acme").await, directory());
        let exported = author.export(files.path()).await;
        assert_eq!((&exported["packages"], &exported["versions"]), (&json!(3), &json!(3)));
        assert_eq!(author.export(files.path()).await["written"], 0, "nothing has changed");
        for over_http in [true, false] {
            let web = Web::serve(files.path());
            let url = if over_http { web.url() } else { format!("file://{}", files.path().display()) };
            let home = programs::bare_home();
            std::fs::remove_dir_all(home.path().join("trust")).expect("removed");
            TrustHome::init(home.path(), &InitOptions::default(), &Unlock::key_file()).expect("makes certificates");
            let node = Node::on(home, json!({"url": url})).await;
            let error = node.install("app").await.expect_err("a stranger's");
            assert_eq!(named(&error), "REMOTE_UNTRUSTED", "{error}");
            believe(author.home.path(), node.home.path());
            let plan = node.install("app").await.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(plan["plan"]["added"].as_array().expect("a list").len(), 3, "{plan:#}");
            assert_eq!(node.installed().await, ["app@1.0.0", "core@1.0.0", "middle@1.0.0"]);
            assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], 42);
            let status = node.ask("registry status", json!({})).await;
            assert_eq!((&status["packages"], &status["known"]), (&json!(3), &json!(3)));

            web.requests();
            drop(web);
            node.ask("remove", json!({"packages": ["app"]})).await;
            node.install("app").await.expect("everything is here");
            assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], 42);
            let explained = node.ask("verify", json!({"packages": ["core"], "explain": true})).await;
            assert!(explained["decisions"][0].to_string().contains("of `acme.pub.trustchain`"), "{explained:#}");
        }
    });
}

/// Has a home believe the root of another.
fn believe(from: &Path, home: &Path) {
    let (from, to) = (from.join("trust"), home.join("trust"));
    std::fs::create_dir_all(to.join("roots")).expect("made");
    std::fs::copy(from.join("root.pem"), to.join("roots/author.pem")).expect("copied");
    std::fs::create_dir_all(to.join("authorities")).expect("made");
    let authority = "publisher-authority.pem";
    std::fs::copy(from.join(authority), to.join("authorities").join(authority)).expect("copied");
    for list in ["root", "publisher-authority"] {
        let to = to.join(format!("lists/author-{list}.json"));
        std::fs::copy(from.join(format!("lists/{list}.json")), to).expect("copied");
    }
}

#[test]
fn a_registry_that_is_asked_again_sends_only_what_is_new() {
    block_on(async {
        let (author, files) = (Node::publisher("acme").await, directory());
        author.export(files.path()).await;
        let web = Web::serve(files.path());
        let node = Node::reader(json!({"url": web.url()})).await;
        node.install("app").await.expect("installs");
        let mut asked = web.requests();
        asked.retain(|path| !path.starts_with("blobs") && !path.contains("chains"));
        let metadata = |name| format!("api/v1/assets/{name}/metadata");
        let feed = "api/v1/feeds/acme.pub.trustchain".to_owned();
        assert_eq!(asked, [metadata("app"), feed, metadata("middle"), metadata("core")], "once each, level by level");
        node.ask("resolve", json!({"packages": ["app"]})).await;
        assert_eq!(web.requests(), [""; 0], "it was asked less than an hour ago");

        let node = node.again(json!({"url": web.url(), "sync_seconds": 0}), |_| {}).await;
        node.ask("resolve", json!({"packages": ["app"]})).await;
        let asked = web.requests();
        assert!(asked.len() == 4 && asked.iter().all(|request| request.contains(" if ")), "{asked:?}");
        author.release("core", "1.1.0", "acme").await.expect("publishes");
        author.export(files.path()).await;
        let resolved = node.ask("resolve", json!({"packages": ["core"]})).await;
        assert!(resolved["packages"].to_string().contains("1.1.0"), "{resolved}");
        web.requests();
        node.ask("resolve", json!({"packages": ["app"], "offline": true})).await;
        assert_eq!(web.requests(), [""; 0]);
    });
}

#[test]
fn a_registry_that_is_down_or_not_allowed_is_told_so() {
    block_on(async {
        let (author, files) = (Node::publisher("acme").await, directory());
        author.export(files.path()).await;
        let web = Web::serve(files.path());
        let url = web.url();
        let remote = json!({"url": url, "sync_seconds": 0});
        let node = Node::reader(remote.clone()).await;
        let error = node.install("absent").await.expect_err("is not there");
        assert_snapshot!(told(&error, &url), @"package `absent` is neither published here nor at `URL`
help: `catalog search` finds packages that are known here; see how its name is written");
        web.requests();
        let offline = node.try_ask("install", json!({"packages": ["app"], "offline": true})).await;
        assert_snapshot!(told(&offline.expect_err("is not here"), &url), @"package `app` is not known here, and `URL` is not asked offline
help: leave `--offline` out once; what was fetched is then on this node");
        assert_eq!(web.requests(), [""; 0]);
        node.ask("resolve", json!({"packages": ["app"]})).await;
        let offline = node.try_ask("install", json!({"packages": ["app"], "offline": true})).await;
        assert_snapshot!(told(&offline.expect_err("only described"), &url), @"the archive of package `core` 1.0.0 was not yet fetched from `URL`
help: leave `--offline` out once; what was fetched is then on this node");
        node.install("middle").await.expect("installs");
        drop(web);
        let error = node.install("absent").await.expect_err("nobody answers");
        assert_snapshot!(told(&error, &url), @"the remote registry cannot be reached: `URL/api/v1/assets/absent/metadata` failed in 4 attempts: io: Connection refused (os error 111)
help: try again, or use what is on this node with `--offline`; `catalog registry status` asks how the registry is");
        assert!(error.retryable && error.code == Code::RESOURCE_UNAVAILABLE, "{error:?}");
        let plan = node.install("core").await.expect("what is known stands in");
        assert!(plan["warnings"].to_string().contains("what is known of 2 packages is used"), "{plan:#}");

        node.host.shutdown().await;
        let configuration = json!({"vm": true, "remote": remote});
        let without = |source: &mut Source| {
            if let Source::Linked { manifest, .. } = source {
                manifest.capabilities.granted.retain(|granted| *granted != Capability::NetworkAccess);
            }
        };
        drop(node.host);
        let node = Node::with(node.home, configuration, without).await;
        let error = node.install("absent").await.expect_err("is not granted");
        assert_eq!(error.code, Code::CAPABILITY_NOT_GRANTED);
        assert_snapshot!(told(&error, &url), @"the remote registry `URL` cannot be asked: capability `NetworkAccess` is not granted
help: add `NetworkAccess` to `capabilities.granted` of the extension's manifest");
    });
}

#[test]
fn whoever_changes_the_files_between_is_found_out() {
    block_on(async {
        let (author, files) = (Node::publisher("acme").await, directory());
        author.export(files.path()).await;
        let web = Web::serve(files.path());
        let node = Node::reader(json!({"url": web.url()})).await;
        web.fault("blobs", Fault::Body(b"something else".to_vec()), 1);
        let error = node.install("core").await.expect_err("is refused");
        assert_eq!((named(&error), error.code), ("REMOTE_TAMPERED", Code::INTEGRITY), "{error}");
        let message = error.to_string();
        assert!(message.matches("blake3:").count() == 2 && message.contains(&web.url()), "{message}");
        assert_eq!(node.installed().await, [""; 0]);
        node.install("core").await.expect("the true one");

        let other_digest = |text: &str| {
            let at = text.find("\"blake3\":\"blake3:").expect("a digest") + 17;
            format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..])
        };
        // Another publisher's feed counts, but not as this one's: only the name outside of what is signed was changed.
        let (rival, theirs) = (Node::publisher("rival").await, directory());
        rival.export(theirs.path()).await;
        let feed = std::fs::read_to_string(theirs.path().join("api/v1/feeds/rival.pub.trustchain")).expect("is there");
        let renamed = feed.replacen("\"rival.pub.trustchain\"", "\"acme.pub.trustchain\"", 1);
        assert_ne!(renamed, feed);
        let cases: [(&str, Change<'_>, &str); 5] = [
            ("feeds/acme.pub.trustchain", &|_| renamed.clone(), "its head is of `rival.pub.trustchain`"),
            ("core/metadata", &other_digest, "cannot be believed"),
            ("core/metadata", &|text| text.replace("lua-library", "lua-script"), "another manifest"),
            ("core/metadata", &|text| text.replace("payload\\\":\\\"e", "payload\\\":\\\"f"), "cannot be believed"),
            (
                "feeds/acme.pub.trustchain",
                &|text| text.replacen("\\\"publish\\\"", "\\\"Publish\\\"", 1),
                "does not count",
            ),
        ];
        for (file, change, expected) in cases {
            let forged = directory();
            copy_directory(files.path(), forged.path());
            edit(forged.path(), file, change);
            let node = Node::reader(of_directory(forged.path())).await;
            let error = node.install("core").await.expect_err(expected);
            assert!(error.to_string().contains(expected), "{file}: {error}");
            assert_eq!(named(&error), "REMOTE_UNTRUSTED", "{error}");
            // Nothing that was forged stays, so the true registry can be used from then on.
            node.again(of_directory(files.path()), |_| {}).await.install("core").await.expect("installs");
        }
    });
}

#[test]
fn a_registry_that_goes_back_or_another_way_is_refused() {
    block_on(async {
        let (author, old, new) = (Node::publisher("acme").await, directory(), directory());
        author.export(old.path()).await;
        author.release("core", "1.1.0", "acme").await.expect("publishes");
        author.export(new.path()).await;
        let node = Node::reader(of_directory(new.path())).await;
        node.install("core").await.expect("installs");
        let node = node.again(of_directory(old.path()), |_| {}).await;
        let error = node.install("core@1.0.0").await.expect_err("was taken back");
        assert_eq!(named(&error), "REMOTE_ROLLED_BACK", "{error}");
        // Without its registry the node still knows what it has seen.
        let forget = |catalog: &Path| {
            for file in ["registry.sqlite", "registry.sqlite-wal", "registry.sqlite-shm"] {
                let _ = std::fs::remove_file(catalog.join(file));
            }
        };
        let node = node.again(of_directory(old.path()), forget).await;
        let error = node.install("middle").await.expect_err("was taken back");
        assert_eq!(named(&error), "REMOTE_UNTRUSTED", "{error}");

        let (fork, other) = (directory(), directory());
        Node::publisher("acme").await.export(fork.path()).await;
        let rival = Node::publisher("rival").await;
        let forged =
            rival.package("core", "1.1.0", "lua-library", "", "return {answer = function() return 'mine' end}");
        rival.ask("publish", json!({"directories": [forged], "publisher": "rival"})).await;
        rival.export(other.path()).await;
        let node = node.again(of_directory(new.path()), |_| {}).await;
        node.install("core").await.expect("the newest state");
        let node = node.again(of_directory(fork.path()), |_| {}).await;
        let error = node.install("core").await.expect_err("another feed");
        assert_eq!(named(&error), "REMOTE_FORKED", "{error}");
        let node = node.again(of_directory(other.path()), |_| {}).await;
        let error = node.install("core").await.expect_err("another content");
        assert_eq!((named(&error), error.code), ("REMOTE_CONFLICT", Code::INTEGRITY), "{error}");
        assert!(error.to_string().contains("offers another content for `core` 1.1.0"), "{error}");
    });
}

#[test]
fn publishers_and_not_the_registry_say_what_is_yanked() {
    block_on(async {
        let (author, files) = (Node::publisher("acme").await, directory());
        author.release("core", "1.1.0", "acme").await.expect("publishes");
        author.export(files.path()).await;
        let node = Node::reader(of_directory(files.path())).await;
        let chosen = async || {
            let resolved = node.ask("resolve", json!({"packages": ["core"]})).await;
            resolved["packages"][0]["version"].as_str().expect("text").to_owned()
        };
        assert_eq!(chosen().await, "1.1.0");
        edit(files.path(), "core/metadata", |text| text.replace("\"yanked\":null", "\"yanked\":\"gone\""));
        assert_eq!(chosen().await, "1.1.0", "nobody but the publisher yanks");
        author.ask("yank", json!({"package": "core@1.1.0", "reason": "leaks"})).await;
        author.export(files.path()).await;
        edit(files.path(), "core/metadata", |text| text.replace("\"yanked\":\"leaks\"", "\"yanked\":null"));
        assert_eq!(chosen().await, "1.0.0", "and nobody hides it");
        author.ask("yank", json!({"package": "core@1.1.0", "undo": true, "reason": ""})).await;
        author.export(files.path()).await;
        assert_eq!(chosen().await, "1.1.0");
        for (verb, params) in [
            ("yank", json!({"package": "core@1.1.0", "reason": "mine"})),
            (
                "publish",
                json!({"directories": [node.package("core", "9.0.0", "lua-library", "", "return {}")],
                "publisher": "reader"}),
            ),
        ] {
            let error = node.try_ask(verb, params).await.expect_err("is not ours");
            assert_eq!((named(&error), error.code), ("FOREIGN_NAME", Code::POLICY_DENIED), "{error}");
        }
    });
}

#[test]
fn a_name_of_ours_stays_ours_beside_a_remote_registry() {
    block_on(async {
        let (author, files) = (Node::publisher("acme").await, directory());
        author.export(files.path()).await;
        let web = Web::serve(files.path());
        let node = Node::reader(json!({"url": web.url()})).await;
        node.release("core", "1.5.0", "reader").await.expect("publishes");
        let resolved = node.ask("resolve", json!({"packages": ["app"]})).await;
        assert!(resolved["packages"].to_string().contains("1.5.0"), "{resolved}");
        assert!(web.requests().iter().all(|path| !path.contains("core")), "it is not even asked for");
        // A program in a directory may need what only the remote registry has.
        let text = "local middle = require('middle') return function() return middle.answer() end";
        let main = node.package("mine", "1.0.0", "lua-script", &needs("middle"), text);
        let ran = node.ask("run", json!({"package": main})).await;
        assert_eq!(ran["value"], "1.5.0", "{ran}");
        // Everything that was fetched can be passed on.
        let passed_on = directory();
        let exported = node.export(passed_on.path()).await;
        assert_eq!((&exported["versions"], &exported["left_out"]), (&json!(2), &json!(1)), "{exported}");
        let error = node.try_ask("publish", json!({"directories": [main], "publisher": "acme"})).await;
        let error = error.expect_err("this node has no keys of that publisher");
        assert!(error.to_string().contains("acme"), "{error}");
    });
}

#[test]
fn what_another_owner_releases_elsewhere_comes_in_and_a_strangers_does_not() {
    block_on(async {
        let (author, files, passed_on) = (Node::publisher("acme").await, directory(), directory());
        author.export(files.path()).await;
        let node = Node::reader(of_directory(files.path())).await;
        node.install("app").await.expect("installs");
        let error = node.release("core", "1.1.0", "reader").await.expect_err("is of the remote registry");
        assert_eq!(named(&error), "FOREIGN_NAME", "{error}");
        author.ask("owner add", json!({"package": "core", "owner": "reader"})).await;
        author.export(files.path()).await;
        // Who was made an owner releases on a node of its own, and may say who owns it, too.
        node.ask("info", json!({"package": "core"})).await;
        let listed = node.ask("owner list", json!({"package": "core"})).await;
        assert_eq!(listed["owners"], json!(["acme.pub.trustchain", "reader.pub.trustchain"]));
        let error = node.release("core", "1.1.0", "local").await.expect_err("is no owner");
        assert_eq!(named(&error), "NOT_OWNER", "{error}");
        node.release("core", "1.1.0", "reader").await.expect("publishes");
        node.ask("update", json!({})).await;
        assert!(node.installed().await.contains(&"core@1.1.0".to_owned()));
        node.export(passed_on.path()).await;
        // A stranger takes both, and the first owner what the other released.
        let stranger = Node::reader(of_directory(passed_on.path())).await;
        stranger.install("app").await.expect("installs");
        assert!(stranger.installed().await.contains(&"core@1.1.0".to_owned()));
        // It has only one of both archives, by which nobody would know whose the name is.
        let half = directory();
        let exported = stranger.export(half.path()).await;
        assert_eq!((&exported["packages"], &exported["left_out"]), (&json!(2), &json!(2)), "{exported}");
        let author = author.again(of_directory(passed_on.path()), |_| {}).await;
        author.install("app").await.expect("installs");
        author.ask("update", json!({})).await;
        assert!(author.installed().await.contains(&"core@1.1.0".to_owned()));
        // Who is no owner any more releases nothing that anybody takes.
        author.ask("owner remove", json!({"package": "core", "owner": "reader"})).await;
        node.release("core", "1.2.0", "reader").await.expect("its node does not know yet");
        node.export(passed_on.path()).await;
        author.ask("info", json!({"package": "core"})).await;
        let versions = author.ask("info", json!({"package": "core"})).await["versions"].to_string();
        assert!(versions.contains("1.1.0") && !versions.contains("1.2.0"), "{versions}");
        author.export(files.path()).await;
        let stranger = stranger.again(of_directory(files.path()), |_| {}).await;
        stranger.install("core").await.expect("installs");
        let listed = stranger.ask("owner list", json!({"package": "core"})).await;
        assert_eq!((&listed["owners"], stranger.installed().await), (&json!(["acme.pub.trustchain"]), installed_app()));
    });
}

fn installed_app() -> Vec<String> {
    ["app@1.0.0", "core@1.1.0", "middle@1.0.0"].map(String::from).to_vec()
}

#[test]
fn a_node_of_a_single_registry_takes_everything_from_there() {
    block_on(async {
        let (author, files) = (Node::publisher("acme").await, directory());
        author.export(files.path()).await;
        let node = Node::reader(Json::Null).await;
        node.release("own", "1.0.0", "reader").await.expect("publishes");
        let mut only = of_directory(files.path());
        only["mode"] = "only".into();
        let node = node.again(only, |_| {}).await;
        assert_eq!(node.ask("registry status", json!({})).await["mode"], "only");
        node.install("app").await.expect("installs");
        assert_eq!(node.installed().await, ["app@1.0.0", "core@1.0.0", "middle@1.0.0"]);
        assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], 42);
        let error = node.install("own").await.expect_err("is not there");
        assert_eq!(named(&error), "PACKAGE_NOT_FOUND", "{error}");
        let error = node.release("new", "1.0.0", "reader").await.expect_err("is refused");
        assert_eq!((named(&error), error.code), ("SINGLE_REGISTRY", Code::POLICY_DENIED), "{error}");
        assert_snapshot!(told(&error, &format!("file://{}", files.path().display())), @"nothing is published on this node: all its packages come from `URL` (`configuration.remote.mode: only`)
help: publish on the registry's own node, and export it there");
        let error = Node::reader(Json::Null).await.try_ask("registry status", json!({})).await.expect_err("has none");
        assert_eq!(named(&error), "NO_REMOTE_REGISTRY", "{error}");
    });
}
