//! The templates that are part of Catalog: packages like any other, embedded from `templates/`.

use super::{Template, TemplateError};
use crate::package::{self, Format, Package, PackageFile};

/// One package of templates that is part of Catalog.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name, which is also that of its one template.
    pub name: &'static str,
    manifest: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

macro_rules! built_in {
    ($name:literal: $($file:literal)+) => {
        BuiltIn {
            name: $name,
            manifest: include_str!(concat!("../../templates/", $name, "/package.yaml")),
            files: &[$(($file, include_bytes!(concat!("../../templates/", $name, "/", $file)))),+],
        }
    };
}

/// Every one, in the order that lists show them.
pub const ALL: [BuiltIn; 8] = [
    built_in!("julia-program": "README.md" "files/main.jl.hbs" "files/series.jl" "files/package.yaml.hbs"
        "files/README.md.hbs" "files/tests/checks.jl"),
    built_in!("lua-script": "README.md" "files/main.lua.hbs" "files/words.lua" "files/package.yaml.hbs"
        "files/README.md.hbs" "files/tests/checks.lua"),
    built_in!("wasm-module": "README.md" "files/main.wat" "files/main.wasm" "files/package.yaml.hbs"
        "files/README.md.hbs"),
    built_in!("container-app": "README.md" "files/Containerfile.hbs" "files/compose.yaml.hbs"
        "files/app/server.py.hbs" "files/app/test_server.py" "files/package.yaml.hbs" "files/README.md.hbs"),
    built_in!("ml-model": "README.md" "files/main.lua.hbs" "files/logistic.lua" "files/weights.lua" "files/samples.lua"
        "files/package.yaml.hbs" "files/MODEL_CARD.md.hbs" "files/tests/checks.lua"),
    built_in!("data-pipeline": "README.md" "files/main.lua.hbs" "files/csv.lua" "files/stages.lua"
        "files/package.yaml.hbs" "files/README.md.hbs" "files/tests/checks.lua"),
    built_in!("security-audit": "README.md" "configure.lua" "files/main.lua.hbs" "files/rules.lua.hbs"
        "files/package.yaml.hbs" "files/README.md.hbs" "files/tests/checks.lua.hbs"),
    built_in!("custom": "README.md" "files/main.lua.hbs" "files/main.jl.hbs" "files/package.yaml.hbs"
        "files/README.md.hbs"),
];

impl BuiltIn {
    /// Finds one by its name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|built_in| built_in.name == name)
    }

    /// Gives the package.
    ///
    /// # Panics
    /// Never: a test reads every one.
    pub fn package(&self) -> Package {
        package::parse(self.manifest, Format::Yaml, "package.yaml").expect("a test reads every one").0
    }

    /// Gives the template.
    ///
    /// # Errors
    /// Never: a test reads every one.
    pub fn template(&self) -> Result<Template, TemplateError> {
        Template::of(&self.package(), self.files(), None)
    }

    /// Gives its files.
    ///
    /// # Panics
    /// Never: a test reads every one.
    pub fn files(&self) -> Vec<PackageFile> {
        let file = |(path, bytes): &(&str, &[u8])| PackageFile {
            path: path.parse().expect("a test reads every one"),
            bytes: bytes.to_vec(),
        };
        self.files.iter().map(file).collect()
    }
}
