//! Release statements: the reader, and verification against a root that signed none of them.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use time::macros::datetime;
use trustchain::certificate::{Authority, ROOT_LIFETIME, Validity};
use trustchain::envelope::{Envelope, VerifyOptions};
use trustchain::hybrid::SecretKey;
use trustchain::path::{Hybrid, Revocation, Roots};

static ROOTS: LazyLock<Roots> = LazyLock::new(|| {
    let keys = SecretKey::generate().expect("random bytes");
    let validity = Validity::starting(datetime!(2029-12-31 12:00 UTC), ROOT_LIFETIME);
    let root = Authority::root("another root", keys, validity).expect("issues");
    Roots::new(vec![root.certificate().clone()], Hybrid::Required).expect("is a root")
});

fuzz_target!(|data: &[u8]| {
    let Ok(envelope) = Envelope::parse(data) else { return };
    let at = datetime!(2030-01-01 12:00 UTC);
    let options = VerifyOptions { roots: &ROOTS, chain: None, at, revocation: Revocation::Unchecked };
    assert!(envelope.verify(&options).is_err(), "nobody below this root has signed anything");
});
