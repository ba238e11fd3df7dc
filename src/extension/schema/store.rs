//! Answers about archives, the store and registries.

use super::shapes;

shapes! {
    /// A package as an archive.
    Packed {
        package: String,
        version: String,
        digest: String,
        sha256: String,
        sha512: String,
        bytes: u64,
        /// `zstd` or `lz4`.
        compression: String,
        delta_bytes: Option<u64>,
        file: Option<String>,
    }
    /// An archive that was unpacked.
    Unpacked {
        package: String,
        version: String,
        digest: String,
        bytes: u64,
        tar_bytes: u64,
        directory: String,
        files: Vec<File>,
    }
    /// A file of an archive.
    File { path: String, bytes: u64, executable: bool }
    /// What the store takes.
    CacheSize {
        bytes: u64,
        archives: u64,
        objects: u64,
        trees: u64,
        /// How files are installed.
        method: String,
        generations: u64,
        /// Above this an installation removes what nobody needs.
        bytes_max: u64,
    }
    /// Bytes on the disk.
    Usage { bytes: u64, archives: u64, objects: u64, trees: u64 }
    /// What was removed from the store.
    Pruned { removed: Removed, generations: u64, usage: Usage }
    /// What a collection removed.
    Removed { packages: u64, archives: u64, objects: u64, bytes: u64 }
    /// Which invariants of the store hold.
    Checked {
        clean: bool,
        open: u64,
        repaired: u64,
        findings: Vec<Finding>,
    }
    /// An invariant that does not hold, or did not.
    Finding {
        /// Its number in docs/formats.md.
        invariant: String,
        path: String,
        reason: String,
        package: Option<String>,
        /// `open`, `repaired` or `harmless`.
        state: String,
        help: Option<String>,
    }
    /// A registry that was written as files.
    Exported {
        /// A directory, or the address of a bucket.
        directory: String,
        packages: u64,
        versions: u64,
        /// Versions of a remote registry that were never fetched.
        left_out: u64,
        written: u64,
        unchanged: u64,
    }
    /// A bucket whose index was made anew.
    Rebuilt {
        url: String,
        packages: u64,
        versions: u64,
        feeds: u64,
        written: u64,
        unchanged: u64,
        faults: Vec<Damaged>,
        further_faults: u64,
    }
    /// An object that is damaged.
    Damaged { object: String, reason: String }
    /// The remote registry.
    RemoteStatus {
        url: String,
        /// `fallback` or `only`.
        mode: String,
        status: String,
        format: u32,
        packages: u64,
        versions: u64,
        /// How many versions of it are known here.
        known: u64,
        sync_seconds: u64,
    }
}
