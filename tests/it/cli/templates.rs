//! Templates on the command line: the guide for their authors, word by word.

use super::*;

/// Gives the files of a guide, each a quoted path and the block behind it, and its commands.
fn guide(text: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (mut files, mut commands) = (Vec::new(), Vec::new());
    let mut parts = text.split("\n```");
    let mut before = parts.next().unwrap_or_default();
    while let (Some(block), after) = (parts.next(), parts.next().unwrap_or_default()) {
        let (language, body) = block.split_once('\n').expect("a block has lines");
        let named = before.trim_end().rsplit('\n').next().and_then(|line| line.strip_prefix('`')?.strip_suffix("`:"));
        match (language, named) {
            ("console", _) => {
                commands.extend(body.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned));
            }
            (_, Some(path)) => files.push((path.to_owned(), format!("{body}\n"))),
            _ => {}
        }
        before = after;
    }
    (files, commands)
}

#[test]
fn the_commands_of_the_guide_work() {
    let node = Node::up();
    let text = std::fs::read_to_string(programs::workspace().join("docs/templates.md")).expect("is there");
    let (files, commands) = guide(&text);
    assert_eq!((files.len(), commands.len()), (6, 9));
    for (path, content) in files {
        let path = node.path().join(path);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    for command in &commands {
        let answer = node.text(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(answer.code, 0, "{command}: {}{}", answer.stdout, answer.stderr);
        if command == "catalog run ./hello" {
            assert_eq!(
                answer.stdout.lines().take(3).collect::<Vec<_>>()[..2],
                ["Hello, Ada!", "Hello, Grace!"],
                "{}",
                answer.stdout
            );
        }
    }
    assert!(node.path().join("again/notes.md").exists() && !node.path().join("hello/notes.md").exists());
}

#[test]
fn a_directory_is_found_by_its_name_unless_something_else_has_it() {
    let node = Node::up();
    node.good(&["catalog", "new", "lua-script", "words"]);
    assert_eq!(node.good(&["catalog", "run", "words"])["value"]["words"], 14);
    node.package("other", "lua-script", "", GOOD);
    node.good(&["catalog", "publish", "other"]);
    node.good(&["catalog", "install", "other"]);
    std::fs::write(node.path().join("other/main.lua"), "return function() return 2 end\n").expect("written");
    assert_eq!(node.good(&["catalog", "run", "other"])["value"], 1, "what is installed goes first");
    assert_eq!(node.good(&["catalog", "run", "./other"])["value"], 2);
    let (code, json) = node.json(&["catalog", "run", "nowhere"]);
    assert_eq!((code, &json["error"]["name"]), (1, &json!("PACKAGE_NOT_INSTALLED")));
}
