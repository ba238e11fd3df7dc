//! The commands of this program, one function each.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;
use host_sim::bundle::{self, BuildOptions, Bundled};
use host_sim::check::{self, CheckOptions};
use host_sim::child::ChildCommand;
use host_sim::console::{Console, Reach};
use host_sim::exporter::Exporter;
use host_sim::host::{ExtensionReport, Upgraded};
use host_sim::http::Names;
use host_sim::operation::Operation;
use host_sim::trust::{Signer, TrustHome, Unlock};
use host_sim::{audit, lifecycle, manifest};
use hypermesh_abi::records::{AssetRecord, Description, Health, Response};
use hypermesh_abi::{Code, Error, Fault};
use serde_json::{Value as Json, json};

use super::arguments::{Arguments, Bundle, Check, Command, State, StateFile, Up};
use super::node::{Here, Node};
use super::output::{self, Output};
use super::{Telemetry, ask, cluster, daemon, demo, trust, verbs};

/// Runs a command and gives the exit code.
///
/// # Errors
/// Whatever went wrong, for [`Output::fail`].
pub(crate) async fn run(
    arguments: &Arguments,
    telemetry: Option<Telemetry>,
    output: &Output,
) -> Result<ExitCode, Error> {
    let home = arguments.options.home();
    match &arguments.command {
        Command::Demo(options) => demo::run(options, output).await,
        Command::Check(options) => check_library(options, output),
        Command::Bundle(options) => make_bundle(options, &home, output),
        Command::Up(options) => up(options, &home, telemetry, output).await,
        Command::Down => down(&home, output).await,
        Command::Audit => audit_log(&home, output),
        Command::Trust(options) => trust::run(options, &home, output).await,
        Command::Cluster(options) => cluster::run(options, &home, output).await,
        Command::Completions(options) => {
            let mut command = whole_command(&home, output).await;
            let mut script = Vec::new();
            clap_complete::generate(options.shell, &mut command, "host-sim", &mut script);
            output::print(&String::from_utf8_lossy(&script));
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(options) => man_pages(&options.directory, whole_command(&home, output).await, output),
        Command::Extension(words) => with_node(&home, async |node| verb(node, words, output).await).await,
        Command::Status => with_node(&home, async |node| status(node, output).await).await,
        Command::Metrics => {
            let answer = with_node(&home, async |node| node.ask(Operation::Metrics, output).await).await?;
            Ok(output.answer(answer["text"].as_str().unwrap_or_default(), json!({"metrics": answer["metrics"]})))
        }
        Command::Assets => with_node(&home, async |node| assets(node, output).await).await,
        Command::Upgrade(options) => with_node(&home, async |node| upgrade(node, &options.bundle, output).await).await,
        Command::Pause(named) => {
            let pause = Operation::Pause { extension: named.extension.clone() };
            with_node(&home, async |node| needs_daemon(node, pause, "paused", output).await).await
        }
        Command::Resume(named) => {
            let resume = Operation::Resume { extension: named.extension.clone() };
            with_node(&home, async |node| needs_daemon(node, resume, "running", output).await).await
        }
        Command::State(State::Export(file)) => with_node(&home, async |node| export(node, file, output).await).await,
        Command::State(State::Import(file)) => with_node(&home, async |node| import(node, file, output).await).await,
    }
}

async fn with_node<T>(home: &Path, work: impl AsyncFnOnce(&mut Node) -> Result<T, Error>) -> Result<T, Error> {
    let mut node = Node::of(home).await?;
    let done = work(&mut node).await;
    node.close().await;
    done
}

async fn verb(node: &mut Node, words: &[std::ffi::OsString], output: &Output) -> Result<ExitCode, Error> {
    let name = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let describe = Operation::Describe { extension: name.clone() };
    let description: Description = match node.get(describe, output).await {
        Err(error) if error.code == Code::EXTENSION_NOT_FOUND => {
            let known: Vec<String> = node.get(Operation::Extensions, output).await?;
            return Err(node.failure_of(&name).unwrap_or_else(|| verbs::unknown(&name, &known)));
        }
        described => described?,
    };
    let mut typed = match verbs::parse(&name, &description, words) {
        Ok(typed) => typed,
        Err(error) => return Ok(output::usage(&error, output.is_json())),
    };
    typed.read_piped(std::io::stdin().lock())?;
    if typed.asks {
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        ask::may_go_on(&format!("go on with `{}`?", words.join(" ")), output)?;
    }
    let described = description.verbs.iter().find(|verb| verb.name == typed.verb);
    let request =
        |params| Operation::Request { extension: name.clone(), verb: typed.verb.clone(), params, timeout_ms: None };
    let (mut params, mut by_directory) = (typed.params, typed.by_directory);
    let mut rounds = 0;
    let response: Response = loop {
        let answered = node.get(request(params.clone()), output).await;
        let answered: Result<Response, Error> = match (answered, &by_directory) {
            // What is installed goes first: a directory that happens to be here must not stand in for it.
            (Err(error), Some(params)) if error.code == Code::NOT_FOUND => {
                node.get(request(params.clone()), output).await
            }
            (answered, _) => answered,
        };
        let (error, verb) = match (answered, described) {
            (Err(error), Some(verb)) if rounds < ask::ROUNDS_MAX && ask::can_ask(&error, output) => (error, verb),
            (answered, _) => break answered?,
        };
        output.finish_progress();
        rounds += 1;
        let Some(answers) = ask::on_terminal(&error.detail.questions) else { return Err(error) };
        for (question, text) in error.detail.questions.iter().zip(answers) {
            verbs::answer(verb, &mut params, question, &text);
            by_directory.iter_mut().for_each(|params| verbs::answer(verb, params, question, &text));
        }
    };
    Ok(output.answer(&response.text, response.data))
}

async fn status(node: &mut Node, output: &Output) -> Result<ExitCode, Error> {
    let running = matches!(node, Node::Running(_));
    let answer = node.ask(Operation::Status, output).await?;
    let extensions: Vec<ExtensionReport> = serde_json::from_value(answer["extensions"].clone())
        .map_err(|error| Error::wrap(Code::VERSION_INCOMPATIBLE, &error))?;
    let mut text = String::new();
    let state = if running { "running" } else { "not running (extensions were loaded for this command only)" };
    let _ = writeln!(text, "node       {state}\nid         {}", answer["node"]["node_id"].as_str().unwrap_or_default());
    let _ = writeln!(text, "leases     {}\nmemory     {} MiB", answer["leases"], answer["rss_mb"]);
    if extensions.is_empty() && answer["failed"].as_array().is_none_or(Vec::is_empty) {
        text.push_str("extensions none; `host-sim bundle` builds the one of this workspace\n");
    }
    for extension in &extensions {
        let _ = writeln!(
            text,
            "\n{} {}\n  state       {}\n  health      {}\n  generation  {} ({} retired)\n  loaded in   {:.1} ms\n  grants      {}\n  provides    {}",
            extension.id,
            extension.version,
            lifecycle::name(&extension.state),
            health(extension.health.as_ref()),
            extension.generation,
            extension.retired_generations,
            extension.load_us as f64 / 1_000.0,
            extension.capabilities.join(", "),
            extension.contributions.join(", "),
        );
        for (name, figure) in extension.status.iter().flat_map(|status| &status.figures) {
            let _ = writeln!(text, "  {:<11} {figure}", name.replace('_', " "));
        }
    }
    for failed in answer["failed"].as_array().into_iter().flatten() {
        let told = |told: &Json| told.as_str().unwrap_or_default().to_owned();
        let _ = writeln!(text, "\n{}\n  not loaded  {}", told(&failed["id"]), told(&failed["error"]["message"]));
    }
    let mut data = json!({"state": if running { "Running" } else { "Stopped" }});
    for field in ["health", "node", "leases", "rss_mb", "extensions", "failed", "metrics"] {
        data[field] = answer[field].clone();
    }
    Ok(output.answer(&text, data))
}

fn health(health: Option<&Health>) -> String {
    match health {
        Some(Health::Healthy) => "Healthy".into(),
        Some(Health::Degraded(reason)) => format!("Degraded: {reason}"),
        Some(Health::Unhealthy(reason)) => format!("Unhealthy: {reason}"),
        None => "unknown".into(),
    }
}

async fn assets(node: &mut Node, output: &Output) -> Result<ExitCode, Error> {
    let answer = node.ask(Operation::Assets, output).await?;
    let assets: Vec<AssetRecord> = serde_json::from_value(answer["assets"].clone())
        .map_err(|error| Error::wrap(Code::VERSION_INCOMPATIBLE, &error))?;
    let mut text = format!("{:<16} {:<10} {:<30} {:<14} {}\n", "TYPE", "STATE", "NAME", "OWNER", "HELD FOR");
    for asset in &assets {
        let row = format!(
            "{:<16} {:<10} {:<30} {:<14} {}",
            asset.asset_type, asset.state, asset.name, asset.owner, asset.label
        );
        let _ = writeln!(text, "{}", row.trim_end());
    }
    Ok(output.answer(&text, answer))
}

async fn upgrade(node: &mut Node, bundle: &Path, output: &Output) -> Result<ExitCode, Error> {
    let bundle = std::path::absolute(bundle).map_err(|error| Error::wrap(Code::IO, &error))?;
    let upgraded: Upgraded = node.get(Operation::Upgrade { bundle }, output).await?;
    let text = format!(
        "upgraded {} from {} to {}\n  requests waited  {:.1} ms\n  retired          {} generations stay mapped\n",
        upgraded.id,
        upgraded.from,
        upgraded.to,
        upgraded.paused_us as f64 / 1_000.0,
        upgraded.retired_generations
    );
    Ok(output.answer(&text, serde_json::to_value(&upgraded).unwrap_or_default()))
}

async fn needs_daemon(node: &mut Node, operation: Operation, state: &str, output: &Output) -> Result<ExitCode, Error> {
    if matches!(node, Node::Here(_)) {
        return Err(no_daemon());
    }
    let answer = node.ask(operation, output).await?;
    let text = format!("{} is {state}\n", answer["extension"].as_str().unwrap_or_default());
    Ok(output.answer(&text, answer))
}

fn no_daemon() -> Error {
    Error::new(Code::NOT_RUNNING, "no node runs on this home").help("start one with `host-sim up`")
}

async fn export(node: &mut Node, file: &StateFile, output: &Output) -> Result<ExitCode, Error> {
    let answer = node.ask(Operation::ExportState { extension: file.extension.clone() }, output).await?;
    let state = answer["state"].as_str().unwrap_or_default();
    std::fs::write(&file.file, state).map_err(|error| at(&file.file, &error))?;
    let text = format!("exported the state of {} to {}\n", file.extension, file.file.display());
    Ok(output.answer(&text, json!({"file": file.file, "bytes": state.len()})))
}

async fn import(node: &mut Node, file: &StateFile, output: &Output) -> Result<ExitCode, Error> {
    let state = std::fs::read_to_string(&file.file).map_err(|error| at(&file.file, &error))?;
    let operation = Operation::ImportState { extension: file.extension.clone(), state };
    let answer = node.ask(operation, output).await.map_err(|mut error| {
        error.message = format!("cannot import `{}`: {}", file.file.display(), error.message);
        error
    })?;
    let text = format!("imported the state of {} from {}\n", file.extension, file.file.display());
    Ok(output.answer(&text, answer))
}

async fn up(options: &Up, home: &Path, telemetry: Option<Telemetry>, output: &Output) -> Result<ExitCode, Error> {
    let socket = daemon::Socket::bind(home).await?;
    let further: Result<Vec<PathBuf>, _> = options.extensions.iter().map(std::path::absolute).collect();
    let further = further.map_err(|error| Error::wrap(Code::IO, &error))?;
    // Told before anything is loaded, if an address cannot be had.
    let names = Names::new(&options.known_as);
    let exporter = match options.metrics {
        Some(address) => Some(Exporter::bind(address, names.clone()).await?),
        None => None,
    };
    let reach = if options.console_remote { Reach::Anywhere } else { Reach::ThisMachine };
    let console = match options.console {
        Some(address) => Some(Console::bind(address, reach, names).await?),
        None => None,
    };
    let watched = exporter.as_ref().map(|exporter| format!("http://{}/metrics", exporter.address()));
    let shown = console.as_ref().map(Console::url);
    let here = Here::start(home, &further).await?;
    let reports = here.host.report().await;
    for (id, error) in here.host.failed() {
        tracing::error!("extension {id} is not loaded: {error}");
    }
    let mut text = format!("node {} is up\n  socket  {}\n", here.host.identity().node_id, socket.path().display());
    for report in &reports {
        let _ =
            writeln!(text, "  loaded  {} {} in {:.1} ms", report.id, report.version, report.load_us as f64 / 1_000.0);
    }
    for (name, url) in [("metrics", &watched), ("console", &shown)] {
        url.iter().for_each(|url| _ = writeln!(text, "  {name} {url}"));
    }
    let collector = telemetry.as_ref().map(|(settings, _)| settings.shown());
    if let Some(collector) = &collector {
        let _ = writeln!(text, "  otlp    {collector}");
    }
    text.push_str("stop it with Ctrl-C or `host-sim down`\n");
    let health = here.host.condition(&reports).health;
    let data = json!({"state": "Running", "health": health, "socket": socket.path(), "pid": std::process::id(),
        "extensions": reports, "metrics": watched, "console": shown, "otlp": collector});
    let code = output.answer(&text, data);
    socket.serve(here, exporter, console, telemetry).await;
    Ok(code)
}

async fn down(home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let node = if daemon::is_running(home).await { Node::Running(home.into()) } else { return Err(no_daemon()) };
    node.ask(Operation::Stop, output).await?;
    Ok(output.answer("the node stops\n", json!({"state": "Stopped"})))
}

fn audit_log(home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let directory = home.join("audit");
    let verified = audit::verify(&directory, None).map_err(|error| Error::wrap(Code::CORRUPT, &error))?;
    let text = format!(
        "{} lines, from {} to {}, chained without a break\n  {}\n",
        verified.records,
        verified.first,
        verified.last,
        directory.display()
    );
    Ok(output.answer(&text, json!({"lines": verified.records, "directory": directory})))
}

/// Makes a bundle of an extension of a workspace.
///
/// # Errors
/// What the build, a trial load or the file system says.
pub(crate) fn bundle_of(options: &Bundle, home: &Path, output: &Output) -> Result<Bundled, Error> {
    // Before anything is built: a publisher that cannot sign is told at once.
    let signer = signer(options, home, output)?;
    let workspace = std::env::current_dir().map_err(|error| Error::wrap(Code::IO, &error))?;
    let build = BuildOptions { workspace, package: options.package.clone(), profile: options.build.profile.clone() };
    let artifacts = bundle::build(&build)?;
    let child = ChildCommand::this_program().map_err(|error| Error::wrap(Code::IO, &error))?;
    let out =
        match &options.out {
            Some(out) => out.clone(),
            None => home.join("extensions").join(artifacts.library.file_stem().map_or_else(
                || "extension".into(),
                |stem| stem.to_string_lossy().trim_start_matches("lib").to_owned(),
            )),
        };
    bundle::lay_out(&artifacts, &out, &signer, &child)
}

fn make_bundle(options: &Bundle, home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let bundled = bundle_of(options, home, output)?;
    let manifest = &bundled.manifest;
    let text = format!(
        "bundled {} {}\n  bundle  {}\n  digest  {}\n  size    {:.1} MiB\nnext: `host-sim {} --help` shows its verbs\n",
        manifest.id,
        manifest.version,
        bundled.directory.display(),
        manifest.library.digest,
        bundled.bytes as f64 / f64::from(1 << 20),
        manifest.id,
    );
    let data = json!({"bundle": bundled.directory, "publisher": options.publisher, "digest": manifest.library.digest.to_string(), "bytes": bundled.bytes,
        "id": manifest.id.to_string(), "version": manifest.version.to_string()});
    Ok(output.answer(&text, data))
}

/// Gives the publisher that signs, of certificates that are made first if this home has none.
fn signer(options: &Bundle, home: &Path, output: &Output) -> Result<Signer, Error> {
    let unlock = Unlock::from_environment(options.passphrase.passphrase_file.as_deref())?;
    let (trust, made) = TrustHome::open_or_init(home, &unlock)?;
    if made {
        output.say(&format!("made certificates for this home in {}", trust.directory().display()));
    }
    Ok(trust.signer(&options.publisher, unlock)?)
}

fn check_library(options: &Check, output: &Output) -> Result<ExitCode, Error> {
    let mut path = options.path.clone();
    if path.is_dir() {
        path.push(manifest::FILE_NAME);
    }
    let mut what =
        CheckOptions { level: options.level, config: Json::Null, workers: std::collections::BTreeMap::new() };
    if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
        let manifest = manifest::read(&path).map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
        let directory = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        what.config = manifest.configuration.clone().into();
        let workers = manifest.workers.iter().map(|worker| worker.path.resolve(&directory));
        what.workers = workers
            .filter_map(|path| {
                Some((path.file_name()?.to_string_lossy().into_owned(), std::path::absolute(&path).ok()?))
            })
            .collect();
        path = manifest.library.path.resolve(&directory);
    }
    let child = ChildCommand::this_program().map_err(|error| Error::wrap(Code::IO, &error))?;
    let mut level = 0;
    let report = check::run(&child, &path, &what, &mut |result| {
        if result.level != level {
            level = result.level;
            output.say(&format!("level {level}"));
        }
        let mark = if result.ok { "ok  " } else { "FAIL" };
        output.say(&format!("  {mark} {:<22} {}", result.id, result.reason));
    })?;
    let failed: Vec<&str> = report.checks.iter().filter(|check| !check.ok).map(|check| check.id.as_str()).collect();
    let text = format!(
        "\nconforms to level {} of {}: {} of {} checks passed\n{}\n",
        report.level,
        options.level,
        report.checks.len() - failed.len(),
        report.checks.len(),
        report.digest
    );
    if failed.is_empty() {
        return Ok(output.answer(&text, serde_json::to_value(&report).unwrap_or_default()));
    }
    output.say(&text);
    if output.is_json() {
        let mut object = json!({"ok": false});
        object
            .as_object_mut()
            .expect("an object was just written")
            .extend(serde_json::to_value(&report).unwrap_or_default().as_object().cloned().unwrap_or_default());
        output.answer_raw(&object);
        return Ok(ExitCode::from(1));
    }
    let message = format!("checks failed: {}", failed.join(", "));
    Err(Error::new(Code::INVALID_ARGUMENT, message).fault(Fault::INPUT))
}

/// Gives this program's commands with the verbs of the extensions that this home has.
async fn whole_command(home: &Path, output: &Output) -> clap::Command {
    let mut command = Arguments::command();
    if home.join("extensions").is_dir() {
        let described = with_node(home, async |node| {
            let ids: Vec<String> = node.get(Operation::Extensions, output).await?;
            let mut described = Vec::with_capacity(ids.len());
            for extension in ids {
                let describe = Operation::Describe { extension: extension.clone() };
                described.push((extension, node.get::<Description>(describe, output).await?));
            }
            Ok(described)
        });
        for (id, description) in described.await.unwrap_or_default() {
            command = command.subcommand(verbs::command(&id, &description));
        }
    }
    command
}

/// Writes a manual page for each command, such as `host-sim-catalog-install.1`.
fn man_pages(directory: &Path, command: clap::Command, output: &Output) -> Result<ExitCode, Error> {
    std::fs::create_dir_all(directory).map_err(|error| at(directory, &error))?;
    clap_mangen::generate_to(command, directory).map_err(|error| at(directory, &error))?;
    let pages = std::fs::read_dir(directory).map_err(|error| at(directory, &error))?;
    let mut files: Vec<String> = pages
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("host-sim") && name.ends_with(".1"))
        .collect();
    files.sort();
    let text = format!("{} manual pages in {}; read one with `man -l`\n", files.len(), directory.display());
    Ok(output.answer(&text, json!({"directory": directory, "files": files})))
}

/// Gives an error about a file.
pub(crate) fn at(path: &Path, error: &std::io::Error) -> Error {
    let mut wrapped = Error::new(Code::IO, format!("cannot use `{}`", path.display()));
    wrapped.chain.push(error.to_string());
    wrapped
}
