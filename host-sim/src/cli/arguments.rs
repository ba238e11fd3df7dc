//! What can be typed, but for the verbs of extensions, which their request tables define.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use host_sim::trust::DEFAULT_PUBLISHER;

use super::cluster::Cluster;
use super::log::LogFormat;
use super::trust::Trust;

/// A stand-in HyperMesh host: loads, runs, checks and upgrades extensions on this machine.
#[derive(Debug, Parser)]
#[command(name = "host-sim", version, max_term_width = 110, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Options {
    /// The directory that holds everything this node owns [default: the platform's data directory]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath, env = "HYPERMESH_HOME")]
    pub(crate) home: Option<PathBuf>,
    /// Print one JSON object with "ok" as the last line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more: -v for what happens, -vv for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Write the log, which goes to standard error, as lines for people or as JSON objects [default: text]
    #[arg(long, global = true, value_enum, value_name = "FORMAT", env = "HYPERMESH_LOG_FORMAT", hide_env = true)]
    pub(crate) log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the extension of this workspace and show everything it does, in a home of its own
    #[command(after_help = "Examples:\n  host-sim demo\n  host-sim demo --json | tail -n 1")]
    Demo(Demo),
    /// Check whether an extension keeps the contract, each check in a process of its own
    #[command(
        after_help = "Examples:\n  host-sim check target/release/libcatalog.so\n  host-sim check bundle/extension.yaml --level 3 --json"
    )]
    Check(Check),
    /// Build an extension crate through cargo, sign it and lay out its bundle
    #[command(
        after_help = "Examples:\n  host-sim bundle\n  host-sim bundle --package catalog --out /srv/extensions/catalog"
    )]
    Bundle(Bundle),
    /// Run this node until it is told to stop; other commands on the same home then go through it
    #[command(
        after_help = "Examples:\n  host-sim up\n  host-sim up --extensions /srv/extensions\n  host-sim up --metrics 127.0.0.1:9090\n  host-sim up --console 127.0.0.1:0\n  host-sim up --otlp http://127.0.0.1:4318\n  host-sim down"
    )]
    Up(Up),
    /// Stop the running node
    #[command(after_help = "Examples:\n  host-sim down")]
    Down,
    /// Show the extensions of this node, their states and health
    #[command(after_help = "Examples:\n  host-sim status\n  host-sim status --json")]
    Status,
    /// Print the node's metrics in the Prometheus text format
    #[command(after_help = "Examples:\n  host-sim metrics\n  host-sim metrics --json")]
    Metrics,
    /// List the assets of this node: what it has, what is leased, what extensions provide
    #[command(after_help = "Examples:\n  host-sim assets\n  host-sim assets --json")]
    Assets,
    /// Replace a loaded extension by another build of it, without a failed call
    #[command(
        after_help = "Examples:\n  host-sim upgrade ./new-bundle\n  host-sim upgrade ./new-bundle/extension.yaml"
    )]
    Upgrade(Upgrade),
    /// Pause a running extension
    #[command(after_help = "Examples:\n  host-sim pause catalog")]
    Pause(Named),
    /// Let a paused extension run again
    #[command(after_help = "Examples:\n  host-sim resume catalog")]
    Resume(Named),
    /// Export or import the state of an extension
    #[command(
        subcommand,
        after_help = "Examples:\n  host-sim state export catalog catalog.json\n  host-sim state import catalog catalog.json"
    )]
    State(State),
    /// Make, issue, renew, revoke, show and verify certificates
    #[command(
        after_help = "Examples:\n  host-sim trust init\n  host-sim trust issue publisher acme\n  host-sim trust verify --leaf local\n  host-sim trust revoke acme --help"
    )]
    Trust(Trust),
    /// Run several nodes on this machine, each a process of its own, and cut the network between them
    #[command(
        after_help = "Examples:\n  host-sim --home /tmp/c cluster up -n 5\n  host-sim --home /tmp/c cluster kill n3\n  host-sim --home /tmp/c cluster partition n1,n2 n3,n4,n5\n  host-sim --home /tmp/c cluster down"
    )]
    Cluster(Cluster),
    /// Check the audit log's chain
    #[command(after_help = "Examples:\n  host-sim audit")]
    Audit,
    /// Print a completion script for a shell
    #[command(after_help = "Examples:\n  host-sim completions bash > /etc/bash_completion.d/host-sim")]
    Completions(Completions),
    /// Write the manual pages of all commands and verbs
    #[command(after_help = "Examples:\n  host-sim man ./man\n  host-sim man /usr/local/share/man/man1")]
    Man(Man),
    /// A verb of an extension, such as `catalog install`
    #[command(external_subcommand)]
    Extension(Vec<OsString>),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) ready: ReadyBundle,
    /// Keep the demo's home, for looking around afterwards
    #[arg(long)]
    pub(crate) keep: bool,
}

/// The bundle that is used, or how one is made.
#[derive(Debug, Args)]
pub(crate) struct ReadyBundle {
    /// Use this bundle instead of building the extension of this workspace; a cluster outside of one takes that of your home
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) bundle: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) build: Build,
}

/// How an extension is built.
#[derive(Clone, Debug, Args)]
pub(crate) struct Build {
    /// The cargo profile to build with
    #[arg(long, default_value = "release")]
    pub(crate) profile: String,
}

/// What opens the keys of this home.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Passphrase {
    /// Read the passphrase of the keys from this file [default: HYPERMESH_PASSPHRASE, else the home's own key file]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A library, a manifest or a bundle directory
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) path: PathBuf,
    /// The highest level to check
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) level: u8,
}

#[derive(Debug, Args)]
pub(crate) struct Bundle {
    /// The package of the workspace that is the extension
    #[arg(short, long, value_name = "PACKAGE")]
    pub(crate) package: Option<String>,
    /// Where to lay out the bundle [default: this home's extensions]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) build: Build,
    /// The publisher of this home that signs
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PUBLISHER)]
    pub(crate) publisher: String,
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

impl Bundle {
    /// The extension of this workspace, signed by the publisher of the home.
    pub(crate) fn of_workspace(out: Option<PathBuf>, build: &Build) -> Self {
        let passphrase = Passphrase::default();
        Self { package: None, out, build: build.clone(), publisher: DEFAULT_PUBLISHER.to_owned(), passphrase }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Further directories with bundles
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) extensions: Vec<PathBuf>,
    /// Answer who watches this node at this address, as http://ADDRESS/metrics and /health; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Send metrics and spans to this OpenTelemetry collector, by OTLP over HTTP [default: OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
    /// Serve a web page of this node at this address, for whoever has the token; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) console: Option<SocketAddr>,
    /// Let the console listen where other machines reach it; nothing is encrypted on the way
    #[arg(long, requires = "console")]
    pub(crate) console_remote: bool,
    /// A name of this node under which metrics and console may be asked, besides its addresses and localhost
    #[arg(long, value_name = "NAME")]
    pub(crate) known_as: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// The new bundle or its manifest
    #[arg(value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) bundle: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The extension's id
    #[arg(value_name = "EXTENSION")]
    pub(crate) extension: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Write the state of an extension to a file
    Export(StateFile),
    /// Read the state of an extension from a file
    Import(StateFile),
}

#[derive(Debug, Args)]
pub(crate) struct StateFile {
    /// The extension's id
    #[arg(value_name = "EXTENSION")]
    pub(crate) extension: String,
    /// The file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The directory they are written into
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,
}

const EXAMPLES: &str = "Examples:
  host-sim demo                       everything at once, in a home of its own
  host-sim bundle                     build and install the extension of this workspace
  host-sim catalog --help             the verbs of an extension
  host-sim help catalog run           how a verb is used
  host-sim catalog search ray tracer
  host-sim up                         run a node; other commands go through it";

impl Options {
    /// Takes over what was given behind an extension's name.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.json |= other.json;
        self.quiet |= other.quiet;
        self.verbose = self.verbose.max(other.verbose);
        self.log_format = other.log_format.or(self.log_format);
        if other.home.is_some() {
            self.home.clone_from(&other.home);
        }
    }

    /// Gives the home: as given, or below the platform's data directory.
    pub(crate) fn home(&self) -> PathBuf {
        if let Some(home) = &self.home {
            // Whatever is started from here on must find it, wherever it runs.
            return std::path::absolute(home).unwrap_or_else(|_| home.clone());
        }
        let directory = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        directory("XDG_DATA_HOME")
            .or_else(|| directory("HOME").map(|home| home.join(".local/share")))
            .unwrap_or_else(std::env::temp_dir)
            .join("hypermesh-sim")
    }
}

/// Takes this program's own options out of the words behind an extension's name; everything behind `--` stays.
pub(crate) fn split_globals(words: &[OsString]) -> (Options, Vec<OsString>) {
    let mut options = Options::default();
    let mut rest = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--") => {
                rest.push(word.clone());
                rest.extend(words.by_ref().cloned());
            }
            Some("--json") => options.json = true,
            Some("-q" | "--quiet") => options.quiet = true,
            Some("-v" | "--verbose") => options.verbose += 1,
            Some("-vv") => options.verbose += 2,
            Some("--log-format") => match words.clone().next().and_then(|format| LogFormat::of(format)) {
                Some(format) => {
                    options.log_format = Some(format);
                    words.next();
                }
                None => rest.push(word.clone()),
            },
            Some(text) if format_of(text).is_some() => options.log_format = format_of(text),
            Some("--home") => options.home = words.next().map(PathBuf::from),
            Some(text) if text.starts_with("--home=") => options.home = Some(text["--home=".len()..].into()),
            _ => rest.push(word.clone()),
        }
    }
    (options, rest)
}

fn format_of(word: &str) -> Option<LogFormat> {
    word.strip_prefix("--log-format=").and_then(|format| LogFormat::of(OsStr::new(format)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_behind_the_name_of_an_extension_are_this_programs_own() {
        let words: Vec<OsString> =
            ["catalog", "run", "x", "--json", "--home", "/h", "--", "--quiet"].map(Into::into).into();
        let (options, rest) = split_globals(&words);
        assert!(options.json && !options.quiet);
        assert_eq!(options.home, Some("/h".into()));
        assert_eq!(rest, ["catalog", "run", "x", "--", "--quiet"].map(OsString::from));
    }

    #[test]
    fn every_command_has_examples() {
        use clap::CommandFactory;
        let command = Arguments::command();
        for sub in command.get_subcommands() {
            assert!(sub.get_after_help().is_some(), "`{}` has no examples", sub.get_name());
        }
        for group in ["trust", "cluster"] {
            let group = command.find_subcommand(group).expect("is there");
            for sub in group.get_subcommands() {
                assert!(sub.get_after_help().is_some(), "`{} {}` has no examples", group.get_name(), sub.get_name());
            }
        }
    }
}
