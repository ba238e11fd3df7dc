//! Components: functions by full and short names, values by the types of their interfaces, limits as modules have them.

use std::time::Instant;

use catalog::value::{Array, Dtype, Struct};

use super::*;

/// Makes calls of one component, in both ways; usage, layers and grade differ, and the rest must not.
async fn calls(component: &str, calls: &[(&str, Vec<Value>)]) -> Vec<Result<Value, VmError>> {
    let module = bytes(component);
    let mut ways = Vec::new();
    for executor in executors() {
        let mut results = Vec::new();
        for (function, args) in calls {
            let call = Call { function: (*function).to_owned(), args: args.clone() };
            let run = Run { call, ..wasm_run(module.clone(), function, []) };
            let result = executor.execute(&run, &Cancel::new()).await;
            results.push(result.map(|done| done.value).map_err(|failed| *failed.error));
        }
        ways.push(results);
    }
    let (local, process) = (ways.pop().expect("two"), ways.pop().expect("two"));
    assert_eq!(without_offsets(&local), without_offsets(&process));
    local
}

/// Every value comes back as it is beside it.
async fn give(component: &str, cases: Vec<(&str, Value, Value)>) {
    let made: Vec<(&str, Vec<Value>)> = cases.iter().map(|(name, value, _)| (*name, vec![value.clone()])).collect();
    for (result, (name, value, expected)) in calls(component, &made).await.into_iter().zip(cases) {
        let result = result.unwrap_or_else(|error| panic!("{name} of {value:?}: {error}"));
        assert_eq!(result, expected, "{name} of {value:?}");
    }
}

/// Every call is refused with a kind and a message.
async fn refuse(component: &str, kind: ScriptErrorKind, cases: Vec<(&str, Vec<Value>, &str)>) {
    let made: Vec<(&str, Vec<Value>)> = cases.iter().map(|(name, args, _)| (*name, args.clone())).collect();
    for (result, (name, args, expected)) in calls(component, &made).await.into_iter().zip(cases) {
        let Err(error) = result else { panic!("{name} of {args:?} gave {result:?}") };
        let script = error.script().unwrap_or_else(|| panic!("{name} of {args:?}: {error}"));
        assert_eq!((script.kind, script.message.as_str()), (kind, expected), "{name} of {args:?}");
    }
}

fn big(value: u128) -> Value {
    Value::BigInt(Box::new(value.into()))
}

fn text(text: &str) -> Value {
    Value::Str(text.to_owned())
}

fn list<const N: usize>(values: [Value; N]) -> Value {
    Value::List(values.into())
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Every function gives its argument back.
const SCALARS: &str = r#"(component
    (core module $m
        (func (export "narrow") (param i32) (result i32) (local.get 0))
        (func (export "wide") (param i64) (result i64) (local.get 0))
        (func (export "single") (param f32) (result f32) (local.get 0))
        (func (export "double") (param f64) (result f64) (local.get 0))
        (func (export "nothing")))
    (core instance $i (instantiate $m))
    (func (export "bool") (param "v" bool) (result bool) (canon lift (core func $i "narrow")))
    (func (export "s8") (param "v" s8) (result s8) (canon lift (core func $i "narrow")))
    (func (export "u8") (param "v" u8) (result u8) (canon lift (core func $i "narrow")))
    (func (export "s16") (param "v" s16) (result s16) (canon lift (core func $i "narrow")))
    (func (export "u16") (param "v" u16) (result u16) (canon lift (core func $i "narrow")))
    (func (export "s32") (param "v" s32) (result s32) (canon lift (core func $i "narrow")))
    (func (export "u32") (param "v" u32) (result u32) (canon lift (core func $i "narrow")))
    (func (export "s64") (param "v" s64) (result s64) (canon lift (core func $i "wide")))
    (func (export "u64") (param "v" u64) (result u64) (canon lift (core func $i "wide")))
    (func (export "f32") (param "v" f32) (result f32) (canon lift (core func $i "single")))
    (func (export "f64") (param "v" f64) (result f64) (canon lift (core func $i "double")))
    (func (export "char") (param "v" char) (result char) (canon lift (core func $i "narrow")))
    (func (export "nothing") (canon lift (core func $i "nothing"))))"#;

#[tokio::test]
async fn numbers_and_characters_go_in_and_out_by_their_types() {
    use Value::{Bool, Float, Int};
    let same = [
        ("bool", Bool(true)),
        ("bool", Bool(false)),
        ("s8", Int(-128)),
        ("u8", Int(255)),
        ("s16", Int(-32_768)),
        ("u16", Int(65_535)),
        ("s32", Int(i32::MIN.into())),
        ("u32", Int(u32::MAX.into())),
        ("s64", Int(i64::MIN)),
        ("u64", Int(i64::MAX)),
        ("u64", big(u64::MAX.into())),
        ("f32", Float(1.5)),
        ("f64", Float(0.1)),
        ("f64", Float(f64::NEG_INFINITY)),
        ("char", text("ß")),
    ];
    let mut cases: Vec<_> = same.into_iter().map(|(name, value)| (name, value.clone(), value)).collect();
    cases.extend([
        ("f32", Int(3), Float(3.0)),
        ("f64", Int(-3), Float(-3.0)),
        ("f32", Float(0.1), Float(f64::from(0.1_f32))),
        ("s16", big(7), Int(7)),
    ]);
    give(SCALARS, cases).await;
    assert_eq!(gives(SCALARS, "nothing", []).await, Value::Nil);
}

#[tokio::test]
async fn what_a_type_does_not_hold_is_refused_with_argument_value_and_type() {
    let of = |name: &str, reason: &str| format!("argument 1 (`v`) of `{name}`: {reason}");
    let cases = [
        ("u8", Value::Int(256), "`256` is no `u8`"),
        ("u8", Value::Int(-1), "`-1` is no `u8`"),
        ("s8", Value::Int(128), "`128` is no `s8`"),
        ("s16", Value::Int(-32_769), "`-32769` is no `s16`"),
        ("u16", Value::Int(65_536), "`65536` is no `u16`"),
        ("s32", Value::Int(1 << 31), "`2147483648` is no `s32`"),
        ("u32", Value::Int(1 << 32), "`4294967296` is no `u32`"),
        ("s64", big(1 << 63), "`9223372036854775808` is no `s64`"),
        ("u64", Value::Int(-1), "`-1` is no `u64`"),
        ("u64", big(1 << 64), "`18446744073709551616` is no `u64`"),
        ("s32", Value::Float(1.0), "`1.0` is no `s32`"),
        ("bool", Value::Int(1), "`1` is no `bool`"),
        ("f64", text("1"), "`\"1\"` is no `f64`"),
        ("f32", Value::Nil, "`null` is no `f32`"),
        ("char", text("ab"), "`\"ab\"` is no `char`"),
        ("char", text(""), "`\"\"` is no `char`"),
        ("s32", list([Value::Int(1)]), "a list is no `s32`"),
    ];
    let messages: Vec<String> = cases.iter().map(|(name, _, reason)| of(name, reason)).collect();
    let mut refused: Vec<(&str, Vec<Value>, &str)> = cases
        .into_iter()
        .zip(&messages)
        .map(|((name, value, _), message)| (name, vec![value], message.as_str()))
        .collect();
    refused.push(("u8", Vec::new(), "`u8` takes (v: u8), and 0 arguments do not make that"));
    refused.push(("nothing", vec![Value::Nil], "`nothing` takes (), and 1 arguments do not make that"));
    refuse(SCALARS, ScriptErrorKind::Value, refused).await;
}

/// Gives back what was put into its memory, by as many types as there are, and divides.
fn shapes() -> String {
    let types = [
        ("numbers", "s16"),
        ("points", "$point"),
        ("pairs", "(tuple u8 string)"),
        ("shapes", "$shape"),
        ("colours", "$colour"),
        ("looks", "$look"),
        ("maybe", "(option string)"),
        ("twice", "(option (option u8))"),
        ("outcomes", "(result u32 (error string))"),
        ("bytes", "u8"),
        ("lists", "(list u8)"),
    ];
    let options = "(memory $memory) (realloc $realloc)";
    let echo = |(name, ty): &(&str, &str)| {
        format!(
            "(func (export \"{name}\") (param \"v\" (list {ty})) (result (list {ty})) \
             (canon lift (core func $echo) {options}))"
        )
    };
    let echoes: String = types.iter().map(echo).collect();
    format!(
        r#"(component
        (core module $m
            (memory (export "memory") 4)
            (global $next (mut i32) (i32.const 1024))
            (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and
                    (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
                    (i32.sub (i32.const 0) (local.get $align))))
                (global.set $next (i32.add (local.get $at) (local.get $size)))
                (local.get $at))
            (func (export "echo") (param i32 i32) (result i32)
                (i32.store (i32.const 16) (local.get 0))
                (i32.store (i32.const 20) (local.get 1))
                (i32.const 16))
            (func (export "divide") (param i32 i32) (result i32)
                (if (i32.eqz (local.get 1))
                    (then
                        (i32.store8 (i32.const 32) (i32.const 1))
                        (i32.store (i32.const 36) (i32.const 64))
                        (i32.store (i32.const 40) (i32.const 16)))
                    (else
                        (i32.store8 (i32.const 32) (i32.const 0))
                        (i32.store (i32.const 36) (i32.div_u (local.get 0) (local.get 1)))))
                (i32.const 32))
            (func (export "check") (param i32) (result i32) (i32.eqz (local.get 0)))
            (data (i32.const 64) "division by zero"))
        (core instance $i (instantiate $m))
        (alias core export $i "memory" (core memory $memory))
        (alias core export $i "cabi_realloc" (core func $realloc))
        (alias core export $i "echo" (core func $echo))
        (type $point-type (record (field "x" s32) (field "label" (option string))))
        (export $point "point" (type $point-type))
        (type $shape-type (variant (case "circle" f64) (case "named" string) (case "nothing")))
        (export $shape "shape" (type $shape-type))
        (type $colour-type (enum "red" "green"))
        (export $colour "colour" (type $colour-type))
        (type $look-type (flags "filled" "dashed" "bold"))
        (export $look "look" (type $look-type))
        (func (export "text") (param "v" string) (result string) (canon lift (core func $echo) {options}))
        (func (export "divide") (param "a" u32) (param "b" u32) (result (result u32 (error string)))
            (canon lift (core func $i "divide") {options}))
        (func (export "check") (param "v" bool) (result (result)) (canon lift (core func $i "check")))
        {echoes})"#
    )
}

#[tokio::test]
async fn text_bytes_and_lists_go_through_memory() {
    let halves: Vec<u8> = [-1_i16, 2].iter().flat_map(|value| value.to_le_bytes()).collect();
    let array = Array::new(Dtype::I16, vec![2], halves).expect("fills the shape");
    let numbers = list([Value::Int(-1), Value::Int(2)]);
    give(
        &shapes(),
        vec![
            ("text", text("grüße\0"), text("grüße\0")),
            ("text", text(""), text("")),
            ("text", Value::Symbol("name".into()), text("name")),
            ("bytes", Value::Bytes(vec![0xff, 0]), Value::Bytes(vec![0xff, 0])),
            ("bytes", list([Value::Int(1), Value::Int(255)]), Value::Bytes(vec![1, 255])),
            ("bytes", list([]), Value::Bytes(Vec::new())),
            ("lists", list([Value::Bytes(vec![1]), list([])]), list([Value::Bytes(vec![1]), Value::Bytes(Vec::new())])),
            ("numbers", numbers.clone(), numbers.clone()),
            ("numbers", Value::Array(Box::new(array)), numbers),
            ("numbers", list([]), list([])),
        ],
    )
    .await;
}

#[tokio::test]
async fn records_variants_enums_flags_options_and_results_keep_what_they_say() {
    let point = |x: i64, label: Value| map([("x", Value::Int(x)), ("label", label)]);
    let fields = BTreeMap::from([("x".to_owned(), Value::Int(3))]);
    let own = Value::Struct(Box::new(Struct { name: "Point".into(), fields }));
    let flags = |names: &[&str]| Value::Set(names.iter().map(|name| text(name)).collect());
    let points = list([point(1, text("a")), point(-1, Value::Nil)]);
    let shapes_given =
        list([map([("circle", Value::Float(1.5))]), map([("named", text("x"))]), map([("nothing", Value::Nil)])]);
    let twice = list([Value::Nil, map([("some", Value::Nil)]), map([("some", Value::Int(5))])]);
    let outcomes = list([map([("ok", Value::Int(1))]), map([("err", text("no"))])]);
    let pairs = list([list([Value::Int(1), text("one")]), list([Value::Int(2), text("")])]);
    let colours = list([text("green"), text("red")]);
    let maybe = list([Value::Nil, text(""), text("x")]);
    give(
        &shapes(),
        vec![
            ("points", points.clone(), points),
            ("points", list([map([("x", Value::Int(2))]), own]), list([point(2, Value::Nil), point(3, Value::Nil)])),
            ("pairs", pairs.clone(), pairs),
            ("shapes", shapes_given.clone(), shapes_given),
            ("colours", colours.clone(), colours),
            (
                "looks",
                list([flags(&["bold", "filled"]), list([text("dashed")]), list([])]),
                list([flags(&["filled", "bold"]), flags(&["dashed"]), flags(&[])]),
            ),
            ("maybe", maybe.clone(), maybe),
            ("twice", twice.clone(), twice),
            ("outcomes", outcomes.clone(), outcomes),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_does_not_fit_inside_is_refused_with_its_place() {
    let cases = [
        ("points", list([map([])]), "element 1: field `x` is missing"),
        (
            "points",
            list([map([("x", Value::Int(1)), ("y", Value::Int(2))])]),
            "element 1: there is no field `y`, only [x, label]",
        ),
        ("points", list([map([("x", Value::Float(1.5))])]), "element 1: field `x`: `1.5` is no `s32`"),
        ("points", list([list([])]), "element 1: a list is no `record`"),
        ("numbers", list([Value::Int(0), Value::Int(40_000)]), "element 2: `40000` is no `s16`"),
        ("numbers", text("12"), "`\"12\"` is no `list`"),
        ("bytes", list([Value::Int(256)]), "element 1: `256` is no `u8`"),
        ("pairs", list([list([Value::Int(1)])]), "element 1: a list of 1 is no `tuple` of 2"),
        ("pairs", list([list([Value::Int(1), Value::Int(1)])]), "element 1: element 2: `1` is no `string`"),
        (
            "shapes",
            list([map([("square", Value::Nil)])]),
            "element 1: there is no case `square`, only [circle, named, nothing]",
        ),
        (
            "shapes",
            list([map([("nothing", Value::Int(1))])]),
            "element 1: case `nothing` holds nothing, so its value is nil",
        ),
        ("shapes", list([map([("circle", text("x"))])]), "element 1: case `circle`: `\"x\"` is no `f64`"),
        (
            "shapes",
            list([map([("circle", Value::Float(1.0)), ("nothing", Value::Nil)])]),
            "element 1: a map of 2 keys is no `variant`, which has its case as the only one",
        ),
        ("colours", list([text("blue")]), "element 1: there is no case `blue`, only [red, green]"),
        ("looks", list([list([text("thick")])]), "element 1: there is no flag `thick`, only [filled, dashed, bold]"),
        (
            "twice",
            list([Value::Int(5)]),
            "element 1: `5` is no option of an option, which is nil or has the key `some`",
        ),
        ("outcomes", list([map([("done", Value::Nil)])]), "element 1: there is no case `done`, only [ok, err]"),
        ("text", Value::Bytes(vec![0xff]), "bytes is no `string`"),
    ];
    let messages: Vec<String> =
        cases.iter().map(|(name, _, reason)| format!("argument 1 (`v`) of `{name}`: {reason}")).collect();
    let refused = cases.into_iter().zip(&messages);
    let refused = refused.map(|((name, value, _), message)| (name, vec![value], message.as_str())).collect();
    refuse(&shapes(), ScriptErrorKind::Value, refused).await;
}

#[tokio::test]
async fn a_result_is_its_value_or_the_error_of_the_run() {
    let divide = |a: i64, b: i64| ("divide", vec![Value::Int(a), Value::Int(b)]);
    assert_eq!(gives(&shapes(), "divide", [Value::Int(6), Value::Int(3)]).await, Value::Int(2));
    assert_eq!(gives(&shapes(), "check", [Value::Bool(true)]).await, Value::Nil);
    let wrong = vec![
        ("divide", divide(1, 0).1, "`divide` gave the error \"division by zero\""),
        ("check", vec![Value::Bool(false)], "`check` gave an error"),
    ];
    refuse(&shapes(), ScriptErrorKind::Runtime, wrong).await;
    let error = calls(&shapes(), &[divide(1, 0)]).await.remove(0).expect_err("is an error");
    assert_eq!(error.script().expect("is the program's").file.as_deref(), Some("app/main.wasm"));
}

/// One name in two interfaces, for two functions.
const INTERFACES: &str = r#"(component
    (core module $m
        (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
        (func (export "multiply") (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))
    (core instance $i (instantiate $m))
    (func $add (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add")))
    (func $multiply (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "multiply")))
    (instance $ops (export "add" (func $add)) (export "multiply" (func $multiply)))
    (instance $more (export "add" (func $multiply)))
    (export "acme:math/ops@1.0.0" (instance $ops))
    (export "acme:math/more@1.0.0" (instance $more))
    (export "sum" (func $add)))"#;

#[tokio::test]
async fn a_function_is_called_by_its_full_name_or_by_its_own_if_no_other_has_it() {
    let args = || vec![Value::Int(2), Value::Int(3)];
    let names = ["acme:math/ops@1.0.0#add", "acme:math/more@1.0.0#add", "multiply", "sum"];
    let made: Vec<(&str, Vec<Value>)> = names.iter().map(|name| (*name, args())).collect();
    let results: Vec<Value> = calls(INTERFACES, &made).await.into_iter().map(|result| result.expect("runs")).collect();
    assert_eq!(results, [5, 6, 6, 5].map(Value::Int));
    let unknown = vec![
        (
            "add",
            args(),
            "several interfaces have a function `add`: [acme:math/ops@1.0.0#add, acme:math/more@1.0.0#add]; call one by \
             this name",
        ),
        (
            "acme:math/ops#add",
            args(),
            "the component exports no function `acme:math/ops#add`; it exports [acme:math/ops@1.0.0#add, \
             acme:math/ops@1.0.0#multiply, acme:math/more@1.0.0#add, sum]",
        ),
    ];
    refuse(INTERFACES, ScriptErrorKind::NoFunction, unknown).await;
    let many: String = (0..20).map(|n| format!("(export \"f{n}\" (func $f))")).collect();
    let many = format!(
        "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m)) \
         (func $f (canon lift (core func $i \"f\"))) {many})"
    );
    let error = fails(&many, "none", []).await;
    assert!(error.to_string().ends_with("f14, f15]"), "{error}");
}

#[tokio::test]
async fn a_component_imports_types_and_nothing_else() {
    let cases: [(Vec<u8>, &str); 6] = [
        (
            bytes("(component (import \"wasi:cli/stdout@0.2.0\" (instance (export \"get\" (func (result u32))))))"),
            "it imports what is not there: `wasi:cli/stdout@0.2.0`; components get no WASI here; build a core module for \
             the target `wasm32-wasip1`",
        ),
        (
            bytes("(component (import \"log\" (func (param \"line\" string))) (import \"stop\" (func)))"),
            "it imports what is not there: `log`, `stop`; a component may import types and nothing else",
        ),
        (
            bytes("(component (import \"acme:io/files\" (instance (export \"file\" (type (sub resource))))))"),
            "it imports what is not there: `acme:io/files`; ",
        ),
        (bytes("(component (core module (memory 1 1 shared)))"), "no valid component: threads must be enabled"),
        (bytes(SCALARS)[..80].to_vec(), "no valid component: "),
        (b"\0asm\x0d\0\x01\0\x07\x02\x01\x00".to_vec(), "no valid component: "),
    ];
    for (module, expected) in cases {
        let run = wasm_run(module, "main", []);
        let error = both(&run).await.expect_err("is refused");
        assert!(matches!(error, VmError::Syntax(_)) && error.to_string().contains(expected), "{error}");
        let checked = process().check(&run.program).await.expect_err("is refused without running it");
        assert_eq!(checked.to_string(), error.to_string());
    }
    let types = r#"(component
        (import "acme:math/types" (instance $types
            (type $inner (record (field "x" u32)))
            (export "point" (type (eq $inner)))))
        (alias export $types "point" (type $point))
        (core module $m (func (export "same") (param i32) (result i32) (local.get 0)))
        (core instance $i (instantiate $m))
        (func (export "x-of") (param "p" $point) (result u32) (canon lift (core func $i "same"))))"#;
    assert_eq!(gives(types, "x-of", [map([("x", Value::Int(7))])]).await, Value::Int(7));
}

#[tokio::test]
async fn what_stays_in_a_component_is_refused_by_its_name() {
    let resource = r#"(component
        (core module $m (func (export "take") (param i32)))
        (core instance $i (instantiate $m))
        (type $counter-type (resource (rep i32)))
        (export $counter "counter" (type $counter-type))
        (func (export "take") (param "it" (own $counter)) (canon lift (core func $i "take"))))"#;
    let message = "argument 1 (`it`) of `take`: a `resource` has no form outside its component";
    refuse(resource, ScriptErrorKind::Value, vec![("take", vec![Value::Int(1)], message)]).await;
    let huge = r#"(component
        (core module $m
            (memory (export "memory") 300)
            (func (export "huge") (result i32) (i32.store (i32.const 20) (i32.const 17825792)) (i32.const 16)))
        (core instance $i (instantiate $m))
        (alias core export $i "memory" (core memory $memory))
        (func (export "huge") (result string) (canon lift (core func $i "huge") (memory $memory))))"#;
    let message = "result of `huge`: all of it together is larger than what one call may copy";
    refuse(huge, ScriptErrorKind::Value, vec![("huge", Vec::new(), message)]).await;
    let wide = "(core instance (instantiate $m)) ".repeat(5);
    let wide = format!("(component (core module $m (memory 1)) {wide})");
    let error = fails(&wide, "main", []).await;
    assert!(error.to_string().contains("it has 5 memories, and 4 are the most"), "{error}");
    let made = "(core instance (instantiate $m)) ".repeat(33);
    let lifted = "(core instance $i (instantiate $m)) (func (export \"main\") (canon lift (core func $i \"f\")))";
    let many = |made: &str| format!("(component (core module $m (func (export \"f\"))) {made} {lifted})");
    assert_eq!(gives(&many(""), "main", []).await, Value::Nil);
    let error = fails(&many(&made), "main", []).await;
    assert!(error.to_string().contains("instance count too high"), "{error}");
}

/// Traps, loops for good, takes all memory it gets.
const GREEDY: &str = r#"(component
    (core module $m
        (memory 1)
        (func $deep (unreachable))
        (func $middle (call $deep))
        (func $boom (export "boom") (call $middle))
        (func (export "zero") (result i32) (i32.div_s (i32.const 1) (i32.const 0)))
        (func $again (export "again") (call $again))
        (func (export "spin") (loop $again (br $again)))
        (func (export "grow")
            (loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
            (unreachable))
        (func (export "work") (param i32) (result i32)
            (loop $again
                (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                (br_if $again (local.get 0)))
            (local.get 0)))
    (core instance $i (instantiate $m))
    (func (export "boom") (canon lift (core func $i "boom")))
    (func (export "zero") (result s32) (canon lift (core func $i "zero")))
    (func (export "again") (canon lift (core func $i "again")))
    (func (export "spin") (canon lift (core func $i "spin")))
    (func (export "grow") (canon lift (core func $i "grow")))
    (func (export "work") (param "n" u32) (result u32) (canon lift (core func $i "work"))))"#;

#[tokio::test]
async fn a_trap_in_a_component_names_its_kind_and_the_functions() {
    let traps = [
        ("boom", "wasm `unreachable` instruction executed"),
        ("zero", "integer divide by zero"),
        ("again", "call stack exhausted"),
    ];
    expect_traps(GREEDY, &traps, ["`deep`", "`middle`", "`boom`"]).await;
}

#[tokio::test]
async fn a_component_has_the_limits_of_every_program() {
    let wall = Duration::from_millis(200);
    let limited = |function: &str, args: Vec<Value>, limits: Limits| {
        let call = Call { function: function.to_owned(), args };
        Run { limits, call, ..wasm_run(bytes(GREEDY), function, []) }
    };
    let mut used = Vec::new();
    for executor in executors() {
        let began = Instant::now();
        let spin = limited("spin", Vec::new(), Limits { wall, ..Limits::default() });
        let failure = executor.execute(&spin, &Cancel::new()).await.expect_err("never ends");
        assert!(matches!(*failure.error, VmError::Timeout { limit, clock: Clock::Wall } if limit == wall), "{failure}");
        assert!(began.elapsed() >= wall);
        let metered = Limits { fuel: Some(1_000_000), ..Limits::default() };
        let failure = executor.execute(&limited("spin", Vec::new(), metered), &Cancel::new()).await;
        let failure = failure.expect_err("never ends");
        assert!(matches!(*failure.error, VmError::FuelLimit { limit: 1_000_000 }), "{failure}");
        let work = limited("work", vec![Value::Int(1000)], metered);
        let outcome = executor.execute(&work, &Cancel::new()).await.expect("the same executor still runs others");
        assert_eq!(outcome.value, Value::Int(0));
        used.push(outcome.usage.fuel_used);
    }
    assert!(used[0] == used[1] && used[0] > 1000, "{used:?}");
    let limits = Limits { memory: Bytes(4 << 20), ..Limits::default() };
    let error = both(&limited("grow", Vec::new(), limits)).await.expect_err("wants too much");
    assert!(matches!(error, VmError::MemoryLimit { limit } if limit == limits.memory), "{error}");
    let large = "(component (core module $m (memory 100) (func (export \"f\"))) (core instance $i (instantiate $m)) \
                 (func (export \"main\") (canon lift (core func $i \"f\"))))";
    let error = both(&Run { limits, ..wasm_run(bytes(large), "main", []) }).await.expect_err("begins with too much");
    assert!(matches!(error, VmError::MemoryLimit { .. }), "{error}");
}

#[tokio::test]
async fn a_component_is_compiled_once_and_what_is_forged_is_replaced() {
    is_compiled_once(&wasm_run(bytes(INTERFACES), "sum", [Value::Int(40), Value::Int(2)])).await;
}

/// As many as have a place, each with all it may take.
#[tokio::test]
async fn many_components_run_at_once() {
    let parts = "(core instance (instantiate $m)) ".repeat(3);
    let component = format!(
        "(component (core module $m (memory 1) (func (export \"work\") (param i32) (result i32) \
         (loop $again (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if $again (local.get 0))) (local.get 0))) \
         {parts} (core instance $i (instantiate $m)) \
         (func (export \"work\") (param \"n\" u32) (result u32) (canon lift (core func $i \"work\"))))"
    );
    let local = Arc::new(LocalExecutor::new(None).expect("there are threads"));
    let run = wasm_run(bytes(&component), "work", [Value::Int(1_000_000)]);
    let runs: Vec<_> = (0..100)
        .map(|_| {
            let (local, run) = (Arc::clone(&local), run.clone());
            tokio::spawn(async move { local.execute(&run, &Cancel::new()).await.map(|outcome| outcome.value) })
        })
        .collect();
    for running in runs {
        assert_eq!(running.await.expect("does not panic").expect("has a place"), Value::Int(0));
    }
}
