//! A registry over loopback HTTP and in a directory, and a server that misbehaves in every way a client can meet.

use std::sync::atomic::Ordering;
use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;
use time::macros::datetime;

use self::web::{Fault, Web};
use super::*;
use crate::digest::Digests;

#[path = "../../tests/it/web.rs"]
mod web;

/// Short, so that a server that hangs is given up soon.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    answer: Duration::from_millis(200),
    body: Duration::from_secs(5),
    backoff: Duration::from_millis(1),
};

const BLOB: &[u8] = b"a compressed archive";
const PUBLISHER: &str = "acme.pub.trustchain";

fn name() -> PackageName {
    "acme/vec3".parse().expect("a name")
}

fn package() -> PackageDocument {
    let release = OfferedRelease {
        version: "1.0.0".parse().expect("a version"),
        digests: Digests::of(b"tar"),
        tar_bytes: 3,
        blob: Digest::of(BLOB),
        archive_bytes: BLOB.len() as u64,
        manifest: "{}".into(),
        published_at: datetime!(2026-01-02 03:04:05 UTC),
        yanked: None,
        statement: Some(OfferedStatement { envelope: "{}".into(), chain: Digest::of(b"chain") }),
    };
    PackageDocument { format: FORMAT_VERSION, name: name(), releases: vec![release] }
}

fn feed() -> FeedDocument {
    FeedDocument { format: 1, publisher: PUBLISHER.into(), head: "{}".into(), entries: vec!["{}".into()] }
}

fn write(root: &Path) -> Written {
    let writer = Writer::new(root).expect("begins");
    writer.blob(&name(), BLOB).expect("writes");
    writer.chain("chain").expect("writes");
    writer.feed(&feed()).expect("writes");
    writer.package(&package(), Side::Own).expect("writes");
    let names = NamesDocument { format: 1, names: vec![name()] };
    writer.finish(&names, &HealthDocument { format: 1, status: "ok".into(), packages: 1, versions: 1 }).expect("writes")
}

fn served() -> (tempfile::TempDir, Web) {
    let root = tempfile::tempdir().expect("a directory");
    write(root.path());
    let web = Web::serve(root.path());
    (root, web)
}

#[test]
fn an_address_is_vouched_for_by_the_authorities_that_count() {
    let root = tempfile::tempdir().expect("a directory");
    write(root.path());
    let (web, certificate) = Web::serve_tls(root.path());
    let ca = root.path().join("ca.pem");
    let remote =
        |ca: &Path| Remote::with_authorities(Address::parse(&web.url(), false).expect("an address"), PATIENCE, ca);
    std::fs::write(&ca, certificate).expect("writes");
    let blob = remote(&ca).expect("reads").blob(Digest::of(BLOB), BLOB.len() as u64, &|_| {}).expect("is believed");
    assert_eq!(blob, BLOB);
    // Neither the public authorities nor another one have signed it.
    let public = Remote::new(Address::parse(&web.url(), false).expect("an address"), PATIENCE);
    let error = told(&public.health().expect_err("nobody vouches for it"), &web.url());
    assert!(error.contains("invalid peer certificate"), "{error}");
    let (_, of_another) = Web::serve_tls(root.path());
    std::fs::write(&ca, of_another).expect("writes");
    let error = told(&remote(&ca).expect("reads").health().expect_err("another vouches for it"), &web.url());
    assert!(error.contains("invalid peer certificate"), "{error}");
    assert!(web.requests().iter().all(|path| path.contains("blob")), "nothing was asked before");

    for (text, reason) in [("", "holds no certificate"), ("-----BEGIN CERTIFICATE-----\n?\n", "")] {
        std::fs::write(&ca, text).expect("writes");
        let error = remote(&ca).expect_err("is refused").to_string();
        assert!(error.contains("ca.pem") && error.contains(reason), "{error}");
    }
    let error = remote(&root.path().join("absent")).expect_err("is refused").to_string();
    assert!(error.contains("No such file"), "{error}");
}

fn remote(url: &str) -> Remote {
    Remote::new(Address::parse(url, false).expect("an address"), PATIENCE)
}

/// Says an error with its causes, and neither ports nor directories.
fn told(error: &dyn std::error::Error, url: &str) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.replace(url, "URL")
}

#[test]
fn a_registry_is_the_same_over_http_and_in_a_directory() {
    let (root, web) = served();
    for url in [web.url(), format!("file://{}", root.path().display())] {
        let remote = remote(&url);
        assert_eq!(remote.health().expect("answers").versions, 1);
        assert_eq!(remote.names().expect("answers").expect("is there").names, [name()]);
        let Fetched::Found { value, tag } = remote.package(&name(), None).expect("answers") else { panic!("{url}") };
        assert_eq!(value, package());
        assert_eq!(remote.package(&name(), tag.as_deref()).expect("answers"), Fetched::Unchanged);
        assert!(matches!(remote.package(&name(), Some("\"old\"")).expect("answers"), Fetched::Found { .. }));
        assert_eq!(remote.package(&"absent".parse().expect("a name"), None).expect("answers"), Fetched::Absent);
        let Fetched::Found { value, .. } = remote.feed(PUBLISHER, None).expect("answers") else { panic!("{url}") };
        assert_eq!(value, feed());
        assert_eq!(remote.feed("../../secret", None).expect("is not even asked"), Fetched::Absent);
        assert_eq!(remote.chain(Digest::of(b"chain")).expect("answers"), "chain");
        let seen = std::sync::atomic::AtomicU64::new(0);
        let progress = |bytes| {
            seen.fetch_add(bytes, Ordering::Relaxed);
        };
        assert_eq!(remote.blob(Digest::of(BLOB), BLOB.len() as u64, &progress).expect("answers"), BLOB);
        assert_eq!(seen.into_inner(), BLOB.len() as u64);
    }
}

#[test]
fn what_was_written_stays_until_it_changes() {
    let root = tempfile::tempdir().expect("a directory");
    assert_eq!(write(root.path()), Written { written: 6, unchanged: 0 });
    assert_eq!(write(root.path()), Written { written: 0, unchanged: 6 });
    std::fs::write(root.path().join(package_path(&name())), "cut").expect("written");
    assert_eq!(write(root.path()), Written { written: 1, unchanged: 5 });
}

#[test]
fn passing_faults_are_overcome_and_lasting_ones_are_told_with_the_url() {
    let (_root, web) = served();
    let remote = remote(&web.url());
    for fault in [Fault::Status(503), Fault::Status(429), Fault::HangUp, Fault::Cut, Fault::Silence] {
        web.fault("metadata", fault.clone(), RETRIES_MAX as usize);
        let answer = remote.package(&name(), None).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(matches!(answer, Fetched::Found { .. }), "{fault:?}");
        assert_eq!(web.requests().len(), 1 + RETRIES_MAX as usize, "{fault:?}");
    }
    web.fault("metadata", Fault::Status(503), 1 + RETRIES_MAX as usize);
    let error = remote.package(&name(), None).expect_err("is told");
    assert_snapshot!(told(&error, &web.url()), @"the remote registry cannot be reached: `URL/api/v1/assets/acme~vec3/metadata` failed in 4 attempts: the remote registry answers `URL/api/v1/assets/acme~vec3/metadata` with status 503");
    let url = web.url();
    drop(web);
    let error = remote.package(&name(), None).expect_err("is told");
    assert!(matches!(error, RemoteError::Unreachable { attempts: 4, .. }), "{error}");
    assert!(error.to_string().contains(&format!("{url}/api/v1/assets/acme~vec3/metadata")), "{error}");
    let gone = Remote::new(Address::parse("file:///no/such/registry", false).expect("an address"), PATIENCE);
    let error = gone.package(&name(), None).expect_err("is told");
    assert!(matches!(error, RemoteError::Unreachable { .. }), "a directory that is not there: {error}");
}

#[test]
fn answers_that_cannot_be_used_are_refused_at_once() {
    let (_root, web) = served();
    let remote = remote(&web.url());
    let told_of = |fault: Fault| {
        web.fault("", fault, 1);
        let error = remote.package(&name(), None).expect_err("is refused");
        assert_eq!(web.requests().len(), 1, "{error}");
        told(&error, &web.url())
    };
    assert_snapshot!(told_of(Fault::Status(403)), @"the remote registry answers `URL/api/v1/assets/acme~vec3/metadata` with status 403");
    assert_snapshot!(told_of(Fault::Body(b"<html>".to_vec())), @"`URL/api/v1/assets/acme~vec3/metadata` is no document of a registry: field `.`: expected value at line 1 column 1");
    assert_snapshot!(told_of(Fault::Body(b"{\"format\":2}".to_vec())), @"`URL/api/v1/assets/acme~vec3/metadata` is no document of a registry: it has format 2, and this program knows format 1");
    assert_snapshot!(told_of(Fault::Redirect("file:///etc/passwd".into())), @"the remote registry sends `URL/api/v1/assets/acme~vec3/metadata` on to `file:///etc/passwd`: it is no URL");
    assert_snapshot!(told_of(Fault::Redirect("http://registry.example.org/".into())), @"the remote registry sends `URL/api/v1/assets/acme~vec3/metadata` on to `http://registry.example.org/`: `http` to another machine can be changed on its way");
    assert_snapshot!(told_of(Fault::Length(DOCUMENT_BYTES_MAX + 1)), @"`URL/api/v1/assets/acme~vec3/metadata` is larger than 67108864 bytes");
    let other = PackageDocument { name: "other".parse().expect("a name"), ..package() };
    assert_snapshot!(told_of(Fault::Body(serde_json::to_vec(&other).expect("writes"))), @"`URL/api/v1/assets/acme~vec3/metadata` is no document of a registry: it is about `other`");
    let elsewhere = format!("{}/api/v1/assets/acme~vec3/metadata", web.url());
    web.fault("", Fault::Redirect(elsewhere.clone()), 1);
    assert!(matches!(remote.package(&name(), None).expect("is followed"), Fetched::Found { .. }));
    web.requests();
    web.fault("", Fault::Redirect(elsewhere), usize::MAX);
    let error = remote.package(&name(), None).expect_err("is refused");
    assert_eq!(web.requests().len(), 1 + REDIRECTS_MAX as usize);
    assert_snapshot!(told(&error, &web.url()), @"the remote registry sends `URL/api/v1/assets/acme~vec3/metadata` on to `URL/api/v1/assets/acme~vec3/metadata`: it was sent on three times already");
}

#[test]
fn a_blob_is_what_was_named_and_no_larger() {
    let (_root, web) = served();
    let remote = remote(&web.url());
    let blob = |size| remote.blob(Digest::of(BLOB), size, &|_| {});
    let size = BLOB.len() as u64;
    web.fault("blobs", Fault::Body(b"a compressed Archive".to_vec()), 1);
    assert_snapshot!(told(&blob(size).expect_err("is refused"), &web.url()), @"`URL/blobs/20/ae/20aeaba0ab7532e3b1076819ab20a8918febad3f3706dc43d96d281adfdc41a4` has BLAKE3 `blake3:f244060c39efe5065fcd1d15dd8e6da704384ebf810ba5b24472215bad112e5d`, expected `blake3:20aeaba0ab7532e3b1076819ab20a8918febad3f3706dc43d96d281adfdc41a4`");
    for fault in [Fault::Flood, Fault::Length(size + 1)] {
        web.fault("blobs", fault.clone(), 1);
        let error = blob(size).expect_err("is refused");
        assert!(matches!(error, RemoteError::TooLarge { limit, .. } if limit == size), "{fault:?}: {error}");
    }
    assert!(matches!(blob(size - 1).expect_err("below"), RemoteError::TooLarge { .. }));
    assert!(blob(size).is_ok() && blob(size + 1).is_ok());
    assert!(matches!(remote.blob(Digest::of(b"none"), 4, &|_| {}).expect_err("is named"), RemoteError::Missing { .. }));
}

#[test]
fn documents_are_read_strictly() {
    let text = serde_json::to_value(package()).expect("writes");
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = text.clone();
        change(&mut changed);
        PackageDocument::read(changed.to_string().as_bytes(), &name()).expect_err("is refused")
    };
    assert_snapshot!(refused(&|it| it["releases"][0]["digests"]["blake3"] = "blake3:00".into()), @"field `releases[0].digests.blake3`: `blake3:00` is not a digest of the form blake3:<64 hexadecimal digits> at line 1 column 93");
    assert_snapshot!(refused(&|it| it["releases"][0]["digests"]["sha256"] = "AA".into()), @"version 1.0.0: a digest is not in lower-case hexadecimal of its length");
    assert_snapshot!(refused(&|it| it["releases"][0]["tar_bytes"] = u64::MAX.into()), @"version 1.0.0: an archive is larger than any may be");
    assert_snapshot!(refused(&|it| it["releases"][0]["version"] = "1.0".into()), @"field `releases[0].version`: unexpected end of input while parsing minor version number at line 1 column 59");
    assert_snapshot!(refused(&|it| it["extra"] = true.into()), @"field `extra`: unknown field `extra`, expected one of `format`, `name`, `releases` at line 1 column 676");
    let twice = |it: &mut serde_json::Value| {
        let release = it["releases"][0].clone();
        it["releases"].as_array_mut().expect("a list").push(release);
    };
    assert_snapshot!(refused(&twice), @"version 1.0.0 is not above 1.0.0");
    let mut bytes = text.to_string().into_bytes();
    bytes.push(b'x');
    assert!(PackageDocument::read(&bytes, &name()).is_err());
    assert!(FeedDocument::read(&serde_json::to_vec(&feed()).expect("writes"), "other.pub.trustchain").is_err());
}

proptest! {
    #[test]
    fn no_bytes_upset_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = PackageDocument::read(&bytes, &name());
        let _ = FeedDocument::read(&bytes, PUBLISHER);
        let _ = NamesDocument::read(&bytes);
        let _ = HealthDocument::read(&bytes);
    }

    #[test]
    fn paths_stay_inside_and_names_do_not_meet(publisher in ".{0,40}") {
        if let Some(path) = feed_path(&publisher) {
            prop_assert!(!path.contains("..") && path.split('/').count() == 4, "{}", path);
        }
    }
}
