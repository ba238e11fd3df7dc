//! Tests of secret keys on disk.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::*;
use crate::testing::keys;

const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
const PASSPHRASE: Unlock<'_> = Unlock::Passphrase("correct horse");

fn altered(bytes: &[u8], alter: impl FnOnce(&mut Value)) -> KeyfileError {
    let mut json: Value = serde_json::from_slice(bytes).expect("JSON");
    alter(&mut json);
    open(&canonical::write(&json).expect("writes"), PASSPHRASE).expect_err("is refused")
}

#[test]
fn keys_come_back_from_either_kind_of_file() {
    let keys = keys();
    let key = [7; KEY_BYTES_MIN];
    for unlock in [PASSPHRASE, Unlock::KeyFile(&key)] {
        let bytes = seal(&keys, unlock, CHEAP).expect("seals");
        let opened = open(&bytes, unlock).expect("opens");
        let opened = opened.into_hybrid().expect("both keys");
        assert_eq!(opened.public(), keys.public());
        let signature = opened.sign(b"m").expect("signs");
        keys.public().verify(b"m", &signature).expect("the same keys");
        assert_eq!(fingerprint(&bytes).expect("reads").as_bytes(), &keys.public().fingerprint());
        assert!(bytes.len() < 4_000, "{}", bytes.len());
        let secret = [keys.ed25519.expose().as_slice(), &keys.falcon.expose()[..64]];
        assert!(secret.iter().all(|secret| !bytes.windows(8).any(|w| w == &secret[..8])), "nothing is in the clear");
    }
}

#[test]
fn an_ed25519_key_alone_comes_back_alone() {
    let key = ed25519::SecretKey::generate().expect("generates");
    let bytes = seal(&key, PASSPHRASE, CHEAP).expect("seals");
    let SecretKeys::Classical(opened) = open(&bytes, PASSPHRASE).expect("opens") else { panic!("one key") };
    assert_eq!(opened.public(), key.public());
    assert_eq!(fingerprint(&bytes).expect("reads"), Sha256::of(key.public().as_bytes()));
    // Both keys do not open as one: what is encrypted is authenticated with what it is said to be.
    let both = seal(&keys(), PASSPHRASE, CHEAP).expect("seals");
    let one = |json: &mut Value| {
        let ciphertext = BASE64.decode(json["ciphertext"].as_str().expect("text").as_bytes()).expect("base64");
        json["ciphertext"] = BASE64.encode(&ciphertext[..ed25519::SECRET_KEY_BYTES + 16]).into();
    };
    assert!(matches!(altered(&both, one), KeyfileError::Locked));
}

#[test]
fn another_passphrase_or_kind_does_not_open() {
    let keys = keys();
    let bytes = seal(&keys, PASSPHRASE, CHEAP).expect("seals");
    assert!(matches!(open(&bytes, Unlock::Passphrase("correct horsf")), Err(KeyfileError::Locked)));
    let error = open(&bytes, Unlock::KeyFile(&[7; 32])).expect_err("is refused").to_string();
    assert_eq!(error, "the keys are opened by a passphrase");
    let bytes = seal(&keys, Unlock::KeyFile(&[7; 32]), CHEAP).expect("seals");
    assert!(matches!(open(&bytes, Unlock::KeyFile(&[8; 32])), Err(KeyfileError::Locked)));
    assert_eq!(open(&bytes, PASSPHRASE).expect_err("is refused").to_string(), "the keys are opened by a key file");
}

#[test]
fn lengths_are_bounded() {
    let keys = keys();
    let refused = |unlock| matches!(seal(&keys, unlock, CHEAP), Err(KeyfileError::Unlock { .. }));
    let long = "x".repeat(PASSPHRASE_BYTES_MAX + 1);
    assert!(
        refused(Unlock::Passphrase("")) && refused(Unlock::Passphrase("1234567")) && refused(Unlock::Passphrase(&long))
    );
    assert!(!refused(Unlock::Passphrase("12345678")) && !refused(Unlock::Passphrase(&long[1..])));
    assert!(refused(Unlock::KeyFile(&[1; KEY_BYTES_MIN - 1])) && refused(Unlock::KeyFile(&[1; KEY_BYTES_MAX + 1])));
    let huge = vec![b' '; KEYFILE_BYTES_MAX + 1];
    let error = open(&huge, PASSPHRASE).expect_err("is refused");
    assert!(matches!(error, KeyfileError::Canonical(CanonicalError::TooLarge { .. })));
}

#[test]
fn a_file_cannot_ask_for_more_than_the_machine_gives() {
    let bytes = seal(&keys(), PASSPHRASE, CHEAP).expect("seals");
    for (field, most) in [("memoryKib", MEMORY_KIB_MAX), ("passes", PASSES_MAX), ("lanes", LANES_MAX)] {
        for wrong in [most + 1, 0] {
            let error = altered(&bytes, |json| json["header"]["derivation"]["argon2id"][field] = json!(wrong));
            assert!(matches!(error, KeyfileError::Cost { .. }), "{field} {wrong}: {error:?}");
        }
    }
    assert!(matches!(seal(&keys(), PASSPHRASE, Cost { passes: 17, ..CHEAP }), Err(KeyfileError::Cost { .. })));
}

#[test]
fn everything_in_the_file_is_authenticated() {
    let bytes = seal(&keys(), PASSPHRASE, CHEAP).expect("seals");
    let header = |field: &'static str, value: Value| altered(&bytes, |json| json["header"][field] = value);
    assert!(matches!(header("version", json!(2)), KeyfileError::Malformed { .. }));
    assert!(matches!(header("cipher", json!("none")), KeyfileError::Malformed { .. }));
    assert!(matches!(header("nonce", json!("")), KeyfileError::Malformed { .. }));
    assert!(matches!(header("salt", json!(BASE64.encode(&[0; SALT_BYTES]))), KeyfileError::Locked));
    assert!(matches!(header("nonce", json!(BASE64.encode(&[0; NONCE_BYTES]))), KeyfileError::Locked));
    assert!(matches!(header("fingerprint", json!("00".repeat(32))), KeyfileError::Locked));
    assert!(matches!(header("extra", json!(1)), KeyfileError::Canonical(_)));
    assert!(matches!(altered(&bytes, |json| json["ciphertext"] = json!("")), KeyfileError::Locked));
    for at in (0..bytes.len()).step_by(13) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 7);
        assert!(open(&flipped, PASSPHRASE).is_err(), "byte {at}");
    }
}

#[test]
fn the_derivation_is_that_of_rfc_9106() {
    // Section 5.3, the test vector of Argon2id.
    let params = argon2::ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(argon2::AssociatedData::new(&[4; 12]).expect("fits"))
        .build()
        .expect("valid");
    let argon2 = Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).expect("valid");
    let mut key = [0; 32];
    argon2.hash_password_into(&[1; 32], &[2; 16], &mut key).expect("hashes");
    let expected = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659";
    assert_eq!(HEXLOWER.encode(&key), expected);
}
