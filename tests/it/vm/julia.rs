//! Julia programs in real worker processes of a real Julia: values, errors, libraries, limits, crashes.

mod faults;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use catalog::package::model::Bytes;
use catalog::value::Value;
use catalog::vm::julia::executor::{Places, engine};
use catalog::vm::julia::install::{self, Source};
use catalog::vm::julia::{Julia, Origin, image};
use catalog::vm::pool::PoolOptions;
use catalog::vm::{
    Call, Cancel, Context, Engine, Executor, Failure, JuliaExecutor, Language, Limits, Module, Outcome, Program, Run,
    Session, TrustDomain, VmError,
};

use super::{call, worker_program};

/// Gives the home with a Julia that all tests share, made once for each target directory.
///
/// From packages beside the repository or named by `CATALOG_JULIA_DEBS`, else from Debian's archive.
pub(crate) fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let home = target.join("julia-home");
        // Test processes of two profiles may come here at the same time.
        let lock = std::fs::File::create(target.join("julia-home.lock")).expect("a lock file");
        lock.lock().expect("waits");
        let julia = Julia::find_all(None, &home).into_iter().find(|julia| julia.origin == Origin::Home);
        if julia.is_none() {
            install::install(&home, &source(), &|step| eprintln!("julia: {step}")).expect("a Julia is installed");
        }
        home
    })
}

/// Where tests get a Julia from.
pub(crate) fn source() -> Source {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/julia-debs");
    let named = std::env::var_os("CATALOG_JULIA_DEBS").map(PathBuf::from);
    named.or(Some(beside)).filter(|path| path.is_dir()).map_or(Source::Debian, Source::Path)
}

fn julia() -> Julia {
    let mut found = Julia::find_all(None, home()).into_iter();
    found.find(|julia| julia.origin == Origin::Home).expect("was installed")
}

pub(crate) fn julia_engine() -> Engine {
    engine(&julia(), home())
}

fn executor_with(pool: PoolOptions) -> JuliaExecutor {
    let places = Places { configured: Some(julia().root), home: home().to_owned() };
    JuliaExecutor::new(worker_program(), places, pool)
}

/// One executor for the tests of a module; each test has programs and so workers of its own.
fn executor() -> JuliaExecutor {
    executor_with(PoolOptions { idle_max: 0, ..PoolOptions::DEFAULT })
}

fn limits() -> Limits {
    Limits { wall: Duration::from_secs(120), memory: Bytes(512 << 20), ..Limits::default() }
}

fn program(modules: &[(&str, &str)]) -> Program {
    let modules = modules.iter().map(|(name, source)| {
        let file = if name.contains('/') { (*name).to_owned() } else { format!("{name}/main.jl") };
        ((*name).to_owned(), Module { file, source: (*source).into() })
    });
    Program::new(Language::Julia, "app", modules.collect()).expect("has a module `app`")
}

fn run_of(modules: &[(&str, &str)]) -> Run {
    Run {
        program: Arc::new(program(modules)),
        context: Context::default(),
        call: call("main", []),
        limits: limits(),
        domain: TrustDomain("test".into()),
    }
}

fn run(source: &str) -> Run {
    run_of(&[("app", source)])
}

async fn execute(run: &Run) -> Result<Outcome, Failure> {
    executor().execute(run, &Cancel::new()).await
}

async fn value(source: &str) -> Value {
    execute(&run(source)).await.unwrap_or_else(|failure| panic!("{source}: {failure} {}", failure.output.stderr)).value
}

async fn failure(run: &Run) -> Failure {
    execute(run).await.expect_err("the run must fail")
}

async fn error(source: &str) -> VmError {
    *failure(&run(source)).await.error
}

async fn session(source: &str) -> Session {
    session_of(&program(&[("app", source)]), limits()).await
}

async fn session_of(program: &Program, limits: Limits) -> Session {
    let (engine, worker, context, cancel) = (julia_engine(), worker_program(), Context::default(), Cancel::new());
    let opened = Session::open_with(&worker, &engine, program, &context, limits, &cancel).await;
    opened.unwrap_or_else(|failure| panic!("{failure} {:?} {}", failure.error, failure.output.stderr))
}

async fn ask(session: &mut Session, function: &str, args: &[Value]) -> Value {
    let call = Call { function: function.into(), args: args.to_vec() };
    let answer = session.call(&call, &Cancel::new()).await;
    answer.unwrap_or_else(|failure| panic!("{function}: {failure} {}", failure.output.stderr)).value
}

fn text(value: &str) -> Value {
    Value::Str(value.into())
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<_, _>>())
}

#[tokio::test]
async fn an_image_has_the_worker_compiled_in_and_programs_run_with_it() {
    let image = image::build(&julia(), home(), &|step| eprintln!("julia: {step}")).expect("an image is made");
    assert_eq!(image::find(&julia(), home()).as_ref(), Some(&image));
    let slow = Engine { image: Some(julia().engine(None)), ..julia_engine() };
    let fast = Engine { image: Some(julia().engine(Some(&image))), ..julia_engine() };
    let (program, context, cancel) = (program(&[("app", "main() = 1")]), Context::default(), Cancel::new());
    let mut took = Vec::new();
    for engine in [slow, fast] {
        let began = std::time::Instant::now();
        let opened = Session::open_with(&worker_program(), &engine, &program, &context, limits(), &cancel).await;
        took.push(began.elapsed());
        assert_eq!(ask(&mut opened.expect("starts"), "main", &[]).await, Value::Int(1));
    }
    assert!(took[1] * 2 < took[0], "with an image it takes {:?}, without {:?}", took[1], took[0]);
    let again = std::time::Instant::now();
    image::build(&julia(), home(), &|_| {}).expect("is there");
    assert!(again.elapsed() < Duration::from_secs(1), "an image is made once");
}
