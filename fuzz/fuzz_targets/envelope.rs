//! Release statements: the reader and verification, over foreign bytes and over edited statements that a publisher signs.

#![no_main]

use std::sync::LazyLock;

use catalog_fuzz::{NOW, PKI, canonical, edit, next, payload, release, sealed, unsigned_apart};
use libfuzzer_sys::fuzz_target;
use serde_json::Value as Json;
use trustchain::envelope::{self, ChainForm, Envelope, PAYLOAD_TYPE};

static GENUINE: LazyLock<Vec<u8>> =
    LazyLock::new(|| envelope::seal(&release(), &PKI.chain, ChainForm::Inline, &PKI.keys).expect("signs"));
static STATEMENT: LazyLock<Json> = LazyLock::new(|| payload(&GENUINE));

fuzz_target!(|data: &[u8]| {
    if data.starts_with(b"{") {
        return foreign(data);
    }
    let mut edits = data;
    match next(&mut edits) {
        Some(how) if how % 4 == 0 => signatures(edits),
        Some(_) => statement(edits),
        None => {}
    }
});

fn foreign(data: &[u8]) {
    let Ok(envelope) = Envelope::parse(data) else { return };
    assert!(envelope.verify(&PKI.options()).is_err(), "nobody below this root has signed anything");
}

/// Everything around the statement is edited: whatever still holds says what was signed.
fn signatures(edits: &[u8]) {
    let mut json: Json = serde_json::from_slice(&GENUINE).expect("JSON");
    edit(&mut json, edits);
    let Ok(envelope) = Envelope::parse(&canonical(json)) else { return };
    if let Ok(verified) = envelope.verify(&PKI.options()) {
        assert_eq!(verified.release(), &release());
    }
}

/// The statement is edited and signed again: what is read is written to the same bytes, and keeps the rules.
fn statement(edits: &[u8]) {
    let mut json = STATEMENT.clone();
    edit(&mut json, edits);
    let bytes = canonical(json);
    if Envelope::parse(&unsigned_apart(PAYLOAD_TYPE, &bytes)).is_err() {
        return;
    }
    let envelope = Envelope::parse(&sealed(PAYLOAD_TYPE, &bytes, &PKI.keys, &PKI.chain)).expect("has the same form");
    let Ok(verified) = envelope.verify(&PKI.options()) else { return };
    let release = verified.release();
    assert!(release.namespace().is_none_or(|namespace| namespace == "acme"), "{release}");
    assert!(release.signed_at <= NOW + trustchain::SKEW, "{release:?}");
    let again = envelope::seal(release, &PKI.chain, ChainForm::Inline, &PKI.keys).expect("what was read is written");
    assert_eq!(canonical(payload(&again)), bytes);
}
