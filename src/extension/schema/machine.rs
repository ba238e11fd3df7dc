//! Answers about this machine, its runtimes, and documentation that was written on it.

use std::collections::BTreeMap;

use super::shapes;

shapes! {
    /// What calls cost.
    Costs {
        /// An echo of 64 bytes between two threads, at the median.
        echo_us: f64,
        languages: Vec<Cost>,
        /// Languages that do not run here, with the reason.
        absent: BTreeMap<String, String>,
    }
    /// What calls cost in a language.
    Cost {
        language: String,
        start_ms: f64,
        call_us: f64,
        call_p99_us: f64,
        /// The median by that of the echo.
        of_echo: f64,
    }
    /// Attacks on the sandbox: the list of them (`--list`), or what came of them.
    Attacks {
        total: u64,
        contained: Option<u64>,
        skipped: Option<u64>,
        grade: Option<String>,
        /// The layers that hold.
        layers: Option<Vec<String>>,
        absent: Option<Vec<Absent>>,
        cases: Vec<Attack>,
    }
    /// A layer that does not hold.
    Absent { layer: String, reason: String }
    /// An attack.
    Attack {
        name: String,
        language: String,
        tries: String,
        /// Nothing if it was not made.
        contained: Option<bool>,
        stopped_by: Option<String>,
        layer: Option<String>,
    }
    /// What this machine can do.
    Diagnosis {
        findings: Vec<Finding>,
        worst: String,
    }
    /// What it can do in one area.
    Finding {
        area: String,
        /// `ready`, `absent`, `limited` or `broken`.
        state: String,
        says: String,
        /// How to mend it.
        help: Option<String>,
    }
    /// Documentation that was written.
    Documented {
        package: String,
        version: String,
        directory: String,
        files: Vec<File>,
        sections: Vec<Section>,
        words: u64,
        reading_minutes: u64,
        api: Coverage,
        examples: Vec<Example>,
        warnings: Vec<Warning>,
    }
    /// A file that was written.
    File { name: String, bytes: u64 }
    /// A section.
    Section { id: String, words: u64 }
    /// How much of what a package offers is documented.
    Coverage { public: u64, documented: u64 }
    /// An example.
    Example {
        /// Where it stands.
        origin: String,
        state: String,
        result: Outcome,
    }
    /// What came of an example.
    Outcome {
        /// `passed`, `differs`, `failed` or `not_run`.
        state: String,
        output: Option<String>,
        message: Option<String>,
        reason: Option<String>,
    }
    /// Something to look at.
    Warning { code: String, text: String }
    /// Runtimes of languages.
    Runtimes {
        runtimes: Vec<Runtime>,
        /// It was not there before.
        installed: Option<bool>,
        /// Why it has no image.
        no_image: Option<String>,
    }
    /// A runtime.
    Runtime {
        name: String,
        version: String,
        /// `configured`, `home`, `path` or `juliaup`.
        origin: String,
        path: String,
        program: String,
        image: Option<String>,
        /// Programs run on it.
        chosen: bool,
    }
    /// A runtime that was removed.
    RuntimeRemoved { removed: String, bytes: u64 }
}
