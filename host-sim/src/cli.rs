//! The command line: arguments in, one answer out.

mod arguments;
mod cluster;
mod commands;
mod daemon;
mod demo;
mod log;
mod node;
mod operation;
mod output;
mod trust;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use arguments::{Arguments, Command};
use output::Output;

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    // What is typed wrong is told as JSON, too, so that must be known before anything is parsed.
    let json = std::env::args_os().take_while(|word| word != "--").any(|word| word == "--json");
    let parsed = Arguments::command().try_get_matches().and_then(|matches| Arguments::from_arg_matches(&matches));
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
    log::install(&arguments.options);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.fail(&hypermesh_abi::Error::wrap(hypermesh_abi::Code::IO, &error)),
    };
    let done = runtime.block_on(commands::run(&arguments, &output));
    // Work that a signal cut short must not keep the process from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match done {
        Ok(code) => code,
        Err(error) => output.fail(&error),
    }
}
