//! x
use super::arguments::{Demo, Options};
use super::output::Output;
use hypermesh_abi::Error;
use std::process::ExitCode;
pub(crate) async fn run(_: &Demo, _: &Options, _: &Output) -> Result<ExitCode, Error> {
    Ok(ExitCode::SUCCESS)
}
