//! What is found in sources, and that nothing a source says stops the scanners.

use std::time::Duration;

use proptest::prelude::*;
use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::docgen::Warning;

fn file(path: &str, bytes: &[u8]) -> PackageFile {
    PackageFile { path: path.parse().expect("a path"), bytes: bytes.to_vec() }
}

fn found(package: &str, files: &[(&str, &str)]) -> Vec<Item> {
    let files: Vec<PackageFile> = files.iter().map(|(path, text)| file(path, text.as_bytes())).collect();
    let mut warnings = Vec::new();
    let items = extract(package, files[0].path.as_str(), &files, &mut warnings);
    assert_eq!(warnings, []);
    items
}

/// One line for each item: visibility, kind, module and name, uses; then parameters, fields and results; then the text.
fn shown(items: &[Item]) -> String {
    let part = |part: &Part| {
        let kind = part.kind.as_ref().map_or(String::new(), |kind| format!("::{kind}"));
        let default = part.default.as_ref().map_or(String::new(), |default| format!("={default}"));
        let doc = if part.doc.is_empty() { String::new() } else { format!(" \"{}\"", part.doc) };
        format!("{}{kind}{default}{doc}", part.name)
    };
    let parts = |parts: &[Part]| parts.iter().map(part).collect::<Vec<_>>().join(", ");
    let line = |item: &Item| {
        let hidden = if item.visibility == Visibility::Internal { "-" } else { "" };
        let mut line = format!("{hidden}{} {} | {}", item.kind.label(), item.full_name(), item.signatures.join(" ; "));
        for (mark, list) in [("(", &item.parameters), ("{", &item.fields), (">", &item.returns)] {
            if !list.is_empty() {
                line.push_str(&format!(" {mark} {}", parts(list)));
            }
        }
        if !item.doc.is_empty() {
            line.push_str(&format!(" | {}", item.doc.replace('\n', "/")));
        }
        line
    };
    items.iter().map(line).collect::<Vec<_>>().join("\n")
}

const JULIA: &str = r#"
"Shapes in the plane."
module Shapes

export area, Circle, @twice,
    PI2, Colour

using LinearAlgebra

"""
    area(c)

The area of a shape.

# Arguments
- `c::Circle`: what is measured
- `scale`: how much
"""
function area(c::Circle, scale = 1.0; unit::Symbol = :m)::Float64 where {T <: Real}
    f(x) = x^2           # inside, and nobody's business
    return [f(r) for r in 1:end_of(c) if r > 0][end] * begin c.r end
end

area(s::Square{T}) where T = s.a^2

"A circle."
mutable struct Circle{T <: Real} <: Shape
    "Its radius."
    r::T
    name::String
    Circle(r) = new{typeof(r)}(r, "circle")
    function Circle(r, name)
        return new(r, name)
    end
end

abstract type Shape end

"Twice π."
const PI2 = 2 * 3.14159

@enum Colour red green

"Does it twice."
macro twice(body)
    quote
        $(esc(body)); $(esc(body))
    end
end

Base.show(io::IO, c::Circle) = print(io, "Circle(", c.r, ")")

_hidden(x) = x
a, b = 1, 2
if VERSION >= v"1.5"
    "Only on new ones."
    fresh() = :end
end

module Inner
"Deep."
deep(x...) = x
end
end
"#;

#[test]
fn julia_definitions_of_every_form_are_found() {
    let expected = [
        "module Shapes | module Shapes | Shapes in the plane.",
        "function Shapes.area | area(c::Circle, scale = 1.0; unit::Symbol = :m)::Float64 where {T <: Real} ; \
         area(s::Square{T}) where T ( c::Circle \"what is measured\", scale=1.0 \"how much\", unit::Symbol=:m, s::Square{T} |     \
         area(c)//The area of a shape.//# Arguments/- `c::Circle`: what is measured/- `scale`: how much",
        "type Shapes.Circle | mutable struct Circle{T <: Real} <: Shape { r::T \"Its radius.\", name::String | A circle.",
        "-type Shapes.Shape | abstract type Shape",
        "constant Shapes.PI2 | const PI2 = 2 * 3.14159 | Twice π.",
        "type Shapes.Colour | @enum Colour red green",
        "macro Shapes.@twice | @twice(body) ( body | Does it twice.",
        "-function Shapes.Base.show | Base.show(io::IO, c::Circle) ( io::IO, c::Circle",
        "-function Shapes._hidden | _hidden(x) ( x",
        "-function Shapes.fresh | fresh() | Only on new ones.",
        "module Shapes.Inner | module Inner",
        "function Shapes.Inner.deep | deep(x...) ( x... | Deep.",
    ];
    let items = found("shapes", &[("Shapes.jl", JULIA)]);
    assert_eq!(shown(&items), expected.join("\n"));
}

#[test]
fn included_files_belong_to_the_module_that_includes_them() {
    let main = "module Stats\nexport mean\ninclude(\"src/a.jl\")\nend\n";
    let items = found(
        "my-stats",
        &[
            ("Stats.jl", main),
            ("src/a.jl", "include(\"b.jl\")\n\"Mean.\"\nmean(x) = sum(x) / length(x)\n"),
            ("src/b.jl", "helper() = 1\n"),
            ("other.jl", "alone() = 1\n"),
        ],
    );
    assert_eq!(
        shown(&items),
        "module Stats | module Stats\n\
         function Stats.mean | mean(x) ( x | Mean.\n\
         -function Stats.helper | helper()\n\
         function MyStats.alone | alone()"
    );
}

#[test]
fn texts_of_julia_lose_their_quotes_escapes_and_indentation() {
    let text = "    \"\"\"\n    One \\\"two\\\" \\$x.\n\n      indented\n    \"\"\"\n    f() = 1\n\
                @doc raw\"a \\alpha\" g() = 2\n\"not above\"\n\nh() = 3\nx = \"no doc\"\nk() = 4\n";
    let items = found("p", &[("p.jl", text)]);
    let docs: Vec<(&str, &str)> = items.iter().map(|item| (item.name.as_str(), item.doc.as_str())).collect();
    assert_eq!(docs, [("f", "One \"two\" $x.\n\n  indented"), ("g", "a \\alpha"), ("h", ""), ("k", "")]);
}

const LUA: &str = r#"
--- Accounts and their money.
-- Two lines.

local json = require("json")

--- An account.
---@class Account
---@field owner string whose it is
local Account = {}
Account.__index = Account

--- Makes an account.
---@param owner string whose it is
---@param amount? number how much
---   is in it
---@return Account
function Account.new(owner, amount)
  local function inner() if true then return end end
  return setmetatable({ owner = owner, amount = amount or 0 }, Account)
end

--[[--
Puts money in.
@tparam number amount how much
@treturn number what is there now
@usage
account:deposit(5)
]]
function Account:deposit(amount)
  self.amount = self.amount + amount
  return self.amount
end

-- no documentation
Account.rate = 0.5 -- of interest

--- Adds.
Account.add = function(a, b, ...) return a + b end

local function helper(x) return x end
--- Explained, and still nobody's business.
local function explained(x) return x end
Account.helped = helper

return Account
"#;

#[test]
fn lua_definitions_of_every_form_are_found() {
    let items = found("bank/account", &[("account.lua", LUA)]);
    let expected = [
        "module bank/account | local account = require(\"bank/account\") { owner::string \"whose it is\" | Accounts and their \
         money./Two lines.",
        "function bank/account.new | account.new(owner, amount) ( owner::string \"whose it is\", amount?::number \"how much is in \
         it\" > ::Account | Makes an account.",
        "function bank/account.deposit | account:deposit(amount) ( amount::number \"how much\" > ::number \"what is there now\" | \
         Puts money in.///```lua/account:deposit(5)/```",
        "constant bank/account.rate | account.rate = 0.5",
        "function bank/account.add | account.add(a, b, ...) ( a, b, ... | Adds.",
        "function bank/account.helped | account.helped(x) ( x",
        "-function bank/account.explained | explained(x) ( x | Explained, and still nobody's business.",
    ];
    assert_eq!(shown(&items), expected.join("\n"));
}

#[test]
fn what_a_file_of_lua_returns_is_what_it_offers() {
    let table = "local function one() end\nlocal two = 2\nreturn {\n  --- First.\n  one = one,\n  --- Third.\n  \
                 three = function(x) return { x = function() end } end,\n  pi = 3,\n}\n";
    let items = found("t", &[("t.lua", table)]);
    assert_eq!(
        shown(&items),
        "module t | local t = require(\"t\")\nfunction t.one | t.one() | First.\nfunction t.three | t.three(x) ( x | Third.\n\
         constant t.pi | t.pi = 3"
    );
    let items = found("s", &[("main.lua", "--- Says it.\nreturn function(options) return options end\n")]);
    assert_eq!(
        shown(&items),
        "module s | local s = require(\"s\")\nfunction s.main | main(options) ( options | Says it."
    );
    let items = found("g", &[("g.lua", "--- Is global.\nfunction go(x) end\nlocal function no() end\n")]);
    assert_eq!(shown(&items).lines().last(), Some("function g.go | go(x) ( x | Is global."));
}

#[test]
fn texts_and_comments_hide_no_definition_and_make_none() {
    let lua = "local M = {}\nlocal s = \"function M.no() end\" -- function M.no() end\n--[[ function M.no() end ]]\n\
               local t = [==[ ]] function M.no() end ]==]\nfunction M.yes() end\nreturn M\n";
    assert!(shown(&found("m", &[("m.lua", lua)])).ends_with("function m.yes | m.yes()"));
    let julia = "s = \"no() = 1 $(string(\"end\"))\" # no() = 1\n#= no() = 1 #= no() = 2 =# =#\nt = 'f'; u = t'\nyes() = 1\n\
                 v = [i for i in 1:3 if i > 1]; w = v[end]; x = (if true 1 else 2 end)\nalso(x) = x\n";
    let names: Vec<String> = found("m", &[("m.jl", julia)]).into_iter().map(|item| item.name).collect();
    assert_eq!(names, ["yes", "also"]);
}

#[cfg(feature = "wasm")]
#[test]
fn exports_of_modules_have_their_types_and_names() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1 4)
        (global (export "answer") i32 (i32.const 42))
        (func (export "count") (param $below i32) (param f64) (result i32) (local.get $below))
        (func (export "greet->text") (result i32 i32) (i32.const 0) (i32.const 0)))"#;
    let files = [file("main.wasm", &wat::parse_str(text).expect("is a module"))];
    let mut warnings = Vec::new();
    let items = extract("counts", "main.wasm", &files, &mut warnings);
    assert_eq!(
        shown(&items),
        "module counts | \n\
         export counts.memory | memory memory of 1 to 4 pages of 64 KiB\n\
         export counts.answer | global answer\n\
         function counts.count | count(below: i32, p1: f64) -> i32 ( below::i32, p1::f64 > ::i32\n\
         function counts.greet | greet() -> (i32, i32), read as text > ::i32, ::i32\n\
         import counts.wasi_snapshot_preview1.fd_write | wasi_snapshot_preview1.fd_write(i32, i32, i32, i32) -> i32"
    );
    assert_eq!(extract("c", "main.wasm", &[file("wrong.wasm", b"\0asm")], &mut warnings), []);
    let codes: Vec<&str> = warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["MODULE_NOT_READ"]);
}

#[cfg(feature = "wasm-components")]
const COMPONENT: &str = r#"(component
    (import "acme:shapes/log" (instance (export "line" (func (param "text" string)))))
    (core module $m
        (func (export "area") (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))
    (core instance $i (instantiate $m))
    (func $area (param "width" u32) (param "height" u32) (result u32) (canon lift (core func $i "area")))
    (export "area" (func $area))
    (instance $shapes (export "area" (func $area)))
    (export "acme:shapes/plane" (instance $shapes))
    (@custom "package-docs" "\01{\"worlds\":{\"root\":{\"func_exports\":{\"area\":{\"docs\":\"The area of a rectangle.\"}}}}}"))"#;

#[cfg(feature = "wasm-components")]
#[test]
fn interfaces_of_a_component_have_their_types_and_texts() {
    let files = [file("main.wasm", &wat::parse_str(COMPONENT).expect("is a component"))];
    let mut warnings = Vec::new();
    let items = extract("shapes", "main.wasm", &files, &mut warnings);
    assert_eq!(warnings, []);
    assert_eq!(
        shown(&items),
        "module shapes | \n\
         function shapes.area | area: func(width: u32, height: u32) -> u32 ( width::u32, height::u32 > ::u32 | The area of a \
         rectangle.\n\
         import shapes.acme:shapes/log | import acme:shapes/log\n\
         module acme:shapes/plane | \n\
         function acme:shapes/plane.area | area: func(width: u32, height: u32) -> u32 ( width::u32, height::u32 > ::u32"
    );
}

#[cfg(feature = "wasm-components")]
#[test]
fn a_component_whose_types_nest_without_end_is_told_of_and_not_read() {
    let mut warnings = Vec::new();
    let items = extract("deep", "main.wasm", &[file("main.wasm", &crate::vm::wasm::bottomless())], &mut warnings);
    assert_eq!((items.len(), warnings.len(), warnings[0].code), (0, 1, "COMPONENT_NOT_READ"), "{warnings:?}");
    assert!(warnings[0].text.contains("its types nest more than 16 deep"), "{warnings:?}");
}

#[cfg(feature = "wasm")]
const WIT: &str = r"
/// Shapes in the plane.
package acme:shapes@1.0.0;

/// What has an area.
interface plane {
    /// Where something is.
    record point {
        /// To the right.
        x: f64,
        y: f64,
    }
    variant shape { circle(f64), nothing }
    enum colour { red, green }
    flags look { filled, dashed }
    type points = list<tuple<point, option<string>>>;
    /// A drawing that is kept.
    resource drawing {
        constructor(name: string);
        /// Adds a shape.
        add: func(what: shape, at: point) -> result<u32, string>;
        open: static func(name: string) -> option<drawing>;
    }
    /// Gives the area of a shape.
    area: func(of: shape, all: borrow<drawing>) -> result;
}

world painter {
    import log: func(line: string);
    export plane;
    export run: async func(points: list<u8>) -> result<_, string>;
}
";

#[cfg(feature = "wasm")]
#[test]
fn a_wit_file_is_read_with_what_stands_above_definitions() {
    let mut warnings = Vec::new();
    let items = extract("p", "main.wat", &[file("wit/shapes.wit", WIT.as_bytes())], &mut warnings);
    assert_eq!(warnings, []);
    let expected = "module shapes |  | Shapes in the plane.
module acme:shapes/plane@1.0.0 |  | What has an area.
type acme:shapes/plane@1.0.0.point | record point { x::f64 \"To the right.\", y::f64 | Where something is.
type acme:shapes/plane@1.0.0.shape | variant shape { circle::f64, nothing
type acme:shapes/plane@1.0.0.colour | enum colour { red, green
type acme:shapes/plane@1.0.0.look | flags look { filled, dashed
type acme:shapes/plane@1.0.0.points | type points = list<tuple<point, option<string>>>
type acme:shapes/plane@1.0.0.drawing | resource drawing | A drawing that is kept.
function acme:shapes/plane@1.0.0.drawing.constructor | drawing.constructor: func(name: string) ( name::string > ::drawing
function acme:shapes/plane@1.0.0.drawing.add | drawing.add: func(what: shape, at: point) -> result<u32, string> ( what::shape, \
                    at::point > ::result<u32, string> | Adds a shape.
function acme:shapes/plane@1.0.0.drawing.open | drawing.open: static func(name: string) -> option<drawing> ( name::string > \
                    ::option<drawing>
function acme:shapes/plane@1.0.0.area | area: func(of: shape, all: borrow<drawing>) -> result ( of::shape, all::borrow<drawing> > \
                    ::result | Gives the area of a shape.
module acme:shapes@1.0.0/painter |\x20
function acme:shapes@1.0.0/painter.run | run: async func(points: list<u8>) -> result<_, string> ( points::list<u8> > \
                    ::result<_, string>
import acme:shapes@1.0.0/painter.log | log: func(line: string)";
    let found = shown(&items);
    assert_eq!(found.lines().take(14).collect::<Vec<_>>(), expected.lines().take(14).collect::<Vec<_>>());
    assert!(found.contains(expected.lines().last().expect("a line")), "{found}");
}

#[cfg(feature = "wasm")]
#[test]
fn a_wit_file_that_is_none_is_named_and_takes_no_longer_than_its_length() {
    let deep = format!("package a:b; interface i {{ f: func() -> {}u8{}; }}", "list<".repeat(5000), ">".repeat(5000));
    let long = "// x\n".repeat(1 << 16);
    for text in ["package a:b; interface {", "use c:d/e; package a:b;", &deep, &long] {
        let mut warnings = Vec::new();
        assert_eq!(extract("p", "p.lua", &[file("a.wit", text.as_bytes())], &mut warnings), []);
        assert!(warnings.len() == 1 && warnings[0].code == "WIT_NOT_READ", "{warnings:?}");
    }
    for case in ["interface i {", "type a = list<", "/// x\n", "package a:b;\n", "record r { a: u8, } "] {
        takes_its_length("p.wit", case);
    }
}

#[test]
fn bounds_hold_and_are_told() {
    let mut warnings: Vec<Warning> = Vec::new();
    let long = "x".repeat(SOURCE_BYTES_MAX + 1);
    let many: String = (0..=ITEMS_MAX).map(|at| format!("f{at}() = 1\n")).collect();
    let files = [file("a.lua", long.as_bytes()), file("b.lua", b"\xff"), file("c.jl", many.as_bytes())];
    assert_eq!(extract("p", "a.lua", &files, &mut warnings).len(), ITEMS_MAX);
    let codes: Vec<&str> = warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["SOURCE_TOO_LONG", "SOURCE_NOT_TEXT", "TOO_MANY_NAMES"]);
    let parameters = format!("f({}) = 1\n", "a, ".repeat(PARTS_MAX + 9));
    assert_eq!(found("p", &[("p.jl", &parameters)])[0].parameters.len(), PARTS_MAX);
    let signature = format!("f(x = \"{}\") = 1\n", "y".repeat(2 * SIGNATURE_BYTES_MAX));
    assert!(found("p", &[("p.jl", &signature)])[0].signatures[0].len() <= SIGNATURE_BYTES_MAX + '…'.len_utf8());
}

#[test]
fn hostile_nesting_takes_no_longer_than_its_length() {
    let cases = [
        "(",
        "[",
        "begin\n",
        "f(",
        "function f(",
        "module M\n",
        "\"$(",
        "\"\"\"",
        "#=",
        "struct S\n",
        "if\n",
        "@doc \"",
        "f(x) = ",
        "export a,\n",
    ];
    for case in cases {
        takes_its_length("p.jl", case);
    }
    for case in
        ["(", "{", "function f(", "--[[", "---@param x\n", "x = {", "[==[", "local x = {a = ", "return {", "x = 1 "]
    {
        takes_its_length("p.lua", case);
    }
}

/// Reads a text of 16 and of 256 KiB: sixteen times the text takes sixteen times as long, not 256 times. What is measured is the
/// processor time of this thread, which other processes have no part in; four times as much is forgiven, and half a second.
fn takes_its_length(path: &str, case: &str) {
    let time = |bytes: usize| {
        let file = [file(path, case.repeat(bytes / case.len()).as_bytes())];
        let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("is positive");
        let begin = now();
        extract("p", path, &file, &mut Vec::new());
        now() - begin
    };
    let (short, long) = (time(1 << 14), time(1 << 18));
    assert!(long < short * 64 + Duration::from_millis(500), "{case:?} in {path}: {short:?}, then {long:?}");
}

const PIECES: &str = "(\\PC|[\\n ;(){}\\[\\]\"'=:.,@#-]|end|function |local |return |module |struct |\"\"\"|begin|if |for |\
                      --- |---@param |\\$\\(|const |export |f\\(x\\) = ){0,60}";

proptest! {
    #[test]
    fn any_text_is_read(text in PIECES) {
        let files = [file("a.lua", text.as_bytes()), file("b.jl", text.as_bytes())];
        let items = extract("p", "a.lua", &files, &mut Vec::new());
        prop_assert!(items.iter().all(|item| !item.name.is_empty()));
    }

    #[test]
    fn any_bytes_are_read_as_a_module(bytes in prop::collection::vec(any::<u8>(), 0..200), head in any::<bool>()) {
        let whole: Vec<u8> = if head { b"\0asm\x01\0\0\0".iter().chain(&bytes).copied().collect() } else { bytes };
        extract("p", "a.wasm", &[file("a.wasm", &whole)], &mut Vec::new());
    }

    #[cfg(feature = "wasm-components")]
    #[test]
    fn any_changed_component_is_read(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = wat::parse_str(COMPONENT).expect("is a component");
        for (place, byte) in places {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        extract("p", "a.wasm", &[file("a.wasm", &bytes)], &mut Vec::new());
    }

    #[cfg(feature = "wasm")]
    #[test]
    fn any_text_is_read_as_wit(text in "(package a:b;|interface i|[{}<>();:,= ]|record |variant |func\\(|list|u8|use |world w|\\PC){0,60}") {
        extract("p", "p.lua", &[file("a.wit", text.as_bytes())], &mut Vec::new());
    }
}
