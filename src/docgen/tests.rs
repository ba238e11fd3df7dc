//! Documentation as a whole: every section in every format, nothing an author writes is markup, every link has its place, and the
//! same package gives the same bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::docgen::example::Outcome;
use crate::package::source::Format as Source;

const MANIFEST: &str = r#"
apiVersion: catalog.v1
metadata:
  name: acme/shapes
  version: "1.2.0"
  description: Areas of shapes.
  author: Ada <ada@a.example>
  license: MIT
  homepage: https://a.example/shapes
  tags: [math]
spec:
  type: lua-library
  content: {main: shapes.lua, files: [README.md, CHANGELOG.md, more.lua]}
  security:
    sandbox_level: standard
    permissions: [clock]
    network_access: {enabled: true, allowed_domains: [api.example], allowed_ports: [443]}
    file_access: {level: read_only, allowed_paths: [/data]}
    allowed_syscalls: [getrandom]
  resources: {cpu_limit: 500m, memory_limit: 64Mi, execution_timeout: 10s, gpu_required: true, gpu_memory_mb: 512}
  dependencies:
    - {name: vec3, version: ^1.0}
    - {name: plot, version: ^2, optional: true, features: [svg], platform: linux}
  environment: {MODE: fast}
  config_schema:
    type: object
    required: [unit]
    properties:
      unit: {type: string, description: The unit., default: m}
      grid: {type: object, properties: {size: {type: integer, minimum: 1}}}
"#;

const README: &str = "# acme/shapes\n\nShapes with *areas*. See [the site](https://a.example) and [below](#use).\n\n## Use\n\n\
                      ```lua\nreturn 1 + 1\n```\n\n```output\n2\n```\n\n[nowhere](#nothing)\n";

const SOURCE: &str = "--- Shapes.\nlocal shapes = {}\n\n--- The area of a square.\n---@param side number its side\n\
                      function shapes.square(side) return side * side end\n\nreturn shapes\n";

/// What [`draft`] reads like.
const READABLE: &str = r#"acme/shapes 1.2.0
=================

Overview
--------

Areas of shapes.

Field      Value
---------  ------------------------
Version    1.2.0
Type       lua-library
Licence    MIT
Author     Ada <ada@a.example>
Home page  https://a.example/shapes
Tags       math

Shapes with areas. See the site <https://a.example> and below.

Use
...

    return 1 + 1

ok: Ran as shown.

    2

nowhere

Install
-------

    catalog install acme/shapes@1.2.0

A package that builds on it says so in its manifest, under spec:

    dependencies:
      - name: acme/shapes
        version: ^1.2.0

and its program finds it by name:

    local shapes = require("acme/shapes")

Parameters
----------

Its configuration:

Name       Type     Default  Required  Description
---------  -------  -------  --------  -----------
grid       object            no
grid.size  integer           no        minimum 1
unit       string   "m"      yes       The unit.

Variables that its program sees:

Variable  Value
--------  -----
MODE      fast

What it asks for
----------------

- It asks for the network: api.example, on port 443, by TLS only.
- It asks to read its own files and /data.
- It asks for these system calls beyond those of its sandbox: getrandom.
- It asks for these permissions: clock.
- One run takes at most 500m of processor, 64Mi of memory and 10s.
- It needs a graphics processor with 512 MiB.

API
---

acme/shapes
...........

    local shapes = require("acme/shapes")

Shapes.

Defined in shapes.lua:1

square — function

    shapes.square(side)

The area of a square.

Parameter  Type    Description
---------  ------  -----------
side       number  its side

Defined in shapes.lua:6

Examples
--------

note: Examples ran in the sandbox of the package: 1 passed.

No.  Where it stands  Result
---  ---------------  ------
1    README           passed

Dependencies
------------

Package  Version  From      Notes
-------  -------  --------  ---------------------------------
vec3     ^1.0     registry
plot     ^2       registry  optional, on linux only, with svg

Security
--------

Programs never run in the process of the host: each run has a worker of its own, closed by the
sandbox.

What            How
--------------  ------
Sandbox         standard: filtered system calls, limited network, files to read
Agreement       no agreement of validators is asked for
Publisher       the publisher's keys are checked, not pinned
Checked digest  blake3
Archive         blake3:1ff28929422717d74e648482a67b31b423e83858609e2ae1aef3ab9f77066c5b

Deployment
----------

What                         Value
---------------------------  ------------
Processor                    500m
Memory                       64Mi
Time of a run                10s
Time to compile              60s
Time of a network operation  10s
Time of a read or write      5s
Node                         nearest node
Nodes are filled             balanced
Start                        immediate
Priority                     normal
After a failure              none
Runs at a time               not bounded
Agreement                    1 of 1 to 5

Changelog
---------

1.2.0
.....

- squares
"#;

fn draft_of(manifest: &str, readme: &str, source: &str) -> Draft {
    let package = crate::package::parse(manifest, Source::Yaml, "package.yaml").expect("valid").0;
    let file = |path: &str, text: &str| PackageFile { path: path.parse().expect("a path"), bytes: text.into() };
    let files = [
        file("CHANGELOG.md", "# Changelog\n\n## 1.2.0\n\n- squares\n"),
        file("README.md", readme),
        file("shapes.lua", source),
    ];
    Draft::read(package, Digest::of(b"archive"), &files)
}

fn draft() -> Draft {
    let mut draft = draft_of(MANIFEST, README, SOURCE);
    for example in &mut draft.examples {
        example.result = Outcome::compared("2\n".into(), example.expected.as_deref());
    }
    draft
}

fn page(document: &mut Document, format: Format) -> String {
    String::from_utf8(document.pages(format)[0].bytes.clone()).expect("text")
}

#[test]
fn every_section_is_in_every_format() {
    let mut document = draft().finish(&[]);
    let titles: Vec<&str> = document.sections.iter().map(|section| section.title).collect();
    assert_eq!(
        titles,
        [
            "Overview",
            "Install",
            "Parameters",
            "What it asks for",
            "API",
            "Examples",
            "Dependencies",
            "Security",
            "Deployment",
            "Changelog"
        ]
    );
    let (html, markdown) = (page(&mut document, Format::Html), page(&mut document, Format::Markdown));
    let (text, json) = (page(&mut document, Format::Text), page(&mut document, Format::Json));
    let json: serde_json::Value = serde_json::from_str(&json).expect("is JSON");
    for section in &document.sections {
        assert!(html.contains(&format!("<h2 id=\"{}\">{}", section.id, section.title)), "{}", section.id);
        assert!(markdown.contains(&format!("\n## {}\n", section.title)), "{}", section.id);
        assert!(text.contains(&format!("\n{}\n---", section.title)), "{}", section.id);
        assert!(section.words() > 1, "{}", section.id);
    }
    let ids: Vec<&str> = json["sections"].as_array().expect("a list").iter().filter_map(|s| s["id"].as_str()).collect();
    assert_eq!(ids, document.sections.iter().map(|section| section.id).collect::<Vec<_>>());
    assert_eq!(json["api"][1]["name"], "square");
    assert_eq!(json["manifest"]["metadata"]["name"], "acme/shapes");
}

#[test]
fn what_a_package_asks_for_is_said_in_plain_words() {
    let document = draft().finish(&[]);
    assert_eq!(
        document.capabilities,
        [
            "It asks for the network: api.example, on port 443, by TLS only.",
            "It asks to read its own files and /data.",
            "It asks for these system calls beyond those of its sandbox: getrandom.",
            "It asks for these permissions: clock.",
            "One run takes at most 500m of processor, 64Mi of memory and 10s.",
            "It needs a graphics processor with 512 MiB.",
        ]
    );
    let quiet = "apiVersion: catalog.v1\nmetadata: {name: a, version: 1.0.0}\nspec: {type: lua-script, content: {main: shapes.lua}}\n";
    let document = draft_of(quiet, "", "return 1\n").finish(&[]);
    assert_eq!(document.capabilities[..2], ["It has no network.", "It opens no files."]);
}

#[test]
fn the_readable_form_reads_well() {
    let text = page(&mut draft().finish(&[]), Format::Text);
    assert_eq!(text, READABLE);
}

#[test]
fn the_same_package_gives_the_same_bytes() {
    for format in [Format::Html, Format::Markdown, Format::Json, Format::Text, Format::Pdf] {
        let (one, two) = (draft().finish(&[]).pages(format), draft().finish(&[]).pages(format));
        assert!(one == two, "{format:?}");
        assert_eq!(one.last().map(|page| page.name), Some(METADATA));
    }
}

#[test]
fn metadata_counts_words_and_minutes() {
    let mut document = draft().finish(&[]);
    let pages = document.pages(Format::Markdown);
    let metadata: serde_json::Value = serde_json::from_slice(&pages[1].bytes).expect("is JSON");
    let words = metadata["words"].as_u64().expect("a number");
    let sections = metadata["sections"].as_array().expect("a list");
    assert_eq!(sections.iter().filter_map(|section| section["words"].as_u64()).sum::<u64>(), words);
    assert_eq!(metadata["reading_minutes"], words.div_ceil(200));
    assert_eq!(metadata["api"], serde_json::json!({"names": 2, "public": 2, "documented": 2}));
    assert_eq!(metadata["examples"]["passed"], 1);
    assert_eq!(metadata["files"][0], serde_json::json!({"name": "README.md", "bytes": pages[0].bytes.len()}));
}

#[test]
fn markdown_reads_back_as_what_was_written() {
    let document = draft().finish(&[]);
    let words = |blocks: &[Block]| block::count_words(blocks);
    for section in &document.sections {
        let mut whole = document.clone();
        whole.sections = vec![section.clone()];
        let read = prose::read(&page(&mut whole, Format::Markdown), 1);
        // Title, list of contents and the section's title stand before it.
        let before = words(&read[..3]);
        assert_eq!(words(&read) - before, words(&section.blocks), "{}", section.id);
    }
}

#[test]
fn a_pdf_has_its_pages_and_says_what_it_cannot_show() {
    let mut document = draft().finish(&[]);
    let pages = document.pages(Format::Pdf);
    assert!(pages[0].bytes.starts_with(b"%PDF-") && pages[0].bytes.ends_with(b"%%EOF"));
    assert_eq!(document.warnings, []);
    let mut greek = draft_of(MANIFEST, "α and β\n", SOURCE).finish(&[]);
    greek.pages(Format::Pdf);
    assert_eq!(greek.warnings.iter().map(|warning| warning.code).collect::<Vec<_>>(), ["PDF_NOT_WHOLE"]);
}

#[test]
fn examples_are_shown_with_what_came_of_them() {
    let shown = |result: Outcome| {
        let mut draft = draft();
        draft.examples[0].result = result;
        page(&mut draft.finish(&[]), Format::Text)
    };
    assert!(shown(Outcome::Passed { output: "2\n".into() }).contains("ok: Ran as shown.\n\n    2\n"));
    let differs = shown(Outcome::compared("3\n".into(), Some("2\n")));
    assert!(differs.contains("! Failed: this should come out\n\n    2\n\n! and this did:\n\n    3\n"), "{differs}");
    let failed = shown(Outcome::Failed { message: "line 1: oh".into(), output: String::new() });
    assert!(failed.contains("! Failed: line 1: oh\n") && failed.contains("1 failed"), "{failed}");
    let left = shown(Outcome::NotRun { reason: "examples were left out".into() });
    assert!(left.contains("    return 1 + 1\n\n    2\n") && left.contains("not run: examples were left out"), "{left}");
}

/// The names of all tags, ids and targets of a page.
struct Read {
    tags: Vec<String>,
    ids: Vec<String>,
    targets: Vec<String>,
}

/// Reads tags as a browser does as far as it goes here: text is escaped, so every `<` begins a tag.
fn read_html(html: &str) -> Read {
    let mut read = Read { tags: Vec::new(), ids: Vec::new(), targets: Vec::new() };
    let script = |name: &str| ["script", "style"].contains(&name);
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[..end];
        let name: String = tag.chars().take_while(|c| !c.is_whitespace()).collect();
        for (attribute, list) in [(" id=\"", &mut read.ids), (" href=\"", &mut read.targets)] {
            if let Some((_, value)) = tag.split_once(attribute) {
                list.push(value.split('"').next().unwrap_or_default().to_owned());
            }
        }
        rest = &rest[end + 1..];
        if script(&name) {
            let close = rest.find(&format!("</{name}>")).expect("it ends");
            rest = &rest[close..];
        }
        read.tags.push(name);
    }
    read
}

/// Checks what holds for every page.
fn check_html(html: &str) -> Read {
    let read = read_html(html);
    let unique: BTreeSet<&String> = read.ids.iter().collect();
    assert_eq!(unique.len(), read.ids.len(), "every id is there once: {:?}", read.ids);
    for target in &read.targets {
        match target.strip_prefix('#') {
            Some(id) => assert!(unique.contains(&id.to_owned()), "`#{id}` has its place"),
            None => assert!(
                target.starts_with("https://") || target.starts_with("http://") || target.starts_with("mailto:")
            ),
        }
    }
    let count = |name: &str| read.tags.iter().filter(|tag| *tag == name).count();
    assert_eq!((count("script"), count("style"), count("h1"), count("main"), count("nav")), (2, 1, 1, 1, 1));
    for never in ["img", "iframe", "object", "embed", "link", "form", "base", "svg", "audio", "video"] {
        assert_eq!(count(never), 0, "{never}");
    }
    let levels = read.tags.iter().filter_map(|tag| tag.strip_prefix('h')?.parse::<u8>().ok());
    let mut before = 0;
    for level in levels {
        assert!(level <= before + 1 || before == 0, "no level is passed over: h{before} h{level}");
        before = level;
    }
    read
}

#[test]
fn a_page_is_whole_reachable_and_asks_nobody() {
    let html = page(&mut draft().finish(&[]), Format::Html);
    let read = check_html(&html);
    assert!(read.targets.contains(&"#use".to_owned()) && !read.targets.contains(&"#nothing".to_owned()));
    for part in [
        "<html lang=\"en\">",
        "class=\"skip\" href=\"#content\"",
        "role=\"search\"",
        "aria-label=\"Contents\"",
        "default-src 'none'",
        "prefers-color-scheme: dark",
        "name=\"viewport\"",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("url(") && !html.contains("@import") && !html.contains(" src="));
}

#[test]
fn a_hostile_author_writes_no_markup() {
    let evil =
        "</script><script>alert(1)</script><img src=x onerror=alert(2)>\" onclick=\"alert(3)' --> ]]> </style></pre>";
    let sly = "[t]: <https://a|![x](https://evil/p.png)>\n\n| a | b | c |\n|---|---|---|\n| [t] | `\\\\|<img>` | c |\n\n\
               - x\n\n      code\r<img src=x>\n\n## Content\n\n## Search index\n\n";
    let readme = format!(
        "{sly}# {evil}\n\n{evil}\n\n`{evil}`\n\n```{evil}\n{evil}\n```\n\n[{evil}](javascript:alert(1))\n\n\
                          [a](https://a.example/\"><script>alert(4)</script>)\n\n<script>alert(5)</script>\n\n| {evil} |\n|---|\n| {evil} |\n"
    );
    let source = format!(
        "--- {evil}\nlocal s = {{}}\n--- {evil}\n---@param a {evil}\nfunction s.f(a) end\n--- {evil}\ns.x = \"{}\"\n\
                          return s\n",
        evil.replace('"', "'")
    );
    let manifest = MANIFEST
        .replace("Areas of shapes.", "</title><script>alert(6)</script>")
        .replace("The unit.", "</td><script>alert(7)</script>");
    let mut draft = draft_of(&manifest, &readme, &source);
    for example in &mut draft.examples {
        example.result = Outcome::Failed { message: evil.into(), output: evil.into() };
    }
    let step = Step {
        version: evil.into(),
        before: Some(evil.into()),
        added: vec![evil.into()],
        yanked: Some(evil.into()),
        ..Step::default()
    };
    let mut document = draft.finish(&[step]);
    let html = page(&mut document, Format::Html);
    check_html(&html);
    assert!(!html.contains("<img") && !html.contains("onclick=\"alert"), "{html}");
    // As Markdown it is text to whoever shows that, too.
    let markdown = page(&mut document, Format::Markdown);
    let read = prose::read(&markdown, 1);
    assert!(
        pulldown_cmark::Parser::new_ext(&markdown, pulldown_cmark::Options::ENABLE_TABLES)
            .all(|event| !matches!(event, pulldown_cmark::Event::Html(_) | pulldown_cmark::Event::InlineHtml(_)))
    );
    let images = pulldown_cmark::Parser::new_ext(&markdown, pulldown_cmark::Options::ENABLE_TABLES)
        .filter(|event| matches!(event, pulldown_cmark::Event::Start(pulldown_cmark::Tag::Image { .. })));
    assert_eq!((images.count(), markdown.contains('\r')), (0, false), "{markdown}");
    assert!(!read.is_empty());
}

#[test]
fn versions_are_told_apart_by_what_they_offer() {
    let items = |source: &str| draft_of(MANIFEST, "", source).items;
    let mut step = Step { version: "2.0.0".into(), before: Some("1.0.0".into()), ..Step::default() };
    step.compare(
        &items("local s = {}\nfunction s.a(x) end\nfunction s.b() end\nreturn s\n"),
        &items("local s = {}\nfunction s.a(x, y) end\nfunction s.c() end\nreturn s\n"),
    );
    assert_eq!(step.added, ["shapes.c()"]);
    assert_eq!(step.removed, ["shapes.b()"]);
    assert_eq!(step.changed, [("shapes.a(x)".to_owned(), "shapes.a(x, y)".to_owned())]);
    let mut document = draft().finish(&[step, Step { version: "1.0.0".into(), ..Step::default() }]);
    let text = page(&mut document, Format::Text);
    assert!(text.contains("Since 1.0.0:\n\n- new: shapes.c()\n- gone: shapes.b()\n"), "{text}");
    assert!(text.contains("Version 1.0.0\n.............\n\nThe first version.\n"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_author_gets_a_page(
        readme in "(\\PC|[\\n#*`|<>\\[\\]()!-]|```lua\\n|</script>|<script>){0,80}",
        source in "(\\PC|[\\n(){}]|--- |function m\\.|end|local m = \\{\\}\\n|return m){0,60}",
    ) {
        let mut document = draft_of(MANIFEST, &readme, &source).finish(&[]);
        check_html(&page(&mut document, Format::Html));
        page(&mut document, Format::Markdown);
        page(&mut document, Format::Text);
        document.pages(Format::Pdf);
    }
}
