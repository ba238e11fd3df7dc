//! The spellings of package types, and what follows from a type.

use std::fmt;
use std::str::FromStr;

use super::model::PackageType;

/// A language whose sources Catalog reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// Lua 5.4.
    Lua,
    /// Julia 1.
    Julia,
}

impl Language {
    /// Gives the language of a file by its extension.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "lua" => Some(Self::Lua),
            "jl" => Some(Self::Julia),
            _ => None,
        }
    }
}

/// A text that is no package type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a package type")]
pub struct ParseTypeError {
    text: String,
}

/// The spelling that is written, first, and those that are read too.
const SPELLINGS: [(PackageType, &[&str]); 10] = [
    (PackageType::JuliaProgram, &["julia-program", "julia-script"]),
    (PackageType::JuliaLibrary, &["julia-library", "julia-package", "julia-module"]),
    (PackageType::LuaScript, &["lua-script"]),
    (PackageType::LuaLibrary, &["lua-library", "lua-module"]),
    (PackageType::WasmModule, &["wasm-module"]),
    (PackageType::Container, &["container"]),
    (PackageType::MlModel, &["ml-model"]),
    (PackageType::DataPipeline, &["data-pipeline"]),
    (PackageType::Binary, &["binary"]),
    (PackageType::Custom, &["custom"]),
];

impl PackageType {
    /// Gives every type.
    pub fn all() -> impl Iterator<Item = Self> {
        SPELLINGS.iter().map(|(kind, _)| *kind)
    }

    /// Gives every spelling that is read.
    pub fn spellings() -> Vec<&'static str> {
        SPELLINGS.iter().flat_map(|(_, names)| names.iter().copied()).collect()
    }

    /// Gives the spelling that is written.
    pub fn as_str(self) -> &'static str {
        SPELLINGS.iter().find(|(kind, _)| *kind == self).map_or("custom", |(_, names)| names[0])
    }

    /// Gives the extension its main file should have, where the type has one.
    pub fn main_extension(self) -> Option<&'static str> {
        match self {
            Self::JuliaProgram | Self::JuliaLibrary => Some("jl"),
            Self::LuaScript | Self::LuaLibrary => Some("lua"),
            Self::WasmModule => Some("wasm"),
            _ => None,
        }
    }

    /// Gives whether others use the package instead of running it.
    pub fn is_library(self) -> bool {
        matches!(self, Self::JuliaLibrary | Self::LuaLibrary)
    }
}

impl FromStr for PackageType {
    type Err = ParseTypeError;

    fn from_str(text: &str) -> Result<Self, ParseTypeError> {
        SPELLINGS
            .iter()
            .find(|(_, names)| names.contains(&text))
            .map(|(kind, _)| *kind)
            .ok_or_else(|| ParseTypeError { text: text.to_owned() })
    }
}

impl fmt::Display for PackageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_from_every_spelling() {
        for kind in PackageType::all() {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("lua-module".parse(), Ok(PackageType::LuaLibrary));
        assert_eq!("julia-module".parse(), Ok(PackageType::JuliaLibrary));
        assert_eq!("julia-script".parse(), Ok(PackageType::JuliaProgram));
        assert!("lua".parse::<PackageType>().is_err());
    }
}
