//! Templates on the command line: what a word means.

use super::*;

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
