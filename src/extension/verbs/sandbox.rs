//! The verb that attacks the sandbox of this node.

use hypermesh_abi::records::{Response, Verb};
use hypermesh_abi::{Code, Error};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::extension::{CatalogExtension, answers, errors};
use crate::ops::sandbox::Selftest;
use crate::vm::Barrier;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Attacks {
    /// Only this attack; may be given more than once
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NAME"}))]
    case: Vec<String>,
    /// List the attacks and make none
    #[serde(default)]
    list: bool,
    /// Leave a part of the sandbox out: namespaces, landlock or seccomp
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "PART"}))]
    without: Vec<String>,
}

/// Gives the verb.
pub(super) fn verb() -> Verb {
    Verb::new::<Attacks>("sandbox selftest", "Attack this node's sandbox and show what held")
        .description(
            "Makes every attack that is shipped, each in a worker of its own: reading and writing files of the host, \
             sockets, processes, privileges, mounts, doors into the kernel, exhaustion, forged answers; in native code, \
             Lua, Julia and WebAssembly. Shows what stopped each. Fails unless all were contained. A part of the sandbox may be left \
             out to see that the others hold without it.",
        )
        .example("sandbox selftest", "all of them")
        .example("sandbox selftest --list", "what they try")
        .example("sandbox selftest --case fork-bomb", "one of them")
        .example("sandbox selftest --without landlock", "with one layer less")
}

pub(super) async fn selftest(extension: &CatalogExtension, params: Attacks) -> Result<Response, Error> {
    let catalog = extension.catalog()?;
    if params.list {
        return Ok(answers::attacks(&catalog.attacks()));
    }
    let without = params.without.iter().map(|word| word.parse()).collect::<Result<Vec<Barrier>, String>>();
    let without =
        without.map_err(|reason| Error::new(Code::INVALID_ARGUMENT, format!("parameter `without`: {reason}")))?;
    let report = catalog.selftest(Selftest { names: params.case, without }).await;
    answers::attacked(&report.map_err(|error| errors::to_error(&error))?)
}
