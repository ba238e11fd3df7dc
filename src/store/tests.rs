//! A store over a real directory: installing, repairing, switching, and a writer that is killed.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::archive::{Content, SourceFile};
use crate::lockfile::{LockedSource, Lockfile};

struct Fixture {
    root: TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path()).expect("opens");
        Self { root, store }
    }

    fn writer(&self) -> Writer {
        self.store.writer().expect("nobody else writes")
    }

    /// Every file of the store but the lock, with its content.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        walkdir::WalkDir::new(self.root.path())
            .sort_by_file_name()
            .into_iter()
            .map(|entry| entry.expect("lists"))
            .filter(|entry| entry.file_type().is_file() && entry.file_name() != "lock")
            .map(|entry| (entry.path().to_owned(), fs::read(entry.path()).expect("reads")))
            .collect()
    }

    fn count(&self, directory: &str) -> usize {
        walkdir::WalkDir::new(self.root.path().join(directory))
            .into_iter()
            .filter(|entry| entry.as_ref().expect("lists").file_type().is_file())
            .count()
    }
}

fn package(name: &str, version: &str, files: &[(&str, &str)]) -> (Whole, LockedPackage) {
    let writable: Vec<&str> = files.iter().map(|(path, _)| *path).filter(|path| path.starts_with("own/")).collect();
    let manifest = serde_json::json!({"metadata": {"name": name, "version": version}, "spec": {"content": {"writable": writable}}});
    let manifest = manifest.to_string();
    let sources: Vec<_> = files
        .iter()
        .map(|(path, text)| SourceFile {
            path,
            content: Content::Bytes { bytes: text.as_bytes(), executable: path.starts_with("bin/") },
        })
        .collect();
    let archive = archive::pack(manifest.as_bytes(), &sources).expect("packs");
    let locked = LockedPackage {
        name: archive.name().clone(),
        version: archive.version().clone(),
        digest: archive.digest(),
        source: LockedSource::Registry { registry: None },
        features: vec![],
        dependencies: vec![],
    };
    let expected = Expected {
        name: locked.name.clone(),
        version: locked.version.clone(),
        digest: locked.digest,
        blob: None,
        sha256: None,
        sha512: None,
    };
    let intact = trust::check_archive(archive.compressed().to_vec(), &expected).expect("is intact");
    let accepted = trust::policy::testing::accepted(&locked.name, locked.digest);
    (Whole(trust::admit(intact, &accepted).expect("is admitted").into()), locked)
}

/// A whole package.
struct Whole(Installable);

impl std::ops::Deref for Whole {
    type Target = Intact<Archive>;

    fn deref(&self) -> &Intact<Archive> {
        match &self.0 {
            Installable::Whole(archive) => archive,
            Installable::Listed(_) => unreachable!("it has every byte"),
        }
    }
}

fn lock(packages: &[&LockedPackage]) -> Lockfile {
    Lockfile::new("linux-x86_64".into(), vec![], packages.iter().map(|package| (*package).clone()).collect())
        .expect("is whole")
}

/// Changes a file that is read-only, as a broken disk or a careless program would.
fn damage(path: &Path, text: &str) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("sets");
    fs::write(path, text).expect("writes");
}

#[test]
fn an_installed_package_has_its_files_read_only_and_shared() {
    let fixture = Fixture::new();
    let (one, locked_one) = package("acme/app", "1.0.0", &[("src/main.lua", "return 1"), ("bin/run", "return 1")]);
    let (two, _) = package("acme/app", "1.1.0", &[("src/main.lua", "return 1")]);
    let mut writer = fixture.writer();
    let first = writer.install(&one.0).expect("installs");
    let second = writer.install(&two.0).expect("installs");

    let directory = format!("acme+app@1.0.0-{}", one.digest().short());
    assert_eq!(first.path.file_name().and_then(|name| name.to_str()), Some(directory.as_str()));
    assert_eq!(fs::read(first.path.join("package.json")).expect("is there"), one.manifest());
    let metadata = |path: PathBuf| fs::metadata(path).expect("is there");
    let (plain, run) = (metadata(first.path.join("src/main.lua")), metadata(first.path.join("bin/run")));
    assert_eq!((plain.mode() & 0o777, run.mode() & 0o777), (0o444, 0o555));
    assert_eq!(plain.ino(), metadata(second.path.join("src/main.lua")).ino());
    assert_eq!(fixture.store.verify(&locked_one).expect("is whole"), first);
    assert_eq!(fixture.count("tmp"), 0);
}

#[test]
fn installing_again_changes_nothing() {
    let fixture = Fixture::new();
    let (archive, _) = package("app", "1.0.0", &[("a", "1")]);
    fixture.writer().install(&archive.0).expect("installs");
    let before = fixture.files();
    fixture.writer().install(&archive.0).expect("installs");
    assert_eq!(fixture.files(), before);
}

#[test]
fn a_damaged_package_is_refused_with_both_digests_and_repaired() {
    let fixture = Fixture::new();
    let (archive, locked) = package("app", "1.0.0", &[("a", "1"), ("bin/b", "2")]);
    let installed = fixture.writer().install(&archive.0).expect("installs");
    let file = installed.path.join("a");
    let check = |change: &dyn Fn(), reason: &str| {
        change();
        let error = fixture.store.verify(&locked).expect_err("is refused").to_string();
        assert!(error.contains(reason), "{error}");
        fixture.writer().install(&archive.0).expect("repairs");
        fixture.store.verify(&locked).expect("is whole again");
    };
    check(&|| damage(&file, "0"), &Digest::of(b"0").to_string());
    check(&|| damage(&file, "0"), &Digest::of(b"1").to_string());
    check(&|| damage(&file, ""), "damaged");
    check(&|| damage(&file, "12"), "damaged");
    check(&|| fs::remove_file(&file).expect("removes"), "missing");
    check(&|| fs::write(installed.path.join("new"), "").expect("writes"), "no such file");
    check(&|| symlink("a", installed.path.join("link")).expect("links"), "no such file");
    check(
        &|| fs::set_permissions(installed.path.join("bin/b"), fs::Permissions::from_mode(0o444)).expect("sets"),
        "bit",
    );
    check(
        &|| {
            fs::remove_file(&file).expect("removes");
            symlink("/etc/hostname", &file).expect("links");
        },
        "cannot read",
    );
    check(
        &|| {
            fs::remove_file(&file).expect("removes");
            fs::create_dir(&file).expect("creates");
        },
        "regular",
    );
    check(
        &|| damage(&fixture.root.path().join(archive_path(locked.digest)), "junk"),
        "archive in the store is damaged",
    );
}

#[test]
fn a_damaged_object_is_not_built_upon() {
    let fixture = Fixture::new();
    let (one, _) = package("app", "1.0.0", &[("a", "shared")]);
    let (two, locked) = package("app", "1.1.0", &[("a", "shared")]);
    let installed = fixture.writer().install(&one.0).expect("installs");
    // The object and the tree are one inode, so this is the object too.
    damage(&installed.path.join("a"), "broken");
    fixture.writer().install(&two.0).expect("installs");
    fixture.store.verify(&locked).expect("has the right bytes");
    let object = fixture.root.path().join("objects").join(shard(&Digest::of(b"shared").to_hex()));
    assert_eq!(fs::read(&object).expect("is repaired"), b"shared");

    // A disk that forgets tells nobody, so the seal is whole; whoever mends reads all the same.
    damage(&object, "shored");
    place::seal(&object).expect("seals");
    assert!(fixture.store.verify(&locked).is_err());
    fixture.writer().mend(&locked, None).expect("mends");
    fixture.store.verify(&locked).expect("has the right bytes");
    assert_eq!(fs::read(&object).expect("is repaired"), b"shared");
    // And a tree that is damaged puts in doubt what it shares with others.
    damage(&object, "shored");
    place::seal(&object).expect("seals");
    fixture.writer().install(&two.0).expect("installs");
    fixture.store.verify(&locked).expect("has the right bytes");
}

#[test]
fn a_file_that_may_be_changed_is_nobody_elses() {
    let fixture = Fixture::new();
    let (one, locked) = package("app", "1.0.0", &[("a", "text"), ("own/a", "text")]);
    let (two, locked_two) = package("app", "1.1.0", &[("b", "text"), ("own/b", "text")]);
    let mut writer = fixture.writer();
    let installed = writer.install(&one.0).expect("installs");
    writer.switch(&lock(&[&locked])).expect("switches");
    drop(writer);
    let own = installed.path.join("own/a");
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode(&own), mode(&installed.path.join("a"))), (0o644, 0o444));
    fs::write(&own, "changed").expect("is allowed");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).expect("is allowed");
    fixture.store.verify(&locked).expect("is whole");
    assert_eq!(fixture.store.inspect().expect("looks"), []);
    fixture.writer().install(&one.0).expect("is there");
    assert_eq!(fs::read(&own).expect("is there"), b"changed", "and stays as it was made");
    // Its bytes are no object's.
    fixture.writer().install(&two.0).expect("installs");
    fixture.store.verify(&locked_two).expect("has the right bytes");
    fs::remove_file(&own).expect("is allowed");
    assert!(fixture.store.verify(&locked).is_err(), "a file that is missing is damage all the same");
    fixture.writer().mend(&locked, None).expect("mends");
    assert_eq!((fs::read(&own).expect("is there"), mode(&own)), (b"text".to_vec(), 0o644));
}

#[test]
fn only_one_writer_at_a_time_and_the_error_names_it() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    let busy = Store::open(fixture.root.path()).expect("reading goes on").writer().expect_err("is refused");
    assert!(busy.to_string().ends_with(&format!("by process {}", std::process::id())), "{busy}");
    drop(writer);
    fixture.writer();
}

#[test]
fn switching_needs_every_package_and_is_kept() {
    let fixture = Fixture::new();
    let (app, locked_app) = package("app", "1.0.0", &[]);
    let (_, locked_lib) = package("lib", "1.0.0", &[]);
    assert_eq!(fixture.store.current().expect("reads"), None);
    let mut writer = fixture.writer();
    writer.install(&app.0).expect("installs");
    let before = fixture.files();
    insta::assert_snapshot!(writer.switch(&lock(&[&locked_app, &locked_lib])).expect_err("is refused"), @"package `lib` 1.0.0 is not installed");
    assert_eq!(fixture.files(), before);

    let generation = writer.switch(&lock(&[&locked_app])).expect("switches");
    assert_eq!(writer.switch(&lock(&[&locked_app])).expect("is the same").number, 1);
    let reopened = Store::open(fixture.root.path()).expect("opens");
    assert_eq!(reopened.current().expect("reads"), Some(generation));
}

#[test]
fn an_earlier_generation_comes_back_and_the_oldest_are_forgotten() {
    let fixture = Fixture::new();
    let (one, locked_one) = package("app", "1.0.0", &[]);
    let (two, locked_two) = package("app", "2.0.0", &[]);
    let mut writer = fixture.writer();
    writer.install(&one.0).expect("installs");
    writer.install(&two.0).expect("installs");
    for i in 0..=GENERATIONS_MAX {
        writer.switch(&lock(&[if i % 2 == 0 { &locked_one } else { &locked_two }])).expect("switches");
    }
    let numbers: Vec<_> = (2..=GENERATIONS_MAX as u64 + 1).collect();
    assert_eq!(fixture.store.generations().expect("lists"), numbers);
    assert!(matches!(writer.switch_back(1), Err(StoreError::NoGeneration { number: 1 })));
    writer.switch_back(2).expect("switches");
    let current = fixture.store.current().expect("reads").expect("is there");
    assert_eq!((current.number, current.lockfile), (2, lock(&[&locked_two])));
}

#[test]
fn collecting_leaves_what_generations_and_pins_refer_to() {
    let fixture = Fixture::new();
    let (one, locked_one) = package("app", "1.0.0", &[("a", "shared"), ("b", "one")]);
    let (two, _) = package("app", "2.0.0", &[("a", "shared"), ("b", "two")]);
    let (kept, _) = package("published", "1.0.0", &[]);
    let mut writer = fixture.writer();
    writer.install(&one.0).expect("installs");
    writer.install(&two.0).expect("installs");
    writer.keep(&kept).expect("keeps");
    writer.switch(&lock(&[&locked_one])).expect("switches");
    let pinned = BTreeSet::from([kept.digest()]);

    let collected = writer.collect(&pinned, Extent::All).expect("collects");
    assert_eq!((collected.packages, collected.archives, collected.objects), (1, 1, 2));
    assert!(collected.bytes > 0);
    fixture.store.verify(&locked_one).expect("is whole");
    assert!(fixture.store.compressed(kept.digest()).expect("reads").is_some());
    assert_eq!(writer.collect(&pinned, Extent::All).expect("collects"), Collected::default());
    assert_eq!(writer.collect(&BTreeSet::new(), Extent::All).expect("collects").archives, 1);
    fixture.store.verify(&locked_one).expect("is whole");
}

/// Gives the same package by the list of its files.
fn listed(store: &Store, package: &LockedPackage) -> Installable {
    let listing = store.listing(package).expect("reads").expect("there is a record");
    let LockedPackage { name, version, digest, .. } = package.clone();
    let accepted = trust::policy::testing::accepted(&name, digest);
    let expected = Expected { name, version, digest, blob: None, sha256: None, sha512: None };
    let intact = trust::check_listing(listing, &expected).expect("is of the package");
    Installable::Listed(trust::admit(intact, &accepted).expect("is admitted"))
}

#[test]
fn a_list_whose_archive_was_collected_makes_no_tree() {
    let fixture = Fixture::new();
    let (archive, locked) = package("app", "1.0.0", &[("a", "text")]);
    let mut writer = fixture.writer();
    let installed = writer.install(&archive.0).expect("installs");
    writer.switch(&lock(&[&locked])).expect("switches");
    let listing = listed(&fixture.store, &locked);
    fs::remove_dir_all(&installed.path).expect("removes");
    writer.forget_archive(locked.digest).expect("forgets");
    let before = fixture.files();
    assert!(matches!(writer.install(&listing), Err(StoreError::NotInstalled { .. })));
    assert_eq!((fixture.files(), installed.path.exists()), (before, false));
}

#[test]
fn a_tree_comes_back_from_objects_without_its_archive_being_read() {
    let fixture = Fixture::new();
    let files = [("a", "text"), ("bin/run", "text"), ("d/b", "other"), ("own/a", "text")];
    let (archive, locked) = package("app", "1.0.0", &files);
    let mut writer = fixture.writer();
    writer.keep(&archive).expect("keeps");
    assert_eq!(fixture.store.listing(&locked).expect("reads"), None, "nobody has taken it apart");
    assert!(!fixture.store.is_listed(&locked).expect("reads"));
    let installed = writer.install(&archive.0).expect("installs");
    writer.switch(&lock(&[&locked])).expect("switches");
    let before = fixture.files();
    // An archive that would be read would be found out.
    let kept = fixture.store.archive_path(locked.digest);
    let remove_tree = || fs::remove_dir_all(&installed.path).expect("removes");
    remove_tree();
    damage(&kept, "junk");
    assert!(fixture.store.is_listed(&locked).expect("reads"));
    assert_eq!(writer.install(&listed(&fixture.store, &locked)).expect("installs"), installed);
    damage(&kept, "");
    fs::write(&kept, archive.compressed()).expect("writes");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o444)).expect("sets");
    assert_eq!(fixture.files(), before);
    fixture.store.verify(&locked).expect("is whole");
    assert!(fixture.store.is_believed(&locked).expect("reads"));
    assert_eq!(fixture.store.inspect().expect("looks"), []);

    // An object that is not as it was sealed: right or wrong, or gone, the tree comes out right.
    let object = fixture.root.path().join("objects").join(shard(&Digest::of(b"other").to_hex()));
    for broken in [Some("other"), Some("wrong"), None] {
        let listing = listed(&fixture.store, &locked);
        remove_tree();
        match broken {
            Some(text) => damage(&object, text),
            None => fs::remove_file(&object).expect("removes"),
        }
        writer.install(&listing).expect("installs");
        fixture.store.verify(&locked).unwrap_or_else(|error| panic!("{broken:?}: {error}"));
    }
    // And where neither is whole, nothing is made.
    let listing = listed(&fixture.store, &locked);
    remove_tree();
    damage(&object, "wrong");
    damage(&kept, "junk");
    assert!(matches!(writer.install(&listing), Err(StoreError::Archive(_))));
    assert!(!installed.path.exists());
}

#[test]
fn a_record_outlives_its_tree_and_goes_with_its_archive() {
    let fixture = Fixture::new();
    let (one, locked_one) = package("app", "1.0.0", &[("a", "1")]);
    let (two, locked_two) = package("app", "2.0.0", &[("a", "2")]);
    let mut writer = fixture.writer();
    writer.install(&one.0).expect("installs");
    writer.install(&two.0).expect("installs");
    writer.switch(&lock(&[&locked_one])).expect("switches");
    let total = fixture.store.usage().expect("measures").total();
    // A tree whose place to go is taken loses its record before it goes in parts.
    let stuck = fixture.store.installed(&locked_two).expect("is there").path;
    let in_its_way = fixture.root.path().join("tmp").join(stuck.file_name().expect("has a name"));
    for is_stuck in [false, true] {
        if is_stuck {
            fs::create_dir_all(in_its_way.join("x")).expect("creates");
        }
        let collected = writer.collect(&BTreeSet::new(), Extent::Within(total - 1)).expect("collects");
        assert_eq!((collected.packages, collected.archives), (1, 1), "{is_stuck}");
        assert_eq!(fixture.store.listing(&locked_two).expect("reads"), None);
        assert_eq!(fixture.count("records"), 1);
        writer.install(&two.0).expect("installs");
        writer.switch(&lock(&[&locked_two])).expect("switches");
        writer.switch(&lock(&[&locked_one])).expect("switches");
        writer.forget(1).expect("forgets");
    }
    let pinned = BTreeSet::from([locked_two.digest]);
    fs::remove_dir_all(&in_its_way).expect("removes");
    assert_eq!(writer.collect(&pinned, Extent::All).expect("collects").packages, 1);
    assert!(
        !stuck.exists() && fixture.store.listing(&locked_two).expect("reads").is_none(),
        "its objects went as well"
    );
    assert_eq!(fixture.count("records"), 2);
    assert_eq!(fixture.store.inspect().expect("looks"), []);
    writer.forget_archive(locked_two.digest).expect("forgets");
    assert_eq!(fixture.count("records"), 1);
    let record = fixture.root.path().join("records").join(stuck.file_name().expect("has a name"));
    fs::write(&record, Record::of(&two).to_text()).expect("writes");
    let told: Vec<_> =
        fixture.store.inspect().expect("looks").into_iter().map(|flaw| (flaw.rule, flaw.reason)).collect();
    assert_eq!(told, [(Rule::Record, "its archive is missing".to_owned())]);
    writer.keep(&two).expect("keeps");
    assert_eq!(fixture.store.inspect().expect("looks"), []);
    fs::write(&record, Record { files: vec![], ..Record::of(&two) }.to_text()).expect("writes");
    let told: Vec<_> = fixture.store.inspect().expect("looks").into_iter().map(|flaw| flaw.reason).collect();
    assert_eq!(told, ["it says otherwise than the archive"]);
}

#[test]
fn leftovers_of_a_crash_are_never_seen_and_cleared() {
    let fixture = Fixture::new();
    let (one, locked_one) = package("app", "1.0.0", &[("a", "1")]);
    let (two, locked_two) = package("app", "2.0.0", &[("a", "2")]);
    fixture.writer().install(&one.0).expect("installs");
    fixture.writer().switch(&lock(&[&locked_one])).expect("switches");
    let whole = fixture.files();

    // Died while staging: half an object, half a tree, half a `current`.
    let tmp = fixture.root.path().join("tmp");
    fs::create_dir_all(tmp.join(".tmpX/tree/src")).expect("creates");
    fs::write(tmp.join(".tmpX").join(Digest::of(b"2").to_hex()), "").expect("writes");
    fs::write(tmp.join(".tmpY"), "7").expect("writes");
    assert!(matches!(fixture.store.verify(&locked_two), Err(StoreError::NotInstalled { .. })));
    drop(fixture.writer());
    assert_eq!(fixture.files(), whole);

    // Died after the tree and the generation were in place, before `current` was: the old set is current.
    fixture.writer().install(&two.0).expect("installs");
    let unfinished = fixture.root.path().join("generations/2");
    fs::create_dir(&unfinished).expect("creates");
    fs::write(unfinished.join("catalog.lock"), lock(&[&locked_two]).to_string()).expect("writes");
    assert_eq!(fixture.store.current().expect("reads").expect("is there").lockfile, lock(&[&locked_one]));
    assert_eq!(fixture.writer().switch(&lock(&[&locked_two])).expect("switches").number, 3);

    // Died after the object and before the tree: the next install uses it.
    fs::remove_dir_all(fixture.store.installed(&locked_two).expect("is there").path).expect("removes");
    fixture.writer().install(&two.0).expect("installs");
    fixture.store.verify(&locked_two).expect("is whole");
}

#[test]
fn a_store_that_does_not_read_is_refused_and_left_alone() {
    let fixture = Fixture::new();
    let (archive, locked) = package("app", "1.0.0", &[]);
    fixture.writer().install(&archive.0).expect("installs");
    fixture.writer().switch(&lock(&[&locked])).expect("switches");
    let root = fixture.root.path();

    damage(&root.join("generations/1/catalog.lock"), "version = 9");
    assert!(matches!(fixture.store.current(), Err(StoreError::Lockfile { .. })));
    assert!(fixture.writer().collect(&BTreeSet::new(), Extent::All).is_err());
    assert!(fixture.store.installed(&locked).is_ok());

    fs::write(root.join("current"), "one").expect("writes");
    assert!(matches!(fixture.store.current(), Err(StoreError::Damaged { .. })));
    fs::write(root.join("format"), "3\n").expect("writes");
    let refused = Store::open(root).expect_err("is refused").to_string();
    assert!(refused.ends_with("has layout `3`, and this program knows layout 2"), "{refused}");
}

/// Moves what the layout has a directory down to where the first layout had it, and says that it is that.
fn nest(root: &Path) {
    for file in POOLS.iter().flat_map(|pool| sharded(&root.join(pool)).expect("lists")) {
        let name = file.file_name().expect("has one").to_owned();
        let directory = file.with_file_name(&name.to_str().expect("digits")[2..4]);
        fs::create_dir_all(&directory).expect("creates");
        fs::rename(&file, directory.join(name)).expect("moves");
    }
    fs::write(root.join("format"), "1\n").expect("writes");
}

#[test]
fn a_store_of_the_first_layout_is_brought_up_to_date() {
    let fixture = Fixture::new();
    let (app, locked) = package("app", "1.0.0", &[("a", "one"), ("bin/run", "two"), ("own/x", "three")]);
    fixture.writer().install(&app.0).expect("installs");
    fixture.writer().switch(&lock(&[&locked])).expect("switches");
    let before = fixture.files();
    let root = fixture.root.path();
    nest(root);
    assert_ne!(fixture.files(), before);
    // Nothing is moved while somebody else is at work.
    let writer = fixture.store.hold().expect("nobody else writes");
    assert!(matches!(Store::open(root), Err(StoreError::Busy { .. })));
    drop(writer);
    let open = || {
        let store = Store::open(root).expect("opens");
        assert_eq!(fixture.files(), before);
        store
    };
    open();
    // What a crash left half done: everything is in its place but for the word that it is.
    fs::write(root.join("format"), "1\n").expect("writes");
    let store = open();
    assert_eq!(store.inspect().expect("looks"), []);
    store.verify(&locked).expect("is whole");
}

/// The test runs itself as another process, which installs and switches until it is killed in the middle of something.
#[test]
fn a_killed_writer_leaves_a_whole_store() {
    use std::io::BufRead;
    use std::process::{Command, Stdio};

    const ROOT: &str = "CATALOG_TEST_STORE";
    const ROUNDS: usize = 12;
    let version = |step: usize| {
        let files: Vec<_> = (0..20).map(|i| (format!("f{i}"), format!("{} {i}", step / 2))).collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        package("app", &format!("{step}.0.0"), &files)
    };
    if let Ok(root) = std::env::var(ROOT) {
        let mut writer = Store::open(Path::new(&root)).expect("opens").writer().expect("nobody else writes");
        for step in 0.. {
            let (archive, locked) = version(step % 7);
            writer.install(&archive.0).expect("installs");
            writeln!(io::stderr(), "step {step}: installed").expect("the parent listens");
            writer.switch(&lock(&[&locked])).expect("switches");
            writeln!(io::stderr(), "step {step}: switched").expect("the parent listens");
            if step % 5 == 4 {
                writer.collect(&BTreeSet::new(), Extent::All).expect("collects");
            }
        }
    }
    let fixture = Fixture::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("is known"))
            .args(["--exact", "store::tests::a_killed_writer_leaves_a_whole_store", "--nocapture"])
            .env(ROOT, fixture.root.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        // Held until the child is dead: without its other end the child would die of the pipe, and tidily.
        let mut lines = io::BufReader::new(child.stderr.take().expect("is piped")).lines();
        let seen: Vec<_> = lines.by_ref().take(round + 1).map(|line| line.expect("reads")).collect();
        let busy = fixture.store.writer().expect_err("the child writes").to_string();
        assert!(busy.ends_with(&format!("by process {}", child.id())), "{busy}");
        child.kill().expect("kills");
        child.wait().expect("ends");
        assert!(seen.iter().all(|line| line.starts_with("step ")), "round {round}: {seen:?}");

        drop(fixture.writer());
        assert_eq!(fixture.count("tmp"), 0, "round {round}");
        let current = fixture.store.current().expect("reads");
        if round > 0 {
            let current = current.expect("a switch was seen");
            for package in current.lockfile.packages() {
                fixture.store.verify(package).unwrap_or_else(|error| panic!("round {round}: {error}"));
            }
        }
    }
}
