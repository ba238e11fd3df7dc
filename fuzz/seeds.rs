//! Writes a few valid inputs for each target into `corpus/TARGET`: a fuzzer that begins with nothing stays at the first
//! check of a signed or compressed form for hours.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog::archive::{self, Content, SourceFile};
use catalog::value::Value;
use catalog::vm::protocol::{self, FromWorker, WorkerUsage};
use catalog_fuzz::{CLUSTER, NOW, PKI, feed, release};
use stoq::PeerId;
use stoq::blobs::wire::{Part, Request};
use stoq::records::memory::Described;
use stoq::records::{Follower, Leader, MemorySet, Mode, RecordId, SessionError, Side, announcement};
use trustchain::certificate::{Certificate, to_pem};
use trustchain::digest::Blake3;
use trustchain::envelope::{self, ChainForm};
use trustchain::feed;
use trustchain::quorum::QuorumCertificate;
use trustchain::revocation::{self, ListOptions, Reason};

/// Policies that use every field, condition, operator and action between them.
const POLICIES: [&str; 6] = [
    r#"{"policy": "strict", "publishers": [{"kind": "organization", "publishers": ["acme.*", "[a-c]?.*"]}], "whitelist": ["*"]}"#,
    r#"{"policy": "permissive", "blacklist": ["acme.*"]}"#,
    r#"{"policy": "custom", "custom": {"base": "strict", "checks": ["signature", "post_quantum"], "reputation_min": 0.25,
"vulnerability_max": "medium", "publisher_kinds": ["official", "unknown"], "pinning": true, "size_bytes_max": 4096,
"run_directories": false}}"#,
    r#"{"policy": "custom", "custom": {"rules": [{"name": "a", "when": [{"package_name_pattern": "acme/*"},
{"publisher_pattern": "*.pub.*"}, {"package_size_exceeds": 1}, {"has_dependency": "base@^1.0"},
{"certificate_issuer": "CN=Publishers"}, {"reputation_below": 0.75}, {"contains_file_pattern": "**/*.pem"}], "action": "warn"},
{"name": "b", "when": [{"package_name_pattern": "*"}], "action": {"run_validator": {"validator": "security", "score_min": 80}}}]}}"#,
    r#"{"policy": "custom", "custom": {"rules": [{"name": "a", "when": [{"custom": {"field": "spec.security.sandbox_level",
"operator": "in", "value": ["strict", 1, null]}}], "action": "allow"}, {"name": "b", "when": [{"has_dependency": "base"}],
"action": "block"}]}}"#,
    r#"{"policy": "custom", "custom": {"base": "moderate", "rules": [{"name": "a", "when": [{"custom": {"field": "a.0.b",
"operator": "above", "value": 1e3}}, {"custom": {"field": "", "operator": "absent"}}], "action": "require_confirmation"}]}}"#,
];

/// Values of every kind between them.
const VALUES: [&str; 4] = [
    r#"[null, true, -1, 1.5, "text", {"$bytes": "AP8="}, {"a": {"$float": "nan"}}, {"$missing": true}, {"$symbol": "s"}]"#,
    r#"{"$struct": {"type": "T", "fields": {"a": {"$rational": ["-1", "3"]}, "b": {"$int": "18446744073709551616"}}}}"#,
    r#"{"$map": [[[1], {"$set": [{"$complex": [1.0, 2.0]}]}], [[{"$set": []}], {"$opaque": {"type": "F", "repr": "f"}}]]}"#,
    r#"[{"$array": {"dtype": "c128", "shape": [1, 2], "data": [1, 2, 3, 4]}}, {"$array": {"dtype": "bool", "shape": [], "data": [true]}}]"#,
];

const RECORD: &str = r#"{"schema_version": "1.7.4", "id": "HM-1", "modified": "2026-03-01T00:00:00.5Z", "withdrawn": null,
"aliases": ["CVE-1"], "summary": "a", "details": "b", "severity": [
{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"},
{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:L/VA:L/SC:N/SI:N/SA:N"}],
"affected": [{"package": {"ecosystem": "HyperMesh", "name": "acme/vec3"}, "versions": ["2.0.0"], "ranges": [
{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.0.2"}, {"introduced": "1.1.0"}, {"last_affected": "1.2.0-rc.1"},
{"limit": "*"}]}], "ecosystem_specific": {"severity": "HIGH"}}], "references": [{"type": "WEB", "url": "https://example.org"}],
"database_specific": {"severity": "LOW"}}"#;

const UNIVERSE: &str = r#"[{"name":"App","req":"^1","features":["full"]},{"name":"lib"}]
{"name":"App","version":"1.0.0","dependencies":[{"name":"lib","req":">=1","features":["x"]},{"name":"opt","optional":true}],"features":{"full":["opt","lib/y"]}}
{"name":"lib","version":"1.2.0","features":{"x":[],"y":["x"]},"yanked":false}
{"name":"lib","version":"2.0.0","dependencies":[{"name":"lib","req":"^1","platform":"linux"}],"features":{"x":["dep:opt"]}}
{"name":"opt","version":"0.1.0-rc.1","published_at":"2026-01-01T00:00:00Z"}
"#;

const PACKAGE: &str = concat!(
    r#"{"format":1,"name":"acme/vec3","releases":[{"version":"1.0.0-rc.1","digests":{"blake3":"blake3:"#,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    r#"","sha256":""#,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    r#"","sha512":""#,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    r#""},"tar_bytes":1,"blob":"blake3:"#,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    r#"","archive_bytes":1,"manifest":"{}","published_at":"2026-01-02T03:04:05Z","yanked":"a","statement":null}]}"#,
);

const FEED: &str = r#"{"format":1,"publisher":"acme.pub.trustchain","head":"{}","entries":["{}"]}"#;
const DESCRIPTIONS: &str = r#"{"name": "g++", "version": "4:12", "description": "GNU C++ compiler", "tags": ["a", "b"], "keywords": ["c"]}
{"name": "acme/Compiler", "description": null, "tags": null}

{"name": "0ad"}
"#;

const LUA: &str = "--- A.\nlocal M = { a = 1 }\n---@param x? table<string, number> b\n---@return number\nfunction M:f(x, ...)\n  \
                   return #x\nend\n--[[--\n@tparam number y c\n@usage f(1)\n]]\nM.g = function(y) end\nreturn M\n";

const JULIA: &str = "\"A.\"\nmodule M\nexport f, @m\n\"\"\"\n    f(x)\n\n# Arguments\n- `x`: a $(1 + 1)\n\"\"\"\nfunction f(x::T; y = \
                     'a') where {T}\n    x'\nend\nstruct S{T} <: R\n    \"b\"\n    a::T\nend\nconst C = [1][end]\ng(x...) = x\nend\n";

const MARKDOWN: &str = "# A\n\n*b* **c** `d` [e](https://a.example) <i>\n\n1. f\n   - g\n\n> h\n\n| i |\n|---|\n| j |\n\n```lua \
                        no-run\nk\n```\n";

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let directory = root.join("corpus").join(target);
        fs::create_dir_all(&directory).and_then(|()| fs::write(directory.join(name), bytes))
    };
    write("osv", "record.json", RECORD.as_bytes())?;
    for (kind, name, text) in [(0, "lua", LUA), (1, "julia", JULIA), (3, "markdown", MARKDOWN)] {
        write("docgen", name, &[&[kind], text.as_bytes()].concat())?;
    }
    write("remote", "package.json", PACKAGE.as_bytes())?;
    write("remote", "feed.json", FEED.as_bytes())?;
    write("universe", "two.ndjson", UNIVERSE.as_bytes())?;
    let lock = fs::read_to_string(root.join("../tests/fixtures/catalog-v1.lock"))?;
    write("lockfile", "whole.lock", lock.as_bytes())?;
    write("lockfile", "merged.lock", format!("<<<<<<< a\n{lock}||||||| b\n=======\n{lock}>>>>>>> c\n").as_bytes())?;
    write("search", "list.ndjson", DESCRIPTIONS.as_bytes())?;
    for (tag, extension) in [(0, "yaml"), (1, "json"), (2, "toml")] {
        for path in manifests(root, extension) {
            let bytes = [&[tag][..], &fs::read(path)?].concat();
            write("package_manifest", &Blake3::of(&bytes).to_string(), &bytes)?;
        }
    }
    for (index, policy) in POLICIES.iter().enumerate() {
        write("policy", &format!("policy-{index}.json"), policy.as_bytes())?;
    }
    let manifest = br#"{"metadata":{"name":"app","version":"1.0.0"}}"#;
    let file = SourceFile { path: "main.lua", content: Content::Bytes { bytes: b"return 1", executable: true } };
    write("archive", "empty", archive::pack(manifest, &[])?.compressed())?;
    write("archive", "one", archive::pack(manifest, &[file])?.compressed())?;
    for (index, text) in VALUES.iter().enumerate() {
        let value = Value::from_json(&serde_json::from_str(text)?)?;
        let done =
            FromWorker::Done { id: 1, value, usage: WorkerUsage { cpu_us: 1, memory_peak_bytes: 1, fuel_used: 1 } };
        write("worker_frame", &format!("value-{index}"), &protocol::encode(&done)?[4..])?;
    }
    for (index, part) in [Part::Last, Part::Groups(vec![0..2, 7..9])].into_iter().enumerate() {
        let request = Request { digest: Blake3::of(b"a"), part };
        write("blobs_frame", &format!("request-{index}"), &[&[0][..], &request.to_bytes()].concat())?;
    }
    write("blobs_frame", "edited", &[2, 0, 1, 0, 0, 4, 9, 0, 8, 0, 0])?;
    for (index, seed) in sessions()?.iter().enumerate() {
        write("records_frame", &format!("session-{index}"), seed)?;
    }
    signed(&write)
}

/// Both sides of sessions of records, as the target reads them: what comes first, then frames with their lengths.
fn sessions() -> Result<Vec<Vec<u8>>, SessionError> {
    let set = |numbers: std::ops::Range<u8>| {
        let set = MemorySet::new(|bytes| Ok(Described { time: u64::from(bytes[0] / 10), ..Described::default() }));
        numbers.for_each(|number| drop(set.insert(vec![number; 20].into())));
        Arc::new(set)
    };
    let framed = |bytes: &[u8]| [&(bytes.len() as u16).to_le_bytes()[..], bytes].concat();
    let mut seeds = Vec::new();
    for mode in [Mode::Differential, Mode::Full, Mode::Incremental { since: 7 }] {
        let peer = PeerId::random();
        let mut leader = Leader::synchronise(set(50..200), peer, [1; 32], &mode)?;
        let mut follower = Follower::new(set(0..150), peer, [2; 32], leader.opening())?;
        let (mut led, mut followed) = ([vec![0], framed(leader.opening())].concat(), vec![1]);
        while !follower.is_finished() {
            while let Some(frame) = leader.next_frame()? {
                led.extend(framed(&frame[4..]));
                follower.receive(&frame[4..])?;
            }
            while let Some(frame) = follower.next_frame()? {
                followed.extend(framed(&frame[4..]));
                leader.receive(&frame[4..])?;
            }
        }
        seeds.extend([led, followed]);
    }
    seeds.extend(announcement::encode(&[RecordId([7; 32])]).iter().map(|message| [&[4][..], message].concat()));
    Ok(seeds)
}

/// Finds the manifests of a format: the example with every field, and those of the packages to run.
fn manifests(root: &Path, extension: &str) -> Vec<PathBuf> {
    let manifests = root.join("../manifests");
    let packages = fs::read_dir(manifests.join("packages")).into_iter().flatten().flatten();
    let paths = packages.map(|entry| entry.path().join(format!("package.{extension}")));
    let example = manifests.join(format!("examples/every-field.{extension}"));
    paths.chain([example]).filter(|path| path.is_file()).collect()
}

/// Writes certificates, a release statement, a revocation list, a feed, and everything that agreement on an operation needs.
fn signed(write: &dyn Fn(&str, &str, &[u8]) -> std::io::Result<()>) -> Result<(), Box<dyn Error>> {
    let (root, chain, keys) = (&PKI.root, &PKI.chain, &PKI.keys);
    let all: [(&str, &Certificate); 3] = [("root", root.certificate()), ("authority", &chain[1]), ("leaf", &chain[0])];
    for (name, certificate) in all {
        write("certificate", name, certificate.der())?;
    }
    write("certificate", "pem", to_pem(chain).as_bytes())?;
    write("envelope", "inline", &envelope::seal(&release(), chain, ChainForm::Inline, keys)?)?;
    let entries = [revocation::Entry::of(&chain[0], Reason::KeyCompromise, NOW)];
    let options = ListOptions { number: 1, issued: NOW, expires: NOW + time::Duration::DAY, entries: &entries };
    write("revocation", "list", &root.revocation_list(&options)?)?;
    let entries = feed();
    let last = entries.last().ok_or("no entry")?;
    for entry in &entries {
        write("feed", &format!("entry-{}", entry.number), &entry.to_bytes()?)?;
    }
    write("feed", "head", &feed::seal(last.number, last.digest()?, NOW, chain, keys)?)?;
    let certificate = QuorumCertificate::new(CLUSTER.proof.clone(), CLUSTER.attestations.clone());
    write("proof", "proof", &CLUSTER.proof.to_bytes()?)?;
    write("proof", "attestation", &CLUSTER.attestations[0].to_bytes()?)?;
    write("proof", "certificate", &certificate.to_bytes()?)?;
    write("proof", "genesis", &root.genesis(&CLUSTER.genesis)?)?;
    Ok(edits(write)?)
}

/// Writes edits for the targets that edit and sign again: every way, at places all over the document.
fn edits(write: &dyn Fn(&str, &str, &[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    for target in ["envelope", "feed", "proof", "revocation"] {
        for way in 0..5_u8 {
            for how in 0..8_u8 {
                let edit = [way, 11 * how, how, 4, b'1', b'.', b'0', b'.', 3, b'a', b'/', b'b'];
                write(target, &format!("edit-{way}-{how}"), &edit)?;
            }
        }
        // A feed that is made of an input: a version with its package, twice.
        write(target, "made", b"\x03\x01\x02no\x01a\x051.0.0\x00\x01b\x03a/b\x0b2.0.0-a.1+b")?;
    }
    Ok(())
}
