//! Credentials, injection, path traversal, dynamic code, and marks of harm.

use std::collections::HashSet;

use crate::package::kind::Language;
use crate::package::model::Package;
use crate::package::read::PackageFile;

use super::lexer::{Kind, Token};
use super::{Analyser, Class, Findings, Level, Rule, Source, text_of};

const CREDENTIALS: Rule = Rule::new(
    Analyser::Security,
    "HARD_CODED_CREDENTIALS",
    Level::High,
    "pass secrets in as arguments or through the host, and renew this one",
);
const PRIVATE_KEY: Rule = Rule::new(
    Analyser::Security,
    "PRIVATE_KEY",
    Level::Critical,
    "remove the key from the package and renew it: it is no longer secret",
);
const TRAVERSAL: Rule = Rule::new(
    Analyser::Security,
    "PATH_TRAVERSAL",
    Level::Medium,
    "name files from the package's own directory, without `..`",
);
const COMMAND: Rule = Rule::new(
    Analyser::Security,
    "COMMAND_INJECTION",
    Level::Critical,
    "use what Catalog offers instead of programs of the system",
)
.class(Class::Injection);
const SQL: Rule =
    Rule::new(Analyser::Security, "SQL_INJECTION", Level::High, "use a prepared statement with parameters")
        .class(Class::Injection);
const LUA_DYNAMIC: Rule =
    Rule::new(Analyser::Security, "LUA001", Level::High, "avoid code made at run time; call a function instead")
        .class(Class::Injection);
const LUA_LIBRARY: Rule = Rule::new(
    Analyser::Security,
    "LUA002",
    Level::Medium,
    "the sandbox has no `os`, `io` and `debug`; use arguments and results",
);
const LUA_GLOBAL: Rule = Rule::new(Analyser::Security, "AVOID_GLOBAL", Level::Low, "declare it `local`");
const JULIA_UNSAFE: Rule =
    Rule::new(Analyser::Security, "JL001", Level::High, "call a package that wraps the foreign code safely");
const JULIA_DYNAMIC: Rule =
    Rule::new(Analyser::Security, "JL002", Level::High, "avoid code made at run time; call a function instead")
        .class(Class::Injection);
const JULIA_COMMAND: Rule =
    Rule::new(Analyser::Security, "JL003", Level::High, "use what Catalog offers instead of programs of the system")
        .class(Class::Injection);
const MALWARE: Rule =
    Rule::new(Analyser::Security, "MALWARE_MARK", Level::Critical, "remove it; nothing harmless needs this")
        .class(Class::Malware);

/// Texts that stand in attacks and hardly anywhere else.
const MARKS: [&str; 6] = ["/dev/tcp/", ":(){", "stratum+tcp://", "xmrig", "base64 -d | sh", "nc -e /bin"];
/// Words in the names of variables that hold secrets.
const SECRETS: [&str; 9] =
    ["password", "passwd", "secret", "api_key", "apikey", "access_key", "private_key", "auth_token", "access_token"];
/// The most names one declaration is followed for: Lua 5.4 itself allows 200 locals in a function.
const NAMES_MAX: usize = 200;
/// The shortest text that could be a secret, in bytes.
const SECRET_BYTES_MIN: usize = 6;

pub(super) fn analyse(package: &Package, files: &[PackageFile], sources: &[Source<'_>], findings: &mut Findings) {
    for (name, value) in &package.environment {
        if is_secret_name(name) && is_secret(value) {
            findings.add(&CREDENTIALS, None, 0, format!("the variable `{name}` holds a secret"));
        }
    }
    for file in files {
        raw(file, findings);
    }
    for source in sources {
        for at in 0..source.tokens.len() {
            both(source, at, findings);
            match source.language {
                Language::Lua => lua(source, at, findings),
                Language::Julia => julia(source, at, findings),
            }
        }
        if source.language == Language::Lua {
            globals(source, findings);
        }
    }
}

/// What is wrong in any text.
fn raw(file: &PackageFile, findings: &mut Findings) {
    let Some(text) = text_of(file) else { return };
    for (line, content) in (1..).zip(text.lines()) {
        if content.contains("-----BEGIN") && content.contains("PRIVATE KEY-----") {
            findings.add(&PRIVATE_KEY, Some(&file.path), line, "a private key");
        }
        if let Some(mark) = MARKS.iter().find(|mark| content.contains(**mark)) {
            findings.add(&MALWARE, Some(&file.path), line, format!("`{mark}` is a mark of an attack"));
        }
    }
}

fn both(source: &Source<'_>, at: usize, findings: &mut Findings) {
    let tokens = &source.tokens[at..];
    let token = tokens[0];
    let mut add = |rule: &Rule, message: String| findings.add(rule, Some(source.path), token.line, message);
    if token.kind == Kind::Text {
        if token.text.contains("../") || token.text.contains("..\\") {
            add(&TRAVERSAL, "a path leaves its directory".into());
        }
        let joined = tokens.get(1).is_some_and(|next| next.is_sign("..") || next.is_sign("*"));
        let interpolated = source.language == Language::Julia && token.text.contains('$');
        if is_statement(token.text) && (joined || interpolated) {
            add(&SQL, "a statement is put together from pieces".into());
        }
    }
    if let [name, sign, value, ..] = tokens
        && matches!(name.kind, Kind::Word | Kind::Text)
        && ["=", "=>", ":"].contains(&sign.text)
        && value.kind == Kind::Text
        && is_secret_name(name.text)
        && is_secret(value.text)
    {
        add(&CREDENTIALS, format!("`{}` holds a secret", name.text.chars().take(40).collect::<String>()));
    }
}

fn lua(source: &Source<'_>, at: usize, findings: &mut Findings) {
    let token = source.tokens[at];
    if token.kind != Kind::Word || is_member(&source.tokens, at) {
        return;
    }
    let mut add = |rule: &Rule, message: String| findings.add(rule, Some(source.path), token.line, message);
    match (token.text, &source.tokens[at + 1..]) {
        ("load" | "loadstring" | "dofile" | "loadfile", [next, ..]) if next.is_sign("(") || next.kind == Kind::Text => {
            add(&LUA_DYNAMIC, format!("`{}` makes code at run time", token.text));
        }
        ("os", [dot, name, ..]) if dot.is_sign(".") && name.is_word("execute") => {
            add(&COMMAND, "`os.execute` starts a program".into());
        }
        ("io", [dot, name, ..]) if dot.is_sign(".") && name.is_word("popen") => {
            add(&COMMAND, "`io.popen` starts a program".into());
        }
        ("os" | "io" | "debug", [dot, name, ..]) if dot.is_sign(".") => {
            add(&LUA_LIBRARY, format!("`{}.{}` reaches outside the sandbox", token.text, name.text));
        }
        _ => {}
    }
}

fn julia(source: &Source<'_>, at: usize, findings: &mut Findings) {
    let token = source.tokens[at];
    let mut add = |rule: &Rule, message: String| findings.add(rule, Some(source.path), token.line, message);
    if token.kind == Kind::Command {
        if token.text.contains('$') {
            add(&COMMAND, "a command is put together from values".into());
        } else {
            add(&JULIA_COMMAND, "a command of the system".into());
        }
        return;
    }
    if token.kind != Kind::Word {
        return;
    }
    let is_call = source.tokens.get(at + 1).is_some_and(|next| next.is_sign("("));
    let of_meta = at >= 2 && source.tokens[at - 1].is_sign(".") && source.tokens[at - 2].is_word("Meta");
    match token.text {
        "ccall" | "@ccall" | "cglobal" | "llvmcall" => {
            add(&JULIA_UNSAFE, format!("`{}` calls foreign code", token.text));
        }
        name if name.starts_with("unsafe_") && is_call => add(&JULIA_UNSAFE, format!("`{name}` skips checks")),
        "@eval" => add(&JULIA_DYNAMIC, "`@eval` makes code at run time".into()),
        "eval" | "include_string" if is_call => add(&JULIA_DYNAMIC, format!("`{}` makes code at run time", token.text)),
        "parse" if is_call && of_meta => add(&JULIA_DYNAMIC, "`Meta.parse` makes code at run time".into()),
        _ => {}
    }
}

/// Finds names that a Lua file sets without declaring them.
fn globals(source: &Source<'_>, findings: &mut Findings) {
    let tokens = &source.tokens;
    let declared = declared(tokens);
    let mut braces = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "{" if token.kind == Kind::Sign => braces += 1,
            "}" if token.kind == Kind::Sign => braces = braces.saturating_sub(1),
            _ => {}
        }
        let is_set =
            tokens.get(at + 1).is_some_and(|next| next.is_sign("=")) && token.kind == Kind::Word && braces == 0;
        let is_function = at > 0 && tokens[at - 1].is_word("function") && !(at > 1 && tokens[at - 2].is_word("local"));
        let named = tokens.get(at + 1).is_some_and(|next| next.is_sign("(")) && token.kind == Kind::Word && is_function;
        if (is_set && !is_member(tokens, at) || named) && !declared.contains(token.text) {
            findings.add(&LUA_GLOBAL, Some(source.path), token.line, format!("`{}` is set for everyone", token.text));
        }
    }
}

/// Gives the names a Lua file declares anywhere: after `local` and `for`, and as parameters.
fn declared<'a>(tokens: &[Token<'a>]) -> HashSet<&'a str> {
    let mut names = HashSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let rest = &tokens[at + 1..];
        let list = match token.text {
            "local" if rest.first().is_some_and(|next| next.is_word("function")) => &rest[1..],
            "local" | "for" => rest,
            "function" => {
                let open = rest.iter().take(8).position(|token| token.is_sign("("));
                open.map_or(&rest[..0], |open| &rest[open + 1..])
            }
            _ => continue,
        };
        for pair in list.chunks(2).take(NAMES_MAX) {
            if pair[0].kind != Kind::Word {
                break;
            }
            names.insert(pair[0].text);
            if !pair.get(1).is_some_and(|next| next.is_sign(",")) {
                break;
            }
        }
    }
    names
}

/// Gives whether a token is a field or method of something.
fn is_member(tokens: &[Token<'_>], at: usize) -> bool {
    at > 0 && (tokens[at - 1].is_sign(".") || tokens[at - 1].is_sign(":"))
}

fn is_statement(text: &str) -> bool {
    let text = text.trim_start().to_ascii_lowercase();
    [("select ", " from"), ("insert ", "into "), ("update ", " set "), ("delete ", "from ")]
        .iter()
        .any(|(verb, more)| text.starts_with(verb) && text.contains(more))
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.contains(secret))
}

/// Gives whether a text could be a secret and not a placeholder.
fn is_secret(text: &str) -> bool {
    let is_placeholder = text.starts_with(['$', '<', '{', '%']) || text.contains("...") || text.contains("xxx");
    text.len() >= SECRET_BYTES_MIN && !is_placeholder && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{analyse_main, codes};
    use super::*;

    fn lua_codes(text: &str) -> Vec<(&'static str, u32)> {
        codes(Analyser::Security, "a.lua", text)
    }

    #[test]
    fn every_lua_rule_finds_its_sample() {
        assert_eq!(lua_codes("\nlocal password = 'hunter2hunter'"), [("HARD_CODED_CREDENTIALS", 2)]);
        assert_eq!(lua_codes("local t = { ['api_key'] = 1, api_key = 'abcdef123' }"), [("HARD_CODED_CREDENTIALS", 1)]);
        assert_eq!(lua_codes("local f = '../../etc/passwd'"), [("PATH_TRAVERSAL", 1)]);
        assert_eq!(lua_codes("io.popen('ls')"), [("COMMAND_INJECTION", 1)]);
        assert_eq!(lua_codes("local f = load(x)"), [("LUA001", 1)]);
        assert_eq!(lua_codes("local t = os.time()"), [("LUA002", 1)]);
        assert_eq!(lua_codes("local q = 'SELECT * FROM t WHERE a=' .. a"), [("SQL_INJECTION", 1)]);
        assert_eq!(lua_codes("count = 1\nfunction f() end"), [("AVOID_GLOBAL", 1)]);
        assert_eq!(lua_codes("local u = 'stratum+tcp://pool'"), [("MALWARE_MARK", 1)]);
        assert_eq!(lua_codes("-- -----BEGIN RSA PRIVATE KEY-----"), [("PRIVATE_KEY", 1)]);
    }

    #[test]
    fn harmless_lua_that_looks_alike_is_left_alone() {
        let text = "-- os.execute('x'); password = 'hunter2hunter'
local password, count = nil, 0
password = read_secret()
count = count + 1
local help = 'call os.execute with care, select one from many'
local data = { load = 1, os = 2 }
data.load = data.os
for index, value in ipairs(data) do value = index end
function data.run(io) io = 1 end
local function inner(debug_level) debug_level = 2 end
local secret_hint = '<your secret>'
return data:load(password == 'x')
";
        assert_eq!(lua_codes(text), []);
    }

    #[test]
    fn every_julia_rule_finds_its_sample_and_no_more() {
        let julia = |text: &str| codes(Analyser::Security, "a.jl", text);
        assert_eq!(julia("ccall(:f, Cint, ())"), [("JL001", 1)]);
        assert_eq!(julia("unsafe_load(p)"), [("JL001", 1)]);
        assert_eq!(julia("eval(Meta.parse(s))"), [("JL002", 1)]);
        assert_eq!(julia("@eval x = 1"), [("JL002", 1)]);
        assert_eq!(julia("run(`ls`)"), [("JL003", 1)]);
        assert_eq!(julia("run(`ls $dir`)"), [("COMMAND_INJECTION", 1)]);
        assert_eq!(julia("q = \"SELECT a FROM t WHERE b=$b\""), [("SQL_INJECTION", 1)]);
        assert_eq!(julia("# eval(x)\nx = parse(Int, \"1\")\nevaluate(x)\ny = x'\n"), []);
    }

    #[test]
    fn secrets_in_the_environment_are_found() {
        let found = |value: &str| {
            let analysis = analyse_main("a.lua", "return 1", &format!("  environment: {{DB_PASSWORD: {value}}}\n"));
            analysis.findings.iter().any(|finding| finding.code == "HARD_CODED_CREDENTIALS" && finding.file.is_none())
        };
        assert!(found("hunter2hunter") && !found("'${DB_PASSWORD}'"));
    }
}
