//! The verb that measures what calls cost on this node.

use hypermesh_abi::Error;
use hypermesh_abi::records::{Response, Verb};
use schemars::JsonSchema;
use serde::Deserialize;

use super::run_file::Language;
use crate::extension::{CatalogExtension, answers, errors};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BenchVm {
    /// Only this language; all that run here if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NAME"}))]
    language: Option<Language>,
    /// How many calls of each, 1 to 1,000,000
    #[serde(default = "calls")]
    #[schemars(range(min = 1, max = crate::ops::bench_vm::CALLS_MAX), extend("x-cli" = {"value": "N"}))]
    calls: u32,
}

fn calls() -> u32 {
    10_000
}

/// Gives the verb.
pub(super) fn verb() -> Verb {
    Verb::new::<BenchVm>("bench-vm", "Measure what a call costs here, in each language")
        .description(
            "Starts a worker of each language in its sandbox, calls a function that adds two numbers, and shows the \
             start, the median and the 99th percentile of a warm call, beside an echo over a socket pair, which is what \
             crossing a process boundary costs at least.",
        )
        .example("bench-vm", "every language that runs here")
        .example("bench-vm --language julia --calls 100000", "one of them, for longer")
}

pub(super) async fn bench_vm(extension: &CatalogExtension, params: BenchVm) -> Result<Response, Error> {
    let measured = extension.catalog()?.bench_vm(params.language.map(Into::into), params.calls).await;
    Ok(answers::measured(&measured.map_err(|error| errors::to_error(&error))?))
}
