//! The verbs about executions: `run`, `ps`, `logs`, `kill`, `receipt`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hypermesh_abi::records::{Panel, Response, Verb};
use hypermesh_abi::sdk::Call;
use hypermesh_abi::{Code, Error};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::ports::CallHost;
use super::super::{CatalogExtension, answers, errors};
use super::memory::Exporting;
use super::{confirmed, read, run_file};
use crate::host::Host;
use crate::ops::execute::{Execute, Wait};
use crate::ops::executions::record::Record;
use crate::ops::executions::{Detached, Listed};
use crate::ops::network::{Comparison, DEADLINE, Nodes, RanThere, Wish};
use crate::ops::{Catalog, OpError};
use crate::package::model::{Bytes, CpuMillis};
use crate::package::units::{parse_bytes, parse_cpu, parse_duration};
use crate::value::Value;
use crate::vm::execution::ExecutionId;

/// How many executions `ps` shows if it is not told to show all.
const SHOWN: usize = 20;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Run {
    /// An installed package, a directory as ./DIR, or with --language a file as ./FILE
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG", "maybe_path": true}))]
    package: String,
    /// Run a program in one file, in this language
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NAME"}))]
    language: Option<run_file::Language>,
    /// Data for a program in one file; what comes in by a pipe, if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "TEXT", "piped_with": "language"}))]
    standard_input: Option<String>,
    /// Arguments of the function: JSON where it parses, text where it does not
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 2, "value": "ARG", "json": true}))]
    arguments: Vec<Json>,
    /// The function to call
    #[serde(default = "main", alias = "entry")]
    #[schemars(extend("x-cli" = {"short": "f", "value": "NAME"}))]
    function: String,
    /// One more argument, after those given as words: JSON, or @FILE with JSON in it
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "JSON", "json": true, "file": true}))]
    input: Option<Json>,
    /// Less than the package's own limits, as cpu=500m,memory=64Mi,wall=5s
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "LIMITS"}))]
    limit: Option<String>,
    /// A shorter time limit than the package's own, in milliseconds
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "MS"}))]
    timeout_ms: Option<u64>,
    /// Show what the program prints while it does
    #[serde(default)]
    follow: bool,
    /// Let it run on in the running node, and say only its id
    #[serde(default)]
    detach: bool,
    /// Refuse it if it cannot begin at once, instead of letting it wait in the queue
    #[serde(default)]
    no_wait: bool,
    /// Not before this time, as in 2030-01-01T00:00:00Z
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "TIME"}))]
    at: Option<String>,
    /// Run it on another node: its id, the end of it, its address, or its name
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NODE"}))]
    node: Option<String>,
    /// Run it on several nodes and compare what they give: how many, or which as n1,n2,n3
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "N|NODES"}))]
    nodes: Option<String>,
    /// With --nodes, how many must give the same; more than half, if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "K"}))]
    agree: Option<usize>,
    /// With --nodes, how long all of them together may take, in milliseconds; five minutes, if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "MS"}))]
    deadline_ms: Option<u64>,
    /// Keep the arrays it gives on the node that ran it, for a node to reach: a peer, or `here`
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NODE"}))]
    export: Option<String>,
    /// With --export, what that node may do: read, or read,write
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "RIGHTS"}))]
    export_rights: Option<String>,
    /// With --export, for how long, as 10m or 2h; an hour, if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "TIME"}))]
    export_for: Option<String>,
    /// Run although a rule of the policy asks for a confirmation
    #[serde(default)]
    confirm: bool,
    /// Ask no other machine; use what is on this node
    #[serde(default)]
    offline: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ps {
    /// Everything about this one, by its id
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "EXECUTION"}))]
    execution: Option<String>,
    /// Of another node, with an execution: its id, the end of it, its address, or its name
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NODE"}))]
    node: Option<String>,
    /// Only executions that have not finished
    #[serde(default)]
    active: bool,
    /// All that the node remembers, and not only the latest
    #[serde(default)]
    all: bool,
    /// At most so many
    #[serde(default)]
    #[schemars(extend("x-cli" = {"short": "n", "value": "COUNT"}))]
    limit: Option<usize>,
    /// Pass over so many of the latest
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "COUNT"}))]
    offset: usize,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Logs {
    /// The execution, by the id that `ps` shows
    #[schemars(extend("x-cli" = {"position": 1, "value": "EXECUTION"}))]
    execution: String,
    /// Go on until it has finished
    #[serde(default)]
    follow: bool,
    /// Of another node
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NODE"}))]
    node: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Kill {
    /// The execution, by the id that `ps` shows
    #[schemars(extend("x-cli" = {"position": 1, "value": "EXECUTION"}))]
    execution: String,
    /// On another node
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NODE"}))]
    node: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Receipt {
    /// The execution, by the id that `ps` shows; with `--verify` also a file as ./FILE
    #[schemars(extend("x-cli" = {"position": 1, "value": "EXECUTION", "maybe_path": true}))]
    execution: String,
    /// Check a receipt in a file, from whatever node
    #[serde(default)]
    verify: bool,
    /// Write the signed receipt into this file
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    out: Option<PathBuf>,
}

pub(super) fn table() -> Vec<Verb> {
    vec![
        Verb::new::<Run>("run", "Run a package in its sandbox and print its typed result")
            .description(
                "Waits in the queue until its turn comes (by priority, and by how long it has waited), leases what the \
                 package needs from the host, runs it in a process of its own under its limits, and releases everything, \
                 whatever happens. A directory runs without being published. `--detach` needs a running node (`host-sim \
                 up`); any other run ends with the command that waits for it.",
            )
            .example("run ray-tracer", "call its main function")
            .example("run ray-tracer '{\"width\": 60}'", "with an argument")
            .example("run ray-tracer --input @size.json --follow", "with an argument from a file; shows output as it comes")
            .example("run ./my-package -f test", "another function of an unpublished package")
            .example("run prime-sieve --limit memory=64Mi,wall=5s", "within less than the package's own limits")
            .example("run --language lua ./try.lua < data.json", "a program in one file, with data")
            .example("run prime-sieve --node n2", "on another node, if it runs for this one")
            .example("run prime-sieve --nodes 3 --agree 2", "on three; what two of them give counts, and who differs is named")
            .example("run spectrum --node n2 --export here", "its arrays stay on n2; `memory read` reads parts of them")
            .example("run prime-sieve --detach", "let it run on in the node; `logs` and `ps` tell about it")
            .streaming()
            .panel(Panel::new("package-action").about("package").with("detach", true).with("follow", false)),
        Verb::new::<Ps>("ps", "List executions with their state and use")
            .description(
                "What has not finished, then the latest that have, also of earlier commands and before a restart of the \
                 node. Use of running ones is as it is now. With an id, everything about that one.",
            )
            .example("ps", "what runs, and the latest that ran")
            .example("ps --active", "those going on")
            .example("ps --all", "all that the node remembers")
            .example("ps --limit 50 --offset 100", "the third fifty")
            .panel(Panel::new("executions"))
            .panel(Panel::new("execution").about("execution")),
        Verb::new::<Logs>("logs", "Show what an execution has printed")
            .description("The node keeps the last 64 KiB of each stream, over restarts.")
            .example("logs 64a78dd2-e4f4-44cc-a303-fbae48570238", "so far")
            .example("logs 64a78dd2-e4f4-44cc-a303-fbae48570238 --follow", "until it has finished")
            .streaming()
            .panel(Panel::new("output").about("execution"))
            .panel(Panel::new("output-follow").about("execution").with("follow", true)),
        Verb::new::<Kill>("kill", "End an execution and give its resources back")
            .description("The process of the program is killed; whoever waits for its result is told so.")
            .example("kill 64a78dd2-e4f4-44cc-a303-fbae48570238", "by the id that `ps` shows")
            .taking_away()
            .panel(Panel::new("execution-action").about("execution")),
        Verb::new::<Receipt>("receipt", "Show, export or check the signed receipt of a run")
            .description(
                "A receipt names program, input, output, use and sandbox of an execution that gave a value, signed by a \
                 publisher of the node. It proves what the node says; who must know runs the same and compares digests.",
            )
            .example("receipt 64a78dd2-e4f4-44cc-a303-fbae48570238 --out run.receipt", "sign it, and write it to a file")
            .example("receipt ./run.receipt --verify", "who signed it, and whether anything was changed"),
    ]
}

pub(super) async fn answer(
    extension: &CatalogExtension,
    call: Call,
    verb: &str,
    params: Json,
) -> Result<Response, Error> {
    match verb {
        "run" => run(extension, call, read(params)?).await,
        "ps" => ps(extension, call, read(params)?).await,
        "logs" => logs(extension, call, read(params)?).await,
        "kill" => kill(extension, call, read(params)?).await,
        _ => receipt(extension, call, read(params)?).await,
    }
}

async fn run(extension: &CatalogExtension, call: Call, params: Run) -> Result<Response, Error> {
    let follow = params.follow;
    let (detach, offline) = (params.detach, params.offline);
    if detach && follow {
        return Err(invalid("`detach` and `follow` exclude each other".into())
            .help("`catalog logs EXECUTION --follow` follows a detached execution"));
    }
    if let Some(language) = params.language {
        let given = run_file::Parameters {
            language,
            file: params.package,
            function: params.function,
            arguments: params.arguments,
            input: params.standard_input,
            timeout_ms: params.timeout_ms,
        };
        return run_file::run(extension, call, given).await;
    }
    let (node, comparison) = (params.node.clone(), params.comparison()?);
    if params.export.is_some() && (detach || comparison.is_some()) {
        return Err(invalid("`export` excludes `detach` and `nodes`".into())
            .help("wait for the result: what is kept of it is told with it"));
    }
    let keep = params.exporting().read(extension).await?;
    let execute = Execute { keep, ..params.read()? };
    let catalog = extension.catalog()?;
    let host = Arc::new(CallHost::new(call).offline_if(offline));
    if let Some(comparison) = comparison {
        let agreed = catalog.execute_agreed(execute, comparison, host).await;
        return agreed.map(|agreed| answers::agreed(&agreed)).map_err(|error| errors::to_error(&error));
    }
    if let Some(node) = node {
        let ran = catalog.execute_on(&node, execute, detach, host).await.map_err(|error| errors::to_error(&error))?;
        return Ok(match ran {
            RanThere::Done(executed) => answers::executed(&executed, follow),
            RanThere::Detached(record) => answers::detached(&Detached { record: *record }),
        });
    }
    if detach {
        let detached = catalog.detach(execute, host).await;
        return detached.map(|detached| answers::detached(&detached)).map_err(|error| errors::to_error(&error));
    }
    match catalog.execute(execute, host).await {
        Ok(executed) => Ok(answers::executed(&executed, follow)),
        Err(error) => Err(errors::to_error(&error)),
    }
}

impl Run {
    fn exporting(&self) -> Exporting {
        let (export, export_rights) = (self.export.clone(), self.export_rights.clone());
        Exporting { export, export_rights, export_for: self.export_for.clone() }
    }

    /// Says on which nodes results are to be compared, if on any.
    fn comparison(&self) -> Result<Option<Comparison>, Error> {
        let Some(nodes) = &self.nodes else {
            if self.agree.is_some() || self.deadline_ms.is_some() {
                return Err(invalid("`agree` and `deadline_ms` are of a run on several `nodes`".into())
                    .help("`catalog run PKG --nodes 3 --agree 2`"));
            }
            return Ok(None);
        };
        if self.node.is_some() || self.detach || self.follow {
            return Err(invalid("`nodes` excludes `node`, `detach` and `follow`".into())
                .help("leave them out: what several nodes give is compared when they have finished"));
        }
        let words = || nodes.split(',').map(|word| word.trim().to_owned()).collect();
        let nodes = nodes.parse().map_or_else(|_| Nodes::Named(words()), Nodes::Count);
        let deadline = self.deadline_ms.map_or(DEADLINE, Duration::from_millis);
        Ok(Some(Comparison { nodes, agree: self.agree, deadline }))
    }

    fn read(self) -> Result<Execute, Error> {
        if let Some(path) = self.input.as_ref().and_then(Json::as_str).and_then(|text| text.strip_prefix('@')) {
            return Err(invalid(format!("there is no file `{path}` with JSON in it"))
                .help("`--input @FILE` takes one argument from a file"));
        }
        let values = self.arguments.iter().chain(&self.input).map(Value::from_json);
        let arguments: Result<Vec<Value>, _> = values.collect();
        let limits = self.limit.as_deref().map(Asked::read).transpose()?.unwrap_or_default();
        let timeout = self.timeout_ms.map(Duration::from_millis);
        let at = self.at.as_deref().map(|text| OffsetDateTime::parse(text, &Rfc3339)).transpose();
        let at = at.map_err(|error| {
            Error::wrap(Code::INVALID_ARGUMENT, &error).help("`at` is a time as in 2030-01-01T00:00:00Z")
        })?;
        Ok(Execute {
            target: self.package,
            release: None,
            asked_by: None,
            function: self.function,
            arguments: arguments.map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?,
            timeout: timeout.into_iter().chain(limits.wall).min(),
            cpu: limits.cpu,
            memory: limits.memory,
            at,
            wait: if self.no_wait { Wait::No } else { Wait::Queue },
            follow: self.follow,
            keep: None,
            confirmed: confirmed(self.confirm),
        })
    }
}

/// Limits as they are asked for: `cpu=500m,memory=64Mi,wall=5s`.
#[derive(Default)]
struct Asked {
    cpu: Option<CpuMillis>,
    memory: Option<Bytes>,
    wall: Option<Duration>,
}

impl Asked {
    fn read(text: &str) -> Result<Self, Error> {
        let mut asked = Self::default();
        for part in text.split(',') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let fault = match name.trim() {
                "cpu" => parse_cpu(value).map(|cpu| asked.cpu = Some(cpu)),
                "memory" => parse_bytes(value).map(|memory| asked.memory = Some(memory)),
                "wall" => parse_duration(value).map(|wall| asked.wall = Some(wall)),
                _ => {
                    return Err(invalid(format!("`{name}` is no limit of a run"))
                        .help("limits are cpu, memory and wall, as in cpu=500m,memory=64Mi,wall=5s"));
                }
            };
            fault.map_err(|error| {
                Error::wrap(Code::INVALID_ARGUMENT, &error)
                    .help(format!("the limit `{name}` is given as in cpu=500m,memory=64Mi,wall=5s"))
            })?;
        }
        Ok(asked)
    }
}

async fn ps(extension: &CatalogExtension, call: Call, params: Ps) -> Result<Response, Error> {
    if let Some(word) = params.execution {
        let id = execution_id(&word)?;
        if let Some(node) = params.node {
            return Ok(answers::execution(&there(extension, call, &node, id, Wish::Status).await?));
        }
        let shown =
            move |catalog: &Catalog, host: &CallHost| Ok(answers::execution(&catalog.execution(id, host.now())?));
        return extension.blocking(call, shown).await;
    }
    let shown = move |catalog: &Catalog, host: &CallHost| -> Result<Response, OpError> {
        if params.active {
            let active = catalog.executions_active(host.now());
            return Ok(answers::executions(&Listed { total: active.len(), list: active }, 0));
        }
        // Those that go on are shown all the same.
        let most = params.limit.unwrap_or_else(|| catalog.executions_active(host.now()).len() + SHOWN);
        let most = if params.all { usize::MAX } else { most };
        Ok(answers::executions(&catalog.executions_page(params.offset, most, host.now())?, params.offset))
    };
    extension.blocking(call, shown).await
}

/// Asks another node about an execution there.
async fn there(
    extension: &CatalogExtension,
    call: Call,
    node: &str,
    id: ExecutionId,
    wish: Wish,
) -> Result<Record, Error> {
    let (catalog, host) = (extension.catalog()?, CallHost::new(call));
    catalog.execution_on(node, id, wish, &host).await.map_err(|error| errors::to_error(&error))
}

async fn logs(extension: &CatalogExtension, call: Call, params: Logs) -> Result<Response, Error> {
    let id = execution_id(&params.execution)?;
    if let Some(node) = params.node {
        let wish = if params.follow { Wish::Follow } else { Wish::Status };
        return Ok(answers::logs(&there(extension, call, &node, id, wish).await?, params.follow));
    }
    if params.follow {
        let (catalog, host) = (extension.catalog()?, Arc::new(CallHost::new(call)));
        let followed = catalog.follow_execution(id, host).await.map_err(|error| errors::to_error(&error))?;
        return Ok(answers::logs(&followed.record, followed.told));
    }
    let shown = move |catalog: &Catalog, host: &CallHost| Ok(answers::logs(&catalog.execution(id, host.now())?, false));
    extension.blocking(call, shown).await
}

async fn kill(extension: &CatalogExtension, call: Call, params: Kill) -> Result<Response, Error> {
    let id = execution_id(&params.execution)?;
    if let Some(node) = params.node {
        return Ok(answers::terminated(&there(extension, call, &node, id, Wish::Kill).await?));
    }
    let ended = move |catalog: &Catalog, host: &CallHost| Ok(answers::terminated(&catalog.terminate(id, host.now())?));
    extension.blocking(call, ended).await
}

async fn receipt(extension: &CatalogExtension, call: Call, params: Receipt) -> Result<Response, Error> {
    let Receipt { execution, verify, out } = params;
    let is_file = execution.starts_with(['.', '/']);
    if is_file && (!verify || out.is_some()) {
        return Err(invalid("a receipt in a file is checked with `verify` alone".into())
            .help("`catalog receipt ./FILE --verify`"));
    }
    let id = if is_file { None } else { Some(execution_id(&execution)?) };
    let catalog = extension.catalog()?;
    let host = CallHost::new(call);
    let work = move || -> Result<Response, Error> {
        let checked = match id {
            Some(id) => catalog.receipt(id, &host),
            None => catalog.verify_receipt(execution.as_ref(), &host),
        };
        let checked = checked.map_err(|error| errors::to_error(&error))?;
        if let Some(out) = &out {
            std::fs::write(out, &checked.envelope).map_err(|error| {
                Error::wrap(Code::IO, &error).help(format!("`{}` cannot be written", out.display()))
            })?;
        }
        Ok(answers::checked_receipt(&checked, out.as_deref()))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        Err(_) => Err(Error::new(Code::CANCELLED, "the extension stops")),
    }
}

fn execution_id(word: &str) -> Result<ExecutionId, Error> {
    word.parse().map_err(|_| invalid(format!("`{word}` is no id of an execution")).help("`catalog ps` shows the ids"))
}

fn invalid(message: String) -> Error {
    Error::new(Code::INVALID_ARGUMENT, message)
}

fn main() -> String {
    "main".into()
}
