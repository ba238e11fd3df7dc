//! What is refused, how it is told, and the packages that bring it about.

use super::{ENDLESS, GOOD, Node};

/// A command that is refused: words; exit code; the name or code of the error; file, line and field of its fault, if it
/// has one; what its text says and advises.
#[derive(Clone, Copy)]
pub(super) struct Refused {
    pub(super) words: &'static [&'static str],
    pub(super) code: i32,
    pub(super) name: &'static str,
    pub(super) place: Option<(&'static str, Option<u64>, Option<&'static str>)>,
    pub(super) says: &'static [&'static str],
}

const fn refused(
    words: &'static [&'static str],
    code: i32,
    name: &'static str,
    says: &'static [&'static str],
) -> Refused {
    Refused { words, code, name, place: None, says }
}

const fn at(refused: Refused, file: &'static str, line: Option<u64>, field: Option<&'static str>) -> Refused {
    Refused { place: Some((file, line, field)), ..refused }
}

pub(super) const REFUSED: &[Refused] = &[
    at(
        refused(
            &["catalog", "validate", "unknown"],
            1,
            "INVALID_PACKAGE",
            &["UNKNOWN_FIELD", "`spec.colour`", "the fields here are"],
        ),
        "unknown/package.yaml",
        Some(7),
        Some("spec.colour"),
    ),
    at(
        refused(
            &["catalog", "validate", "wrong-type"],
            1,
            "INVALID_PACKAGE",
            &["WRONG_TYPE", "expected a whole number", "`many`"],
        ),
        "wrong-type/package.yaml",
        Some(7),
        Some("spec.resources.cpu_cores"),
    ),
    at(
        refused(&["catalog", "publish", "bad-unit"], 1, "INVALID_PACKAGE", &["INVALID_UNIT", "`12 bananas`", "512Mi"]),
        "bad-unit/package.yaml",
        Some(7),
        Some("spec.resources.memory_limit"),
    ),
    at(
        refused(
            &["catalog", "validate", "missing"],
            1,
            "INVALID_PACKAGE",
            &["MAIN_FILE_NOT_FOUND", "`main.lua`", "create it"],
        ),
        "missing/package.yaml",
        Some(6),
        Some("spec.content.main"),
    ),
    at(
        refused(
            &["catalog", "validate", "syntax"],
            1,
            "INVALID_PACKAGE",
            &["SYNTAX_ERROR", "unexpected symbol near '='", "correct it"],
        ),
        "syntax/main.lua",
        Some(2),
        None,
    ),
    at(
        refused(&["catalog", "publish", "syntax"], 1, "INVALID_PACKAGE", &["SYNTAX_ERROR", "syntax/main.lua:2"]),
        "syntax/main.lua",
        Some(2),
        None,
    ),
    at(
        refused(
            &["catalog", "run", "./line-7"],
            1,
            "RUNTIME_ERROR",
            &["attempt to index a nil value", "line-7/main.lua:7"],
        ),
        "line-7/main.lua",
        Some(7),
        None,
    ),
    at(
        refused(
            &["catalog", "publish", "evil"],
            5,
            "CRITICAL_FINDINGS",
            &["`evil` 1.0.0 has a critical finding", "COMMAND_INJECTION"],
        ),
        "evil/main.lua",
        Some(1),
        None,
    ),
    refused(&["catalog", "publish", "good"], 1, "DUPLICATE_VERSION", &["`good` 1.0.0", "nothing to publish"]),
    refused(
        &["catalog", "publish", "other/good"],
        1,
        "DUPLICATE_VERSION",
        &["`good` 1.0.0", "raise `metadata.version`"],
    ),
    refused(
        &["catalog", "publish", "cycle-a", "cycle-b"],
        1,
        "DEPENDENCY_CYCLE",
        &["cycle-a -> cycle-b -> cycle-a", "take one"],
    ),
    refused(
        &["catalog", "publish", "greedy"],
        1,
        "UNSATISFIABLE",
        &["`greedy` 1.0.0 requires `good ^2`", "nearest version of `good` is 1.0.0", "spec.dependencies"],
    ),
    refused(
        &["catalog", "install", "goood"],
        1,
        "PACKAGE_NOT_FOUND",
        &["`goood` is not published", "did you mean `good`?"],
    ),
    refused(&["catalog", "install", "Good"], 1, "INVALID_ARGUMENT", &["`Good`", "lower-case"]),
    refused(
        &["catalog", "info", "good@9.0.0"],
        1,
        "VERSION_NOT_FOUND",
        &["`good` has no version 9.0.0", "the latest version is 1.0.0"],
    ),
    refused(
        &["catalog", "run", "goood"],
        1,
        "PACKAGE_NOT_INSTALLED",
        &["`goood` is not installed", "did you mean `good`?"],
    ),
    refused(&["catalog", "run", "good@2.0.0"], 1, "PACKAGE_NOT_INSTALLED", &["installed as 1.0.0", "`2.0.0`"]),
    refused(&["catalog", "run", "./nowhere"], 1, "DIRECTORY_NOT_FOUND", &["nowhere`", "give the directory"]),
    refused(&["catalog", "run", "lib"], 1, "NOT_RUNNABLE", &["`lib` cannot run: it is a lua-library", "depends on it"]),
    refused(&["catalog", "run", "./good", "-f", "nope"], 1, "RUNTIME_ERROR", &["NO_FUNCTION", "no function `nope`"]),
    refused(&["catalog", "remove", "lib"], 1, "PACKAGE_NEEDED", &["`lib` is needed by `user`", "remove those first"]),
    refused(
        &["catalog", "run", "./consensus"],
        5,
        "CONSENSUS_REQUIRED",
        &["`consensus`", "spec.security.consensus_required", "`5`", "ask for fewer validators"],
    ),
    refused(
        &["catalog", "run", "./paranoid"],
        5,
        "SANDBOX_UNFIT",
        &["`paranoid`", "hardware isolation", "spec.security.sandbox_level"],
    ),
    refused(
        &["catalog", "run", "./online"],
        5,
        "SANDBOX_UNFIT",
        &["`online`", "the network", "spec.security.network_access"],
    ),
    refused(&["catalog", "run", "./reader"], 5, "SANDBOX_UNFIT", &["`reader`", "files", "spec.security.file_access"]),
    refused(
        &["catalog", "run", "./slow"],
        5,
        "TIMEOUT",
        &["`slow`: time limit of 200ms", "spec.resources.execution_timeout"],
    ),
    refused(
        &["catalog", "run", "./hungry"],
        5,
        "MEMORY_LIMIT",
        &["`hungry`: memory limit", "spec.resources.memory_limit", "16.0 MiB"],
    ),
    refused(
        &["catalog", "run", "./flood"],
        5,
        "OUTPUT_LIMIT",
        &["`flood`: output limit of 1048576 bytes", "print less"],
    ),
    refused(
        &["catalog", "run", "./huge"],
        5,
        "RESOURCE_LIMIT_EXCEEDED",
        &["`huge`", "asked 64 GiB of memory", "may hold 2 GiB", "spec.resources"],
    ),
    refused(
        &["catalog", "run", "./wide"],
        5,
        "RESOURCE_LIMIT_EXCEEDED",
        &["`wide`", "asked 4096 cores", "spec.resources"],
    ),
    refused(&["catalog", "wlak"], 2, "USAGE", &["unrecognized subcommand 'wlak'"]),
    refused(&["catalog", "isntall"], 2, "USAGE", &["'install'"]),
    refused(&["catalog", "run"], 2, "USAGE", &["<PKG>"]),
    refused(&["catalog", "search", "--type", "foo"], 2, "USAGE", &["lua-script"]),
    refused(&["catalog", "run", "good", "--timeout-ms", "-5"], 2, "USAGE", &["-5 is not in 0.."]),
    refused(&["sttaus"], 2, "UNKNOWN_COMMAND", &["`sttaus`", "did you mean `status`?"]),
    refused(&["wlak"], 2, "UNKNOWN_COMMAND", &["`wlak`", "extensions here: catalog"]),
    refused(&["up"], 1, "ALREADY_EXISTS", &["runs on", "host-sim down"]),
    refused(&["catalog", "pack", "good", "-o", "/nonexistent/x"], 3, "IO", &["/nonexistent/x", "No such file"]),
    refused(&["upgrade", "nowhere"], 1, "INVALID_ARGUMENT", &["nowhere", "No such file"]),
    refused(&["state", "import", "catalog", "good/main.lua"], 3, "CORRUPT", &["cannot import `good/main.lua`"]),
    refused(&["pause", "nope"], 1, "EXTENSION_NOT_FOUND", &["`nope`", "loaded are: catalog"]),
];

pub(super) fn write_packages(node: &Node) {
    let spec = |name: &str, rest: &str, main: &str| node.package(name, "lua-script", rest, main);
    spec("good", "", GOOD);
    node.package("other/good", "lua-script", "", "return function() return 2 end\n");
    let renamed = node.path().join("other/good/package.yaml");
    let text = std::fs::read_to_string(&renamed).expect("text").replace("other/good", "good");
    std::fs::write(renamed, text).expect("written");
    spec("unknown", "  colour: red\n", GOOD);
    spec("wrong-type", "  resources: {cpu_cores: many}\n", GOOD);
    spec("bad-unit", "  resources: {memory_limit: 12 bananas}\n", GOOD);
    spec("missing", "", GOOD);
    std::fs::remove_file(node.path().join("missing/main.lua")).expect("removed");
    spec("syntax", "", "local x = 1\nlocal y = = 2\nreturn x\n");
    spec(
        "line-7",
        "",
        "local a\n\n\n\nlocal function f(t)\n  -- the fault:\n  return t.x.y\nend\nreturn function() local r = f({}) return r end\n",
    );
    spec("evil", "", "return function() os.execute('ls') end\n");
    spec("cycle-a", "  dependencies: [{name: cycle-b, version: ^1}]\n", GOOD);
    spec("cycle-b", "  dependencies: [{name: cycle-a, version: ^1}]\n", GOOD);
    spec("greedy", "  dependencies: [{name: good, version: ^2}]\n", GOOD);
    node.package("lib", "lua-library", "", "return {}\n");
    spec("user", "  dependencies: [{name: lib, version: ^1}]\n", "require('lib')\nreturn function() return 1 end\n");
    let five = "  security: {consensus_required: true}\n  execution: {minimum_consensus: 5}\n";
    spec("consensus", five, GOOD);
    spec("paranoid", "  security: {sandbox_level: paranoid}\n", GOOD);
    spec("online", "  security: {network_access: {enabled: true}}\n", GOOD);
    spec("reader", "  security: {file_access: {level: read_only}}\n", GOOD);
    spec("slow", "  resources: {execution_timeout: 200ms}\n", ENDLESS);
    spec("patient", "  resources: {execution_timeout: 60s}\n", ENDLESS);
    spec(
        "hungry",
        "  resources: {memory_limit: 16Mi}\n",
        "return function() local t = {} for i = 1, 1e9 do t[i] = {i} end end\n",
    );
    spec("flood", "", "return function() while true do print(('x'):rep(4096)) end end\n");
    spec("huge", "  resources: {memory_limit: 64Gi}\n", GOOD);
    spec("wide", "  resources: {cpu_limit: 4096000m}\n", GOOD);
    spec("gpu", "  resources: {gpu_required: true}\n", GOOD);
}
