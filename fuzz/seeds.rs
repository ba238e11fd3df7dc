//! Writes a few valid inputs for each target into `corpus/TARGET`: a fuzzer that begins with nothing stays at the first
//! check of a signed or compressed form for hours.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use catalog::archive::{self, Content, SourceFile};
use time::OffsetDateTime;
use time::macros::datetime;
use trustchain::certificate::{
    Authority, Certificate, INTERMEDIATE_LIFETIME, IntermediateOptions, LeafKey, LeafOptions, PUBLISHER_LIFETIME,
    Purpose, ROOT_LIFETIME, SubjectName, Validity, to_pem,
};
use trustchain::digest::{Artifact, Blake3};
use trustchain::envelope::{self, ChainForm, Release};
use trustchain::hybrid::SecretKey;
use trustchain::revocation::{Entry, ListOptions, Reason};

const NOW: OffsetDateTime = datetime!(2030-01-01 12:00 UTC);

const RECORD: &str = r#"{"schema_version": "1.7.4", "id": "HM-1", "modified": "2026-03-01T00:00:00.5Z", "withdrawn": null,
"aliases": ["CVE-1"], "summary": "a", "details": "b", "severity": [
{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"},
{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:L/VA:L/SC:N/SI:N/SA:N"}],
"affected": [{"package": {"ecosystem": "HyperMesh", "name": "acme/vec3"}, "versions": ["2.0.0"], "ranges": [
{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.0.2"}, {"introduced": "1.1.0"}, {"last_affected": "1.2.0-rc.1"},
{"limit": "*"}]}], "ecosystem_specific": {"severity": "HIGH"}}], "references": [{"type": "WEB", "url": "https://example.org"}],
"database_specific": {"severity": "LOW"}}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let directory = root.join("corpus").join(target);
        fs::create_dir_all(&directory).and_then(|()| fs::write(directory.join(name), bytes))
    };
    write("osv", "record.json", RECORD.as_bytes())?;
    for (tag, extension) in [(0, "yaml"), (1, "json"), (2, "toml")] {
        for path in manifests(root, extension) {
            let bytes = [&[tag][..], &fs::read(path)?].concat();
            write("package_manifest", &Blake3::of(&bytes).to_string(), &bytes)?;
        }
    }
    let manifest = br#"{"metadata":{"name":"app","version":"1.0.0"}}"#;
    let file = SourceFile { path: "main.lua", content: Content::Bytes { bytes: b"return 1", executable: true } };
    write("archive", "empty", archive::pack(manifest, &[])?.compressed())?;
    write("archive", "one", archive::pack(manifest, &[file])?.compressed())?;
    signed(&write)
}

/// Finds the manifests of a format: the example with every field, and those of the packages to run.
fn manifests(root: &Path, extension: &str) -> Vec<PathBuf> {
    let manifests = root.join("../manifests");
    let packages = fs::read_dir(manifests.join("packages")).into_iter().flatten().flatten();
    let paths = packages.map(|entry| entry.path().join(format!("package.{extension}")));
    let example = manifests.join(format!("examples/every-field.{extension}"));
    paths.chain([example]).filter(|path| path.is_file()).collect()
}

/// Writes certificates, a release statement and a revocation list.
fn signed(write: &dyn Fn(&str, &str, &[u8]) -> std::io::Result<()>) -> Result<(), Box<dyn Error>> {
    let validity = |lifetime| Validity::starting(NOW - time::Duration::DAY, lifetime);
    let root = Authority::root("root", SecretKey::generate()?, validity(ROOT_LIFETIME))?;
    let keys = SecretKey::generate()?;
    let authority = root.intermediate(&IntermediateOptions {
        common_name: "authority",
        keys: &keys.public(),
        purpose: Purpose::Publisher,
        path_length: 0,
        permitted: &["acme.pub.trustchain".to_owned()],
        validity: validity(INTERMEDIATE_LIFETIME),
    })?;
    let authority = Authority::new(authority, keys)?;
    let keys = SecretKey::generate()?;
    let leaf = authority.leaf(&LeafOptions {
        common_name: "acme",
        key: LeafKey::Hybrid(&keys.public()),
        purpose: Purpose::Publisher,
        names: &[SubjectName::namespace("acme")?],
        validity: validity(PUBLISHER_LIFETIME),
    })?;
    let chain = [leaf, authority.certificate().clone()];
    let all: [(&str, &Certificate); 3] = [("root", root.certificate()), ("authority", &chain[1]), ("leaf", &chain[0])];
    for (name, certificate) in all {
        write("certificate", name, certificate.der())?;
    }
    write("certificate", "pem", to_pem(&chain).as_bytes())?;
    let release = Release {
        package: "acme/vec".to_owned(),
        version: "1.2.0".parse()?,
        artifact: Artifact::of(b"archive"),
        manifest: Blake3::of(b"manifest"),
        lock: Some(Blake3::of(b"lock")),
        signed_at: NOW,
        tool: "seeds".to_owned(),
    };
    write("envelope", "inline", &envelope::seal(&release, &chain, ChainForm::Inline, &keys)?)?;
    let entries = [Entry::of(&chain[0], Reason::KeyCompromise, NOW)];
    let options = ListOptions { number: 1, issued: NOW, expires: NOW + time::Duration::DAY, entries: &entries };
    write("revocation", "list", &authority.revocation_list(&options)?)?;
    Ok(())
}
