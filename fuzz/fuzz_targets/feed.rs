//! Feeds: entries and heads of foreign bytes, lists of entries that are not those of a head, and edited heads that a
//! publisher signs.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use catalog_fuzz::{ACME, NOW, PKI, canonical, edit, feed, next, payload, sealed, take, unsigned};
use libfuzzer_sys::fuzz_target;
use semver::Version;
use serde::Deserialize;
use serde_json::Value as Json;
use trustchain::digest::Sha256;
use trustchain::document::Document;
use trustchain::feed::{Action, Entry, HEAD_KIND, HEAD_LIFETIME, Head, Seen, VerifiedHead, seal};

/// The most entries of a feed that is made of an input.
const ENTRIES_MAX: usize = 12;

static ENTRIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| feed().iter().map(written).collect());
static SIGNED: LazyLock<Vec<u8>> = LazyLock::new(|| signed(&feed()));
static VERIFIED: LazyLock<VerifiedHead> =
    LazyLock::new(|| VerifiedHead::verify(&SIGNED, &PKI.options(), None).expect("holds"));

fuzz_target!(|data: &[u8]| {
    if data.starts_with(b"{") {
        return foreign(data);
    }
    let mut edits = data;
    match next(&mut edits).map(|how| how % 4) {
        Some(0) => one(edits),
        Some(1) => list(edits),
        Some(2) => head(edits),
        Some(_) => made(edits),
        None => {}
    }
});

fn foreign(data: &[u8]) {
    read(data);
    if Document::<Head>::parse(data, HEAD_KIND).is_ok() {
        assert!(VerifiedHead::verify(data, &PKI.options(), None).is_err(), "nobody has signed it");
    }
}

fn read(data: &[u8]) {
    let Ok(entry) = Entry::parse(data) else { return };
    assert_eq!(written(&entry), data);
    let version = entry.version.clone().unwrap_or(Version::new(1, 0, 0));
    let next = Entry::after(Some(&entry), ACME, ("acme/vec", &version), Action::Restore, NOW);
    assert!(next.is_ok_and(|next| next.number == entry.number + 1) || entry.number == (1 << 53) - 1);
}

/// One entry is edited.
fn one(mut edits: &[u8]) {
    let which = usize::from(next(&mut edits).unwrap_or(0)) % ENTRIES.len();
    let mut json: Json = serde_json::from_slice(&ENTRIES[which]).expect("JSON");
    edit(&mut json, edits);
    read(&canonical(json));
}

/// Entries are changed, moved, doubled, removed and added: only those that the head means are taken.
fn list(mut edits: &[u8]) {
    let mut entries = ENTRIES.clone();
    while let (Some(how), Some(which)) = (next(&mut edits), next(&mut edits)) {
        let which = usize::from(which) % (entries.len() + 1);
        match how % 6 {
            0 => entries.insert(which, take(&mut edits).to_vec()),
            1 => entries.insert(which, ENTRIES[usize::from(how / 6) % ENTRIES.len()].clone()),
            _ if which == entries.len() => continue,
            2 => drop(entries.remove(which)),
            3 => {
                let other = usize::from(how / 6) % entries.len();
                entries.swap(which, other);
            }
            4 => {
                let index = usize::from(next(&mut edits).unwrap_or(0)) % entries[which].len().max(1);
                entries[which].get_mut(index).map(|byte| *byte ^= 1 << (how / 6 % 8));
            }
            _ => {
                let Ok(mut json) = serde_json::from_slice(&entries[which]) else { continue };
                edit(&mut json, take(&mut edits));
                entries[which] = canonical(json);
            }
        }
        if entries.len() > ENTRIES_MAX {
            break;
        }
    }
    let found = VERIFIED.entries(entries.iter().map(Vec::as_slice), None);
    assert_eq!(found.is_ok(), entries == *ENTRIES);
    let other = Seen { number: 3, entry: Sha256::of(b"other") };
    assert!(VERIFIED.entries(entries.iter().map(Vec::as_slice), Some(other)).is_err(), "it was forked");
}

/// A head is edited and signed again.
fn head(edits: &[u8]) {
    let mut json = payload(&SIGNED);
    edit(&mut json, edits);
    // The chain around a head takes far longer to read than the head, and is the same for each.
    if Head::deserialize(&json["value"]).is_err() {
        return;
    }
    let bytes = canonical(json);
    if Document::<Head>::parse(&unsigned(HEAD_KIND, &bytes, &PKI.chain), HEAD_KIND).is_err() {
        return;
    }
    let signed = sealed(HEAD_KIND, &bytes, &PKI.keys, &PKI.chain);
    let Ok(verified) = VerifiedHead::verify(&signed, &PKI.options(), None) else { return };
    let head = verified.head();
    assert_eq!(head.publisher, ACME);
    assert!(NOW <= head.expires && head.expires <= NOW + trustchain::SKEW + HEAD_LIFETIME, "{head:?}");
    let taken = verified.entries(ENTRIES.iter().map(Vec::as_slice), None).is_ok();
    assert_eq!(taken, verified.seen() == VERIFIED.seen());
}

/// A feed is made of an input: what is written is read, and its head vouches for it.
fn made(mut data: &[u8]) {
    let mut entries: Vec<Entry> = Vec::new();
    while !data.is_empty() && entries.len() < ENTRIES_MAX {
        let kind = next(&mut data).unwrap_or(0) % 4;
        let action = match kind {
            0 => Action::Publish { release: Sha256::of(take(&mut data)) },
            1 => Action::Yank { reason: text(take(&mut data)) },
            2 => Action::Restore,
            _ => Action::Own {
                after: None,
                former: BTreeMap::from([(text(take(&mut data)), u64::from(next(&mut data).unwrap_or(0)))]),
                owners: vec![text(take(&mut data)), text(take(&mut data))],
            },
        };
        let (package, version) = (text(take(&mut data)), text(take(&mut data)));
        let Ok(version) = version.parse::<Version>() else { return };
        let subject = (&*package, (kind < 3).then_some(&version));
        let Ok(entry) = Entry::after(entries.last(), ACME, subject, action, NOW) else { return };
        assert_eq!(Entry::parse(&written(&entry)).expect("what is made is read"), entry);
        entries.push(entry);
    }
    if entries.is_empty() {
        return;
    }
    let head = VerifiedHead::verify(&signed(&entries), &PKI.options(), None).expect("holds");
    let bytes: Vec<Vec<u8>> = entries.iter().map(written).collect();
    assert_eq!(head.entries(bytes.iter().map(Vec::as_slice), None).expect("are those"), entries);
}

fn signed(entries: &[Entry]) -> Vec<u8> {
    let last = entries.last().expect("an entry");
    seal(last.number, last.digest().expect("a digest"), NOW, &PKI.chain, &PKI.keys).expect("signs")
}

fn written(entry: &Entry) -> Vec<u8> {
    entry.to_bytes().expect("writes")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
