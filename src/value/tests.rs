//! Every kind of value there and back by JSON; the same by frames is in `vm::protocol`.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

/// Values of every kind. No NaN, which is not equal to itself.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let float = || prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0), -1e300..1e300_f64];
    let leaf = prop_oneof![
        Just(Value::Nil),
        Just(Value::Missing),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any_big().prop_map(|value| Value::BigInt(Box::new(value))),
        (any_big(), any_big()).prop_map(|ratio| Value::Rational(Box::new(ratio))),
        float().prop_map(Value::Float),
        (float(), float()).prop_map(|(real, imaginary)| Value::Complex(real, imaginary)),
        ".{0,40}".prop_map(Value::Str),
        ".{0,8}".prop_map(Value::Symbol),
        vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
        any_array().prop_map(|array| Value::Array(Box::new(array))),
        (".{0,8}", ".{0,8}").prop_map(|(name, shown)| Value::Opaque(Box::new(Opaque { name, shown }))),
    ];
    leaf.prop_recursive(4, 48, 20, |inner| {
        let key = prop_oneof![Just("$bytes".to_owned()), Just("$map".to_owned()), "[a-z$]{0,3}"];
        let map = btree_map(key, inner.clone(), 0..20);
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::List),
            vec(inner.clone(), 0..4).prop_map(Value::Set),
            vec((inner.clone(), inner), 0..4).prop_map(Value::Dict),
            map.clone().prop_map(Value::Map),
            (".{0,8}", map).prop_map(|(name, fields)| Value::Struct(Box::new(Struct { name, fields }))),
        ]
    })
}

fn any_big() -> impl Strategy<Value = BigInt> {
    vec(any::<u8>(), 0..40).prop_map(|bytes| BigInt::from_signed_bytes_le(&bytes))
}

fn any_array() -> impl Strategy<Value = Array> {
    (0..13_usize, vec(0..4_u64, 0..4), any::<u64>()).prop_map(|(dtype, shape, seed)| {
        let dtype = Dtype::all().nth(dtype).expect("there are 13");
        let bytes = shape.iter().product::<u64>() * dtype.size_bytes() as u64;
        let byte = |at: u64| (seed.rotate_left((at * 7 % 64) as u32) & 0xff) as u8;
        let bytes = (0..bytes).map(|at| if dtype == Dtype::Bool { byte(at) & 1 } else { byte(at) }).collect();
        Array::new(dtype, shape, bytes).expect("fills its shape")
    })
}

proptest! {
    #[test]
    fn json_round_trips(value in any_value()) {
        let text = value.to_json().to_string();
        prop_assert_eq!(Value::from_json(&serde_json::from_str(&text).expect("is JSON")).expect("reads back"), value);
    }
}

fn from_json(text: &str) -> Result<Value, FromJsonError> {
    Value::from_json(&serde_json::from_str(text).expect("is JSON"))
}

#[test]
fn json_is_as_documented() {
    let array = Array::of_f64(&[1.0, f64::NAN]);
    let array = Value::Array(Box::new(array)).to_json().to_string();
    assert_eq!(array, r#"{"$array":{"dtype":"f64","shape":[2],"data":[1.0,{"$float":"nan"}]}}"#);
    assert_eq!(
        from_json("18446744073709551615").expect("reads").to_json().to_string(),
        r#"{"$int":"18446744073709551615"}"#
    );
    let dict = Value::Dict(vec![(Value::Int(1), Value::Symbol("a".into()))]);
    assert_eq!(dict.to_json().to_string(), r#"{"$map":[[[1],{"$symbol":"a"}]]}"#);
    let by_hand = from_json(r#"{"$array": {"dtype": "f64", "shape": [2, 1], "data": [1, 2.5]}}"#).expect("reads");
    assert!(matches!(by_hand, Value::Array(array) if array.to_f64() == Some(vec![1.0, 2.5])));
    assert!(matches!(from_json(r#"{"$float": "nan"}"#).expect("reads"), Value::Float(value) if value.is_nan()));
}

#[test]
fn an_array_keeps_the_bits_of_every_nan_and_large_ones_their_bytes() {
    let odd = f64::from_bits(f64::NAN.to_bits() | 1);
    for values in [vec![1.0, odd], vec![0.5; 5000]] {
        let value = Value::Array(Box::new(Array::of_f64(&values)));
        let text = value.to_json().to_string();
        assert!(!text.contains("0.5"), "is written as bytes");
        assert_eq!(from_json(&text).expect("reads back"), value);
    }
}

#[test]
fn an_integer_has_a_bound() {
    let most = "9".repeat(78_000);
    assert!(from_json(&format!(r#"{{"$int": "{most}"}}"#)).is_ok());
    assert!(from_json(&format!(r#"{{"$int": "{most}9"}}"#)).is_err());
    let bits = |bytes: u32| Value::BigInt(Box::new(BigInt::from(1) << (8 * bytes - 1)));
    let frame = |bytes| rmp_serde::to_vec(&bits(bytes)).expect("is written");
    assert_eq!(rmp_serde::from_slice::<Value>(&frame(32 << 10)).expect("at the bound"), bits(32 << 10));
    assert!(rmp_serde::from_slice::<Value>(&frame((32 << 10) + 1)).is_err());
}

#[test]
fn refuses_what_would_lose_something() {
    for wrong in [
        r#"{"$bytes": "?"}"#,
        r#"{"$float": "many"}"#,
        r#"{"$map": 1}"#,
        r#"{"$map": [["a", 1], [["b"], 1]]}"#,
        r#"{"$missing": false}"#,
        r#"{"$int": "1.5"}"#,
        r#"{"$rational": ["1"]}"#,
        r#"{"$complex": [1, 2]}"#,
        r#"{"$struct": {"type": "T"}}"#,
        r#"{"$array": {"dtype": "f16", "shape": [1], "data": [1]}}"#,
        r#"{"$array": {"dtype": "u8", "shape": [1], "data": [256]}}"#,
        r#"{"$array": {"dtype": "u8", "shape": [2], "data": [1]}}"#,
        r#"{"$array": {"dtype": "u8", "shape": [18446744073709551615, 3], "data": []}}"#,
    ] {
        assert!(from_json(wrong).is_err(), "{wrong}");
    }
}
