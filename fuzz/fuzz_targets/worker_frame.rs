//! Frames of a hostile worker: what is read is written as the same bytes' meaning again, also by JSON.

#![no_main]

use catalog::value::Value;
use catalog::vm::protocol::{self, FromWorker};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let Ok(message) = protocol::decode::<FromWorker>(frame) else { return };
    let Ok(written) = protocol::encode(&message) else { return };
    // NaN is not equal to itself, so texts are compared.
    let again = protocol::decode::<FromWorker>(&written[4..]).expect("what is written is read");
    assert_eq!(format!("{again:?}"), format!("{message:?}"));
    if let FromWorker::Done { value, .. } = message
        && is_here(&value)
    {
        let json = value.to_json();
        let read = Value::from_json(&json).expect("what is written is read");
        assert_eq!(read.to_json(), json);
    }
});

/// Whether no array lies in shared memory, which is copied before anybody looks at a value.
fn is_here(value: &Value) -> bool {
    match value {
        Value::Array(array) => array.bytes().is_some(),
        _ => value.children().all(is_here),
    }
}
