//! Answers about templates.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::shapes;

shapes! {
    /// A package that was made from a template, or would be.
    Made {
        /// The template.
        template: String,
        /// Its version.
        version: String,
        source: Source,
        /// Where the package is.
        directory: String,
        /// The value of every parameter.
        parameters: BTreeMap<String, Json>,
        /// Its files, in the order of their paths.
        files: Vec<MadeFile>,
        /// What should be looked at.
        warnings: Vec<Warning>,
        /// What to do next.
        next: Vec<String>,
        /// Packages that were brought onto this node, as NAME@VERSION.
        downloaded: Vec<String>,
        /// Programs of the template that ran.
        ran: Vec<Ran>,
        /// What the configuration script printed.
        printed: String,
        /// Nothing was written.
        dry_run: bool,
    }
    /// A file that was made.
    MadeFile {
        /// Where, from the directory.
        path: String,
        /// Bytes.
        size: u64,
        /// `blake3:` and hexadecimal.
        hash: String,
        /// `manifest`, `source`, `test`, `document`, `data` or `record`.
        kind: String,
        /// `new`, `unchanged`, `overwritten` or `kept`.
        state: String,
        /// What changes, of a dry run.
        patch: Option<String>,
    }
    /// A program of a template that ran.
    Ran {
        /// Its language and file.
        command: String,
        /// What it gave.
        value: Json,
        stdout: String,
        stderr: String,
    }
    /// Something to look at; nothing failed.
    Warning {
        /// Stable, such as `UNUSED_PARAMETER`.
        code: String,
        /// What it is about.
        subject: String,
        message: String,
    }
    /// The templates that can be used.
    Templates { templates: Vec<Listed> }
    /// A template that can be used by its name.
    Listed {
        name: String,
        /// Which template of its package, if that offers several.
        select: Option<String>,
        version: String,
        source: Source,
        description: String,
    }
    /// What a template asks and makes.
    Template {
        template: String,
        version: String,
        source: Source,
        description: String,
        /// The paths of its files, before parameters are put in.
        files: Vec<String>,
        /// The kinds of its actions.
        actions: Vec<String>,
        /// The configuration script.
        script: Option<String>,
        parameters: Vec<Parameter>,
        /// What it says to do next.
        next: Vec<String>,
    }
    /// A parameter of a template.
    Parameter {
        name: String,
        /// `string`, `number`, `boolean`, `array` or `object`.
        r#type: String,
        description: String,
        default: Json,
        required: bool,
        /// The only values.
        allowed_values: Option<Vec<Json>>,
        min: Option<f64>,
        max: Option<f64>,
        min_length: Option<u64>,
        max_length: Option<u64>,
        /// A regular expression that the whole text matches.
        pattern: Option<String>,
    }
    /// What a newer version of a template changed.
    Updated {
        template: String,
        /// The version that the package was at.
        from: String,
        to: String,
        files: Vec<Change>,
        /// What its author has to decide.
        conflicts: Vec<Conflict>,
        warnings: Vec<Warning>,
        /// Everything that changes, as one patch.
        patch: String,
        dry_run: bool,
    }
    /// A file that changed.
    Change {
        path: String,
        /// `added`, `updated`, `merged`, `conflict` or `removed`.
        state: String,
    }
    /// What an author has to decide.
    Conflict { path: String, reason: String }
}

/// Where a template comes from.
#[derive(schemars::JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is read as a schema and never made")]
pub(super) enum Source {
    /// It is a part of Catalog.
    BuiltIn,
    /// An installed package.
    Package,
    /// A directory, from the directory of the package.
    Directory(String),
}
