//! Revocation lists: everything before and behind the signatures of an authority that signed none of them.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use time::macros::datetime;
use trustchain::certificate::{Authority, ROOT_LIFETIME, Validity};
use trustchain::hybrid::SecretKey;
use trustchain::revocation::RevocationList;

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let keys = SecretKey::generate().expect("random bytes");
    let validity = Validity::starting(datetime!(2029-12-31 12:00 UTC), ROOT_LIFETIME);
    Authority::root("another root", keys, validity).expect("issues")
});

fuzz_target!(|data: &[u8]| {
    let now = datetime!(2030-01-01 12:00 UTC);
    assert!(RevocationList::verify(data, AUTHORITY.certificate(), now, None).is_err(), "it has signed nothing");
});
