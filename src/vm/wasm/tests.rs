//! What the two halves of the engine must agree on.

use super::runtime::{Place, Runtime, Settings};
use super::*;

#[test]
fn validation_and_engine_allow_the_same() {
    for (is_metered, place) in [(false, Place::Worker), (true, Place::Worker), (false, Place::Here)] {
        let runtime = Runtime::new(Settings { is_metered, place }).expect("runs here");
        assert_eq!(runtime.engine().get_wasm_features(), FEATURES);
    }
}

#[test]
fn engines_with_other_settings_have_other_names() {
    let name =
        |is_metered, place| Runtime::new(Settings { is_metered, place }).expect("runs here").identity().to_owned();
    let plain = name(false, Place::Worker);
    assert_eq!(plain, name(false, Place::Worker));
    assert_ne!(plain, name(true, Place::Worker));
    assert_ne!(plain, name(false, Place::Here));
}

#[test]
fn only_a_module_that_begins_is_a_command() {
    let starts = "(core module (func (export \"_start\")))";
    let bytes = |text: &str| wat::parse_str(text).expect("is well formed");
    assert!(is_command(&bytes(&starts.replace("core ", ""))));
    assert!(!is_command(&bytes("(module (func (export \"start\")))")));
    assert!(!is_command(&bytes(&format!("(component {starts})"))));
}
