//! Archives that mean harm, one of each kind, for whoever must refuse them: the reader here, and what writes files.

use std::io::Write;

use tar::{EntryType, Header};

use super::codec::Compression;
use super::form::{BLOCK, END, Mode, header_of};
use super::{ArchiveError, MANIFEST_PATH, read};

const MANIFEST: &[u8] = br#"{"metadata":{"name":"app","version":"1.0.0"}}"#;

/// Gives every hostile archive with its name, in both compressions where that makes a difference.
pub(crate) fn cases() -> Vec<(String, Vec<u8>)> {
    let mut cases = Vec::new();
    for (name, tar) in tars() {
        for compression in Compression::ALL {
            let frame = compression.compress(&tar).expect("compresses").bytes;
            cases.push((format!("{name} in {}", compression.as_str()), frame));
        }
    }
    for compression in Compression::ALL {
        let name = compression.as_str();
        let good = compression.compress(&tar_of(&[file("a")])).expect("compresses").bytes;
        let bomb = compression.compress(&vec![0; 32 << 20]).expect("compresses").bytes;
        let half = good[..good.len() / 2].to_vec();
        let cut = good[..good.len() - 1].to_vec();
        cases.push((format!("a bomb in {name}"), bomb));
        cases.push((format!("half a frame of {name}"), half));
        cases.push((format!("a frame of {name} without its last byte"), cut));
        cases.push((format!("a byte behind a frame of {name}"), [&good[..], b"x"].concat()));
        cases.push((format!("two frames of {name}"), good.repeat(2)));
        let skippable = [&[0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4], &good[..]].concat();
        cases.push((format!("a skippable frame before {name}"), skippable));
    }
    cases.push(("gzip".to_owned(), vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3]));
    cases.push(("a legacy frame of LZ4".to_owned(), vec![0x02, 0x21, 0x4C, 0x18, 0, 0, 0, 0]));
    cases.push(("a tar that nobody compressed".to_owned(), tar_of(&[file("a")])));
    cases.push(("nothing".to_owned(), Vec::new()));
    cases
}

fn tars() -> Vec<(&'static str, Vec<u8>)> {
    let one = |header: Header| tar_of(&[(header, b"x".to_vec())]);
    let kind = |kind: EntryType, link: &str| {
        let mut header = named("link");
        header.set_entry_type(kind);
        header.set_link_name(link).expect("fits");
        header.set_size(0);
        header.set_cksum();
        (header, Vec::new())
    };
    let device = |kind: EntryType| {
        let (mut header, content) = self::kind("device", kind);
        header.set_device_major(1).and_then(|()| header.set_device_minor(3)).expect("fits");
        header.set_cksum();
        tar_of(&[(header, content)])
    };
    let good = tar_of(&[file("a")]);
    let mut cases = vec![
        ("a way out by `..`", one(named("../victim"))),
        ("a way out from inside", one(named("a/../../victim"))),
        ("an absolute path", one(named("/tmp/victim"))),
        ("a backslash", one(named("..\\victim"))),
        ("a drive", one(named("C:victim"))),
        ("a control character", one(named("a\u{1b}[2J"))),
        ("a link", tar_of(&[kind(EntryType::Symlink, "../victim")])),
        ("a link and a file behind it", tar_of(&[kind(EntryType::Symlink, ".."), file("link/victim")])),
        ("a hard link", tar_of(&[kind(EntryType::Link, "../victim")])),
        ("a character device", device(EntryType::Char)),
        ("a block device", device(EntryType::Block)),
        ("a pipe", tar_of(&[self::kind("pipe", EntryType::Fifo)])),
        ("a directory", tar_of(&[self::kind("directory", EntryType::Directory)])),
        ("the same path twice", tar_of(&[file("a"), file("a")])),
        ("paths that differ in case", tar_of(&[file("A"), file("a")])),
        ("paths that differ in composition", tar_of(&[file("cafe\u{301}"), file("café")])),
        ("a file that is a directory, too", tar_of(&[file("a"), file("a/b")])),
        ("a second manifest", tar_of(&[file(MANIFEST_PATH)])),
        ("a manifest in other letters", tar_of(&[file("Package.json")])),
        ("a program that becomes its owner", one(with_mode(0o4755))),
        ("another mode", one(with_mode(0o666))),
        ("a file that is cut off", good[..good.len() - END - BLOCK].to_vec()),
        ("no end", good[..good.len() - END].to_vec()),
        ("a second tar behind the end", good.repeat(2)),
        ("bytes behind the end", [&good[..], &[1; BLOCK]].concat()),
        ("a wrong checksum", {
            let mut bad = good.clone();
            bad[148] ^= 1;
            bad
        }),
        ("no manifest", {
            let mut bad = one(named("a"));
            bad.drain(..2 * BLOCK);
            bad
        }),
    ];
    cases.extend(extensions());
    cases
}

/// Headers by which one reader sees another path or size than the next.
fn extensions() -> Vec<(&'static str, Vec<u8>)> {
    let pax = |record: &str, kind: EntryType| {
        let (mut header, _) = self::kind("PaxHeaders/a", kind);
        header.set_size(record.len() as u64);
        header.set_cksum();
        (header, record.as_bytes().to_vec())
    };
    let before = |record: &str| tar_of(&[pax(record, EntryType::XHeader), file("a")]);
    let mut sparse = kind("a", EntryType::GNUSparse).0;
    sparse.set_size(0);
    sparse.set_cksum();
    let long = {
        let (mut header, _) = kind("././@LongLink", EntryType::GNULongName);
        header.set_size(10);
        header.set_cksum();
        (header, b"../victim\0".to_vec())
    };
    let mut huge = named("a");
    // 2^63 - 1 in base 256, as GNU writes what has no octal form.
    huge.as_old_mut().size = [0x80, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    huge.set_cksum();
    let mut beyond = named("a");
    beyond.set_size(1 << 20);
    beyond.set_cksum();
    vec![
        ("a path by PAX", before("18 path=../victim\n")),
        ("a size by PAX", before("14 size=99999\n")),
        ("a link by PAX", before("22 linkpath=../victim\n")),
        ("a sparse file by PAX", before("29 GNU.sparse.name=../victim\n")),
        ("a path for all by PAX", tar_of(&[pax("18 path=../victim\n", EntryType::XGlobalHeader), file("a")])),
        ("a sparse file of GNU", tar_of(&[(sparse, Vec::new())])),
        ("a long name of GNU", tar_of(&[long, file("a")])),
        ("a size that has no end", tar_of(&[(huge, b"x".to_vec())])),
        ("a size beyond the tar", tar_of(&[(beyond, b"x".to_vec())])),
    ]
}

fn tar_of(entries: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Vec::new();
    let manifest = header_of(MANIFEST_PATH, MANIFEST.len() as u64, Mode::Plain).expect("fits");
    let manifest = (manifest, MANIFEST.to_vec());
    for (header, content) in std::iter::once(&manifest).chain(entries) {
        tar.write_all(header.as_bytes()).and_then(|()| tar.write_all(content)).expect("grows");
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    tar.resize(tar.len() + END, 0);
    tar
}

fn file(path: &str) -> (Header, Vec<u8>) {
    (named(path), b"x".to_vec())
}

fn kind(path: &str, kind: EntryType) -> (Header, Vec<u8>) {
    let mut header = named(path);
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_cksum();
    (header, Vec::new())
}

fn with_mode(mode: u32) -> Header {
    let mut header = named("a");
    header.set_mode(mode);
    header.set_cksum();
    header
}

/// A header as packing writes it but for its path, which may be one that packing refuses.
fn named(path: &str) -> Header {
    let mut header = header_of("x", 1, Mode::Plain).expect("fits");
    let name = &mut header.as_ustar_mut().expect("is one").name;
    *name = [0; 100];
    name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    header
}

#[test]
fn every_hostile_archive_is_refused_and_the_form_they_are_made_in_is_right() {
    for compression in Compression::ALL {
        let good = compression.compress(&tar_of(&[file("a"), file("b/c")])).expect("compresses").bytes;
        assert_eq!(read(good).expect("is an archive").entries().count(), 3);
    }
    let cases = cases();
    assert!(cases.len() > 80, "{}", cases.len());
    for (name, bytes) in cases {
        assert!(read(bytes).is_err(), "{name}");
    }
}

#[test]
fn bombs_of_both_kinds_are_stopped_at_their_bound() {
    let limits = super::form::Limits { tar_bytes: 4 << 20, ..super::form::Limits::ALL };
    for compression in Compression::ALL {
        let bomb = compression.compress(&vec![0; 32 << 20]).expect("compresses").bytes;
        assert!(bomb.len() < 1 << 20);
        let error = super::read_within(&limits, bomb.clone()).expect_err("is refused");
        assert!(matches!(error, ArchiveError::TooLarge { .. }), "{compression:?}: {error}");
    }
    // The ratio alone stops what is below every size.
    let bomb = Compression::Zstd.compress(&vec![0; 32 << 20]).expect("compresses").bytes;
    assert!(matches!(read(bomb).expect_err("is refused"), ArchiveError::TooLarge { limit: 0x100_0000, .. }));
}
