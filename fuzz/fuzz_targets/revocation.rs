//! Revocation lists: foreign bytes before the signatures, and edited lists that an authority signs behind them.

#![no_main]

use std::sync::LazyLock;

use catalog_fuzz::{NOW, PKI, canonical, edit, payload, sealed};
use libfuzzer_sys::fuzz_target;
use serde_json::Value as Json;
use time::Duration;
use trustchain::revocation::{Entry, ListOptions, PAYLOAD_TYPE, Reason, RevocationList, Seen};

static LIST: LazyLock<Json> = LazyLock::new(|| {
    let entries =
        [Entry::of(&PKI.chain[0], Reason::KeyCompromise, NOW), Entry::of(&PKI.chain[1], Reason::Superseded, NOW)];
    let options = ListOptions { number: 7, issued: NOW, expires: NOW + Duration::DAY, entries: &entries };
    payload(&PKI.root.revocation_list(&options).expect("signs"))
});

fuzz_target!(|data: &[u8]| {
    let root = PKI.root.certificate();
    if data.starts_with(b"{") {
        assert!(RevocationList::verify(data, root, NOW, None).is_err(), "it has signed nothing");
        return;
    }
    let mut json = LIST.clone();
    edit(&mut json, data);
    let bytes = canonical(json);
    let signed = sealed(PAYLOAD_TYPE, &bytes, &PKI.root_keys, &[]);
    let Ok(list) = RevocationList::verify(&signed, root, NOW, None) else { return };
    assert!(list.is_of(root) && NOW <= list.expires());
    for certificate in &PKI.chain {
        let _ = list.status(certificate, NOW);
    }
    let (number, issued, expires) = (list.number(), list.issued(), list.expires());
    let options = ListOptions { number, issued, expires, entries: list.entries() };
    let again = PKI.root.revocation_list(&options).expect("what was read is written");
    assert_eq!(canonical(payload(&again)), bytes);
    let newer = Seen { number: number + 1, ..list.seen() };
    assert!(RevocationList::verify(&signed, root, NOW, Some(newer)).is_err(), "a newer one was seen");
});
