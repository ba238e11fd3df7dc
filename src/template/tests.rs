//! Templates as text and values: what becomes of good ones, and what is refused of hostile ones.

use std::io::Read as _;

use serde_json::{Value as Json, json};
use time::macros::date;
use uuid::Uuid;

use super::builtin::ALL;
use super::generate::{Project, Tree, generate};
use super::merge::{Before, Merged, merge};
use super::parameter::{Given, Unanswered, Values};
use super::record::{Base, Origin, Record};
use super::render::{Renderer, context};
use super::script::Configured;
use super::*;
use crate::digest::Digest;
use crate::package::{self, Format, parse};
use crate::template::generate::Generated;

fn project() -> Project {
    Project::new("My Demo", date!(2026 - 11 - 29))
}

fn rendered(text: &str, values: &Json) -> Result<String, String> {
    let renderer = Renderer::new(Uuid::nil(), date!(2026 - 11 - 29));
    renderer.render("t.hbs", text, &context(values)).map_err(|fault| fault.to_string())
}

/// Makes a template of a definition and its files.
fn template(definition: Json, files: &[(&str, &str)]) -> Result<Template, TemplateError> {
    let listed: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    let mut manifest = json!({"apiVersion": "catalog.v1", "metadata": {"name": "acme", "version": "1.2.0"},
        "spec": {"type": "custom", "content": {"main": "README.md", "files": listed}}});
    manifest["spec"]["content"]["templates"]["acme"] = definition;
    let package =
        parse(&manifest.to_string(), Format::Json, "package.json").unwrap_or_else(|faults| panic!("{faults}")).0;
    let file = |(path, text): &(&str, &str)| PackageFile {
        path: path.parse().expect("a path"),
        bytes: text.as_bytes().into(),
    };
    Template::of(&package, files.iter().map(file).collect(), None)
}

fn resolved(template: &Template, given: &[(&str, Json)]) -> Result<(Values, Vec<Warning>), Vec<String>> {
    let given = given.iter().map(|(name, value)| (name.to_string(), Given::Value(value.clone()))).collect();
    let expand = |text: &str| project().expand(text);
    Values::resolve(&template.definition.parameters, &given, Unanswered::Refuse, &expand)
        .map_err(|faults| faults.list.iter().map(|fault| format!("{}: {}", fault.path, fault.code)).collect())
}

fn made(template: &Template, given: &[(&str, Json)]) -> Result<Tree, String> {
    let (values, _) = resolved(template, given).map_err(|faults| faults.join(", "))?;
    generate(template, &values, &Configured::default(), &project()).map_err(|error| error.to_string())
}

fn texts(tree: &Tree) -> Vec<(&str, &str)> {
    tree.files.iter().map(|(path, file)| (path.as_str(), std::str::from_utf8(&file.bytes).expect("text"))).collect()
}

#[test]
fn helpers_do_what_they_are_called() {
    let values = json!({"name": "Ada", "empty": "", "list": ["a", 1, true], "fields": {"b": 1, "a": 2}, "yes": true,
        "nothing": null, "quote": "say \"hi\"\n"});
    for (text, expected) in [
        ("{{upper name}} {{lower name}}", "ADA ada"),
        ("{{replace name \"A\" \"O\"}}", "Oda"),
        ("{{join list}} {{join list \"-\"}}", "a, 1, true a-1-true"),
        ("{{default empty \"x\"}} {{default nothing name}} {{default name \"x\"}}", "x Ada Ada"),
        ("{{#if_eq name \"Ada\"}}yes{{else}}no{{/if_eq}}{{#if_eq name \"Bob\"}}yes{{else}}no{{/if_eq}}", "yesno"),
        ("{{json quote}}", "\"say \\\"hi\\\"\\n\""),
        ("{{date}} {{date \"<year>\"}}", "2026-11-29 2026"),
        ("{{#each list}}{{@index}}{{this}}{{#unless @last}},{{/unless}}{{/each}}", "0a,11,2true"),
        ("{{#each fields}}{{@key}}={{this}} {{/each}}", "a=2 b=1 "),
        ("{{#each list as |item at|}}{{at}}{{item}}{{../name}}{{/each}}", "0aAda11Ada2trueAda"),
        ("{{#if yes}}a{{else}}b{{/if}}{{#unless yes}}a{{else}}b{{/unless}}{{#if nothing}}c{{/if}}", "ab"),
        ("<{{name}}> & \"{{quote}}\"", "<Ada> & \"say \"hi\"\n\""),
        ("{{upper (replace name \"a\" \"o\")}}", "ADO"),
        ("\\{{name}}", "{{name}}"),
    ] {
        assert_eq!(rendered(text, &values).as_deref(), Ok(expected), "{text}");
    }
    let twice = [rendered("{{uuid}} {{uuid \"x\"}}", &values), rendered("{{uuid}} {{uuid \"x\"}}", &values)];
    assert_eq!(twice[0], twice[1]);
    let text = twice[0].clone().expect("is rendered");
    let (one, other) = text.split_once(' ').expect("two of them");
    assert!(one != other && one.parse::<Uuid>().is_ok_and(|uuid| uuid.get_version_num() == 5), "{text}");
}

#[test]
fn a_name_that_is_not_there_is_an_error_wherever_it_stands() {
    for text in
        ["{{gone}}", "{{#if gone}}{{/if}}", "{{#each gone}}{{/each}}", "{{upper gone}}", "{{#if_eq gone 1}}{{/if_eq}}"]
    {
        let error = rendered(text, &json!({"here": 1})).expect_err("is refused");
        assert!(error.contains("`gone`"), "{text}: {error}");
    }
    let error = rendered("one\ntwo {{gone}}\n", &json!({})).expect_err("is refused");
    assert!(error.starts_with("t.hbs:2: there is no `gone`"), "{error}");
    assert!(rendered("{{frobnicate 1}}", &json!({})).expect_err("no helper").contains("frobnicate"));
    assert!(rendered("a\n{{#if x}}b", &json!({})).is_err());
}

#[test]
fn hostile_texts_are_refused_before_they_take_long() {
    let list: Json = (0..100).collect::<Vec<_>>().into();
    let opened: String = (0..6).map(|depth| format!("{{{{#each {}list}}}}", "../".repeat(depth))).collect();
    let nested = opened + &"{{/each}}".repeat(6);
    let values = json!({"list": list, "text": "a".repeat(1000)});
    let doubled = (0..12).fold("text".to_owned(), |inner, _| format!("(replace {inner} \"a\" \"aaaaaaaa\")"));
    let long = "{{#each list}}{{#each ../list}}{{#each ../../list}}xxxxxxxxxxxxxxxx{{/each}}{{/each}}{{/each}}";
    for (what, text, expected) in [
        ("loops that write nothing", nested, "steps"),
        ("loops that write", long.into(), "steps"),
        ("a value that grows", format!("{{{{upper {doubled}}}}}"), "larger than"),
        ("a partial of itself", "{{#*inline \"x\"}}{{> x}}{{/inline}}{{> x}}".into(), "templates have no"),
        ("a partial block", "{{#> x}}{{> @partial-block}}{{/x}}".into(), "templates have no"),
        ("deep brackets", format!("{{{{{}}}}}", "(upper ".repeat(500)), "tag"),
        ("deep blocks", "{{#if text}}".repeat(40) + &"{{/if}}".repeat(40), "blocks nest"),
        ("many blocks", "{{#if text}}{{/if}}".repeat(501), "blocks"),
        ("a chain", format!("{{{{#if text}}}}{}{{{{/if}}}}", "{{else if text}}".repeat(60)), "blocks nest"),
        ("brackets behind braces in quotes", format!("{{{{upper \"}}}}\" {}", "(upper ".repeat(5000)), "quoted text"),
        (
            "brackets behind a quoted segment",
            format!("{{{{upper [a\"] \"}}}}\" {}", "(a ".repeat(5000)),
            "list or an object",
        ),
        (
            "brackets behind an object",
            format!("{{{{json {{\"a\":{{\"b\":1}}}} {}", "(a ".repeat(5000)),
            "list or an object",
        ),
        ("a long text", "a".repeat(render::TEXT_BYTES_MAX + 1), "bytes"),
        ("with", "{{#with text}}{{/with}}".into(), "no helper"),
    ] {
        let error = rendered(&text, &values).expect_err(what);
        assert!(error.contains(expected), "{what}: {error}");
    }
}

#[test]
fn every_answer_is_checked_in_one_pass_and_named() {
    let definition = json!({"parameters": [
        {"name": "title", "type": "string", "min_length": 2, "max_length": 5, "pattern": "[a-z]+"},
        {"name": "port", "type": "number", "min": 1, "max": 10},
        {"name": "on", "type": "boolean"},
        {"name": "tags", "type": "array", "min_length": 1, "max_length": 2},
        {"name": "extra", "type": "object", "max_length": 1},
        {"name": "level", "type": "string", "allowed_values": ["low", "high"], "default": "low"},
        {"name": "needed", "type": "string", "required": true, "description": "what it is for"},
        {"name": "thought", "type": "string", "required": true, "default": "x"},
    ]});
    let template = template(definition, &[("files/a", "")]).unwrap_or_else(|error| panic!("{error}"));
    let good = [
        ("title", json!("abc")),
        ("port", json!(10)),
        ("on", json!(false)),
        ("tags", json!(["a"])),
        ("extra", json!({"a": 1})),
        ("needed", json!("y")),
        ("thought", json!("z")),
    ];
    let (values, warnings) = resolved(&template, &good).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert_eq!((values.as_map()["level"].as_str(), warnings.len()), (Some("low"), 0));
    let bad = [
        ("title", json!("a")),
        ("port", json!(11)),
        ("on", json!("yes")),
        ("tags", json!([])),
        ("extra", json!({"a": 1, "b": 2})),
        ("level", json!("middle")),
    ];
    assert_eq!(
        resolved(&template, &bad).expect_err("is refused"),
        [
            "title: WRONG_LENGTH",
            "port: OUT_OF_RANGE",
            "on: WRONG_TYPE",
            "tags: WRONG_LENGTH",
            "extra: WRONG_LENGTH",
            "level: NOT_ALLOWED",
            "needed: MISSING_PARAMETER",
            "thought: MISSING_PARAMETER",
        ]
    );
    for (name, value, code) in [
        ("title", json!("ABC"), "PATTERN"),
        ("title", json!("toolong"), "WRONG_LENGTH"),
        ("title", json!(1), "WRONG_TYPE"),
        ("port", json!(0.5), "OUT_OF_RANGE"),
        ("port", json!("1"), "WRONG_TYPE"),
        ("tags", json!(["a", "b", "c"]), "WRONG_LENGTH"),
        ("extra", json!([]), "WRONG_TYPE"),
        ("needed", json!("y".repeat(20_000)), "TOO_LARGE"),
    ] {
        let mut given = good.to_vec();
        given.retain(|(known, _)| *known != name);
        given.push((name, value));
        assert_eq!(resolved(&template, &given).expect_err("is refused"), [format!("{name}: {code}")]);
    }
    let mut given = good.to_vec();
    given.push(("titel", json!("x")));
    let (_, warnings) = resolved(&template, &given).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert_eq!(warnings[0].message, "the template has no parameter `titel`; did you mean `title`?");
}

#[test]
fn answers_as_text_are_read_as_their_type() {
    let kinds = ["string", "number", "boolean", "array", "object"];
    let parameters: Vec<Json> = kinds.iter().map(|kind| json!({"name": format!("a_{kind}"), "type": kind})).collect();
    let template =
        template(json!({"parameters": parameters}), &[("files/a", "")]).unwrap_or_else(|error| panic!("{error}"));
    let take = |kind: &str, text: &str| {
        let given = [(format!("a_{kind}"), Given::Text(text.into()))].into();
        let expand = |text: &str| Ok(text.to_owned());
        let values = Values::resolve(&template.definition.parameters, &given, Unanswered::Refuse, &expand);
        values.map(|(values, _)| values.as_map()[&format!("a_{kind}")].clone()).map_err(|faults| faults.list[0].code)
    };
    assert_eq!(take("string", "007"), Ok(json!("007")));
    assert_eq!([take("number", "7"), take("number", "-1.5")], [Ok(json!(7)), Ok(json!(-1.5))]);
    assert_eq!([take("boolean", "yes"), take("boolean", "false")], [Ok(json!(true)), Ok(json!(false))]);
    assert_eq!([take("array", "a, b"), take("array", "[1, \"x\"]")], [Ok(json!(["a", "b"])), Ok(json!([1, "x"]))]);
    assert_eq!(take("object", "{\"a\": 1}"), Ok(json!({"a": 1})));
    for (kind, text) in
        [("number", "many"), ("boolean", "perhaps"), ("array", "[1"), ("object", "a=1"), ("number", "NaN")]
    {
        assert_eq!(take(kind, text), Err("WRONG_TYPE"), "{kind} {text}");
    }
}

#[test]
fn a_definition_is_read_whole_or_refused_with_every_fault() {
    let files = [("files/a", "x"), ("configure.lua", "")];
    let faults = |definition: Json| match template(definition, &files) {
        Err(TemplateError::Definition { faults, .. }) => {
            faults.list.into_iter().map(|fault| fault.code).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        faults(json!({"parameters": [
        {"name": "Bad", "type": "string"}, {"name": "date", "type": "string"}, {"name": "a", "type": "number", "pattern": "x"},
        {"name": "b", "type": "string", "pattern": "("}, {"name": "b", "type": "boolean", "default": 1}],
        "files": [{"path": "[", "when": "a"}, {"path": "x", "when": "a", "unless": "b"}],
        "actions": [{"execute_command": {"command": "git", "arguments": ["init"]}},
            {"download_dependencies": {"manager": "npm", "packages": []}}, {"copy_files": {"source": "nowhere"}}],
        "script": "config.lua"})),
        [
            "INVALID_NAME",
            "RESERVED_NAME",
            "NO_EFFECT",
            "INVALID_PATTERN",
            "DUPLICATE",
            "WRONG_TYPE",
            "INVALID_PATTERN",
            "TWO_CONDITIONS",
            "COMMAND_REFUSED",
            "FILE_NOT_FOUND",
            "OTHER_MANAGER",
            "NO_FILES",
            "FILE_NOT_FOUND",
        ]
    );
    assert_eq!(faults(json!({"colour": "red"})), ["WRONG_FORM"]);
    assert_eq!(faults(json!({"root": "elsewhere"})), ["NO_FILES"]);
    let many: Vec<Json> = (0..101).map(|i| json!({"name": format!("p{i}"), "type": "string"})).collect();
    assert_eq!(faults(json!({"parameters": many})), ["TOO_MANY"]);
}

#[test]
fn files_are_rendered_chosen_created_and_copied() {
    let definition = json!({
        "parameters": [{"name": "with_b", "type": "boolean", "default": true}, {"name": "kind", "type": "string", "default": "x"},
            {"name": "idle", "type": "string", "default": ""}],
        "files": [{"path": "b.txt", "when": "with_b"}, {"path": "only-*", "when": "kind=y"}, {"path": "*.md", "keep": true}],
        "actions": [
            {"create_file": {"path": "{{kind}}/made.txt", "content": "{{project.module}}\n"}},
            {"copy_files": {"source": "assets", "destination": "static", "patterns": ["*.css", "*.none"]}},
            {"download_dependencies": {"packages": ["{{kind}}@^1"]}}],
        "next": ["run {{project.name}}"]});
    let files = [
        ("files/a-{{kind}}.hbs", "{{project.identifier}}"),
        ("files/b.txt", "{{raw}}"),
        ("files/only-y", ""),
        ("files/n.md", "n"),
        ("assets/s.css", "s"),
        ("assets/t.js", "t"),
    ];
    let template = template(definition, &files).unwrap_or_else(|error| panic!("{error}"));
    let tree = made(&template, &[]).expect("is made");
    assert_eq!(
        texts(&tree),
        [("a-x", "my_demo"), ("b.txt", "{{raw}}"), ("n.md", "n"), ("static/s.css", "s"), ("x/made.txt", "MyDemo\n")]
    );
    assert_eq!((tree.downloads, tree.next), (vec!["x@^1".to_owned()], vec!["run my-demo".to_owned()]));
    let warned: Vec<_> = tree.warnings.iter().map(|warning| (warning.code, warning.subject.as_str())).collect();
    assert_eq!(warned, [("SKIPPED", "*.none"), ("UNUSED_PARAMETER", "idle")]);
    let other = made(&template, &[("with_b", json!(false)), ("kind", json!("y"))]).expect("is made");
    assert_eq!(
        texts(&other).iter().map(|file| file.0).collect::<Vec<_>>(),
        ["a-y", "n.md", "only-y", "static/s.css", "y/made.txt"]
    );
    assert_eq!(made(&template, &[]).expect("is made").files, made(&template, &[]).expect("is made").files);
}

#[test]
fn no_path_leaves_the_directory_and_none_is_made_twice() {
    let definition = json!({"parameters": [{"name": "to", "type": "string", "default": "x"}]});
    let template =
        template(definition, &[("files/{{to}}", "a"), ("files/fixed", "b")]).unwrap_or_else(|error| panic!("{error}"));
    for to in [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "",
        ".",
        "c:x",
        "a\\b",
        "a/",
        "fixed",
        "fixed/inner",
        ".catalog-template.yaml",
    ] {
        let error = made(&template, &[("to", json!(to))]).expect_err(to);
        assert!(error.contains("cannot make"), "{to}: {error}");
    }
    let created = json!({"actions": [{"create_file": {"path": "../../x", "content": ""}}]});
    let created = self::template(created, &[("files/a", "")]).unwrap_or_else(|error| panic!("{error}"));
    assert!(made(&created, &[]).expect_err("is refused").contains("`../../x`"));
}

#[test]
fn every_built_in_template_is_a_valid_package_with_a_template_that_makes_one() {
    for built_in in ALL {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(built_in.name);
        let (package, warnings) = package::read(&root).unwrap_or_else(|faults| panic!("{}: {faults}", built_in.name));
        assert_eq!((package.name.as_str(), &warnings[..]), (built_in.name, &[][..]));
        let files = package::read_files(&root, &package).unwrap_or_else(|faults| panic!("{faults}"));
        let there: usize = walkdir::WalkDir::new(&root)
            .into_iter()
            .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_type().is_file()))
            .count();
        assert_eq!(there, files.len() + 1, "{}: a file is not listed", built_in.name);
        let on_disk = Template::of(&package, files, None).unwrap_or_else(|error| panic!("{error}"));
        let embedded = built_in.template().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(on_disk.files, embedded.files, "{}: what is embedded is not what is there", built_in.name);
        if embedded.definition.script.is_none() {
            let tree = made(&embedded, &[]).unwrap_or_else(|error| panic!("{}: {error}", built_in.name));
            assert_eq!(tree.warnings, [], "{}", built_in.name);
            let manifest = &tree.files["package.yaml"];
            let text = String::from_utf8_lossy(&manifest.bytes);
            let (package, warnings) =
                parse(&text, Format::Yaml, "package.yaml").unwrap_or_else(|faults| panic!("{faults}\n{text}"));
            assert_eq!((package.name.as_str(), &warnings[..]), ("my-demo", &[][..]));
        }
    }
}

/// `HYPERMESH_UPDATE=1` writes the binary form anew.
#[test]
fn the_module_of_the_template_is_its_text_in_binary_form() {
    let files = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/wasm-module/files");
    let module = wat::parse_file(files.join("main.wat")).unwrap_or_else(|error| panic!("{error}"));
    if std::env::var_os("HYPERMESH_UPDATE").is_some() {
        std::fs::write(files.join("main.wasm"), &module).expect("is written");
    }
    assert!(std::fs::read(files.join("main.wasm")).expect("is there") == module, "main.wasm is of another text");
}

#[test]
fn a_record_and_its_base_read_back_and_are_refused_otherwise() {
    let template = template(
        json!({"parameters": [{"name": "n", "type": "number", "default": 1.5}]}),
        &[("files/a.hbs", "{{n}}\n")],
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let (values, _) = resolved(&template, &[]).unwrap_or_else(|faults| panic!("{faults:?}"));
    let tree = made(&template, &[]).expect("is made");
    let record = Record::new(&template, Origin::Directory("../t".into()), &values, &project(), &tree);
    let text = record.to_text();
    assert_eq!(Record::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}")), record);
    assert_eq!(record.project().expect("has a date"), project());
    for (from, to) in [
        ("format: 1", "format: 2"),
        ("version: 1.2.0", "version: new"),
        ("template: acme", "template: Acme"),
        ("format: 1", "format: 1\ncolour: red"),
        ("project:", "projekt:"),
    ] {
        assert!(Record::read(&text.replace(from, to)).is_err(), "{to}");
    }
    let base = Base::of(&tree);
    let bytes = base.to_bytes();
    assert_eq!(Base::read(&bytes).expect("reads back"), base);
    for cut in 0..bytes.len() {
        assert!(Base::read(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let bomb = zstd::encode_all(std::io::repeat(b' ').take(200 << 20), 3).expect("is compressed");
    assert!(Base::read(&bomb).expect_err("is refused").to_string().contains("unfolds"));
}

#[test]
fn a_merge_takes_what_one_side_changed_and_leaves_the_rest_to_the_author() {
    let newer = |text: &str| Generated { bytes: text.as_bytes().into(), keep: false };
    let case = |before: Option<&str>, now: Option<&str>, next: Option<&str>| {
        let before = before.map(|text| Before { digest: Digest::of(text.as_bytes()), text: Some(text) });
        merge(before, now.map(str::as_bytes), next.map(newer).as_ref())
    };
    let old = "one\ntwo\nthree\nfour\n";
    let (mine, theirs) = ("ONE\ntwo\nthree\nfour\n", "one\ntwo\nthree\nFOUR\n");
    assert_eq!(case(Some(old), Some(old), Some(theirs)), Merged::Taken(theirs.into()));
    assert_eq!(case(Some(old), Some(mine), Some(old)), Merged::Same);
    assert_eq!(case(Some(old), Some(theirs), Some(theirs)), Merged::Same);
    assert_eq!(case(Some(old), Some(mine), Some(theirs)), Merged::Joined("ONE\ntwo\nthree\nFOUR\n".into()));
    match case(Some(old), Some(mine), Some("uno\ntwo\nthree\nfour\n")) {
        Merged::Marked(bytes) => {
            let text = String::from_utf8(bytes).expect("text");
            assert!(
                ["<<<<<<<", "ONE\n", "=======", "uno\n", ">>>>>>>"].iter().all(|part| text.contains(part)),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(case(Some(old), Some(old), None), Merged::Removed);
    assert!(matches!(case(Some(old), Some(mine), None), Merged::Refused(_)));
    assert_eq!(case(Some(old), None, Some(old)), Merged::Same);
    assert!(matches!(case(Some(old), None, Some(theirs)), Merged::Refused(_)));
    assert_eq!(case(None, None, Some(theirs)), Merged::Taken(theirs.into()));
    assert!(matches!(case(None, Some(mine), Some(theirs)), Merged::Marked(_)));
    assert_eq!(case(None, Some(mine), None), Merged::Same);
    let kept = Generated { keep: true, ..newer(theirs) };
    assert_eq!(merge(None, Some(mine.as_bytes()), Some(&kept)), Merged::Same);
    let long = "x\n".repeat(merge::LINES_MAX + 1);
    assert!(matches!(case(Some(old), Some(&long), Some(theirs)), Merged::Refused(_)));
    let binary = Before { digest: Digest::of(&[0xff]), text: None };
    assert!(matches!(merge(Some(binary), Some(&[0xfe]), Some(&newer("x"))), Merged::Refused(_)));
}

/// What [`check::check`] finds, as `file:line path code`.
fn checked(definition: Json, files: &[(&str, &str)]) -> Vec<String> {
    let listed: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    let mut manifest = json!({"apiVersion": "catalog.v1", "metadata": {"name": "acme", "version": "1.2.0"},
        "spec": {"type": "custom", "content": {"main": "README.md", "files": listed}}});
    manifest["spec"]["content"]["templates"]["acme"] = definition;
    let package = parse(&manifest.to_string(), Format::Json, "package.json").expect("is valid").0;
    let file = |(path, text): &(&str, &str)| PackageFile {
        path: path.parse().expect("a path"),
        bytes: text.as_bytes().into(),
    };
    let files: Vec<PackageFile> = files.iter().map(file).collect();
    let shown = |fault: Fault| {
        let file = fault.file.map_or_else(String::new, |file| format!("{file}:{} ", fault.line));
        let path = fault.path.strip_prefix("spec.content.templates.acme.").unwrap_or(&fault.path);
        let path = if path.is_empty() { String::new() } else { format!("{path} ") };
        format!("{file}{path}{}", fault.code)
    };
    check::check(&package, &files).into_iter().map(shown).collect()
}

#[test]
fn a_definition_is_checked_with_its_texts_before_anybody_uses_it() {
    let definition = json!({
        "parameters": [{"name": "name", "type": "string", "default": "{{project.nam}}"},
            {"name": "count", "type": "number", "default": 12, "max": 9}],
        "files": [{"path": "*.md", "when": "nmae"}],
        "actions": [{"create_file": {"path": "x", "content": "{{#if name}"}}],
        "next": ["catalog run {{nam}}"]});
    let files = [
        ("files/a.hbs", "one\n{{name}}\n{{#each list}}{{anything}}{{/each}} {{upper other}}\n"),
        ("files/b.hbs", "\n{{/if}}\n"),
    ];
    assert_eq!(
        checked(definition.clone(), &files),
        ["parameters[1].default OUT_OF_RANGE"],
        "what the definition says comes first"
    );
    let mut definition = definition;
    definition["parameters"][1]["max"] = json!(99);
    assert_eq!(
        checked(definition, &files),
        [
            "parameters[0].default TEMPLATE",
            "files/a.hbs:3 UNKNOWN_PARAMETER",
            "files/a.hbs:3 UNKNOWN_PARAMETER",
            "files/b.hbs:2 TEMPLATE",
            "files[0].when UNKNOWN_PARAMETER",
            "actions[0].create_file.content TEMPLATE",
            "next[0] UNKNOWN_PARAMETER",
            "parameters[1] UNUSED_PARAMETER",
        ]
    );
}

#[test]
fn what_comes_of_the_defaults_is_tried_and_a_script_may_compute_any_name() {
    let twice = json!({"parameters": [{"name": "name", "type": "string", "default": "b"}]});
    assert_eq!(checked(twice, &[("files/{{name}}", ""), ("files/b", "")]), ["spec.content.templates.acme TEMPLATE"]);
    let wrong = json!({"parameters": [{"name": "list", "type": "array", "default": []}]});
    assert_eq!(checked(wrong, &[("files/a.hbs", "x\n{{upper list}}\n")]), ["files/a.hbs:2 TEMPLATE"]);
    let scripted = json!({"script": "configure.lua"});
    assert_eq!(checked(scripted, &[("configure.lua", ""), ("files/a.hbs", "{{computed}}")]), [""; 0]);
    let asking = json!({"parameters": [{"name": "must", "type": "string", "required": true}]});
    assert_eq!(checked(asking, &[("files/a.hbs", "{{must}}")]), [""; 0]);
    let bounds = json!({"parameters": [{"name": "n", "type": "number", "min": 2, "max": 1}]});
    assert_eq!(checked(bounds, &[("files/a.hbs", "{{n}}")]), ["parameters[0].min NO_VALUE_FITS"]);
}

#[test]
fn the_templates_of_catalog_have_no_fault() {
    for built_in in ALL {
        let package = built_in.package();
        let found = check::check(&package, &built_in.files());
        assert_eq!(found, [], "{}", built_in.name);
    }
}

#[test]
fn patches_of_one_answer_are_bounded_together() {
    let mut patches = merge::Patches::default();
    let text = "x\n".repeat(merge::LINES_MAX - 1);
    let half = merge::PATCH_LINES_MAX / merge::LINES_MAX;
    for _ in 0..half {
        assert!(patches.patch("a", None, Some(text.as_bytes())).is_some_and(|patch| patch.starts_with("--- ")));
    }
    let more = patches.patch("b", None, Some(text.as_bytes()));
    assert_eq!(more.as_deref(), Some("# b changes, too; there is more than a patch shows\n"));
    assert!(
        patches.patch("c", None, Some(b"y\n")).is_some_and(|patch| patch.starts_with("--- ")),
        "there is room for little"
    );
}
