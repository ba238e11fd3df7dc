//! Every kind of value out of a Julia program, into one, and there and back.

use super::*;
use catalog::value::{Array, Dtype, Opaque, Struct};
use num_bigint::BigInt;

fn big(digits: &str) -> Value {
    Value::BigInt(Box::new(digits.parse::<BigInt>().expect("digits")))
}

fn array(dtype: Dtype, shape: &[u64], bytes: Vec<u8>) -> Value {
    Value::Array(Box::new(Array::new(dtype, shape.to_vec(), bytes).expect("fills its shape")))
}

fn doubles(values: &[f64]) -> Value {
    Value::Array(Box::new(Array::of_f64(values)))
}

fn ratio(numerator: i64, denominator: i64) -> Value {
    Value::Rational(Box::new((numerator.into(), denominator.into())))
}

#[tokio::test]
async fn results_of_every_kind_keep_their_type() {
    let source = r#"
        struct Point; x::Float64; label::String; end
        mutable struct Cell; value; Cell() = new(); end
        give(code) = include_string(@__MODULE__, code)
    "#;
    let mut session = session(source).await;
    let point = |x: f64| {
        let fields = [("x".to_owned(), Value::Float(x)), ("label".to_owned(), text("p"))].into();
        Value::Struct(Box::new(Struct { name: "Main.Container.Program.Point".into(), fields }))
    };
    let cases = [
        ("nothing", Value::Nil),
        ("missing", Value::Missing),
        ("true", Value::Bool(true)),
        ("typemin(Int64)", Value::Int(i64::MIN)),
        ("typemax(Int64)", Value::Int(i64::MAX)),
        ("0x07", Value::Int(7)),
        ("Int8(-3)", Value::Int(-3)),
        ("typemax(UInt64)", big("18446744073709551615")),
        ("typemin(Int128)", big("-170141183460469231731687303715884105728")),
        ("Int128(5)", Value::Int(5)),
        ("big(0)", big("0")),
        ("-big(2)^70", big("-1180591620717411303424")),
        ("-1//3", ratio(-1, 3)),
        ("1.0", Value::Float(1.0)),
        ("-0.0", Value::Float(-0.0)),
        ("Inf", Value::Float(f64::INFINITY)),
        ("-Inf32", Value::Float(f64::NEG_INFINITY)),
        ("Float16(0.5)", Value::Float(0.5)),
        ("1.5 - 2im", Value::Complex(1.5, -2.0)),
        ("3im", Value::Complex(0.0, 3.0)),
        ("\"grüße\\0\"", text("grüße\0")),
        ("SubString(\"abc\", 2)", text("bc")),
        ("'ä'", text("ä")),
        (r#"String(UInt8[0x61, 0xff])"#, Value::Bytes(vec![0x61, 0xff])),
        ("UInt8[1, 2]", Value::Bytes(vec![1, 2])),
        (":name", Value::Symbol("name".into())),
        ("(1, \"a\")", Value::List(vec![Value::Int(1), text("a")])),
        ("(a = 1, b = 2.5)", map([("a", Value::Int(1)), ("b", Value::Float(2.5))])),
        ("Any[1, missing]", Value::List(vec![Value::Int(1), Value::Missing])),
        ("[\"a\", \"b\"]", Value::List(vec![text("a"), text("b")])),
        ("Dict(\"k\" => :v)", map([("k", Value::Symbol("v".into()))])),
        ("Dict(1 => 2)", Value::Dict(vec![(Value::Int(1), Value::Int(2))])),
        ("Set([7])", Value::Set(vec![Value::Int(7)])),
        ("[1.0, 2.0]", doubles(&[1.0, 2.0])),
        ("1:2", array(Dtype::I64, &[2], [1_i64, 2].map(i64::to_le_bytes).concat())),
        ("Int16[1 3; 2 4]", array(Dtype::I16, &[2, 2], vec![1, 0, 2, 0, 3, 0, 4, 0])),
        ("[true, false]", array(Dtype::Bool, &[2], vec![1, 0])),
        ("trues(2)", array(Dtype::Bool, &[2], vec![1, 1])),
        ("zeros(Float32, 0, 3)", array(Dtype::F32, &[0, 3], vec![])),
        ("fill(1.0)", array(Dtype::F64, &[], 1.0_f64.to_le_bytes().to_vec())),
        ("[1.0 + 2im]", array(Dtype::C128, &[1], [1.0_f64, 2.0].map(f64::to_le_bytes).concat())),
        ("view([1.0 2.0; 3.0 4.0], 2, :)", doubles(&[3.0, 4.0])),
        ("Point(0.5, \"p\")", point(0.5)),
        ("[Point(1, \"p\")]", Value::List(vec![point(1.0)])),
        ("sin", Value::Opaque(Box::new(Opaque { name: "typeof(sin)".into(), shown: "sin".into() }))),
        ("Int", Value::Opaque(Box::new(Opaque { name: "DataType".into(), shown: "Int64".into() }))),
    ];
    for (code, expected) in cases {
        let given = ask(&mut session, "give", &[text(code)]).await;
        // Minus zero is equal to zero, and a type's name is what the program sees.
        assert_eq!(
            format!("{given:?}").replace("Main.##", "Main."),
            format!("{expected:?}").replace("Main.##", "Main."),
            "{code}"
        );
    }
    let nan = ask(&mut session, "give", &[text("NaN")]).await;
    assert!(matches!(nan, Value::Float(value) if value.is_nan()));
    let cell = ask(&mut session, "give", &[text("Cell()")]).await;
    assert!(matches!(cell, Value::Struct(value) if matches!(&value.fields["value"], Value::Opaque(_))));
}

#[tokio::test]
async fn arguments_arrive_with_their_types() {
    let mut session = session("kind(x) = string(typeof(x))\nsame(x) = x\n").await;
    let cases = [
        (Value::Nil, "Nothing"),
        (Value::Missing, "Missing"),
        (Value::Bool(true), "Bool"),
        (Value::Int(i64::MIN), "Int64"),
        (Value::Int(-33), "Int64"),
        (Value::Int(70_000), "Int64"),
        (big("-1180591620717411303424"), "BigInt"),
        (ratio(1, 3), "Rational{Int64}"),
        (Value::Float(f64::NEG_INFINITY), "Float64"),
        (Value::Complex(1.0, f64::INFINITY), "Complex{Float64}"),
        (text("grüße\0"), "String"),
        (Value::Symbol("s t".into()), "Symbol"),
        (Value::Bytes(vec![0xff; 300]), "Array{UInt8,1}"),
        (Value::List(vec![Value::Int(1), text("b")]), "Array{Any,1}"),
        (map([("a", Value::Int(1)), ("ä", Value::Nil)]), "Dict{String,Any}"),
        (Value::Dict(vec![(Value::Int(1), Value::Int(2))]), "Dict{Any,Any}"),
        (Value::Set(vec![Value::Symbol("a".into())]), "Set{Any}"),
        (doubles(&[1.0, f64::NAN]), "Array{Float64,1}"),
        (array(Dtype::I32, &[1, 2], vec![1, 0, 0, 0, 2, 0, 0, 0]), "Array{Int32,2}"),
    ];
    for (value, kind) in cases {
        let shown = ask(&mut session, "kind", std::slice::from_ref(&value)).await;
        assert_eq!(shown, text(kind), "{value:?}");
        assert_eq!(ask(&mut session, "same", std::slice::from_ref(&value)).await, value);
    }
}

#[tokio::test]
async fn large_arrays_go_by_reference_and_are_the_same() {
    let mut session = session("total(x) = sum(x)\nsame(x) = x\nmade(n) = collect(1.0:n)\ntwice(x) = (x, 2x)\n").await;
    let many: Vec<f64> = (0..12_500_000).map(f64::from).collect();
    let large = doubles(&many);
    let sum = ask(&mut session, "total", std::slice::from_ref(&large)).await;
    assert_eq!(sum, Value::Float(12_499_999.0 * 12_500_000.0 / 2.0));
    assert!(ask(&mut session, "same", std::slice::from_ref(&large)).await == large, "100 MB there and back");
    let made = ask(&mut session, "made", &[Value::Int(100_000)]).await;
    assert_eq!(made, doubles(&(1..=100_000).map(f64::from).collect::<Vec<_>>()));
    let both = ask(&mut session, "twice", &[made]).await;
    let Value::List(both) = both else { panic!("two arrays") };
    assert!(matches!(&both[1], Value::Array(array) if array.to_f64().expect("doubles")[99_999] == 200_000.0));
    let kept = session.keep(&Array::of_f64(&many[..1_000_000])).expect("there is room");
    for _ in 0..2 {
        // A large answer does not overwrite what is kept, whether the question names it or not.
        ask(&mut session, "made", &[Value::Int(2_000_000)]).await;
        let sum = ask(&mut session, "total", std::slice::from_ref(&kept)).await;
        assert_eq!(sum, Value::Float(999_999.0 * 1_000_000.0 / 2.0));
    }
}

#[tokio::test]
async fn what_is_too_large_too_deep_or_endless_is_told() {
    let source = "
        cyclic() = (a = Any[1]; push!(a, a); a)
        wide() = (a = Any[]; for _ in 1:80; a = Any[a, a]; end; a)
        deep(n) = foldl((inner, _) -> Any[inner], 1:n; init = nothing)
        many() = Any[nothing for _ in 1:3_000_000]
        huge() = zeros(UInt16, 200_000_000)
        long() = repeat('x', 17_000_000)
        vast() = big(2)^300_000
        fine() = 1
    ";
    let mut session = session(source).await;
    for (function, part) in [
        ("cyclic", "contains itself"),
        ("wide", "contains itself"),
        ("many", "more than 2097152 values"),
        ("huge", "more than 16777216 bytes"),
        ("vast", "more than 32768 bytes"),
        ("long", "more than 16777216 bytes"),
    ] {
        let failure = session.call(&call(function, []), &Cancel::new()).await.expect_err("is refused");
        let script = failure.error.script().unwrap_or_else(|| panic!("{function}: {failure:?}"));
        assert_eq!(script.kind, catalog::vm::ScriptErrorKind::Value, "{function}");
        assert!(script.message.contains(part), "{function}: {script}");
        assert_eq!(ask(&mut session, "fine", &[]).await, Value::Int(1));
    }
    ask(&mut session, "deep", &[Value::Int(64)]).await;
    let failure = session.call(&call("deep", [Value::Int(65)]), &Cancel::new()).await.expect_err("is too deep");
    assert!(failure.to_string().contains("deeper than 64"), "{failure}");
}
