//! Generations: which packages are installed together, and which of those sets is current.

use std::fs;
use std::path::PathBuf;

use super::place::write_file;
use super::record::place_records;
use super::{GENERATIONS_MAX, Store, StoreError, Writer, at, entries, read_below, remove, rename, replace};
use crate::lockfile::{Lockfile, LockfileError};

/// A set of packages that were made current together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number; later ones have higher numbers.
    pub number: u64,
    /// The packages.
    pub lockfile: Lockfile,
}

impl Store {
    /// Gives the current generation, or nothing before the first.
    ///
    /// # Errors
    /// A damaged `current` or lockfile, or the file system.
    pub fn current(&self) -> Result<Option<Generation>, StoreError> {
        self.current_number()?.map(|number| self.generation(number)).transpose()
    }

    /// Gives the number of the current generation, without reading its lockfile.
    ///
    /// # Errors
    /// A damaged file, or the file system.
    pub fn current_number(&self) -> Result<Option<u64>, StoreError> {
        let Some(bytes) = read_below(&self.root, "current")? else { return Ok(None) };
        let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_end().parse().ok());
        let number = number.ok_or_else(|| StoreError::Damaged {
            path: self.root.join("current"),
            reason: "it holds no number of a generation".to_owned(),
        })?;
        Ok(Some(number))
    }

    /// Gives one generation.
    ///
    /// # Errors
    /// [`StoreError::NoGeneration`], a damaged lockfile, or the file system.
    pub fn generation(&self, number: u64) -> Result<Generation, StoreError> {
        let path = format!("generations/{number}/catalog.lock");
        let bytes = read_below(&self.root, &path)?.ok_or(StoreError::NoGeneration { number })?;
        let lockfile = String::from_utf8(bytes)
            .map_err(|_| LockfileError::Text { line: 1, reason: "it is not UTF-8".to_owned() })
            .and_then(|text| Lockfile::parse(&text))
            .map_err(|error| StoreError::Lockfile { path: self.root.join(path), source: Box::new(error) })?;
        Ok(Generation { number, lockfile })
    }

    /// Gives the numbers of the generations that are kept, the oldest first.
    ///
    /// # Errors
    /// The file system.
    pub fn generations(&self) -> Result<Vec<u64>, StoreError> {
        let names = entries(&self.root.join("generations"))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

impl Writer {
    /// Makes a set of installed packages current, as a new generation unless it is the current one already.
    ///
    /// When this returns, the switch and every package of it survive a crash; before, the old set does. The oldest
    /// generations beyond [`GENERATIONS_MAX`] are forgotten.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`] for a package that is missing, or the file system; then nothing has changed.
    pub fn switch(&mut self, lockfile: &Lockfile) -> Result<Generation, StoreError> {
        self.check_installed(lockfile)?;
        if let Some(current) = self.store.current()?
            && current.lockfile == *lockfile
        {
            self.settle_believed()?;
            return Ok(current);
        }
        let number = self.store.generations()?.last().map_or(1, |last| last.saturating_add(1));
        let stage = self.stage()?;
        let staged = stage.path().join("generation");
        fs::create_dir(&staged).map_err(at("create", &staged))?;
        write_file(&staged.join("catalog.lock"), lockfile.to_string().as_bytes(), 0o444)?;
        rename(&staged, &self.generation_path(number))?;
        self.make_current(number)?;
        self.forget(GENERATIONS_MAX)?;
        Ok(Generation { number, lockfile: lockfile.clone() })
    }

    /// Makes an earlier generation current again.
    ///
    /// # Errors
    /// [`StoreError::NoGeneration`], [`StoreError::NotInstalled`], or the file system; then nothing has changed.
    pub fn switch_back(&mut self, number: u64) -> Result<Generation, StoreError> {
        let generation = self.store.generation(number)?;
        self.check_installed(&generation.lockfile)?;
        self.make_current(number)?;
        Ok(generation)
    }

    /// Forgets generations so that at most so many are kept, the oldest first and never the current one; gives how many went.
    ///
    /// # Errors
    /// The file system.
    pub fn forget(&mut self, keep: usize) -> Result<usize, StoreError> {
        let current = self.store.current()?.map(|generation| generation.number);
        let numbers = self.store.generations()?;
        let excess = numbers.len().saturating_sub(keep.max(1));
        let gone: Vec<u64> = numbers.into_iter().filter(|number| Some(*number) != current).take(excess).collect();
        for number in &gone {
            // Moved away at once: half a generation would be one whose lockfile is missing.
            let path = self.generation_path(*number);
            let forgotten = self.store.root.join("tmp").join(format!("generation-{number}"));
            rename(&path, &forgotten)?;
            remove(&forgotten)?;
        }
        Ok(gone.len())
    }

    /// Makes what was built and believed durable, and lets it count, without switching.
    pub(super) fn settle_believed(&mut self) -> Result<(), StoreError> {
        if self.believed.is_empty() {
            return Ok(());
        }
        let stage = self.stage()?;
        let records = self.stage_records(stage.path())?;
        self.sync()?;
        place_records(&records)
    }

    fn make_current(&mut self, number: u64) -> Result<(), StoreError> {
        let stage = self.stage()?;
        let records = self.stage_records(stage.path())?;
        // Packages and the generation are only in place so far; now they are durable too.
        self.sync()?;
        place_records(&records)?;
        replace(&self.store.root, "current", &format!("{number}\n"))
    }

    fn check_installed(&self, lockfile: &Lockfile) -> Result<(), StoreError> {
        lockfile.packages().try_for_each(|package| self.store.installed(package).map(|_| ()))
    }

    fn generation_path(&self, number: u64) -> PathBuf {
        self.store.root.join("generations").join(number.to_string())
    }
}
