//! `run --language L FILE`: the form of `run` for a program that belongs to no package.

use std::path::PathBuf;
use std::time::Duration;

use hypermesh_abi::records::Response;
use hypermesh_abi::sdk::Call;
use hypermesh_abi::{Code, Error};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::super::ports::CallHost;
use super::super::{CatalogExtension, errors};
use crate::ops::OpError;
use crate::ops::run_file::RunFile;
use crate::value::Value;
use crate::vm::{self, Failure, Outcome, Output, ScriptErrorKind};

/// The languages a file may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Language {
    Lua,
    Julia,
    Wasm,
}

impl From<Language> for vm::Language {
    fn from(language: Language) -> Self {
        match language {
            Language::Lua => Self::Lua,
            Language::Julia => Self::Julia,
            Language::Wasm => Self::Wasm,
        }
    }
}

/// The parameters of `run` that a file has a use for.
pub(super) struct Parameters {
    pub(super) language: Language,
    pub(super) file: String,
    pub(super) function: String,
    pub(super) arguments: Vec<Json>,
    pub(super) input: Option<String>,
    pub(super) timeout_ms: Option<u64>,
}

pub(super) async fn run(extension: &CatalogExtension, call: Call, given: Parameters) -> Result<Response, Error> {
    let values: Result<Vec<Value>, _> = given.arguments.iter().map(Value::from_json).collect();
    let run = RunFile {
        language: given.language.into(),
        path: PathBuf::from(given.file),
        function: given.function,
        arguments: values.map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?,
        input: given.input,
        timeout: given.timeout_ms.map(Duration::from_millis),
    };
    let host = CallHost::new(call);
    match extension.catalog()?.run_file(run, &host).await {
        Ok(Ok(outcome)) => Ok(ran(&outcome)),
        Ok(Err(failure)) => Err(failed(failure)),
        Err(error) => Err(errors::to_error(&error)),
    }
}

/// What it printed, then its value on the last line, if it gave one.
fn ran(outcome: &Outcome) -> Response {
    let value = outcome.value.to_json();
    let mut text = printed(&outcome.output);
    if !value.is_null() {
        text.push_str(&format!("{value}\n"));
    }
    let data = json!({
        "state": "Completed",
        "value": value,
        "stdout": outcome.output.stdout,
        "stderr": outcome.output.stderr,
        "exit_status": 0,
        "usage": {
            "wall_us": outcome.usage.wall_us,
            "cpu_us": outcome.usage.cpu_us,
            "memory_peak_bytes": outcome.usage.memory_peak_bytes,
        },
        "sandbox": {"grade": outcome.grade, "layers": outcome.layers},
    });
    Response { data, text }
}

/// What it printed goes with the error, and so does the status if the program ended with one.
fn failed(failure: Failure) -> Error {
    let status = match failure.error.script().map(|script| script.kind) {
        Some(ScriptErrorKind::Exit(status)) => Some(status),
        _ => None,
    };
    let mut data = json!({"stdout": failure.output.stdout, "stderr": failure.output.stderr});
    if let Some(status) = status {
        data["exit_status"] = status.into();
    }
    let text = printed(&failure.output);
    let mut error = errors::to_error(&OpError::Vm(*failure.error));
    error.detail.answer = Some(Response { data, text });
    error
}

fn printed(output: &Output) -> String {
    let mut text = output.stdout.clone();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
