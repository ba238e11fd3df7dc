//! The Lua engine without its process: what programs see, how they fail, which values have a form.

use std::collections::BTreeMap;

use super::*;
use crate::vm::program::{Language, Module};
use crate::vm::protocol::VALUE_DEPTH_MAX;

const MEMORY_BYTES: u64 = 64 << 20;

fn program(modules: &[(&str, &str)]) -> Program {
    let modules = modules.iter().map(|(name, source)| {
        let file = format!("{}.lua", name.replace('.', "/"));
        (name.to_string(), Module { file, source: (*source).into() })
    });
    Program::new(Language::Lua, "app", modules.collect()).expect("has a module `app`")
}

fn call(modules: &[(&str, &str)], args: &[Value]) -> Result<Value, ScriptError> {
    let mut engine = Engine::new(MEMORY_BYTES);
    engine.load(&program(modules), &Context::default())?;
    engine.call(MAIN, args)
}

fn eval(expression: &str) -> Result<Value, ScriptError> {
    call(&[("app", &format!("return function() return {expression} end"))], &[])
}

fn text(value: &str) -> Value {
    Value::Str(value.into())
}

/// Gives the error of an expression; not of a tail call, which takes the place of the line it stands on.
fn refusal(expression: &str) -> String {
    let source = format!("return function() local value = {expression} return value end");
    call(&[("app", &source)], &[]).expect_err(expression).to_string()
}

#[test]
fn what_reaches_outside_is_absent() {
    for name in [
        "io",
        "os",
        "debug",
        "package",
        "dofile",
        "loadfile",
        "collectgarbage",
        "string.dump",
        "loadstring",
        "setfenv",
        "module",
        "jit",
        "ffi",
    ] {
        assert_eq!(eval(&format!("type({name})")), Ok(text("nil")), "{name}");
    }
    for name in ["string.format", "table.sort", "math.floor", "coroutine.wrap", "utf8.char", "load", "require", "pcall"]
    {
        assert_eq!(eval(&format!("type({name})")), Ok(text("function")), "{name}");
    }
    let names = "(function() local t = {} for k in pairs(_G) do t[#t + 1] = k end table.sort(t)
        for k in pairs(string) do t[#t + 1] = k end table.sort(t) return table.concat(t, ' ') end)()";
    let expected = "_G _VERSION assert byte char coroutine env error find format getmetatable gmatch gsub ipairs len load \
        lower match math next pack packsize pairs pcall print rawequal rawget rawlen rawset rep require reverse select \
        setmetatable storage string sub table tonumber tostring type unpack upper utf8 warn xpcall";
    assert_eq!(eval(names), Ok(text(expected)), "a new name must be looked at before it is let in");
}

#[test]
fn only_text_is_loaded() {
    let bytecode = "'\\27Lua\\x54\\0\\x19\\x93\\r\\n\\x1a\\n'";
    let message = text("attempt to load a binary chunk (mode is 't')");
    for mode in ["nil", "'t'", "'bt'"] {
        let got = eval(&format!("load({bytecode}, 'x', {mode})")).expect("gives nil and a message");
        assert_eq!(got, Value::List(vec![Value::Nil, message.clone()]), "{mode}");
    }
    assert_eq!(
        eval(&format!("load({bytecode}, 'x', 'b')")),
        Ok(Value::List(vec![Value::Nil, text("binary chunks are not available")]))
    );
    assert_eq!(eval("load('return x + 1', 'n', 't', {x = 1})()"), Ok(Value::Int(2)));
    assert_eq!(
        eval("load(coroutine.wrap(function() coroutine.yield('return ') coroutine.yield('7') end))()"),
        Ok(Value::Int(7))
    );
    let module = program(&[("app", "\u{1b}Lua")]);
    assert!(check(&module).is_err());
}

#[test]
fn libraries_cannot_be_turned() {
    assert_eq!(eval("getmetatable('')"), Ok(text("strings")));
    assert_eq!(refusal("setmetatable({}, {__gc = print})"), "app.lua:1: `__gc` is not available");
    assert_eq!(eval("#string.rep('ab', 3, '-')"), Ok(Value::Int(8)));
    assert_eq!(eval(&format!("#('a'):rep({})", REP_BYTES_MAX / 4)), Ok(Value::Int(16 << 20)));
    for too_long in [REP_BYTES_MAX + 1, 1 << 62, 1 << 63] {
        assert_eq!(refusal(&format!("('a'):rep({too_long}.0)")), "app.lua:1: resulting string too large");
    }
    let assigned = "(function() error, pcall, type, tostring = nil require = nil string.rep = nil setmetatable({}, {}) return 'ok' end)()";
    assert_eq!(eval(assigned), Ok(text("ok")));
}

#[test]
fn misuse_of_a_library_is_reported_where_it_happens() {
    for (misuse, message) in [
        ("string.rep()", "app.lua:1: bad argument #1 to 'rep' (string expected, got nil)"),
        ("setmetatable(1, {})", "app.lua:1: bad argument #1 to 'setmetatable' (table expected, got number)"),
        ("require(1)", "app.lua:1: bad argument #1 to 'require' (string expected, got number)"),
        ("warn(1)", "app.lua:1: bad argument #1 to 'warn' (string expected, got number)"),
        ("setmetatable(setmetatable({}, {__metatable = 1}), {})", "app.lua:1: cannot change a protected metatable"),
    ] {
        assert_eq!(refusal(misuse), message);
    }
}

#[test]
fn modules_require_each_other_once() {
    let app =
        "local a, b = require('lib.a'), require('lib') return function() return a.n, b.a == a, require('lib.none') end";
    let lib = ("lib", "return { a = require('lib.a') }");
    let a = ("lib.a", "count = (count or 0) + 1 return { n = count, name = ... }");
    let none = ("lib.none", "local x = 1");
    let got = call(&[("app", app), lib, a, none], &[]).expect("runs");
    assert_eq!(got, Value::List(vec![Value::Int(1), Value::Bool(true), Value::Bool(true)]));
}

#[test]
fn foreign_and_cyclic_modules_are_refused() {
    let foreign = call(&[("app", "\nrequire('socket')"), ("lib", "")], &[]).expect_err("is not there");
    assert_eq!(foreign.to_string(), "app.lua:2: module `socket` is not part of this program, which has [app, lib]");
    let cycle = [("app", "require('a')"), ("a", "require('b')"), ("b", "\nlocal a = require('a')")];
    let error = call(&cycle, &[]).expect_err("is a cycle");
    assert_eq!(error.to_string(), "b.lua:2: modules require each other: a -> b -> a");
    let caught = [
        ("app", "pcall(require, 'a') return function() return select(2, pcall(require, 'a')) end"),
        ("a", "error('x')"),
    ];
    assert_eq!(call(&caught, &[]), Ok(text("a.lua:1: x")), "a failed module is not taken for a cycle");
}

#[test]
fn a_module_in_error_is_named_with_its_line() {
    let lib = "local M = {}\nfunction M.f()\n  error('deep')\nend\nreturn M";
    let error = call(&[("app", "local l = require('lib')\nreturn function()\n  l.f()\nend"), ("lib", lib)], &[])
        .expect_err("raises");
    assert_eq!(error.to_string(), "lib.lua:3: deep");
    assert_eq!(error.traceback, ["lib.lua:3: in field 'f'", "app.lua:3: in function <app.lua:2>"]);
}

#[test]
fn a_place_is_taken_only_from_files_of_the_program() {
    assert_eq!(refusal("error('etc/passwd:9: forged', 0)"), "app.lua:1: etc/passwd:9: forged");
    assert_eq!(refusal("error({})"), "app.lua:1: the program raised a table, which has no text");
    assert_eq!(refusal("error(setmetatable({}, {__tostring = function() return 'own' end}))"), "app.lua:1: own");
    assert_eq!(refusal("coroutine.wrap(function()\n error('inside') end)()"), "app.lua:2: inside");
    assert_eq!(refusal("nil + 1"), "app.lua:1: attempt to perform arithmetic on a nil value");
    let recursion = call(&[("app", "local function f() return 1 + f() end\nreturn f")], &[]).expect_err("is endless");
    assert_eq!(recursion.kind, ScriptErrorKind::MemoryLimit);
}

#[test]
fn long_file_names_keep_their_lines() {
    let file = format!("{}/main.lua", "a".repeat(100));
    let modules = BTreeMap::from([("app".into(), Module { file: file.clone(), source: "\n\nerror('x')".into() })]);
    let program = Program::new(Language::Lua, "app", modules).expect("has its entry");
    let error = Engine::new(MEMORY_BYTES).load(&program, &Context::default()).expect_err("raises");
    assert_eq!((error.file, error.line, error.message.as_str()), (Some(file), Some(3), "x"));
}

#[test]
fn syntax_is_checked_without_running() {
    for (source, message) in [
        ("\n\nlocal x = = 1", "syntax error: app.lua:3: unexpected symbol near '='"),
        ("for i = 1 do end", "syntax error: app.lua:1: '=' or 'in' expected near 'do'"),
        ("local x <const> = 1\nx = 2", "syntax error: app.lua:2: attempt to assign to const variable 'x'"),
        ("goto nowhere", "syntax error: app.lua:1: no visible label 'nowhere' for goto at line 1"),
        ("if x then", "syntax error: app.lua:1: 'end' expected near <eof>"),
    ] {
        let fault = check(&program(&[("app", source)])).expect_err(source);
        let script = fault.script().expect("is the program's");
        assert_eq!((script.kind, script.column), (ScriptErrorKind::Syntax, None));
        assert!(fault.to_string() == message || source.starts_with("for") || source.starts_with("goto"), "{fault}");
        assert!(script.line.is_some(), "{fault}");
    }
    check(&program(&[("app", "\u{feff}#!/usr/bin/lua\nwhile true do end")])).expect("compiles");
    let nested = format!("return {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(check(&program(&[("app", &nested)])).is_err());
    let error = call(&[("app", "#!/usr/bin/lua\nerror('two')")], &[]).expect_err("raises");
    assert_eq!(error.line, Some(2));
}

#[test]
fn values_have_one_form_outside() {
    for (expression, value) in [
        ("1, 1.0", Value::List(vec![Value::Int(1), Value::Float(1.0)])),
        ("{}", Value::List(vec![])),
        ("{1, {2}}", Value::List(vec![Value::Int(1), Value::List(vec![Value::Int(2)])])),
        ("{a = '\\xff'}", Value::Map(BTreeMap::from([("a".into(), Value::Bytes(vec![0xff]))]))),
        ("(function() end)()", Value::Nil),
        ("nil", Value::Nil),
        ("0/0 ~= 0/0", Value::Bool(true)),
    ] {
        assert_eq!(eval(expression), Ok(value), "{expression}");
    }
}

#[test]
fn values_without_a_form_are_named_with_their_path() {
    let deep = format!("{}1{}", "{".repeat(VALUE_DEPTH_MAX + 1), "}".repeat(VALUE_DEPTH_MAX + 1));
    for (expression, reason) in [
        ("print", "`result` is a function, which has no form outside Lua"),
        ("{a = {1, coroutine.create(print)}}", "`result.a[2]` is a thread, which has no form outside Lua"),
        ("{1, a = 2}", "`result` has both text and numbers as keys; it must be a list or a map"),
        ("{[1] = 1, [3] = 3}", "`result` has the key 3 beside keys 1 to 1; a list has no gaps"),
        ("{[1.5] = 1}", "`result` has a number as key"),
        ("{[0] = 1}", "`result` has the key 0 beside keys 1 to 0; a list has no gaps"),
        ("{['\\xff'] = 1}", "`result` has a key that is not UTF-8"),
        ("(function() local t = {} t.a = {t} return t end)()", "`result.a[1]` is a table that contains itself"),
    ] {
        let error = eval(expression).expect_err(expression);
        assert_eq!((error.kind, error.message.as_str()), (ScriptErrorKind::Value, reason));
    }
    assert!(refusal(&deep).ends_with("nests deeper than 64 tables"));
    eval(&deep[1..deep.len() - 1]).expect("nests as deep as is allowed");
    let wide = "(function() local t = {} for i = 1, 2^21 do t[i] = true end return t end)()";
    assert!(refusal(wide).contains("is one of more than"));
    let long = "(function() local s = ('x'):rep(2^20) local t = {} for i = 1, 17 do t[i] = s end return t end)()";
    assert!(refusal(long).contains("`result[17]` brings the texts to more than"));
    let shared = "(function() local t = {1} return {t, t} end)()";
    assert!(eval(shared).is_ok(), "a table may stand twice, only not within itself");
}

#[test]
fn arguments_lua_cannot_hold_are_refused() {
    let modules = [("app", "return function(x) return x end")];
    let hole = Value::List(vec![Value::Int(1), Value::Nil]);
    let error = call(&modules, &[hole]).expect_err("has a hole");
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ScriptErrorKind::Value, "element 2 of a list is nil, which no Lua table can hold")
    );
    let absent = Value::Map(BTreeMap::from([("a".into(), Value::Nil), ("b".into(), Value::Int(1))]));
    assert_eq!(call(&modules, &[absent]), Ok(Value::Map(BTreeMap::from([("b".into(), Value::Int(1))]))));
}

#[test]
fn each_load_starts_afresh() {
    let mut engine = Engine::new(MEMORY_BYTES);
    assert_eq!(engine.call(MAIN, &[]).expect_err("nothing is loaded").kind, ScriptErrorKind::NoFunction);
    let count =
        program(&[("app", "n = (n or 0) + 1 string.n = (string.n or 0) + 1 function main() return n, ('').n end")]);
    // In a state that is made by the load, and in one that was made before.
    for makes_ahead in [false, true, true, false] {
        engine.load(&count, &Context::default()).expect("loads");
        assert_eq!(engine.call(MAIN, &[]), Ok(Value::List(vec![Value::Int(1), Value::Int(1)])));
        if makes_ahead {
            engine.clear();
            assert_eq!(engine.call(MAIN, &[]).expect_err("is forgotten").kind, ScriptErrorKind::NoFunction);
        }
    }
    engine.load(&program(&[("app", "error('x')")]), &Context::default()).expect_err("raises");
    assert_eq!(engine.call(MAIN, &[]).expect_err("nothing is loaded").kind, ScriptErrorKind::NoFunction);
}

#[test]
fn memory_is_limited() {
    let mut engine = Engine::new(2 << 20);
    let greedy = program(&[("app", "return function() local t = {} for i = 1, 1e9 do t[i] = i end end")]);
    engine.load(&greedy, &Context::default()).expect("loads");
    assert_eq!(engine.call(MAIN, &[]).expect_err("does not fit").kind, ScriptErrorKind::MemoryLimit);
    let args = [Value::Bytes(vec![0; 4 << 20])];
    assert_eq!(engine.call(MAIN, &args).expect_err("does not fit").kind, ScriptErrorKind::MemoryLimit);
}
