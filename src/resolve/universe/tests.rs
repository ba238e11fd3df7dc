//! Universes: read within bounds and by line, and resolved in both modes.

use super::read::Bounds;
use super::*;
use crate::resolve::ROUNDS_MAX;

fn universe(text: &str) -> Result<Universe, UniverseError> {
    Universe::read(text.as_bytes())
}

fn resolved(index: &str, roots: &str, mode: Mode) -> Result<String, String> {
    let options = UniverseOptions {
        platform: "linux-x86_64".into(),
        mode,
        preference: Preference::Highest,
        exclude_newer: None,
        rounds_max: ROUNDS_MAX,
    };
    let chosen = universe(index).expect("reads").resolve(&requirements(roots).expect("reads"), &options);
    let text = |(name, version): &(String, Version)| format!("{name} {version}");
    chosen.map(|all| all.iter().map(text).collect::<Vec<_>>().join(", ")).map_err(|error| error.to_string())
}

const FOREIGN: &str = r#"
{"name":"Foo_Bar","version":"1.0.0","dependencies":[{"name":"rand","req":"^0.8","features":["std"]}],"more":1}
{"name":"rand","vers":"0.8.5","deps":[{"name":"libc","req":"*","optional":true,"kind":"normal"}],"features":{"std":["dep:libc"]}}
{"name":"rand","version":"0.9.0","features":{"std":["core?/alloc","core/alloc"]},"dependencies":[{"name":"core","optional":true}]}
{"name":"core","version":"1.0.0+meta","features":{"alloc":[]}}
{"name":"libc","version":"0.2.0","dependencies":[{"name":"windows","req":"*","platform":"windows"},{"name":"gone","kind":"dev"}]}
"#;

#[test]
fn foreign_names_and_features_are_read() {
    let roots = r#"[{"name":"Foo_Bar","req":">=1"},{"name":"rand","req":"^0.9","features":["std","default"]}]"#;
    assert_eq!(
        resolved(FOREIGN, roots, Mode::Majors).expect("resolves"),
        "Foo_Bar 1.0.0, core 1.0.0+meta, libc 0.2.0, rand 0.8.5, rand 0.9.0"
    );
    insta::assert_snapshot!(resolved(FOREIGN, roots, Mode::Single).expect_err("is refused"), @r"
    no choice of versions meets every requirement
    - you require `Foo_Bar >=1`
    - you require `rand ^0.9`
    - `Foo_Bar` 1.0.0 requires `rand ^0.8`
    so no version of `rand` meets both `^0.8` and `^0.9`
    hint: `rand` 0.8.5 instead of `^0.9` fits all the rest
    ");
    assert_eq!(universe(FOREIGN).expect("reads").versions(), 5);
}

#[test]
fn several_majors_stand_side_by_side_where_they_may() {
    let line = |name: &str, version: &str, on: &str, req: &str| {
        let on = if on.is_empty() { String::new() } else { format!(r#"{{"name":"{on}","req":"{req}"}}"#) };
        format!("{{\"name\":\"{name}\",\"version\":\"{version}\",\"dependencies\":[{on}]}}\n")
    };
    let index = line("a", "1.0.0", "c", "^1")
        + &line("b", "1.0.0", "c", ">=1")
        + &line("b", "2.0.0", "b", "^1")
        + &(line("c", "1.2.0", "", "")
            + &line("c", "2.0.0", "gone", "*")
            + &line("c", "0.0.1", "", "")
            + &line("c", "0.0.2", "", ""));
    let both = r#"[{"name":"a"},{"name":"b","req":"^2"},{"name":"c","req":"^0.0.1"},{"name":"c","req":"^0.0.2"}]"#;
    assert_eq!(
        resolved(&index, both, Mode::Majors).expect("resolves"),
        "a 1.0.0, b 1.0.0, b 2.0.0, c 0.0.1, c 0.0.2, c 1.2.0",
        "a requirement that two majors meet goes to the one that can be used"
    );
    assert!(resolved(&index, both, Mode::Single).is_err());
    assert!(resolved(&index, r#"[{"name":"c","req":"=1.2.0"},{"name":"c","req":"^1.3"}]"#, Mode::Majors).is_err());
    let circle = line("x", "1.0.0", "y", "*") + &line("y", "1.0.0", "x", "*") + &line("z", "1.0.0", "z", "*");
    let roots = r#"[{"name":"x"},{"name":"z"}]"#;
    assert_eq!(resolved(&circle, roots, Mode::Single).expect("resolves"), "x 1.0.0, y 1.0.0, z 1.0.0");
}

#[test]
fn faults_name_their_line() {
    let refusal = |text: &str| universe(text).expect_err("is refused").to_string();
    insta::assert_snapshot!(refusal("\n{\"name\":\"a\",\"version\":\"1.0.0\"}\n{\"name\":\"a\"}"), @"line 3: column 12: missing field `version`");
    insta::assert_snapshot!(refusal("{\"name\":\"a\",\"version\":\"1\"}"), @"line 1: version `1`: unexpected end of input while parsing major version number");
    insta::assert_snapshot!(refusal("{\"name\":\"a b\",\"version\":\"1.0.0\"}"), @"line 1: name `a b` holds ' '");
    insta::assert_snapshot!(refusal("{\"name\":\"a\",\"version\":\"1.0.0\",\"dependencies\":[{\"name\":\"b\",\"req\":\"new\"}]}"), @"line 1: dependency `b`: req `new`: unexpected character 'n' while parsing major version number");
    insta::assert_snapshot!(refusal("{\"name\":\"a\",\"version\":\"1.0.0\"}\n\n{\"name\":\"a\",\"version\":\"1.0.0\"}"), @"line 3: `a` 1.0.0 is there twice, first in line 1");
    insta::assert_snapshot!(refusal("{\"name\":\"a\",\"version\":\"1.0.0\",\"published_at\":\"today\"}"), @"line 1: published_at `today` is not a time of RFC 3339");
    insta::assert_snapshot!(refusal("{\"name\":\"a\",\"version\":\"1.0.0\"} x"), @"line 1: column 32: trailing characters");
    let refusal = |text: &str| requirements(text).expect_err("is refused").to_string();
    insta::assert_snapshot!(refusal("{}"), @"requirements: invalid type: map, expected a sequence at line 1 column 0");
    insta::assert_snapshot!(refusal(r#"[{"name":"a"},{"name":"b","req":"y"}]"#), @"requirements: number 2: req `y`: unexpected character 'y' while parsing major version number");
    insta::assert_snapshot!(refusal(r#"[{"req":"x"}]"#), @"requirements: missing field `name` at line 1 column 12");
}

#[test]
fn lines_names_and_counts_are_bounded() {
    let line = |length: usize| format!("{{\"name\":\"a\",\"version\":\"1.0.0\"}}{}", " ".repeat(length));
    let short = line(0).len();
    assert!(universe(&line(LINE_BYTES_MAX - short)).is_ok());
    assert!(
        universe(&line(LINE_BYTES_MAX - short + 1))
            .expect_err("is refused")
            .to_string()
            .starts_with("line 1: it is longer")
    );
    let named = |length: usize| universe(&format!("{{\"name\":\"{}\",\"version\":\"1.0.0\"}}", "a".repeat(length)));
    assert!(named(NAME_BYTES_MAX).is_ok() && named(NAME_BYTES_MAX + 1).is_err() && named(0).is_err());
    let text = "{\"name\":\"a\",\"version\":\"1.0.0\",\"dependencies\":[{\"name\":\"b\"},{\"name\":\"c\"}]}\n\n";
    let within = |lines, dependencies| Universe::read_within(text.as_bytes(), &Bounds { lines, dependencies });
    assert!(within(2, 2).is_ok());
    assert_eq!(within(1, 2).expect_err("is refused").to_string(), "line 2: there are more than 1 lines");
    assert_eq!(within(2, 1).expect_err("is refused").to_string(), "line 1: there are more than 1 dependencies");
    assert!(requirements(&" ".repeat(REQUIREMENTS_BYTES_MAX + 1)).is_err());
}
