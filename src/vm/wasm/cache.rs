//! Compiled modules on disk, so that a module is compiled once on a node.
//!
//! Compiled code is believed by whoever loads it, so an entry counts only with a code over its name and bytes under a secret
//! that this node made (keyed BLAKE3). What is damaged, forged or moved to another name is as good as absent, and is
//! written anew. The name binds the program and the engine with its settings. Layout: `secret` (32 bytes) and one file for
//! each entry, of a magic of 8 bytes, the code of 32, and the compiled form.
//!
//! Invariant: [`Cache::find`] gives only what [`Cache::keep`] took on this node, and the directory holds at most
//! [`BYTES_MAX`] bytes of entries after each `keep`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Artefact;
use crate::digest::Digest;

/// The most bytes of all entries; those that were used longest ago go first.
pub const BYTES_MAX: u64 = 256 << 20;
/// The most bytes of one compiled module; larger ones are compiled each time.
pub const ARTEFACT_BYTES_MAX: usize = 8 << 20;
/// The most files that are looked at when room is made.
const ENTRIES_MAX: usize = 4096;
const MAGIC: [u8; 8] = *b"HMwasm01";
const SECRET: &str = "secret";
const SECRET_BYTES: usize = 32;
const CODE_BYTES: usize = 32;
const SUFFIX: &str = "cwasm";

/// A directory of compiled modules.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    secret: Secret,
    bytes_max: u64,
}

struct Secret([u8; SECRET_BYTES]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Cache {
    /// Opens a directory, and makes it and its secret if they are not there.
    ///
    /// # Errors
    /// The directory cannot be made or read; or the secret is not 32 bytes that only its owner may read, and then it
    /// should be removed with everything beside it.
    pub fn open(directory: &Path) -> io::Result<Self> {
        Self::bounded(directory, BYTES_MAX)
    }

    /// As [`Self::open`], with another bound on the bytes of all entries.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn bounded(directory: &Path, bytes_max: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let path = directory.join(SECRET);
        let secret = match read_secret(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_secret(&path)?,
            read => read?,
        };
        Ok(Self { directory: directory.to_path_buf(), secret, bytes_max })
    }

    /// Gives the compiled form of a program for an engine, if it was kept here and is whole.
    pub fn find(&self, program: Digest, engine: &str) -> Option<Artefact> {
        let name = name(program, engine);
        let path = self.path(&name);
        let mut file = open(&path).ok()?;
        let length = usize::try_from(file.metadata().ok()?.len()).ok()?;
        if length > MAGIC.len() + CODE_BYTES + ARTEFACT_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(length);
        io::Read::by_ref(&mut file).take(length as u64).read_to_end(&mut bytes).ok()?;
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (code, artefact) = rest.split_first_chunk::<CODE_BYTES>()?;
        // The comparison of hashes takes the same time for all.
        if self.code(&name, artefact) != blake3::Hash::from_bytes(*code) {
            return None;
        }
        // What is used stays; that it cannot be noted is no reason not to use it.
        let _ = file.set_modified(SystemTime::now());
        Some(Artefact::believed(artefact.to_vec()))
    }

    /// Keeps the compiled form of a program for an engine.
    ///
    /// # Errors
    /// It cannot be written. The program runs all the same, and is compiled again.
    pub fn keep(&self, program: Digest, engine: &str, artefact: &Artefact) -> io::Result<()> {
        let bytes = artefact.as_bytes();
        if bytes.len() > ARTEFACT_BYTES_MAX {
            return Ok(());
        }
        let name = name(program, engine);
        self.make_room((MAGIC.len() + CODE_BYTES + bytes.len()) as u64)?;
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.directory)?;
        file.write_all(&MAGIC)?;
        file.write_all(self.code(&name, bytes).as_bytes())?;
        file.write_all(bytes)?;
        file.persist(self.path(&name)).map_err(|error| error.error)?;
        Ok(())
    }

    fn code(&self, name: &str, artefact: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret.0);
        // The name has one length, so no two pairs give the same bytes.
        hasher.update(name.as_bytes()).update(artefact).finalize()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.{SUFFIX}"))
    }

    /// Removes what was used longest ago until so many bytes fit.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.directory)?.take(ENTRIES_MAX) {
            let entry = entry?;
            let is_entry = entry.path().extension().is_some_and(|extension| extension == SUFFIX);
            if let (true, Ok(metadata)) = (is_entry, entry.metadata()) {
                entries.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in entries {
            if total + bytes <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            total -= length;
        }
        Ok(())
    }
}

fn name(program: Digest, engine: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(program.to_string().as_bytes()).update(&[0]).update(engine.as_bytes());
    hasher.finalize().to_hex().to_string()
}

/// Opens a regular file and nothing that a name may lead to instead.
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn read_secret(path: &Path) -> io::Result<Secret> {
    let mut file = open(path)?;
    let metadata = file.metadata()?;
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0;
    let mut bytes = [0; SECRET_BYTES];
    if !is_ours || metadata.len() != SECRET_BYTES as u64 {
        let what = format!("`{}` is no secret of this node; remove the directory it is in", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    file.read_exact(&mut bytes)?;
    Ok(Secret(bytes))
}

/// Makes a secret whole or not at all; if somebody else was first, theirs counts.
fn make_secret(path: &Path) -> io::Result<Secret> {
    let mut bytes = [0; SECRET_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(&bytes)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(Secret(bytes)),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => read_secret(path),
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artefact(byte: u8, length: usize) -> Artefact {
        Artefact::believed(vec![byte; length])
    }

    fn program(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    #[test]
    fn what_was_kept_is_found_for_its_program_and_engine_only() {
        let directory = tempfile::tempdir().expect("there is room");
        let cache = Cache::open(directory.path()).expect("is made");
        assert_eq!(cache.find(program("a"), "one"), None);
        cache.keep(program("a"), "one", &artefact(7, 100)).expect("is written");
        let again = Cache::open(directory.path()).expect("the secret is still there");
        assert_eq!(again.find(program("a"), "one"), Some(artefact(7, 100)));
        assert_eq!((again.find(program("b"), "one"), again.find(program("a"), "two")), (None, None));
    }

    #[test]
    fn every_changed_byte_another_name_and_another_secret_are_as_good_as_absent() {
        let (directory, other) = (tempfile::tempdir().expect("room"), tempfile::tempdir().expect("room"));
        let cache = Cache::open(directory.path()).expect("is made");
        cache.keep(program("a"), "one", &artefact(7, 16)).expect("is written");
        let path = cache.path(&name(program("a"), "one"));
        let whole = fs::read(&path).expect("is there");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).expect("is written");
            assert_eq!(cache.find(program("a"), "one"), None, "byte {at}");
        }
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("is written");
            assert_eq!(cache.find(program("a"), "one"), None, "{length} bytes");
        }
        fs::write(&path, &whole).expect("is written");
        assert_eq!(cache.find(program("a"), "one"), Some(artefact(7, 16)));
        fs::copy(&path, cache.path(&name(program("b"), "one"))).expect("is copied");
        assert_eq!(cache.find(program("b"), "one"), None);
        let foreign = Cache::open(other.path()).expect("is made");
        fs::copy(&path, foreign.path(&name(program("a"), "one"))).expect("is copied");
        assert_eq!(foreign.find(program("a"), "one"), None);
        fs::remove_file(&path).expect("is there");
        std::os::unix::fs::symlink(other.path().join("elsewhere"), &path).expect("is made");
        assert_eq!(cache.find(program("a"), "one"), None);
    }

    #[test]
    fn the_directory_stays_within_its_bound() {
        let directory = tempfile::tempdir().expect("there is room");
        let cache = Cache::bounded(directory.path(), 4096).expect("is made");
        for name in 0..20 {
            cache.keep(program(&name.to_string()), "one", &artefact(1, 1000)).expect("is written");
        }
        let sizes = fs::read_dir(directory.path()).expect("is there").filter_map(Result::ok);
        let total: u64 = sizes.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
        assert!(total <= 4096 + SECRET_BYTES as u64, "{total}");
        assert!(cache.find(program("19"), "one").is_some());
        cache.keep(program("huge"), "one", &artefact(1, ARTEFACT_BYTES_MAX + 1)).expect("is not kept");
        assert_eq!(cache.find(program("huge"), "one"), None);
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().expect("there is room");
        Cache::open(directory.path()).expect("is made");
        let path = directory.path().join(SECRET);
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("is ours");
        let refused = Cache::open(directory.path()).expect_err("others may read it");
        assert!(refused.to_string().contains("is no secret of this node"), "{refused}");
    }
}
