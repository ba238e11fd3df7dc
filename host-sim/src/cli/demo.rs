//! The demo: everything an extension of a package manager does on one node, told as it happens.
//!
//! It drives the verbs of the extension by name, like any other user of this program, and measures as it goes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use host_sim::bundle;
use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use host_sim::operation::rss_mb;
use hypermesh_abi::records::Response;
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};

use super::arguments::{Bundle, Demo};
use super::commands;
use super::output::Output;

/// The extension that is shown.
const EXTENSION: &str = "catalog";
/// The packages that are installed and run, with the arguments of each.
const RUNS: [(&str, &str); 4] = [
    ("ray-tracer", r#"{"width": 72, "height": 22}"#),
    ("financial-calculator", "{}"),
    ("monte-carlo", "{}"),
    ("prime-sieve", r#"{"limit": 500000}"#),
];
/// A run that is long enough to be upgraded under.
const LONG_RUN: (&str, &str) = ("prime-sieve", r#"{"limit": 1500000}"#);

/// A node for the demo, and what was measured on it.
struct Show<'a> {
    output: &'a Output,
    host: Host,
    step: u32,
    runs: Vec<Json>,
}

/// Runs the demo.
///
/// # Errors
/// Whatever a step says.
pub(crate) async fn run(demo: &Demo, output: &Output) -> Result<ExitCode, Error> {
    let packages = example_packages()?;
    // Without `--keep` the directory goes when this function ends.
    let home_guard = tempfile::Builder::new().prefix("hypermesh-demo-").tempdir();
    let home_guard = home_guard.map_err(|error| Error::wrap(Code::IO, &error))?;
    let home = home_guard.path().to_path_buf();
    output.say("HyperMesh Catalog: one node, one extension, the main job from end to end\n");
    let build = Instant::now();
    let directory = bundle_for(demo, &home, output)?;
    let mut show = Show { output, host: Host::open(HostOptions::new(home.clone())?)?, step: 0, runs: Vec::new() };
    show.bundle(&directory, build.elapsed());
    let shown = show.main_job(&directory, &packages).await;
    show.host.shutdown().await;
    let (published, installed, load_ms, rss) = shown?;
    if demo.keep {
        show.title("keep", &format!("look around with: host-sim --home {} status", home_guard.keep().display()));
    } else {
        show.title("clean up", "the node has stopped, its leases are back, its home is gone");
    }
    output.say("\nNext: `host-sim bundle` installs the extension for you, `host-sim catalog --help` shows its verbs.");
    let data = json!({"published": published, "installed": installed, "runs": show.runs, "load_ms": load_ms,
        "rss_mb": rss});
    Ok(output.answer("", data))
}

impl Show<'_> {
    async fn main_job(&mut self, bundle: &Path, packages: &[PathBuf]) -> Result<(usize, usize, f64, f64), Error> {
        let (load_ms, rss) = self.start(bundle).await?;
        let published = self.publish(packages).await?;
        self.search().await?;
        let installed = self.install().await?;
        self.explain().await?;
        for (package, argument) in RUNS {
            self.run(package, argument).await?;
        }
        self.upgrade(bundle).await?;
        self.verify().await?;
        Ok((published, installed, load_ms, rss))
    }

    fn bundle(&mut self, directory: &Path, took: Duration) {
        let size =
            |name: &str| std::fs::metadata(directory.join(name)).map_or(0.0, |data| data.len() as f64 / 1_048_576.0);
        let text = format!(
            "libcatalog.so {:.1} MiB and catalog-worker {:.1} MiB, built and signed in {:.1} s",
            size("libcatalog.so"),
            size("catalog-worker"),
            took.as_secs_f64()
        );
        self.title("bundle", &text);
    }

    async fn start(&mut self, bundle: &Path) -> Result<(f64, f64), Error> {
        self.host.load(Source::Bundle(bundle.into())).await?;
        let report = self.host.report().await;
        let load_ms = report.first().map_or(0.0, |report| report.load_us as f64 / 1_000.0);
        let rss = rss_mb();
        self.title(
            "load",
            &format!(
                "signature and digest verified, tried in a child process, layout checked, active in {load_ms:.1} ms"
            ),
        );
        let provides = report.first().map(|report| report.contributions.join(", ")).unwrap_or_default();
        self.line(&format!("provides {provides}; this process now holds {rss:.1} MiB"));
        Ok((load_ms, rss))
    }

    async fn publish(&mut self, packages: &[PathBuf]) -> Result<usize, Error> {
        let (answer, took) = self.ask("publish", json!({"directories": packages})).await?;
        let published = answer.data["packages"].as_array().map_or(0, Vec::len);
        self.title(
            "publish",
            &format!("{published} packages at once, all or none, each signed with two algorithms, in {}", millis(took)),
        );
        let names = answer.data["packages"].as_array().into_iter().flatten();
        let names: Vec<&str> = names.filter_map(|package| package["package"].as_str()).collect();
        self.line(&names.join(", "));
        let assets = self.host.assets().await;
        let visible = assets.iter().filter(|asset| asset.owner == EXTENSION).count();
        self.line(&format!("{visible} of them are assets of the host now"));
        Ok(published)
    }

    async fn search(&mut self) -> Result<(), Error> {
        let (answer, took) = self.ask("search", json!({"words": ["rays", "spheres"]})).await?;
        self.title("search", &format!("\"rays spheres\" in {}", millis(took)));
        answer.text.lines().for_each(|line| self.line(line));
        let (answer, took) = self.ask("resolve", json!({"packages": ["ray-tracer"]})).await?;
        self.title("resolve", &format!("what ray-tracer needs, in {}", millis(took)));
        answer.text.lines().for_each(|line| self.line(line));
        Ok(())
    }

    async fn install(&mut self) -> Result<usize, Error> {
        let names: Vec<&str> = RUNS.iter().map(|(name, _)| *name).collect();
        let (answer, took) = self.ask("install", json!({"packages": names})).await?;
        let installed = answer.data["packages"].as_array().map_or(0, Vec::len);
        self.title(
            "install",
            &format!("{installed} packages as generation 1, every byte verified, in {}", millis(took)),
        );
        Ok(installed)
    }

    async fn explain(&mut self) -> Result<(), Error> {
        let (answer, took) = self.ask("verify", json!({"packages": ["ray-tracer"], "explain": true})).await?;
        self.title("trust", &format!("why ray-tracer was let in, looked at again in {}", millis(took)));
        answer.text.lines().for_each(|line| self.line(line));
        Ok(())
    }

    async fn run(&mut self, package: &str, argument: &str) -> Result<(), Error> {
        let argument: Json = serde_json::from_str(argument).map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
        let asked = json!({"package": package, "arguments": [argument]});
        // What is leased is there only while the program runs, so it is looked at meanwhile.
        let (answer, leased) = tokio::join!(self.ask("run", asked), self.watch_leases(package));
        let (answer, _) = answer?;
        let usage = &answer.data["usage"];
        self.title("run", &format!("{package}, in a process of its own"));
        let printed = answer.data["stdout"].as_str().unwrap_or_default();
        printed.lines().take(LINES_MAX).for_each(|line| self.line(line));
        if printed.lines().count() > LINES_MAX {
            self.line("…");
        }
        self.line(&format!("=> {}", brief(&answer.data["value"])));
        let wall = usage["wall_us"].as_f64().unwrap_or(0.0) / 1_000.0;
        let held = if leased.is_empty() { "its lease".to_owned() } else { leased };
        let left = self.host.asset_manager().leases(None).len();
        self.line(&format!("took {wall:.1} ms holding {held}; {left} leases are left"));
        self.runs.push(json!({"package": package, "value": answer.data["value"], "micros": usage["wall_us"]}));
        Ok(())
    }

    /// Watches the host's assets until something is leased for a package, and names it.
    async fn watch_leases(&self, package: &str) -> String {
        const PATIENCE: Duration = Duration::from_millis(250);
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let leases = self.host.asset_manager().leases(None);
            if let Some(lease) = leases.iter().find(|lease| lease.label.starts_with(package)) {
                let items = lease.items.iter().map(|item| amount(item.kind.name(), item.amount));
                return items.collect::<Vec<_>>().join(" and ");
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        String::new()
    }

    async fn upgrade(&mut self, bundle: &Path) -> Result<(), Error> {
        let (package, argument) = LONG_RUN;
        let argument: Json = serde_json::from_str(argument).map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
        let call = self.ask("run", json!({"package": package, "arguments": [argument]}));
        let upgrade = async {
            // The call is under way when the upgrade begins.
            self.watch_leases(package).await;
            self.host.upgrade(Source::Bundle(bundle.into())).await
        };
        let (call, upgraded) = tokio::join!(call, upgrade);
        let ((answer, took), upgraded) = (call?, upgraded?);
        self.title("upgrade", &format!("the extension was replaced while `run {package}` was under way"));
        let value = brief(&answer.data["value"]);
        self.line(&format!("the call ended well after {}: {value}", millis(took)));
        self.line(&format!(
            "{} {} -> {} in {:.1} ms; requests waited for the call to end, none failed",
            upgraded.id,
            upgraded.from,
            upgraded.to,
            upgraded.total_us as f64 / 1_000.0
        ));
        Ok(())
    }

    async fn verify(&mut self) -> Result<(), Error> {
        let (answer, took) = self.ask("verify", json!({})).await?;
        self.title("verify", &format!("by the new generation, in {}", millis(took)));
        answer.text.lines().last().into_iter().for_each(|line| self.line(line));
        Ok(())
    }

    async fn ask(&self, verb: &str, params: Json) -> Result<(Response, Duration), Error> {
        let started = Instant::now();
        let answer = self.host.request(EXTENSION, verb, &params, RequestOptions::default()).await?;
        Ok((answer, started.elapsed()))
    }

    fn title(&mut self, name: &str, text: &str) {
        self.step += 1;
        self.output.say(&format!("{:>2}  {name:<9} {text}", self.step));
    }

    fn line(&self, text: &str) {
        self.output.say(format!("              {text}").trim_end());
    }
}

/// Lines of a program's output that are shown.
const LINES_MAX: usize = 24;

/// Finds the example packages of the workspace.
fn example_packages() -> Result<Vec<PathBuf>, Error> {
    let here = std::env::current_dir().map_err(|error| Error::wrap(Code::IO, &error))?;
    let root = bundle::workspace_root(&here)?;
    let directory = root.join("manifests/packages");
    let entries = std::fs::read_dir(&directory).map_err(|error| {
        Error::new(Code::NOT_FOUND, format!("no example packages in `{}`: {error}", directory.display()))
            .help("run the demo inside the workspace of Catalog")
    })?;
    let mut packages: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    packages.sort();
    Ok(packages)
}

fn bundle_for(demo: &Demo, home: &Path, output: &Output) -> Result<PathBuf, Error> {
    if let Some(bundle) = &demo.ready.bundle {
        return Ok(bundle.clone());
    }
    output.say("building the extension through cargo; the first time takes a few minutes");
    let options = Bundle::of_workspace(None, &demo.ready.build);
    Ok(commands::bundle_of(&options, home, output)?.directory)
}

fn amount(kind: &str, amount: u64) -> String {
    match kind {
        "Cpu" | "cpu" => format!("{:.1} cores", amount as f64 / 1_000.0),
        "Memory" | "memory" | "Storage" | "storage" => format!("{} MiB of {}", amount >> 20, kind.to_lowercase()),
        _ => format!("{amount} of {}", kind.to_lowercase()),
    }
}

/// Gives a value on one line, without what was printed anyway.
fn brief(value: &Json) -> String {
    const CHARS_MAX: usize = 100;
    let Some(fields) = value.as_object() else { return value.to_string() };
    let simple =
        fields.iter().filter(|(_, value)| !value.is_array() && value.as_str().is_none_or(|text| text.len() < 40));
    let text = simple.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ");
    if text.chars().count() <= CHARS_MAX { text } else { text.chars().take(CHARS_MAX).chain(['…']).collect() }
}

fn millis(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1_000.0)
}
