//! Runs the examples of a package where its programs run: in a worker, in the sandbox, under the limits of the package, on
//! leased resources, after the same questions to the policy.
//!
//! Each example is a program of its own that finds the package by its name, as another package would. One that fails harms
//! nobody: what it says is shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Subject;
use crate::asset;
use crate::docgen::example::{Code, EXAMPLE_BYTES_MAX, EXAMPLES_MAX, Example, Line, Outcome, RESULT_BYTES_MAX};
use crate::docgen::prose::cut;
use crate::docgen::{Draft, Warning};
use crate::host::Host;
use crate::ops::error::Obstacle;
use crate::ops::executions::off_thread;
use crate::ops::sandbox::least_grade;
use crate::ops::{Catalog, OpError, execute};
use crate::package::Package;
use crate::package::model::PackageType;
use crate::trust::policy::{Check, Confirmed};
use crate::value::Value;
use crate::vm::{
    Call, Cancel, Context, Executor, Failure, Language, Limits, Module, Output, Program, Run, Source, TrustDomain,
    VmError,
};

/// The longest that one example runs; a package may set less.
const EXAMPLE_WALL_MAX: Duration = Duration::from_secs(10);
/// The longest that the examples of a package run together.
const ALL_WALL_MAX: Duration = Duration::from_secs(120);
/// Example programs meet no other program in a process.
const DOMAIN: &str = "documentation";
/// Names that no package has: names of packages are in lower case and have one `/` at most.
const ENTRY: &str = "Example//main";
const DIRECTORY: &str = "Example";
/// The function that gives the result.
const MAIN: &str = "main";
const JULIA_MAIN: &str = "catalog_example";
/// What stands between the outputs of two lines of a session.
const SEPARATOR: char = '\u{1e}';

/// What all examples of a package have in common.
struct Stage {
    language: Language,
    modules: BTreeMap<String, Module>,
    limits: Limits,
}

impl Catalog {
    /// Runs the examples of a package and notes what came of each. Where they cannot run, that is what is noted.
    pub(super) async fn run_examples(
        self: &Arc<Self>,
        draft: &mut Draft,
        subject: &Arc<Subject>,
        confirmed: Confirmed,
        host: &Arc<dyn Host>,
    ) -> Result<(), OpError> {
        if draft.examples.is_empty() {
            return Ok(());
        }
        let (catalog, port, prepared) = (Arc::clone(self), Arc::clone(host), Arc::clone(subject));
        let stage = off_thread(move || catalog.stage(&prepared, confirmed, &*port)).await;
        let ran = match stage {
            Ok(stage) => self.run_on(&stage, draft, subject, &**host).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ran {
            let reason = error.to_string();
            let text = format!("examples did not run: {reason}");
            draft.warnings.push(Warning { code: "EXAMPLES_NOT_RUN", text });
            for example in &mut draft.examples {
                example.result = Outcome::NotRun { reason: reason.clone() };
            }
        }
        for (at, example) in draft.examples.iter().enumerate().filter(|(_, example)| example.result.is_bad()) {
            let text = match &example.result {
                Outcome::Failed { message, .. } => {
                    format!("example {} of `{}` failed: {message}", at + 1, example.origin)
                }
                _ => format!("example {} of `{}` gives something else than it says", at + 1, example.origin),
            };
            draft.warnings.push(Warning { code: "EXAMPLE_FAILED", text });
        }
        Ok(())
    }

    /// Puts together what examples find around them, if they may run.
    fn stage(&self, subject: &Subject, confirmed: Confirmed, host: &dyn Host) -> Result<Stage, OpError> {
        let Subject { package, archive, directory } = subject;
        let refused = |obstacle| OpError::NotRunnable { name: package.name.clone(), obstacle };
        match directory {
            Some(path) if !self.policy.runs_directories() => {
                return Err(OpError::UnsignedDirectory { path: path.clone() });
            }
            Some(_) => {}
            None => drop(self.may_run(package, archive, confirmed, host)?),
        }
        if let Some(obstacle) = execute::unmet(&package.security) {
            return Err(refused(obstacle));
        }
        // Whoever is asked agrees to one program; a page is no reason to ask for each of many.
        if package.security.consensus_required || self.policy.requires(Check::Consensus) {
            let (field, wanted) = ("spec.security.consensus_required", "the agreement of validators to each example");
            return Err(refused(Obstacle::Sandbox { field, wanted }));
        }
        let language = language(package.kind).ok_or_else(|| refused(Obstacle::NoExecutor(package.kind)))?;
        self.executor(&package.name, language, false)?;
        let hold = self.hold();
        let lockfile = self.needs(subject, &hold, host)?;
        let modules = self.modules(language, package, archive, &lockfile, confirmed, host)?;
        let own = execute::limits_of(package);
        let grade = least_grade(package.security.sandbox_level, self.config.sandbox);
        let limits = Limits { wall: own.wall.min(EXAMPLE_WALL_MAX), grade, ..own };
        limits.check()?;
        Ok(Stage { language, modules, limits })
    }

    async fn run_on(
        &self,
        stage: &Stage,
        draft: &mut Draft,
        subject: &Subject,
        host: &dyn Host,
    ) -> Result<(), OpError> {
        let package = &subject.package;
        let executor = self.executor(&package.name, stage.language, false)?;
        let label = format!("{}@{}", package.name, package.version);
        let needs = asset::needs(package);
        let lease = host.lease(&label, &needs, ALL_WALL_MAX + EXAMPLE_WALL_MAX).await?;
        let began = Instant::now();
        for (at, example) in draft.examples.iter_mut().enumerate() {
            let reason = if at >= EXAMPLES_MAX {
                Some(format!("only the first {EXAMPLES_MAX} examples run"))
            } else if example.code.source_bytes() > EXAMPLE_BYTES_MAX {
                Some(format!("it has more than {EXAMPLE_BYTES_MAX} bytes"))
            } else if began.elapsed() >= ALL_WALL_MAX {
                Some(format!("the {} s that all examples have were over", ALL_WALL_MAX.as_secs()))
            } else {
                None
            };
            example.result = match reason {
                Some(reason) => Outcome::NotRun { reason },
                None => run(executor, stage, package, example).await?,
            };
        }
        drop(lease);
        Ok(())
    }
}

fn language(kind: PackageType) -> Option<Language> {
    match kind {
        PackageType::LuaScript | PackageType::LuaLibrary => Some(Language::Lua),
        PackageType::JuliaProgram | PackageType::JuliaLibrary => Some(Language::Julia),
        PackageType::WasmModule => Some(Language::Wasm),
        _ => None,
    }
}

async fn run(executor: &dyn Executor, stage: &Stage, package: &Package, example: &Example) -> Result<Outcome, OpError> {
    let (program, call) = match program(stage, package, &example.code) {
        Ok(parts) => parts,
        Err(message) => return Ok(Outcome::Failed { message, output: String::new() }),
    };
    let context = Context { environment: package.environment.clone(), ..Context::default() };
    let domain = TrustDomain(DOMAIN.into());
    let run = Run { program: Arc::new(program), context, call, limits: stage.limits, domain };
    match executor.execute(&run, &Cancel::new()).await {
        Ok(outcome) => Ok(match &example.code {
            Code::Session(lines) => session(lines, &outcome.output, &outcome.value),
            _ => Outcome::compared(shown(&outcome.output, &outcome.value), example.expected.as_deref()),
        }),
        // What keeps every example from running is no fault of this one.
        Err(Failure { error, .. })
            if error.script().is_none()
                && !error.is_beyond_limits()
                && !matches!(
                    *error,
                    VmError::WorkerCrashed { .. } | VmError::Protocol { .. } | VmError::TooLarge(_)
                ) =>
        {
            Err(OpError::Vm(*error))
        }
        Err(Failure { error, output, .. }) => {
            let output = bounded(printed(&output).replace(SEPARATOR, ""));
            Ok(Outcome::Failed { message: explained(&error), output })
        }
    }
}

/// Makes a program of an example, and the call that gives its result.
fn program(stage: &Stage, package: &Package, code: &Code) -> Result<(Program, Call), String> {
    let mut modules = stage.modules.clone();
    let mut add = |name: &str, file: &str, text: String| {
        let source = Source::of(stage.language, text.into_bytes());
        modules.insert(name.to_owned(), Module { file: format!("{DIRECTORY}/{file}"), source });
    };
    let call = |function: &str, args| Call { function: function.to_owned(), args };
    let (entry, call) = match code {
        // On the first line, so that lines are those of the example.
        Code::Lua(text) => {
            add(ENTRY, "example.lua", format!("return function() {text}\nend"));
            (ENTRY, call(MAIN, Vec::new()))
        }
        Code::Julia(text) => {
            add("Example//example.jl", "example.jl", text.clone());
            add(ENTRY, "main.jl", julia_main(package, &["example.jl".to_owned()]));
            (ENTRY, call(JULIA_MAIN, Vec::new()))
        }
        Code::Session(lines) => {
            let files: Vec<String> = (1..=lines.len()).map(|number| format!("line-{number}.jl")).collect();
            for (line, file) in lines.iter().zip(&files) {
                add(&format!("Example//{file}"), file, line.input.clone());
            }
            add(ENTRY, "main.jl", julia_main(package, &files));
            (ENTRY, call(JULIA_MAIN, Vec::new()))
        }
        Code::Call(text) => {
            let (function, args) = called(text)?;
            (package.name.as_str(), call(&function, args))
        }
    };
    let program = Program::new(stage.language, entry, modules).map_err(|error| error.to_string())?;
    Ok((program, call))
}

/// Includes files one after the other, and gives how Julia shows what each gave. A program's own file comes first; libraries
/// are for the example to use.
fn julia_main(package: &Package, files: &[String]) -> String {
    let mut text = String::new();
    if package.kind == PackageType::JuliaProgram {
        text.push_str(&format!("include(\"/{}/{}\")\n", package.name, package.content.main));
    }
    text.push_str("const catalog_shown = String[]\n");
    for file in files {
        text.push_str(&format!(
            "let value = include(\"{file}\")\n    push!(catalog_shown, value === nothing ? \"\" : \
             Base.invokelatest(repr, \"text/plain\", value))\n    print('\\u1e')\nend\n"
        ));
    }
    text.push_str(&format!("{JULIA_MAIN}() = catalog_shown\n"));
    text
}

/// Reads `name(1, "two")`.
fn called(text: &str) -> Result<(String, Vec<Value>), String> {
    let wrong = || format!("`{}` is no call; write one as `name(1, \"two\")`, with arguments in JSON", cut(text, 80));
    let (function, rest) = text.split_once('(').ok_or_else(wrong)?;
    let args = rest.trim_end().strip_suffix(')').ok_or_else(wrong)?;
    let args: Vec<serde_json::Value> = serde_json::from_str(&format!("[{args}]")).map_err(|_| wrong())?;
    let args: Result<Vec<Value>, _> = args.iter().map(Value::from_json).collect();
    Ok((function.trim().to_owned(), args.map_err(|error| error.to_string())?))
}

/// Holds each line of a session against what came of it.
fn session(lines: &[Line], output: &Output, value: &Value) -> Outcome {
    let shown: Vec<&str> = value.children().map(|value| if let Value::Str(text) = value { text } else { "" }).collect();
    let printed: Vec<&str> = output.stdout.split(SEPARATOR).collect();
    let mut transcript = String::new();
    let mut differs = false;
    for (at, line) in lines.iter().enumerate() {
        let printed = printed.get(at).copied().unwrap_or_default();
        let value = if line.input.trim_end().ends_with(';') { "" } else { shown.get(at).copied().unwrap_or_default() };
        let came = joined(printed, value);
        differs |= matches!(Outcome::compared(came.clone(), Some(&line.expected)), Outcome::Differs { .. });
        transcript.push_str(&format!("julia> {}\n{came}", line.input.replace('\n', "\n       ")));
    }
    let output = bounded(transcript);
    if differs { Outcome::Differs { output } } else { Outcome::Passed { output } }
}

/// Gives what a program printed and then what it gave, as somebody would see it.
fn shown(output: &Output, value: &Value) -> String {
    let value = match value {
        Value::Nil => String::new(),
        Value::Str(text) => text.clone(),
        // What Julia gave is shown as Julia shows it.
        Value::List(values) if output.stdout.contains(SEPARATOR) => values
            .iter()
            .map(|value| if let Value::Str(text) = value { text.as_str() } else { "" })
            .collect::<Vec<_>>()
            .join("\n"),
        other => other.to_json().to_string(),
    };
    bounded(joined(&printed(output).replace(SEPARATOR, ""), &value))
}

fn joined(printed: &str, value: &str) -> String {
    let mut text = printed.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(value);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn printed(output: &Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

fn bounded(mut text: String) -> String {
    if text.len() > RESULT_BYTES_MAX {
        let kept = cut(&text, RESULT_BYTES_MAX).len();
        text.truncate(kept);
        text.push_str("\n…\n");
    }
    text
}

/// Says what went wrong, with the line of the example.
fn explained(error: &VmError) -> String {
    match error.script() {
        Some(script) => {
            let own = script.file.as_deref().is_some_and(|file| file.starts_with(DIRECTORY));
            match script.line.filter(|_| own) {
                Some(line) => format!("line {line}: {}", script.message),
                None => script.message.clone(),
            }
        }
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_a_name_and_arguments_in_json() {
        let (name, args) = called("count(100, \"two\", [3])").expect("is a call");
        assert_eq!((name.as_str(), args.len()), ("count", 3));
        assert_eq!(called(" main()\n").expect("is a call").1, []);
        for wrong in ["count", "count(", "count(x)", "(1"] {
            assert!(called(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_session_is_held_against_what_came_of_each_line() {
        let line = |input: &str, expected: &str| Line { input: input.into(), expected: expected.into() };
        let output = Output { stdout: "hello\n\u{1e}\u{1e}".into(), ..Output::default() };
        let value = Value::List(vec![Value::Str(String::new()), Value::Str("3".into())]);
        let lines = [line("println(\"hello\")", "hello\n"), line("1 + 2", "3\n")];
        let passed = session(&lines, &output, &value);
        assert_eq!(passed, Outcome::Passed { output: "julia> println(\"hello\")\nhello\njulia> 1 + 2\n3\n".into() });
        let other = session(&[line("println(\"hello\")", "hello\n"), line("1 + 2", "4\n")], &output, &value);
        assert_eq!(other.as_str(), "differs");
    }

    #[test]
    fn results_are_cut() {
        let long = bounded("é".repeat(RESULT_BYTES_MAX));
        assert!(long.len() <= RESULT_BYTES_MAX + "\n…\n".len() && long.ends_with("…\n"), "{}", long.len());
    }
}
