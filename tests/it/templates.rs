//! Templates in a host: each type makes a package that validates and runs; parameters, scripts, actions, own templates, updates.

use std::path::{Path, PathBuf};

use host_sim::host::{Host, HostOptions, RequestOptions};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::programs;
use super::support::block_on;
use super::vm::julia;

struct Node {
    host: Host,
    home: TempDir,
}

impl Node {
    async fn new() -> Self {
        let home = programs::bare_home();
        let options = HostOptions { child: None, ..HostOptions::new(home.path().into()).expect("a home") };
        let host = Host::open(options).expect("opens");
        host.load(programs::linked(&json!({"vm": true}))).await.expect("loads");
        Self { host, home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    async fn ask(&self, verb: &str, params: Json) -> Result<Json, Error> {
        self.host
            .request("catalog", verb, &params, RequestOptions::default())
            .await
            .map(|response| crate::schemas::fitting(verb, response.data))
    }

    async fn good(&self, verb: &str, params: Json) -> Json {
        self.ask(verb, params.clone()).await.unwrap_or_else(|error| panic!("`{verb}` {params}: {error}"))
    }

    async fn refused(&self, verb: &str, params: Json, name: &str) -> Error {
        let error = self.ask(verb, params.clone()).await.expect_err("is refused");
        assert_eq!(error.detail.name.as_deref(), Some(name), "{params}: {error}");
        error
    }

    /// Makes a package and gives the answer.
    async fn new_package(&self, template: &str, directory: &str, rest: Json) -> Json {
        self.good("new", with(json!({"template": template, "directory": self.path(directory)}), rest)).await
    }
}

fn with(mut params: Json, rest: Json) -> Json {
    if let Json::Object(fields) = rest {
        fields.into_iter().for_each(|(name, value)| params[name] = value);
    }
    params
}

fn write(directory: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("made");
        std::fs::write(path, text).expect("written");
    }
}

/// Writes a package that offers one template; `definition` are its fields, and further files are listed.
pub(super) fn template(directory: &Path, version: &str, definition: Json, files: &[(&str, &str)]) {
    let listed: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    let mut manifest = json!({"apiVersion": "catalog.v1", "kind": "AssetPackage",
        "metadata": {"name": "starter", "version": version, "license": "MIT", "description": "A template."},
        "spec": {"type": "custom", "content": {"main": "README.md", "files": listed}}});
    manifest["spec"]["content"]["templates"]["starter"] = definition;
    write(directory, files);
    write(directory, &[("package.json", &manifest.to_string()), ("README.md", "# Starter\n")]);
}

fn names(answer: &Json, field: &str) -> Vec<String> {
    let items = answer[field].as_array().expect("a list");
    let name = |item: &Json| item["path"].as_str().or(item["code"].as_str()).expect("named").to_owned();
    items.iter().map(name).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Everything below a directory by its path.
fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let found = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(|found| found.expect("lists"));
    let content = |found: walkdir::DirEntry| (found.path().to_owned(), std::fs::read(found.path()).unwrap_or_default());
    found.map(content).collect()
}

#[test]
fn every_type_makes_a_package_that_validates_tests_and_runs() {
    block_on(async {
        let node = Node::new().await;
        let listed = node.good("template list", json!({})).await;
        let templates: Vec<&str> =
            listed["templates"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
        assert_eq!(
            templates,
            [
                "julia-program",
                "lua-script",
                "wasm-module",
                "container-app",
                "ml-model",
                "data-pipeline",
                "security-audit",
                "custom"
            ]
        );
        for kind in templates {
            let made = node.new_package(kind, kind, json!({})).await;
            let files = made["files"].as_array().expect("a list");
            assert!(
                files.iter().all(|file| file["size"].is_u64()
                    && file["hash"].is_string()
                    && file["kind"].is_string()
                    && node.path(kind).join(file["path"].as_str().expect("text")).is_file()),
                "{made}"
            );
            assert_eq!((&made["warnings"], &made["version"]), (&json!([]), &json!("1.0.0")), "{kind}");
            let valid = node.good("validate", json!({"directory": node.path(kind)})).await;
            assert_eq!((&valid["faults"], &valid["execution_ready"]), (&json!([]), &json!(true)), "{kind}: {valid}");
            assert_eq!(valid["package"], kind);
            let run = |function: &str| json!({"package": node.path(kind), "function": function});
            match kind {
                "container-app" => {
                    let error = node.refused("run", run("main"), "NOT_RUNNABLE").await;
                    assert!(error.detail.help.as_ref().is_some_and(|help| help.contains("podman")), "{error}");
                }
                // It runs in `new_julia_program_and_run_work_at_the_first_try`.
                "julia-program" => {}
                _ => {
                    let ran = node.good("run", run("main")).await;
                    assert_eq!(ran["state"], "Completed", "{kind}: {ran}");
                    let tested = node.good("run", run("test")).await;
                    assert!(tested["value"].as_i64().is_some_and(|held| held > 0), "{kind}: {tested}");
                }
            }
            node.good("publish", json!({"directories": [node.path(kind)]})).await;
            let update = node.good("template update", json!({"directory": node.path(kind)})).await;
            assert_eq!((names(&update, "files"), names(&update, "conflicts")), (vec![], vec![]), "{kind}");
        }
    });
}

#[test]
fn new_julia_program_and_run_work_at_the_first_try() {
    let node = programs::home();
    let runtimes = node.path().join("catalog/runtimes");
    std::fs::create_dir_all(runtimes.parent().expect("has one")).expect("made");
    std::os::unix::fs::symlink(julia::home().join("runtimes"), &runtimes).expect("linked");
    let ask = |words: &[&str]| {
        let mut command = std::process::Command::new(programs::host_sim());
        command.env_remove("RUST_LOG").env("HOME", node.path()).arg("--home").arg(node.path());
        command.current_dir(node.path()).args(words).stdin(std::process::Stdio::null());
        let output = command.output().expect("starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        assert!(output.status.success(), "{words:?}: {}", text(output.stderr));
        text(output.stdout)
    };
    let made = ask(&["catalog", "new", "julia-program", "demo", "--param", "main_function=summarise"]);
    assert!(made.contains("+ main.jl") && made.contains("catalog run ./"), "{made}");
    // By its name, as there is no such package, and by its path; each starts a Julia, which takes its time.
    let ran = ask(&["catalog", "run", "demo"]);
    assert!(ran.contains("summarising 8 measurements"), "{ran}");
    assert!(ask(&["catalog", "run", "./demo", "--function", "test"]).contains('5'), "its tests run");
    let custom = ask(&["catalog", "new", "custom", "mine", "--param", "language=julia"]);
    assert!(custom.contains("main.jl") && !custom.contains("main.lua"), "{custom}");
    assert!(ask(&["catalog", "run", "mine", "Ada"]).contains("Hello, Ada!"));
}

#[test]
fn the_container_application_passes_its_own_tests() {
    let made = block_on(async {
        let node = Node::new().await;
        node.new_package("container-app", "api", json!({"param": ["port=9000", "environment={\"A\": \"b c\"}"]})).await;
        node
    });
    let file = read(made.path("api/Containerfile"));
    assert!(file.contains("EXPOSE 9000") && file.contains("ENV A=\"b c\""), "{file}");
    let tests =
        std::process::Command::new("python3").args(["-m", "unittest"]).current_dir(made.path("api/app")).output();
    match tests {
        Ok(tests) => assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stderr)),
        // A machine without Python cannot say.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}

#[test]
fn answers_come_from_words_and_files_and_every_fault_is_named_at_once() {
    block_on(async {
        let node = Node::new().await;
        write(
            node.home.path(),
            &[("answers.yaml", "port: 70000\napp_name: Bad Name\nenvironment: [1]\nbase_image: x/y\n")],
        );
        let params = json!({"template": "container-app", "directory": node.path("a"), "answers": node.path("answers.yaml"),
            "param": ["license=GPL"]});
        let error = node.refused("new", params, "INVALID_PARAMETERS").await;
        let faults: Vec<_> = error
            .detail
            .faults
            .iter()
            .map(|fault| (fault.path.as_deref().unwrap_or(""), fault.code.as_str()))
            .collect();
        assert_eq!(
            faults,
            [
                ("app_name", "PATTERN"),
                ("port", "OUT_OF_RANGE"),
                ("environment", "WRONG_TYPE"),
                ("license", "NOT_ALLOWED")
            ]
        );
        assert!(
            error.detail.faults[1].hint.as_ref().is_some_and(|hint| hint.contains("--param port=<number>")),
            "{error}"
        );
        assert!(!node.path("a").exists());
        write(node.home.path(), &[("answers.json", r#"{"port": 8081, "environment": {"A": "x"}}"#)]);
        let made = node
            .new_package(
                "container-app",
                "b",
                json!({"answers": node.path("answers.json"),
            "param": ["port=8082", "prot=1"]}),
            )
            .await;
        assert_eq!(
            (&made["parameters"]["port"], &made["parameters"]["environment"]),
            (&json!(8082), &json!({"A": "x"}))
        );
        assert_eq!(names(&made, "warnings"), ["UNUSED_PARAMETER"]);
        for (file, text) in [("bad.yaml", "a: &x 1\nb: *x"), ("list.json", "[1]"), ("bad.txt", "a: 1")] {
            write(node.home.path(), &[(file, text)]);
            let params = json!({"template": "custom", "directory": node.path("c"), "answers": node.path(file)});
            node.refused("new", params, "INVALID_ANSWERS").await;
        }
        node.refused("new", json!({"template": "lua-scirpt", "directory": node.path("c")}), "TEMPLATE_NOT_FOUND").await;
    });
}

#[test]
fn required_parameters_are_asked_for_with_what_they_are_for() {
    block_on(async {
        let node = Node::new().await;
        let definition = json!({"parameters": [
            {"name": "owner", "type": "string", "required": true, "description": "who answers for it"},
            {"name": "region", "type": "string", "required": true, "default": "eu", "allowed_values": ["eu", "us"]}]});
        template(&node.path("t"), "1.0.0", definition, &[("files/a.hbs", "{{owner}} {{region}}\n")]);
        let params = |rest: Json| with(json!({"template": node.path("t"), "directory": node.path("out")}), rest);
        let error = node.refused("new", params(json!({})), "INVALID_PARAMETERS").await;
        let hints: Vec<_> = error.detail.faults.iter().filter_map(|fault| fault.hint.as_deref()).collect();
        assert_eq!(
            hints,
            ["--param owner=<string>: who answers for it", "--param region=<string> (one of `\"eu\"`, `\"us\"`)"]
        );
        node.refused("new", params(json!({"param": ["owner=me"]})), "INVALID_PARAMETERS").await;
        node.good("new", params(json!({"param": ["owner=me"], "yes": true}))).await;
        assert_eq!(read(node.path("out/a")), "me eu\n");
    });
}

#[test]
fn nothing_is_written_over_without_force_and_a_failure_leaves_nothing() {
    block_on(async {
        let node = Node::new().await;
        let params = |rest: Json| with(json!({"template": "lua-script", "directory": node.path("d")}), rest);
        let dry = node.good("new", params(json!({"dry_run": true}))).await;
        assert!(!node.path("d").exists() && dry["files"].as_array().is_some_and(|files| files.len() == 7), "{dry}");
        node.good("new", params(json!({}))).await;
        let made = tree(&node.path("d"));
        let again = node.good("new", params(json!({}))).await;
        assert!(again["files"].as_array().expect("a list").iter().all(|file| file["state"] == "unchanged"), "{again}");
        write(&node.path("d"), &[("words.lua", "-- mine\n"), ("README.md", "mine\n"), ("own.txt", "own\n")]);
        let mine = tree(&node.path("d"));
        let error = node.refused("new", params(json!({})), "FILES_EXIST").await;
        assert!(error.to_string().contains("`words.lua`") && !error.to_string().contains("README"), "{error}");
        let dry = node.good("new", params(json!({"dry_run": true, "force": true}))).await;
        let words =
            dry["files"].as_array().expect("a list").iter().find(|file| file["path"] == "words.lua").expect("there");
        assert!(words["patch"].as_str().is_some_and(|patch| patch.contains("\n--- mine\n")), "{words}");
        assert_eq!(tree(&node.path("d")), mine);
        let forced = node.good("new", params(json!({"force": true}))).await;
        assert_eq!(names(&forced, "warnings"), ["SKIPPED", "OVERWRITTEN"]);
        assert_eq!((read(node.path("d/README.md")), read(node.path("d/own.txt"))), ("mine\n".into(), "own\n".into()));
        assert_eq!(tree(&node.path("d")).len(), made.len() + 1);
        // A link on the way is in the way, whoever forces.
        std::fs::remove_dir_all(node.path("d/tests")).expect("removed");
        std::fs::create_dir(node.path("outside")).expect("made");
        std::os::unix::fs::symlink(node.path("outside"), node.path("d/tests")).expect("linked");
        node.refused("new", params(json!({"force": true})), "FILES_EXIST").await;
        assert_eq!(std::fs::read_dir(node.path("outside")).expect("there").count(), 0);
        std::os::unix::fs::symlink(node.path("outside"), node.path("linked")).expect("linked");
        node.refused("new", json!({"template": "custom", "directory": node.path("linked")}), "FILES_EXIST").await;
    });
}

/// Makes a package from a template with a script.
async fn configure(node: &Node, script: &str, param: &[&str]) -> Result<Json, Error> {
    let definition = json!({"script": "configure.lua", "parameters": [
        {"name": "count", "type": "number", "default": 3, "max": 9}, {"name": "options", "type": "object", "default": {}}]});
    std::fs::remove_dir_all(node.path("t")).ok();
    std::fs::remove_dir_all(node.path("out")).ok();
    let text = "{{#each names}}{{this}} {{/each}}{{count}}";
    template(
        &node.path("t"),
        "1.0.0",
        definition,
        &[("configure.lua", script), ("files/a.hbs", text), ("files/b", "b")],
    );
    node.ask("new", json!({"template": node.path("t"), "directory": node.path("out"), "param": param})).await
}

#[test]
fn a_script_computes_parameters_chooses_files_and_holds_no_grant() {
    block_on(async {
        let node = Node::new().await;
        let good = "return function(parameters, about)
            print('for', about.project.name, about.date ~= nil)
            local names = {}
            for key in pairs({ zeta = 1, alpha = 2, [3] = 3, mid = 4 }) do names[#names + 1] = key end
            for i = 1, parameters.count do names[#names + 1] = 'n' .. i end
            return { parameters = { names = names, count = #names }, skip = { 'b' } }
        end";
        let made = configure(&node, good, &["count=2"]).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read(node.path("out/a")), "3 alpha mid zeta n1 n2 6");
        assert!(!node.path("out/b").exists() && made["printed"] == "for\tout\ttrue\n", "{made}");
        let error = configure(&node, good, &["count=8"]).await.expect_err("computes 12");
        assert_eq!(
            (error.detail.name.as_deref(), error.detail.faults[0].code.as_str()),
            (Some("INVALID_PARAMETERS"), "OUT_OF_RANGE")
        );
        // What an execution has and a configuration has not, and what would differ from one run to the next.
        let probe = "return function()
            local gone = {}
            for _, name in ipairs({ 'storage', 'assets', 'env', 'io', 'os', 'debug', 'dofile', 'package' }) do
                if _G[name] == nil then gone[#gone + 1] = name end
            end
            local random = pcall(math.random)
            local list = {}
            for i = 1, 300 do list[i] = { key = i % 3, at = i } end
            table.sort(list, function(a, b) return a.key < b.key end)
            local stable = true
            for i = 2, 300 do stable = stable and (list[i - 1].key ~= list[i].key or list[i - 1].at < list[i].at) end
            local texts = { tostring({}), string.format('%s', print), tostring(random), tostring(stable), tostring(pcall(string.format, '%p', {})) }
            for _, text in ipairs(texts) do gone[#gone + 1] = text end
            return { parameters = { names = gone } }
        end";
        configure(&node, probe, &[]).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            read(node.path("out/a")),
            "storage assets env io os debug dofile package table function false true false 3"
        );
    });
}

#[test]
fn a_script_that_fails_or_gives_something_else_is_named_with_its_line() {
    block_on(async {
        let node = Node::new().await;
        let failing = "local x = 1\nlocal y = 2\n\nreturn function()\n  local z\n  -- here\n  return z.field\nend";
        let error = configure(&node, failing, &[]).await.expect_err("fails");
        assert_eq!(
            (error.detail.name.as_deref(), error.detail.faults[0].line),
            (Some("CONFIGURATION_FAILED"), Some(7)),
            "{error}"
        );
        assert_eq!(error.detail.faults[0].file.as_deref(), Some("configure.lua"));
        assert_eq!(error.detail.faults[0].column, None);
        for (script, expected) in [
            ("return function() while true do end end", "limit"),
            ("return function() local t = {} while true do t[#t + 1] = ('x'):rep(1000000) .. #t end end", "memory"),
            ("return function() while true do print(('x'):rep(1000)) end end", "output"),
            ("return 1", "ends with"),
            ("return function() return 7 end", "expected a table"),
            ("return function() return { skip = { 1 } } end", "expected a pattern"),
            ("return function() return { parameters = { project = 1 } } end", "not the script's"),
            ("return function() return { parameters = { names = ('x'):rep(400000) } } end", "more than"),
            ("return function(", "configuration"),
        ] {
            let error = configure(&node, script, &[]).await.expect_err(script);
            assert!(error.to_string().contains(expected), "{script}: {error}");
            assert!(!node.path("out").exists(), "{script}");
        }
    });
}

#[test]
fn actions_create_copy_and_download_and_commands_need_a_grant() {
    block_on(async {
        let node = Node::new().await;
        let vec3 = programs::workspace().join("manifests/packages/vec3");
        node.good("publish", json!({"directories": [vec3]})).await;
        let definition = json!({"parameters": [{"name": "who", "type": "string", "default": "Ada"}], "actions": [
            {"create_file": {"path": "hello.txt", "content": "Hello, {{who}}!\n"}},
            {"CopyFiles": {"source": "assets", "destination": "static", "patterns": ["*.css"]}},
            {"download_dependencies": {"packages": ["vec3@^1"]}},
            {"execute_command": {"command": "lua", "arguments": ["hooks/greet.lua", "{{who}}"]}}]});
        let files = [
            ("files/a", "a"),
            ("assets/s.css", "s"),
            ("assets/t.js", "t"),
            (
                "hooks/greet.lua",
                "return function(who) print('greeting') return { said = 'Hello, ' .. who, io = io == nil } end\n",
            ),
        ];
        template(&node.path("t"), "1.0.0", definition, &files);
        let params = |rest: Json| with(json!({"template": node.path("t"), "directory": node.path("out")}), rest);
        let error = node.refused("new", params(json!({})), "COMMAND_NOT_GRANTED").await;
        assert!(error.to_string().contains("`lua hooks/greet.lua`") && error.code == Code::POLICY_DENIED, "{error}");
        assert!(!node.path("out").exists());
        let made = node.good("new", params(json!({"commands": "run"}))).await;
        assert_eq!(made["ran"][0]["value"], json!({"said": "Hello, Ada", "io": true}));
        assert_eq!((&made["ran"][0]["stdout"], &made["downloaded"]), (&json!("greeting\n"), &json!(["vec3@1.0.0"])));
        assert_eq!(
            (read(node.path("out/hello.txt")), read(node.path("out/static/s.css"))),
            ("Hello, Ada!\n".into(), "s".into())
        );
        assert!(!node.path("out/static/t.js").exists());
        let skipped =
            node.good("new", with(params(json!({"commands": "skip"})), json!({"directory": node.path("other")}))).await;
        assert_eq!((names(&skipped, "warnings"), &skipped["ran"]), (vec!["SKIPPED".to_owned()], &json!([])));
        // A program that fails leaves nothing.
        write(&node.path("t"), &[("hooks/greet.lua", "return function() error('no') end\n")]);
        let failed = with(params(json!({"commands": "run"})), json!({"directory": node.path("third")}));
        node.refused("new", failed, "COMMAND_FAILED").await;
        assert!(!node.path("third").exists());
        // No sandbox runs programs of the system.
        template(
            &node.path("s"),
            "1.0.0",
            json!({"actions": [{"execute_command": {"command": "sh", "arguments": ["hooks/greet.lua"]}}]}),
            &files,
        );
        let params = json!({"template": node.path("s"), "directory": node.path("fourth"), "commands": "run"});
        let error = node.refused("new", params, "INVALID_TEMPLATE").await;
        assert_eq!(error.detail.faults[0].code, "COMMAND_REFUSED");
    });
}

const FIRST: &str = "one {{who}}\ntwo\nthree\nfour\nfive\n";
const SECOND: &str = "one {{who}}\ntwo\nthree\nfour\nFIVE {{extra}}\n";

/// The template is listed and shown, and its package keeps what it was made of.
async fn installed_and_used(node: &Node) {
    let listed = node.good("template list", json!({})).await;
    assert_eq!(
        listed["templates"][8],
        json!({"name": "starter", "select": null, "version": "1.0.0", "source": "package",
        "description": "Starts something."})
    );
    let shown = node.good("template show", json!({"template": "starter"})).await;
    assert_eq!((&shown["parameters"][0]["name"], &shown["files"][0]), (&json!("who"), &json!("a.txt")));
    node.new_package("starter@1.0.0", "p", json!({"param": ["who=Bob"]})).await;
    let record = read(node.path("p/.catalog-template.yaml"));
    assert!(
        ["template: starter", "version: 1.0.0", "source: package", "who: Bob"].iter().all(|line| record.contains(line)),
        "{record}"
    );
}

#[test]
fn a_template_is_published_installed_used_and_brought_up_to_date() {
    block_on(async {
        let node = Node::new().await;
        let who = json!({"name": "who", "type": "string", "default": "Ada"});
        template(
            &node.path("t"),
            "1.0.0",
            json!({"description": "Starts something.", "parameters": [who]}),
            &[("files/a.txt.hbs", FIRST), ("files/gone.txt", "gone\n"), ("files/both.txt", "x\ny\nz\n")],
        );
        node.good("publish", json!({"directories": [node.path("t")]})).await;
        node.refused("new", json!({"template": "starter", "directory": node.path("p")}), "PACKAGE_NOT_INSTALLED").await;
        node.good("install", json!({"packages": ["starter"]})).await;
        installed_and_used(&node).await;
        write(
            &node.path("p"),
            &[("a.txt", "one Bob\nTWO\nthree\nfour\nfive\n"), ("both.txt", "x\nmine\nz\n"), ("own.txt", "own\n")],
        );
        let extra = json!({"name": "extra", "type": "string", "required": true});
        std::fs::remove_dir_all(node.path("t")).expect("removed");
        template(
            &node.path("t"),
            "1.1.0",
            json!({"parameters": [who, extra]}),
            &[("files/a.txt.hbs", SECOND), ("files/both.txt", "x\ntheirs\nz\n"), ("files/fresh.txt", "fresh\n")],
        );
        node.good("publish", json!({"directories": [node.path("t")]})).await;
        let same = node.good("template update", json!({"directory": node.path("p")})).await;
        assert_eq!(same["to"], "1.0.0", "what is installed counts");
        node.good("update", json!({})).await;
        let error = node.refused("template update", json!({"directory": node.path("p")}), "INVALID_PARAMETERS").await;
        assert_eq!(error.detail.faults[0].path.as_deref(), Some("extra"));
        let before = tree(&node.path("p"));
        let params = |rest: Json| with(json!({"directory": node.path("p"), "param": ["extra=more"]}), rest);
        let dry = node.good("template update", params(json!({"dry_run": true}))).await;
        assert_eq!(tree(&node.path("p")), before);
        let updated = node.good("template update", params(json!({}))).await;
        assert_eq!(
            (&updated["files"], &updated["from"], &updated["to"]),
            (&dry["files"], &json!("1.0.0"), &json!("1.1.0"))
        );
        assert_eq!(
            updated["files"],
            json!([{"path": "a.txt", "state": "merged"}, {"path": "both.txt", "state": "conflict"},
            {"path": "fresh.txt", "state": "added"}, {"path": "gone.txt", "state": "removed"}])
        );
        assert_eq!(names(&updated, "conflicts"), ["both.txt"]);
        assert_eq!(read(node.path("p/a.txt")), "one Bob\nTWO\nthree\nfour\nFIVE more\n");
        let both = read(node.path("p/both.txt"));
        assert!(both.contains("<<<<<<<") && both.contains("mine") && both.contains("theirs"), "{both}");
        assert!(!node.path("p/gone.txt").exists() && read(node.path("p/own.txt")) == "own\n");
        let again = node.good("template update", json!({"directory": node.path("p")})).await;
        assert_eq!((again["files"].clone(), again["from"].clone()), (json!([]), json!("1.1.0")));
        node.refused("template update", json!({"directory": node.path("t")}), "NOT_FROM_TEMPLATE").await;
        write(&node.path("p"), &[(".catalog-template.base", "no zstd")]);
        node.refused("template update", json!({"directory": node.path("p")}), "INVALID_RECORD").await;
    });
}

#[test]
fn hostile_templates_write_nothing_outside() {
    block_on(async {
        let node = Node::new().await;
        let loops =
            "{{#each n}}{{#each ../n}}{{#each ../../n}}{{#each ../../../n}}{{/each}}{{/each}}{{/each}}{{/each}}";
        let hundred: Vec<u32> = (0..100).collect();
        for (what, file, text, name) in [
            ("a path upwards", "files/a", "{{up}}", "TEMPLATE_FAILED"),
            ("an absolute path", "files/a", "{{root}}", "TEMPLATE_FAILED"),
            ("nested loops", "files/a.hbs", loops, "TEMPLATE_FAILED"),
            ("a name that is not there", "files/a.hbs", "{{gone}}", "TEMPLATE_FAILED"),
        ] {
            let path = if what.contains("path") { format!("files/{text}") } else { file.to_owned() };
            let definition = json!({"parameters": [{"name": "up", "type": "string", "default": "../escaped"},
                {"name": "root", "type": "string", "default": "/tmp/escaped"}, {"name": "n", "type": "array", "default": hundred}]});
            std::fs::remove_dir_all(node.path("t")).ok();
            template(&node.path("t"), "1.0.0", definition, &[(&path, text)]);
            node.refused("new", json!({"template": node.path("t"), "directory": node.path("out")}), name).await;
            assert!(!node.path("out").exists() && !node.path("escaped").exists(), "{what}");
        }
        // A link in a template is no file of it.
        std::fs::remove_dir_all(node.path("t")).ok();
        template(&node.path("t"), "1.0.0", json!({}), &[("files/a", "a")]);
        std::fs::remove_file(node.path("t/files/a")).expect("removed");
        std::os::unix::fs::symlink("/etc/hostname", node.path("t/files/a")).expect("linked");
        node.refused("new", json!({"template": node.path("t"), "directory": node.path("out")}), "INVALID_PACKAGE")
            .await;
        let error = node
            .refused(
                "new",
                json!({"template": node.path("nowhere"), "directory": node.path("out")}),
                "DIRECTORY_NOT_FOUND",
            )
            .await;
        assert_eq!(error.code, Code::NOT_FOUND);
    });
}

#[test]
fn what_is_wrong_with_a_template_is_told_when_its_package_is_validated() {
    block_on(async {
        let node = Node::new().await;
        let manifest = "apiVersion: catalog.v1
metadata: {name: starter, version: 1.0.0, license: MIT}
spec:
  type: custom
  content:
    main: README.md
    files: [files/a.hbs]
    templates:
      starter:
        parameters:
          - name: count
            type: number
            max: 9
            default: 12
";
        write(
            &node.path("t"),
            &[("package.yaml", manifest), ("README.md", "# t\n"), ("files/a.hbs", "one\n{{counts}}\n")],
        );
        let faults = |error: Error| -> Vec<_> {
            let place = |file: Option<String>| {
                file.and_then(|file| Some(PathBuf::from(file).strip_prefix(node.path("t")).ok()?.to_owned()))
            };
            let all = error.detail.faults.into_iter();
            all.map(|fault| (place(fault.file).expect("a file of the package"), fault.line, fault.path, fault.code))
                .collect()
        };
        let parameter = "spec.content.templates.starter.parameters[0].default".to_owned();
        let error = node.refused("validate", json!({"directory": node.path("t")}), "INVALID_PACKAGE").await;
        assert_eq!(faults(error), [("package.yaml".into(), Some(14), Some(parameter), "OUT_OF_RANGE".to_owned())]);
        write(&node.path("t"), &[("package.yaml", &manifest.replace("12", "3"))]);
        let error = node.refused("publish", json!({"directories": [node.path("t")]}), "INVALID_PACKAGE").await;
        let all = faults(error);
        assert_eq!(all[..1], [("files/a.hbs".into(), Some(2), None, "UNKNOWN_PARAMETER".to_owned())]);
        write(&node.path("t"), &[("files/a.hbs", "one\n{{count}}\n")]);
        let valid = node.good("validate", json!({"directory": node.path("t")})).await;
        assert_eq!(valid["faults"], json!([]));
    });
}
