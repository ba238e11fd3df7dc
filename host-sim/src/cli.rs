//! The command line: arguments in, one answer out.

mod arguments;
mod ask;
mod cluster;
mod commands;
mod daemon;
mod demo;
mod log;
mod node;
mod output;
mod trust;
mod verbs;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches};
use host_sim::telemetry::Settings;
use host_sim::telemetry::spans::Spans;

use arguments::{Arguments, Command};
use output::Output;

/// Where what a node measures goes, and the spans that wait to go there.
pub(crate) type Telemetry = (Settings, Arc<Spans>);

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let words = typed(std::env::args_os().collect(), std::env::current_exe().ok().as_deref());
    // What is typed wrong is told as JSON, too, so that must be known before anything is parsed.
    let json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let parsed =
        Arguments::command().try_get_matches_from(&words).and_then(|matches| Arguments::from_arg_matches(&matches));
    let mut arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return output::usage(&error, json),
    };
    if let Command::Extension(words) = &mut arguments.command
        && words.first().is_some_and(|word| word == "help")
    {
        // `help NAME…` is `NAME… --help`, whoever NAME belongs to.
        words.rotate_left(1);
        words.pop();
        words.push("--help".into());
        let known = Arguments::command();
        if words.len() == 1 || known.get_subcommands().any(|command| words[0] == command.get_name()) {
            let typed = std::iter::once("host-sim".into()).chain(words.iter().cloned());
            return match known.try_get_matches_from(typed) {
                Ok(_) => ExitCode::SUCCESS,
                Err(error) => output::usage(&error, json),
            };
        }
    }
    if let Command::Extension(words) = &arguments.command {
        // Options of this program may also stand behind the extension's name.
        let (globals, words) = arguments::split_globals(words);
        arguments.options.merge(&globals);
        arguments.command = Command::Extension(words);
    }
    let output = Output::new(&arguments.options);
    let telemetry = match telemetry(&arguments.command) {
        Ok(telemetry) => telemetry,
        Err(error) => return output.fail(&error),
    };
    log::install(&arguments.options, telemetry.as_ref().map(|(_, spans)| spans));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.fail(&hypermesh_abi::Error::wrap(hypermesh_abi::Code::IO, &error)),
    };
    let done = runtime.block_on(commands::run(&arguments, telemetry, &output));
    // Work that a signal cut short must not keep the process from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match done {
        Ok(code) => code,
        Err(error) => output.fail(&error),
    }
}

/// Gives the collector of a node that stays; what other commands do is told by the node that does it.
fn telemetry(command: &Command) -> Result<Option<Telemetry>, hypermesh_abi::Error> {
    let Command::Up(up) = command else { return Ok(None) };
    let settings = Settings::read(up.otlp.as_deref(), |name| std::env::var(name).ok())?;
    Ok(settings.map(|settings| (settings, Arc::default())))
}

/// Gives what was typed, where a link to this program under the name of an extension stands for that extension's command:
/// `catalog list` for `host-sim catalog list`.
fn typed(mut words: Vec<OsString>, program: Option<&Path>) -> Vec<OsString> {
    let called = words.first().and_then(|word| Path::new(word).file_stem().map(OsStr::to_owned));
    if let (Some(called), Some(program)) = (called, program)
        && program.file_stem().is_some_and(|program| program != called)
    {
        words.insert(1, called);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_by_the_name_of_an_extension_is_its_command() {
        let check = |typed_as: &str, program: &str, expected: &[&str]| {
            let words = typed([typed_as, "list"].map(OsString::from).into(), Some(Path::new(program)));
            assert_eq!(words[1..], expected.iter().map(OsString::from).collect::<Vec<_>>());
        };
        check("/usr/bin/catalog", "/opt/host-sim", &["catalog", "list"]);
        check("host-sim", "/opt/host-sim", &["list"]);
        check("./renamed", "/opt/renamed", &["list"]);
        assert_eq!(typed(vec!["catalog".into()], None).len(), 1);
    }
}
