//! The bounds of a component before it is compiled, and of what is copied.

use super::values::{from_val, to_val};
use super::*;

fn checked(text: &str) -> Result<(), String> {
    check(&wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

fn refused(text: &str, expected: &str) {
    let error = checked(text).expect_err("is refused");
    assert!(error.contains(expected), "{error}");
}

/// Every component holds two of the one before, and the last is made.
fn doubling(levels: usize) -> String {
    let level = |n: usize| {
        format!(
            "(component (alias outer 1 {n} (component $x)) (instance (instantiate $x)) (instance (instantiate $x)))"
        )
    };
    let levels_text: String = (0..levels).map(level).collect();
    format!("(component (component) {levels_text} (instance (instantiate {levels})))")
}

#[test]
fn a_component_is_bounded_as_if_it_were_written_out() {
    assert_eq!(checked(&doubling(4)), Ok(()));
    refused(&doubling(40), "it is longer than 12582912");
    refused("(component (import \"c\" (component $c)) (instance (instantiate $c)))", "that it does not hold");
    let functions = |count: usize| {
        let lifted = "(func (canon lift (core func $i \"f\")))".repeat(count);
        format!("(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m)) {lifted})")
    };
    assert_eq!(checked(&functions(1000)), Ok(()));
    refused(&functions(1600), "each function as 8192 bytes");
}

#[test]
fn components_and_types_nest_a_little() {
    let components = |depth: usize| format!("{}{}", "(component ".repeat(depth), ")".repeat(depth));
    assert_eq!(checked(&components(17)), Ok(()));
    refused(&components(18), "its components nest more than 16 deep");
    let types = |depth: usize| format!("(component {}{})", "(type (component ".repeat(depth), "))".repeat(depth));
    assert_eq!(checked(&types(16)), Ok(()));
    refused(&types(17), "its types nest more than 16 deep");
    assert_eq!(check(&bottomless()), Err("its types nest more than 16 deep".to_owned()));
}

/// Gives a component of types so deep that reading it with calls would end the process: each has one declaration, which is such
/// a type.
pub(crate) fn bottomless() -> Vec<u8> {
    let levels = 1_000_000;
    let mut section = vec![0x01];
    section.extend([0x42, 0x01, 0x01].repeat(levels));
    let length = u32::try_from(section.len()).expect("fits");
    let mut bytes = b"\0asm\x0d\0\x01\0\x07".to_vec();
    bytes.extend((0..5).map(|group| (length >> (7 * group)) as u8 & 0x7f | if group < 4 { 0x80 } else { 0 }));
    bytes.append(&mut section);
    bytes
}

/// The validator has an assertion in this place, which must not end the process.
#[test]
fn instances_of_instances_without_end_are_refused() {
    let level =
        |n: usize| format!("(type (instance (alias outer 1 {n} (type $t)) (export \"a\" (instance (type $t)))))");
    let levels = |count: usize| format!("(component (type (instance)) {})", (0..count).map(level).collect::<String>());
    assert_eq!(checked(&levels(20)), Ok(()));
    refused(&levels(200), "no valid component: ");
}

#[test]
fn what_is_copied_has_a_bound() {
    let text = Value::Str("x".repeat(100));
    let needed = size_of::<Val>() + 100;
    assert!(to_val(&text, &Type::String, &mut Room::of(needed)).is_ok());
    let error = to_val(&text, &Type::String, &mut Room::of(needed - 1)).expect_err("has no room");
    assert_eq!(error, "all of it together is larger than what one call may copy");
    let val = || Val::String("x".repeat(100));
    assert_eq!(from_val(val(), &Type::String, &mut Room::of(101)), Ok(text));
    assert!(from_val(val(), &Type::String, &mut Room::of(100)).is_err());
}
