//! The verb that examines this machine.

use std::sync::Arc;

use hypermesh_abi::Error;
use hypermesh_abi::records::{Panel, Response, Verb};
use hypermesh_abi::sdk::Call;

use super::parameters::Nothing;
use crate::extension::ports::CallHost;
use crate::extension::{CatalogExtension, answers, errors};

/// Gives the verb.
pub(super) fn verb() -> Verb {
    Verb::new::<Nothing>("doctor", "Say what this machine can do for packages")
        .description(
            "Examines what packages need: the sandbox, by one attack on it, the engines and runtimes, processors, memory and \
             GPUs, the disk, advisories, the registries, trust and the network. Says of each whether it is ready, absent, limited \
             or broken, and how to mend it. Changes nothing.",
        )
        .example("doctor", "everything, with what to do")
        .example("doctor --json", "for programs")
        .panel(Panel::new("table"))
}

pub(super) async fn doctor(extension: &CatalogExtension, call: Call, _: Nothing) -> Result<Response, Error> {
    let host = Arc::new(CallHost::new(call));
    let findings = extension.catalog()?.doctor(host).await.map_err(|error| errors::to_error(&error))?;
    Ok(answers::doctor(&findings))
}
