//! Archives there and back, and every forged, oversized or ambiguous one refused.

use proptest::prelude::*;

use super::form::{BLOCK, header_of};
use super::*;

const MANIFEST: &[u8] = br#"{"metadata":{"name":"app","version":"1.0.0"}}"#;

fn file<'a>(path: &'a str, bytes: &'a [u8]) -> SourceFile<'a> {
    SourceFile { path, content: Content::Bytes { bytes, executable: false } }
}

fn packed(paths: &[&str]) -> Result<Archive, ArchiveError> {
    pack(MANIFEST, &paths.iter().map(|path| file(path, b"x")).collect::<Vec<_>>())
}

/// A tar of the given headers, each with the content `x`, with its end.
fn tar_of(headers: &[tar::Header]) -> Vec<u8> {
    let mut tar = header_of(MANIFEST_PATH, MANIFEST.len() as u64, Mode::Plain).expect("fits").as_bytes().to_vec();
    tar.extend_from_slice(MANIFEST);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    for header in headers {
        tar.extend_from_slice(header.as_bytes());
        tar.push(b'x');
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    tar.resize(tar.len() + END, 0);
    tar
}

fn read_tar(tar: &[u8]) -> Result<Archive, ArchiveError> {
    read(zstd::bulk::compress(tar, 3).expect("compresses"))
}

fn header(path: &str, change: impl FnOnce(&mut tar::Header)) -> tar::Header {
    let mut header = header_of("x", 1, Mode::Plain).expect("fits");
    let name = &mut header.as_ustar_mut().expect("ustar").name;
    *name = [0; 100];
    name[..path.len()].copy_from_slice(path.as_bytes());
    change(&mut header);
    header.set_cksum();
    header
}

fn refusal(result: Result<Archive, ArchiveError>) -> String {
    result.expect_err("is refused").to_string()
}

#[test]
fn the_form_is_fixed_for_ever() {
    // A new digest here means that every published package has a new identity: never change it.
    let script = SourceFile { path: "bin/run", content: Content::Bytes { bytes: b"#!", executable: true } };
    let archive = pack(MANIFEST, &[file("src/main.lua", b"return 1\n"), script]).expect("packs");
    insta::assert_snapshot!(archive.digest(), @"blake3:e48d022e31b3035ed996420d41c1f921bae6a5627878747eac56b1022ff52caf");
    let paths: Vec<_> = archive.entries().map(|entry| (entry.path, entry.executable)).collect();
    assert_eq!(paths, [("package.json", false), ("bin/run", true), ("src/main.lua", false)]);
    assert_eq!(archive.manifest(), MANIFEST);
    assert_eq!((archive.name().as_str(), archive.version().to_string().as_str()), ("app", "1.0.0"));
}

#[test]
fn another_reader_of_tar_sees_the_same_files() {
    let long = format!("{}/{}", "d".repeat(60), "f".repeat(60));
    let archive = packed(&["b", &long]).expect("packs");
    let mut reader = tar::Archive::new(archive.tar.as_slice());
    let paths: Vec<_> = reader
        .entries()
        .expect("reads")
        .map(|entry| entry.expect("reads").path().expect("has a path").display().to_string())
        .collect();
    assert_eq!(paths, ["package.json", "b", &long]);
}

#[test]
fn any_changed_byte_changes_every_digest() {
    let digests = |bytes| pack(MANIFEST, &[file("a", bytes)]).expect("packs").digests();
    let (one, two) = (digests(b"1"), digests(b"2"));
    assert!(one.blake3 != two.blake3 && one.sha256 != two.sha256 && one.sha512 != two.sha512);
    assert_eq!(one, digests(b"1"));
}

#[test]
fn files_come_from_disk_with_their_executable_bit() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let root = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(root.path().join("bin")).expect("a directory");
    let script = root.path().join("bin/run");
    std::fs::write(&script, "#!").expect("writes");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).expect("sets");
    symlink("bin", root.path().join("linked")).expect("links");
    symlink("bin/run", root.path().join("link")).expect("links");
    let below = |path| pack(MANIFEST, &[SourceFile { path, content: Content::Below(root.path()) }]);

    let archive = below("bin/run").expect("packs");
    assert_eq!(
        archive.entries().nth(1),
        Some(Entry { path: "bin/run", executable: true, writable: false, bytes: b"#!" })
    );
    for refused in ["link", "linked/run", "bin", "absent", "../x"] {
        assert!(below(refused).is_err(), "{refused}");
    }
    for size in [1, 3] {
        let read = read_into(&mut vec![0; size], root.path(), "bin/run");
        assert!(matches!(read, Err(ArchiveError::Changed { .. })), "{size} of 2 bytes");
    }
}

#[test]
fn bad_paths_are_refused_in_both_directions() {
    let deep = vec!["d"; PATH_DEPTH_MAX + 1].join("/");
    let long = "n".repeat(101);
    for path in ["", "/etc/passwd", "../x", "a/../b", "./a", "a//b", "a/", "a\\b", "a\nb", "a\u{7f}", &deep, &long] {
        assert!(packed(&[path]).is_err(), "{path}");
        if path.len() <= 100 {
            assert!(read_tar(&tar_of(&[header(path, |_| ())])).is_err(), "{path}");
        }
    }
    assert!(packed(&[&vec!["d"; PATH_DEPTH_MAX].join("/"), &"n".repeat(100)]).is_ok());
}

#[test]
fn paths_that_collide_are_refused() {
    for paths in [
        ["a", "a"],
        ["A", "a"],
        ["a", "a/b"],
        ["Dir/x", "dir/y"],
        ["Ä", "ä"],
        ["package.json", "b"],
        ["PACKAGE.JSON", "b"],
    ] {
        assert!(packed(&paths).is_err(), "{paths:?}");
    }
    assert!(packed(&["a-b", "a/b", "ab"]).is_ok());
}

#[test]
fn names_that_are_one_to_the_eye_or_to_some_file_system_are_refused_in_both_directions() {
    // Each reads as another name: composed and in parts, an invisible character, writing turned round, what Windows drops.
    for path in [
        "cafe\u{301}",
        "a\u{200b}b",
        "a\u{202e}aul.exe",
        "\u{feff}a",
        "dir./x",
        "x ",
        "C:x",
        "CON",
        "lib/nul.lua",
        "com1.txt",
    ] {
        assert!(packed(&[path]).is_err(), "{path:?}");
        assert!(matches!(read_tar(&tar_of(&[header(path, |_| ())])), Err(ArchiveError::Path { .. })), "{path:?}");
    }
    // Letters of any script in their composed form are names, and differ from each other in case only once.
    assert!(packed(&["café", "日本/語", "가"]).is_ok());
    assert!(matches!(packed(&["CAFÉ", "café"]), Err(ArchiveError::Collision { .. })));
    assert!(
        matches!(packed(&["\u{212b}", "å"]), Err(ArchiveError::Collision { .. })),
        "the sign of the ångström is its letter"
    );
}

#[test]
fn only_regular_files_are_read() {
    use tar::EntryType as Kind;
    let read_kind = |kind| refusal(read_tar(&tar_of(&[header("a", |header| header.set_entry_type(kind))])));
    insta::assert_snapshot!(read_kind(Kind::Symlink), @"`a` is a symbolic link, and packages hold only regular files");
    insta::assert_snapshot!(read_kind(Kind::XHeader), @"`a` is a PAX extension, and packages hold only regular files");
    for kind in [
        Kind::Link,
        Kind::Char,
        Kind::Block,
        Kind::Directory,
        Kind::Fifo,
        Kind::Continuous,
        Kind::XGlobalHeader,
        Kind::GNULongName,
        Kind::GNULongLink,
        Kind::GNUSparse,
        Kind::new(b'V'),
    ] {
        read_kind(kind);
    }
}

#[test]
fn only_the_canonical_form_is_read() {
    let plain = |path| header(path, |_| ());
    assert!(read_tar(&tar_of(&[plain("a"), plain("b")])).is_ok());
    for (reason, headers) in [
        ("order", vec![plain("b"), plain("a")]),
        ("twice", vec![plain("a"), plain("a")]),
        ("time", vec![header("a", |header| header.set_mtime(1))]),
        ("owner", vec![header("a", |header| header.set_uid(1))]),
        ("group name", vec![header("a", |header| header.set_groupname("g").expect("fits"))]),
        ("set-user-id", vec![header("a", |header| header.set_mode(0o4755))]),
        ("link name", vec![header("a", |header| header.set_link_name("x").expect("fits"))]),
        ("old kind", vec![header("a", |header| header.as_old_mut().linkflag = [0])]),
        ("second manifest", vec![plain("package.json")]),
    ] {
        assert!(read_tar(&tar_of(&headers)).is_err(), "{reason}");
    }
    let good = tar_of(&[plain("a")]);
    let content = good.len() - END - BLOCK;
    for (reason, bad) in [
        ("no end", good[..good.len() - END].to_vec()),
        ("half an end", good[..good.len() - BLOCK].to_vec()),
        ("more zeros", [&good[..], &[0; BLOCK]].concat()),
        ("further bytes", [&good[..], b"x"].concat()),
        ("padding", {
            let mut bad = good.clone();
            bad[content + 9] = 1;
            bad
        }),
        ("checksum", {
            let mut bad = good.clone();
            bad[148] ^= 1;
            bad
        }),
        ("no manifest", good[BLOCK + BLOCK..].to_vec()),
        ("nothing", vec![0; END]),
    ] {
        assert!(read_tar(&bad).is_err(), "{reason}");
    }
}

#[test]
fn bytes_around_the_frame_are_refused() {
    let compressed = packed(&["a"]).expect("packs").compressed;
    assert!(read(compressed.clone()).is_ok());
    let two_frames = [&compressed[..], &compressed[..]].concat();
    assert!(matches!(read(two_frames), Err(ArchiveError::Trailing { .. })));
    assert!(matches!(read([&compressed[..], b"x"].concat()), Err(ArchiveError::Trailing { bytes: 1 })));
    for cut in 0..compressed.len() {
        assert!(read(compressed[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    let skippable = [&[0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0], &compressed[..]].concat();
    assert!(read(skippable).is_err());
}

#[test]
fn a_bomb_is_refused_before_it_unfolds() {
    // 256 MiB of zeros in some 24 kB: no more than the bound and one byte is ever decompressed.
    let bomb = zstd::bulk::compress(&vec![0; 256 << 20], 3).expect("compresses");
    let limit = Limits::ALL.tar(bomb.len());
    assert!(limit < 32 << 20);
    assert_eq!(Compression::unfold(&bomb, limit).expect("decompresses").0.len() as u64, limit + 1);
    insta::assert_snapshot!(
        refusal(read(bomb)).replace(char::is_numeric, "N"),
        @"the tar passes the bound of NNNNNNNN bytes"
    );
}

#[test]
fn a_window_beyond_the_bound_is_refused() {
    let archive = packed(&["a"]).expect("packs");
    let with_window = |log| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("starts");
        encoder.window_log(log).expect("is a window");
        io::Write::write_all(&mut encoder, &archive.tar).expect("writes");
        read(encoder.finish().expect("ends"))
    };
    assert!(with_window(WINDOW_LOG_MAX).is_ok());
    assert!(matches!(with_window(WINDOW_LOG_MAX + 1), Err(ArchiveError::Compression(_))));
}

#[test]
fn every_bound_holds_at_and_above() {
    let limits = Limits { entries: 2, file_bytes: 8, manifest_bytes: 64, tar_bytes: 4096, ratio_free_bytes: 4096 };
    let pack = |limits: &Limits, files: &[SourceFile<'_>]| pack_within(limits, Compression::Zstd, MANIFEST, files);
    assert!(pack(&limits, &[file("a", b"12345678")]).is_ok());
    insta::assert_snapshot!(refusal(pack(&limits, &[file("a", b"123456789")])), @"`a` passes the bound of 8 bytes");
    insta::assert_snapshot!(refusal(pack(&limits, &[file("a", b""), file("b", b"")])), @"the package passes the bound of 2 files");
    assert!(pack(&Limits { manifest_bytes: MANIFEST.len() as u64, ..limits }, &[]).is_ok());
    assert!(pack(&Limits { manifest_bytes: MANIFEST.len() as u64 - 1, ..limits }, &[]).is_err());
    assert!(pack(&Limits { tar_bytes: 2048, ..limits }, &[]).is_ok());
    assert!(pack(&Limits { tar_bytes: 2047, ..limits }, &[]).is_err());
    let compressed = packed(&["a", "b"]).expect("packs").compressed;
    assert!(read_within(&limits, compressed.clone()).is_err());
    assert!(read_within(&Limits { entries: 3, ..limits }, compressed).is_ok());
}

#[test]
fn a_manifest_names_its_package() {
    for manifest in
        ["", "{}", r#"{"metadata":{"name":"App","version":"1.0.0"}}"#, r#"{"metadata":{"name":"app","version":"1"}}"#]
    {
        assert!(matches!(pack(manifest.as_bytes(), &[]), Err(ArchiveError::Manifest(_))), "{manifest}");
    }
}

proptest! {
    #[test]
    fn packing_and_reading_round_trip(
        files in proptest::collection::btree_map("[a-m]{1,3}", (any::<Vec<u8>>(), any::<bool>()), 0..6)
    ) {
        let sources: Vec<_> = files
            .iter()
            .rev()
            .map(|(path, (bytes, executable))| SourceFile {
                path,
                content: Content::Bytes { bytes, executable: *executable },
            })
            .collect();
        let archive = pack(MANIFEST, &sources).expect("packs");
        prop_assert_eq!(&read(archive.compressed.clone()).expect("reads"), &archive);
        let entries: Vec<_> =
            archive.entries().skip(1).map(|entry| (entry.path.to_owned(), (entry.bytes.to_vec(), entry.executable))).collect();
        prop_assert_eq!(entries, files.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn hostile_bytes_never_panic(tar in proptest::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(read_tar(&tar).is_err());
        prop_assert!(read(tar).is_err());
    }

    #[test]
    fn one_changed_byte_of_a_tar_is_another_package_or_none(at in 0..3072_usize, bit in 0..8_u8) {
        let archive = packed(&["a"]).expect("packs");
        let mut tar = archive.tar.clone();
        tar[at] ^= 1 << bit;
        if let Ok(other) = read_tar(&tar) {
            prop_assert_ne!(other.digest(), archive.digest());
        }
    }
}
