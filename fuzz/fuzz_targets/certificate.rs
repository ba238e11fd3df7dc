//! Certificates: the strict reader, and validation of whatever it takes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trustchain::certificate::{Certificate, from_pem, to_pem};
use trustchain::path::{Hybrid, Roots};

fuzz_target!(|data: &[u8]| {
    let _ = from_pem(data);
    let Ok(certificate) = Certificate::parse(data) else { return };
    let pem = to_pem([&certificate]);
    let back = from_pem(pem.as_bytes()).expect("what was written is read");
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].fingerprint(), certificate.fingerprint());
    let _ = Roots::new(vec![certificate], Hybrid::Required);
});
