//! The verbs about archives and the store: packing and unpacking, installing and going back, size, collection, checking.

use std::path::PathBuf;

use hypermesh_abi::records::{Panel, Response, Verb};
use hypermesh_abi::sdk::{self, Call};
use hypermesh_abi::{Code, Error};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::parameters::Nothing;
use super::{confirmed, mode, read};
use crate::archive::Compression;
use crate::extension::ports::CallHost;
use crate::extension::{CatalogExtension, answers};
use crate::ops::OpError;
use crate::ops::fsck::{Repair, Scope};
use crate::ops::install::{Choice, InstallOptions};
use crate::store::Extent;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pack {
    /// The directory of the package, or its manifest
    #[schemars(extend("x-cli" = {"position": 1, "value": "DIR", "path": true}))]
    directory: PathBuf,
    /// Where to write the archive, or the delta; nothing is written if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"short": "o", "value": "FILE", "path": true}))]
    out: Option<PathBuf>,
    /// How to compress it; zstd if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NAME"}, "enum" = ["zstd", "lz4"]))]
    compression: Option<String>,
    /// Make the delta from this archive of an earlier version
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    delta_from: Option<PathBuf>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Unpack {
    /// An archive, or a delta
    #[schemars(extend("x-cli" = {"position": 1, "value": "FILE", "path": true}))]
    file: PathBuf,
    /// Where to; a directory that is not there yet, or is empty
    #[schemars(extend("x-cli" = {"position": 2, "value": "DIR", "path": true}))]
    directory: PathBuf,
    /// The archive that a delta was made from
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    base: Option<PathBuf>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Install {
    /// Packages as NAME, NAME@VERSION or NAME@REQUIREMENT; what is installed is made whole if none is given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    packages: Vec<String>,
    /// Show what would change and change nothing
    #[serde(default)]
    dry_run: bool,
    /// Go on although a rule of the policy asks for a confirmation
    #[serde(default)]
    confirm: bool,
    /// Fail if anything else than what is locked would be installed
    #[serde(default)]
    frozen: bool,
    /// Install exactly the packages of this catalog.lock, or of the one in this directory, and no others
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "PATH", "path": true}))]
    lockfile: Option<PathBuf>,
    /// Ask no other machine; use what is on this node
    #[serde(default)]
    offline: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rollback {
    /// The generation; the one before the current if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "N"}))]
    generation: Option<u64>,
    /// Show what would change and change nothing
    #[serde(default)]
    dry_run: bool,
    /// Go on although a rule of the policy asks for a confirmation
    #[serde(default)]
    confirm: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Prune {
    /// Stop when the store takes no more than this, such as 2GiB; everything that nobody needs goes if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "SIZE"}))]
    max: Option<String>,
    /// Forget all generations but the current and the latest before it, so many in all
    #[serde(default)]
    #[schemars(range(min = 1), extend("x-cli" = {"value": "COUNT"}))]
    keep: Option<usize>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fsck {
    /// Make anew what can be made from what is whole
    #[serde(default)]
    repair: bool,
}

/// Gives the rows of the request table.
pub(super) fn table() -> Vec<Verb> {
    let mut verbs = table_of_archives();
    verbs.extend(table_of_store());
    verbs
}

fn table_of_archives() -> Vec<Verb> {
    vec![
        Verb::new::<Pack>("pack", "Make the archive of a package, or a delta")
            .description(
                "Makes the deterministic archive that publishing would store. The same files give the same digest on \
                 every machine, whether the manifest is YAML, JSON or TOML, and whatever the compression. A delta holds only \
                 what changed since an earlier archive; `unpack` reads it with that one.",
            )
            .example("pack ./vec3", "show digest and size")
            .example("pack ./vec3 -o vec3.tar.zst", "write the archive")
            .example("pack ./vec3 --compression lz4 -o vec3.tar.lz4", "the same package, larger and faster to read")
            .example("pack ./vec3 --delta-from vec3-1.0.0.tar.zst -o vec3.delta", "what changed since version 1.0.0"),
        Verb::new::<Unpack>("unpack", "Write the files of an archive into a directory")
            .description(
                "Reads an archive in zstd or LZ4, or a delta with the archive it was made from, checks all of it, and writes its \
                 files beside the directory, which then appears whole. Installs nothing and runs nothing.",
            )
            .example("unpack vec3.tar.zst ./vec3", "into a new directory")
            .example("unpack vec3.delta ./vec3 --base vec3-1.0.0.tar.zst", "of a delta"),
    ]
}

fn table_of_store() -> Vec<Verb> {
    vec![
        Verb::new::<Install>("install", "Install packages and what they need")
            .description(
                "Resolves, verifies every archive against its digests, and switches the node to the next generation \
                 at once: either all of it is installed or nothing has changed. A catalog.lock with the marks of a merge is \
                 resolved for the package beside it, keeping what fits of both sides, and written whole.",
            )
            .example("install ray-tracer", "the latest version")
            .example("install vec3@^1.0 --dry-run", "show the plan only")
            .example("install --frozen ray-tracer", "fail if another version than the installed one would be chosen")
            .example("install --lockfile ./my-package --frozen", "exactly what its catalog.lock says, and nothing else")
            .streaming()
            .panel(Panel::new("release-action").about("packages"))
            .panel(Panel::new("action")),
        Verb::new::<Rollback>("rollback", "Go back to an earlier generation")
            .description(
                "Every installation made a generation, and the last 32 are kept. The one before the current becomes current, or \
                 the one of a number, which may be a later one too. What comes back is verified and judged as if it was \
                 installed now.",
            )
            .example("rollback", "undo the last installation; twice, the last two")
            .example("rollback 7 --dry-run", "what going to generation 7 would change")
            .streaming()
            .taking_away()
            .panel(Panel::new("action")),
        Verb::new::<Nothing>("cache size", "Show what packages take").example("cache size", "by kind"),
        Verb::new::<Prune>("cache prune", "Remove what nobody needs")
            .description(
                "Removes trees, archives and objects that no kept generation refers to and nothing that is published or \
                 mirrored here, the oldest first. What came from elsewhere is fetched again when somebody wants it. Works on a \
                 full disk.",
            )
            .example("cache prune", "everything that nobody needs")
            .example("cache prune --max 2GiB", "only until the store is that small")
            .example("cache prune --keep 1", "nothing to roll back to either")
            .taking_away()
            .panel(Panel::new("action")),
        Verb::new::<Nothing>("cache verify", "Find damage")
            .example("cache verify", "as `fsck` does, without the databases"),
        Verb::new::<Nothing>("cache repair", "Mend damage")
            .example("cache repair", "from archives, trees and objects that are whole"),
        Verb::new::<Fsck>("fsck", "Check every invariant of this node's files")
            .description(
                "Generations, lockfiles, trees, objects, archives, modes, leftovers, databases, feeds, and published versions \
                 with their archives: each invariant has a number in docs/formats.md, which findings name.",
            )
            .example("fsck", "say what is wrong")
            .example("fsck --repair", "make anew what can be made from what is whole"),
    ]
}

/// Answers a verb of this table.
pub(super) async fn answer(
    extension: &CatalogExtension,
    call: Call,
    verb: &str,
    params: Json,
) -> Result<Response, Error> {
    match verb {
        "pack" => pack(extension, call, read(params)?).await,
        "unpack" => {
            let Unpack { file, directory, base } = read(params)?;
            let unpack = move |catalog: &crate::ops::Catalog, _: &_| {
                Ok(answers::unpacked(&catalog.unpack(&file, base.as_deref(), &directory)?))
            };
            extension.blocking(call, unpack).await
        }
        "install" => install(extension, call, read(params)?).await,
        "rollback" => {
            let Rollback { generation, dry_run, confirm } = read(params)?;
            let mode = mode(dry_run);
            extension
                .blocking(call, move |catalog, host| {
                    let reached = catalog.rollback(generation, mode, confirmed(confirm), host)?;
                    Ok(answers::installation(&reached, mode))
                })
                .await
        }
        "cache size" => {
            let Nothing {} = read(params)?;
            extension.blocking(call, |catalog, _| Ok(answers::cache_size(&catalog.cache_size()?))).await
        }
        "cache prune" => prune(extension, call, read(params)?).await,
        "cache verify" | "cache repair" => {
            let Nothing {} = read(params)?;
            let repair = if verb == "cache repair" { Repair::Yes } else { Repair::No };
            let faults = extension.blocking(call, move |catalog, _| catalog.fsck(Scope::Store, repair)).await?;
            answers::checked(&faults)
        }
        "fsck" => {
            let Fsck { repair } = read(params)?;
            let repair = if repair { Repair::Yes } else { Repair::No };
            let faults = extension.blocking(call, move |catalog, _| catalog.fsck(Scope::All, repair)).await?;
            answers::checked(&faults)
        }
        _ => Err(sdk::unknown_verb(verb)),
    }
}

async fn pack(extension: &CatalogExtension, call: Call, params: Pack) -> Result<Response, Error> {
    let Pack { directory, out, compression: wanted, delta_from } = params;
    let compression = compression(wanted.as_deref())?;
    extension
        .blocking(call, move |catalog, _| {
            let packed = catalog.pack_with(&directory, compression)?;
            let delta = delta_from.map(|old| catalog.delta(&old, &packed.archive)).transpose()?;
            if let Some(out) = &out {
                let bytes = delta.as_deref().unwrap_or(packed.archive.compressed());
                std::fs::write(out, bytes).map_err(|source| OpError::File { path: out.clone(), source })?;
            }
            Ok(answers::packed(&packed, delta.as_deref(), out.as_deref()))
        })
        .await
}

async fn install(extension: &CatalogExtension, call: Call, params: Install) -> Result<Response, Error> {
    let Install { packages, dry_run, confirm, frozen, lockfile, offline } = params;
    if lockfile.is_some() && !packages.is_empty() {
        let message = "parameters `packages` and `lockfile` exclude each other";
        return Err(Error::new(Code::INVALID_ARGUMENT, message).help("give packages or a lockfile, or neither"));
    }
    let options = InstallOptions {
        mode: mode(dry_run),
        confirmed: confirmed(confirm),
        choice: if frozen { Choice::Frozen } else { Choice::Free },
        lockfile,
    };
    extension
        .blocking_as(CallHost::new(call).offline_if(offline), move |catalog, host| {
            let installed = catalog.install_with(&packages, &options, host)?;
            let mut response = answers::installation(&installed, options.mode);
            response.data["offline"] = offline.into();
            Ok(response)
        })
        .await
}

async fn prune(extension: &CatalogExtension, call: Call, params: Prune) -> Result<Response, Error> {
    let extent = match params.max {
        None => Extent::All,
        Some(text) => Extent::Within(bytes(&text).ok_or_else(|| {
            let message = format!("parameter `max`: `{text}` is no size");
            Error::new(Code::INVALID_ARGUMENT, message).help("write bytes, or a number with KiB, MiB, GiB or TiB")
        })?),
    };
    extension
        .blocking(call, move |catalog, _| {
            let pruned = catalog.cache_prune(extent, params.keep)?;
            Ok(answers::pruned(&pruned, extent))
        })
        .await
}

/// Reads the name of a compression.
pub(super) fn compression(name: Option<&str>) -> Result<Compression, Error> {
    let parsed = name.map_or(Ok(Compression::default()), str::parse);
    parsed.map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))
}

/// Reads a size: bytes, or a whole number with a unit.
fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u32); 8] =
        [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("K", 10), ("M", 20), ("G", 30), ("T", 40)];
    let (number, shift) = UNITS
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
        .unwrap_or((text.strip_suffix('B').unwrap_or(text), 0));
    number.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        let read = |text: &str| bytes(text);
        assert_eq!([read("7"), read("7B"), read("2GiB"), read("2G")], [Some(7), Some(7), Some(2 << 30), Some(2 << 30)]);
        assert_eq!([read(""), read("GiB"), read("-1"), read("1.5GiB"), read("99999999999TiB")], [None; 5]);
    }
}
