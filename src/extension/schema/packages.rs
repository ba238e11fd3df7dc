//! Answers about packages: checked, published, found, chosen, installed, compared.

use std::collections::BTreeMap;

use hypermesh_abi::records::InputFault;
use serde_json::Value as Json;

use super::shapes;

shapes! {
    /// A package that may be published.
    Validated {
        package: String,
        version: String,
        /// The package type, such as `lua-script`.
        r#type: String,
        /// What should be looked at, with its place.
        faults: Vec<InputFault>,
        /// What the analysers found.
        findings: Vec<Finding>,
        /// The score for security, 0 to 100.
        score: u8,
        /// Each analyser's score.
        scores: BTreeMap<String, u8>,
        /// The scores are those that the profile wants.
        passed: bool,
        /// Nothing that was found is critical or high.
        execution_ready: bool,
        /// The worst level that was found.
        risk: Option<String>,
    }
    /// What an analyser found.
    Finding {
        /// `security`, `syntax`, `performance`, `compliance`, `content` or `dependencies`.
        analyser: String,
        /// Stable, such as `COMMAND_INJECTION`.
        code: String,
        /// `info`, `low`, `medium`, `high` or `critical`.
        level: String,
        /// `vulnerability`, `injection` or `malware`.
        class: String,
        /// The file; the manifest if there is none.
        file: Option<String>,
        /// From 1; 0 for the whole file.
        line: u32,
        /// In how many places.
        count: u32,
        message: String,
        hint: String,
    }
    /// Packages that were published; the first three fields are there if it was one.
    PublishedAll {
        package: Option<String>,
        version: Option<String>,
        digest: Option<String>,
        dry_run: bool,
        packages: Vec<Published>,
    }
    /// A package that was published.
    Published {
        package: String,
        version: String,
        /// BLAKE3 of its archive.
        digest: String,
        /// The size of the archive.
        bytes: u64,
        /// The asset that it is on this host.
        asset: Option<String>,
        warnings: Vec<String>,
    }
    /// A version that is passed over, or is not any more.
    Yanked {
        package: String,
        version: String,
        /// Why; nothing if it may be chosen again.
        yanked: Option<String>,
    }
    /// Everything about a package.
    Details {
        package: String,
        version: String,
        digest: String,
        asset: Option<String>,
        published_at: String,
        yanked: Option<String>,
        downloads: u64,
        downloads_of_all_versions: u64,
        dependents: u64,
        rating: Rating,
        opinions: Vec<Opinion>,
        publisher: Option<String>,
        versions: Vec<String>,
        /// The version that is installed.
        installed: Option<String>,
        /// The manifest, in its canonical form.
        manifest: Json,
    }
    /// What is thought of a package.
    Rating {
        /// Of 5 stars.
        average: f64,
        count: u64,
    }
    /// What one rater thinks.
    Opinion {
        rater: String,
        version: String,
        stars: u8,
        comment: Option<String>,
        at: String,
    }
    /// What is installed, what has newer versions (`--outdated`), or what is published (`--published`).
    List {
        /// The generation that is installed.
        generation: Option<u64>,
        packages: Vec<Listed>,
    }
    /// A package in a list; which fields there are depends on the list.
    Listed {
        package: String,
        name: Option<String>,
        version: String,
        r#type: Option<String>,
        digest: Option<String>,
        asset: Option<String>,
        downloads: Option<u64>,
        dependencies: Option<Vec<String>>,
        /// Somebody asked for it; otherwise others need it.
        asked_for: Option<bool>,
        yanked: Option<String>,
        /// The newest version that is compatible.
        compatible: Option<String>,
        latest: Option<String>,
    }
    /// A choice of versions.
    Resolved {
        packages: Vec<Chosen>,
        /// Where the lockfile was written.
        lock: Option<String>,
        /// The lockfile was not whole, and was mended.
        merged: Option<bool>,
        warnings: Option<Vec<String>>,
    }
    /// A version that was chosen; of versions in a file there are only name and version.
    Chosen {
        package: Option<String>,
        name: String,
        version: String,
        digest: Option<String>,
        dependencies: Option<Vec<String>>,
    }
    /// What an installation changed, or would change.
    Installation {
        generation: u64,
        /// Everything that is installed then.
        packages: Vec<Locked>,
        plan: Plan,
        dry_run: bool,
        warnings: Vec<String>,
        /// The lockfile was not whole, as after a merge, and was resolved.
        merged: bool,
        /// No other machine was asked.
        offline: Option<bool>,
    }
    /// A package of an exact version.
    Locked {
        package: String,
        name: String,
        version: String,
        digest: String,
        dependencies: Vec<String>,
    }
    /// The differences between two generations.
    Plan {
        added: Vec<Named>,
        changed: Vec<Moved>,
        removed: Vec<Named>,
        /// Packages that were damaged and are made anew.
        repaired: Vec<Named>,
    }
    /// A package of a version.
    Named { package: String, version: String }
    /// A package that changes its version.
    Moved { package: String, from: String, to: String }
    /// What was found by a search, or by each search of a batch.
    Found {
        results: Option<Vec<Hit>>,
        /// How many there are in all.
        total: Option<u64>,
        elapsed_us: Option<f64>,
        batches: Option<Vec<Batch>>,
        timing: Option<Timing>,
        /// The file that has the answers of a batch.
        file: Option<String>,
    }
    /// A package that was found.
    Hit {
        name: String,
        version: String,
        score: f64,
        description: String,
        r#type: Option<String>,
        tags: Vec<String>,
        /// It is published here, and no imported description.
        installable: bool,
        downloads: u64,
        rating: Option<f64>,
        highlights: Highlights,
        /// `import` for an imported description.
        source: Option<String>,
    }
    /// What matched, as pairs of characters: the first, and the one after the last.
    Highlights { name: Vec<[u64; 2]>, description: Vec<[u64; 2]> }
    /// What one search of a batch found.
    Batch {
        query: String,
        results: Vec<BatchHit>,
        total: u64,
        elapsed_us: f64,
    }
    /// A package that a search of a batch found.
    BatchHit { name: String, version: String, score: f64, installable: bool }
    /// How long the searches of a batch took.
    Timing { queries: u64, p50_us: f64, p99_us: f64 }
    /// Descriptions that were imported.
    Imported {
        imported: u64,
        replaced: u64,
        descriptions: u64,
        indexed: u64,
    }
    /// Why a package is there.
    Why {
        package: String,
        version: String,
        /// The requirement by which it was asked for.
        asked_for: Option<String>,
        /// The ways from what was asked for down to it.
        chains: Vec<Vec<Link>>,
        dependents: u64,
    }
    /// One step of a way.
    Link { package: String, version: String, requirement: Option<String> }
    /// Packages and what they need.
    Tree { roots: Vec<String>, packages: Vec<Locked> }
    /// What differs between two versions.
    Difference {
        before: Named,
        after: Named,
        files: Vec<FileChange>,
        dependencies: Vec<DependencyChange>,
        capabilities: Vec<CapabilityChange>,
        licenses: Option<LicenceChange>,
    }
    /// A file that differs, with its sizes.
    FileChange { path: String, before: Option<u64>, after: Option<u64> }
    /// A dependency that differs, with its requirements.
    DependencyChange { package: String, before: Option<String>, after: Option<String> }
    /// What a version wants more, or less.
    CapabilityChange {
        capability: String,
        change: String,
        /// It wants more.
        wider: bool,
    }
    /// The licences of two versions.
    LicenceChange { before: Option<String>, after: Option<String> }
    /// The licences of packages.
    Licences { packages: Vec<Licensed> }
    /// The licence of a package.
    Licensed {
        package: String,
        license: Option<String>,
        /// Why it is not allowed here.
        refused: Option<String>,
    }
    /// A bill of materials.
    Bill {
        /// CycloneDX 1.5 or SPDX 2.3.
        sbom: Json,
        /// The file that it was written to.
        out: Option<String>,
    }
    /// Who may publish under a name.
    Owners {
        package: String,
        namespace: Option<String>,
        /// The longest one first.
        owners: Vec<String>,
        former: Vec<FormerOwner>,
    }
    /// Who has owned a name.
    FormerOwner {
        publisher: String,
        /// The last entry of its feed whose releases stay.
        until: u64,
    }
    /// What goes with what is installed.
    Recommended { results: Vec<Recommendation> }
    /// A package that goes with others.
    Recommendation {
        name: String,
        version: String,
        description: Option<String>,
        score: f64,
        /// For people.
        reasons: Vec<String>,
        /// `Dependency`, `Similar`, `Trending` or `Rated`, one for each reason.
        kinds: Vec<String>,
    }
    /// What was thought of a package.
    Rated { package: String, stars: u8, average: f64, ratings: u64 }
}
