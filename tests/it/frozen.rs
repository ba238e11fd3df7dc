//! The contract against its past and its future: what one minor version apart fits, and what may not change is refused.

use contract_variants::{argument, major, newer, structure};
use host_sim::host::Source;
use hypermesh_abi::Code;
use hypermesh_abi::abi_stable::StableAbi;
use hypermesh_abi::abi_stable::library::LibHeader;
use hypermesh_abi::abi_stable::type_layout::TypeLayout;
use hypermesh_abi::contract::root::ExtensionModRef as Today;
use hypermesh_abi::host::{CONTRACT_VERSION, admit, fits};
use hypermesh_abi_1_0::contract::root::ExtensionModRef as Released;
use serde_json::json;

use super::support::{Node, block_on, library};

static NEWER: LibHeader = newer::header();
static ARGUMENT: LibHeader = argument::header();
static STRUCTURE: LibHeader = structure::header();
static MAJOR: LibHeader = major::header();

fn layout<T: StableAbi>() -> &'static TypeLayout {
    T::LAYOUT
}

fn refusal(interface: &'static TypeLayout, implementation: &'static TypeLayout) -> String {
    one_line(fits(interface, implementation).expect_err("does not fit").to_string())
}

fn one_line(text: String) -> String {
    assert!(!text.contains('\n') && text.chars().count() < 400, "one line for people: {text}");
    text
}

#[test]
fn what_was_built_with_1_0_fits_this_host() {
    fits(layout::<Released>(), layout::<Today>()).expect("the contract of today has all that 1.0 has");
}

#[test]
fn what_is_built_today_fits_a_host_of_the_same_minor_version() {
    let same_minor = CONTRACT_VERSION.starts_with("1.0.");
    let fits = fits(layout::<Today>(), layout::<Released>());
    assert_eq!(fits.is_ok(), same_minor, "contract {CONTRACT_VERSION}: bump the minor version when it grows: {fits:?}");
}

#[test]
fn the_frozen_copy_is_as_it_was_released() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/abi/frozen/1.0/src/contract");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).expect("there").map(|file| file.expect("there").path()).collect();
    files.sort();
    let mut hash = blake3::Hasher::new();
    for file in &files {
        hash.update(&std::fs::read(file).expect("text"));
    }
    let frozen = "0682a051b13fd7d906adde685d28ffb18c11b8f30b345cda3fe0b1f4427fc5d3";
    assert_eq!(
        hash.finalize().to_hex().as_str(),
        frozen,
        "a released contract never changes; make a new one beside it"
    );
}

#[test]
fn an_older_library_fits_a_newer_host_and_a_newer_library_an_older_host() {
    let (older, newer) = (layout::<Released>(), layout::<newer::root::ExtensionModRef>());
    fits(older, newer).expect("the older side is the interface, whichever side it is");
    insta::assert_snapshot!(refusal(newer, older), @"the library's contract differs from this host's at its root: expected 6 fields, found 5 fields");
}

#[test]
fn what_no_minor_version_may_change_is_refused_by_name() {
    let older = layout::<Released>();
    insta::assert_snapshot!(refusal(older, layout::<argument::root::ExtensionModRef>()), @"the library's contract differs from this host's at Extension > request > argument 2 (RString): expected RString, found RVec");
    insta::assert_snapshot!(refusal(older, layout::<structure::root::ExtensionModRef>()), @"the library's contract differs from this host's at HostServices > progress > argument 1 (CallCtx): expected 64 bytes, found 72 bytes");
    fits(older, layout::<major::root::ExtensionModRef>()).expect("only its version differs");
}

#[test]
fn a_header_is_judged_by_version_first_and_layout_second() {
    let refusal = |header| match admit(header) {
        Ok(_) => panic!("admitted"),
        Err(error) => one_line(error.to_string()),
    };
    insta::assert_snapshot!(refusal(&MAJOR), @"the library was built for contract 2.0.0, this host speaks 1.0.0");
    insta::assert_snapshot!(refusal(&ARGUMENT), @"the library's contract differs from this host's at Extension > request > argument 2 (RString): expected RString, found RVec");
    insta::assert_snapshot!(refusal(&STRUCTURE), @"the library's contract differs from this host's at HostServices > progress > argument 1 (CallCtx): expected 64 bytes, found 72 bytes");
    insta::assert_snapshot!(refusal(&NEWER), @"the library's root function failed: An error ocurred while loading this library: hypermesh_extension version: 1.0.0 the error: the root module loader panicked");
}

#[test]
fn a_library_of_a_newer_minor_version_is_loaded_and_answers() {
    block_on(async {
        let node = Node::with_echo().await;
        let bundle = node.home.bundle("newer", &library("newer_extension"), &json!({})).expect("laid out");
        node.host.load(Source::Bundle(bundle)).await.expect("loads");
        assert_eq!(node.ask("newer", "greet", json!({})).await["successor"], 2, "it uses what only it knows");
        assert_eq!(node.try_ask("newer", "sing", json!({})).await.expect_err("unknown").code, Code::UNSUPPORTED);
        node.host.pause("newer").await.expect("pauses");
        node.host.resume("newer").await.expect("goes on");
        node.host.unload("newer").await.expect("unloads");
        node.lives().await;
    });
}

#[test]
fn a_library_of_a_broken_contract_is_refused_and_the_host_lives() {
    block_on(async {
        let node = Node::with_echo().await;
        let error = node.home.bundle("broken", &library("broken_extension"), &json!({})).expect_err("no bundle of it");
        insta::assert_snapshot!(one_line(error.to_string()), @"library refused by a trial in a child process: the library's contract differs from this host's at Extension > request > argument 2 (RString): expected RString, found RVec");
        node.lives().await;
    });
}
