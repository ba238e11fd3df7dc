//! Makes attacks, one in each worker, and judges how they end.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{AT_ONCE, Case, End, Ends, Report, Tried, cases};
use crate::package::model::{Bytes, CpuMillis};
use crate::value::Value;
use crate::vm::program::{Call, Cancel, Context, Language, Limits, Program};
use crate::vm::sandbox::{Barrier, Layer};
use crate::vm::{Engine, Failure, Outcome, Session, VmError, WorkerProgram};

/// How long an attack may run that is meant to run without end.
const ENDLESS_FOR: Duration = Duration::from_millis(500);
/// How long any other may run: the slowest fills memory until it is stopped.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// What stands in the file that is put up as bait.
const BAIT: &str = "nobody has touched this";

/// What to try, and by what means.
pub struct Trial {
    /// The worker program.
    pub worker: WorkerProgram,
    /// What is left out of the sandbox, to see that the rest holds.
    pub without: Vec<Barrier>,
    /// Engines of languages beside Lua; a language without one is skipped.
    pub engines: Vec<(Language, Engine)>,
    /// Only the attacks of these names; all if it is empty.
    pub names: Vec<String>,
}

/// Makes the attacks, and tells what came of each.
///
/// # Errors
/// No worker can be started, the sandbox here is refused, or the bait cannot be put up.
pub async fn attempt(trial: &Trial) -> Result<Report, VmError> {
    let wanted = |case: &Case| trial.names.is_empty() || trial.names.iter().any(|name| name == case.name);
    let chosen: Vec<Case> = cases::all().into_iter().filter(wanted).collect();
    let sandbox = sandbox(trial).await?;
    let mut tried = workers(trial, &chosen, &sandbox.layers).await?;
    let mut kept = None;
    for case in chosen.iter().filter(|case| !is_own(case.language)) {
        tried.push((case.name, elsewhere(trial, case, &sandbox.layers, &mut kept).await?));
    }
    drop(kept);
    let cases: Vec<Tried> = chosen
        .iter()
        .filter_map(|case| {
            let at = tried.iter().position(|(name, _)| *name == case.name)?;
            Some(tried.swap_remove(at).1)
        })
        .collect();
    let count = |verdict| cases.iter().filter(|case| case.contained == verdict).count();
    let (skipped, contained) = (count(None), count(Some(true)));
    let (layers, absent) = (sandbox.layers, sandbox.absent);
    Ok(Report { total: cases.len() - skipped, contained, skipped, grade: sandbox.grade, layers, absent, cases })
}

/// Tells whether a language is one that the worker program itself speaks.
fn is_own(language: Language) -> bool {
    matches!(language, Language::Lua | Language::Probe)
}

/// Looks at the sandbox that the widest of its profiles gets here.
async fn sandbox(trial: &Trial) -> Result<crate::vm::protocol::Enclosed, VmError> {
    let session = open(trial, Language::Probe, "", ENDED_WITHIN).await.map_err(|failure| *failure.error)?;
    session.enclosed().cloned().ok_or(VmError::SessionEnded)
}

/// Makes the attacks in languages of the worker program, some at a time.
async fn workers(trial: &Trial, chosen: &[Case], layers: &[Layer]) -> Result<Vec<(&'static str, Tried)>, VmError> {
    let mut waiting: VecDeque<Case> = chosen.iter().filter(|case| is_own(case.language)).cloned().collect();
    let (mut running, mut tried) = (JoinSet::new(), Vec::new());
    let layers: Arc<[Layer]> = layers.into();
    loop {
        while running.len() < AT_ONCE
            && let Some(case) = waiting.pop_front()
        {
            let (trial, layers) = (trial.own(), Arc::clone(&layers));
            running.spawn(async move { own(&trial, &case, &layers).await });
        }
        match running.join_next().await {
            None => return Ok(tried),
            Some(Ok(one)) => tried.push(one?),
            Some(Err(ended)) => std::panic::resume_unwind(ended.into_panic()),
        }
    }
}

/// Makes one attack in a worker of its own.
async fn own(trial: &Trial, case: &Case, layers: &[Layer]) -> Result<(&'static str, Tried), VmError> {
    let bait = Bait::put_up(case.name).map_err(|source| VmError::WorkerStart { path: std::env::temp_dir(), source })?;
    let wall = if may_end(case.ends, End::Time) { ENDLESS_FOR } else { ENDED_WITHIN };
    let mut session = match open(trial, case.language, case.name, wall).await {
        Ok(session) => session,
        Err(failure) => return Err(*failure.error),
    };
    let pids = [session.pid(), session.engine_pid()];
    let call = Call { function: cases::function(case), args: bait.args(case.language) };
    let result = session.call(&call, &Cancel::new()).await;
    drop(session);
    let mut verdict = judge(case.ends, result);
    if let Some(left) = pids.into_iter().flatten().find(|pid| *pid != 0 && is_there(*pid)) {
        verdict = Err(format!("process {left} is still there"));
    }
    if let Some(touched) = bait.touched() {
        verdict = Err(touched);
    }
    Ok((case.name, tell(case, verdict, layers)))
}

/// Makes one attack in an engine that is there or not; `kept` is a worker that an earlier attack left as it was.
async fn elsewhere(trial: &Trial, case: &Case, layers: &[Layer], kept: &mut Option<Session>) -> Result<Tried, VmError> {
    let Some((_, engine)) = trial.engines.iter().find(|(language, _)| *language == case.language) else {
        let stopped_by = format!("no runtime for {}", case.language);
        return Ok(Tried {
            contained: None,
            stopped_by,
            layer: String::new(),
            ..tell(case, Ok(String::new()), layers)
        });
    };
    let bait = Bait::put_up(case.name).map_err(|source| VmError::WorkerStart { path: std::env::temp_dir(), source })?;
    let endless = may_end(case.ends, End::Time);
    // A runtime takes a second to start, so attacks that leave nothing behind share one.
    let mut session = match kept.take().filter(|_| !endless) {
        Some(session) => session,
        None => {
            let wall = if endless { Duration::from_secs(4) } else { ENDED_WITHIN };
            let limits = Limits { memory: Bytes(512 << 20), ..limits(wall) };
            let engine = Engine { without: trial.without.clone(), ..engine.clone() };
            let (program, context) = (cases::program(case.language, case.name)?, Context::default());
            match Session::open_with(&trial.worker, &engine, &program, &context, limits, &Cancel::new()).await {
                Ok(session) => session,
                // A module that is refused is one that does nothing.
                Err(failure) => return Ok(tell(case, judge(case.ends, Err(failure)), layers)),
            }
        }
    };
    let call = Call { function: cases::function(case), args: Vec::new() };
    let verdict = judge(case.ends, session.call(&call, &Cancel::new()).await);
    let is_as_it_was = case.language == Language::Julia && session.pid().is_some() && !case.name.contains("bomb");
    *kept = Some(session).filter(|_| is_as_it_was && !endless);
    Ok(tell(case, bait.touched().map_or(verdict, Err), layers))
}

async fn open(trial: &Trial, language: Language, name: &str, wall: Duration) -> Result<Session, Failure> {
    let engine = Engine { without: trial.without.clone(), ..Engine::default() };
    let (program, context): (Program, _) = (cases::program(language, name)?, Context::default());
    Session::open_with(&trial.worker, &engine, &program, &context, limits(wall), &Cancel::new()).await
}

fn limits(wall: Duration) -> Limits {
    let (memory, output, temp) = (Bytes(64 << 20), Bytes(1 << 20), Bytes(8 << 20));
    Limits { wall, cpu: CpuMillis(2000), memory, output, temp, ..Limits::default() }
}

impl Trial {
    /// Gives what an attack in the worker program needs.
    fn own(&self) -> Trial {
        let (worker, without) = (self.worker.clone(), self.without.clone());
        Trial { worker, without, engines: Vec::new(), names: Vec::new() }
    }
}

/// Things of the host's that an attack could reach: a file that anybody may write, and two ears.
struct Bait {
    directory: TempDir,
    file: PathBuf,
    port: TcpListener,
    name: String,
    socket: UnixListener,
}

impl Bait {
    fn put_up(case: &str) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::Builder::new().prefix("catalog-bait-").tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
        let file = directory.path().join("bait");
        fs::write(&file, BAIT)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        port.set_nonblocking(true)?;
        let name = format!("catalog-bait-{}-{case}", uuid::Uuid::new_v4());
        let socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { directory, file, port, name, socket })
    }

    /// Gives what native attacks are told; the others find nothing by themselves.
    fn args(&self, language: Language) -> Vec<Value> {
        if language != Language::Probe {
            return Vec::new();
        }
        let port = self.port.local_addr().map_or(0, |address| address.port());
        vec![
            Value::Str(self.file.display().to_string()),
            Value::Int(port.into()),
            Value::Str(self.name.clone()),
            Value::Int(std::process::id().into()),
        ]
    }

    /// Tells what was done to it.
    fn touched(&self) -> Option<String> {
        use std::os::unix::fs::MetadataExt as _;
        let intact = fs::read_to_string(&self.file).is_ok_and(|text| text == BAIT)
            && fs::metadata(&self.file).is_ok_and(|file| file.mode() & 0o7777 == 0o666 && file.nlink() == 1)
            && fs::read_dir(self.directory.path()).is_ok_and(|entries| entries.count() == 1);
        if !intact {
            return Some("the file outside was changed".into());
        }
        if self.port.accept().is_ok() || self.socket.accept().is_ok() {
            return Some("somebody called from inside".into());
        }
        None
    }
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn may_end(ends: Ends, end: End) -> bool {
    match ends {
        Ends::Answered => false,
        Ends::AnsweredOr(ends) | Ends::By(ends) => ends.contains(&end),
    }
}

/// Gives what stopped an attack, or how it escaped.
fn judge(ends: Ends, result: Result<Outcome, Failure>) -> Result<String, String> {
    match result {
        Ok(outcome) => match outcome.value {
            Value::Str(said) if !matches!(ends, Ends::By(_)) => match said.strip_prefix("contained: ") {
                Some(by) => Ok(by.to_owned()),
                None => Err(said.strip_prefix("escaped: ").unwrap_or(&said).to_owned()),
            },
            // As the modules of WebAssembly say that an attack came to nothing.
            Value::Int(0) if !matches!(ends, Ends::By(_)) => Ok("it came to nothing".into()),
            other => Err(format!("it gave {}", other.to_json())),
        },
        Err(failure) => {
            let (end, said) = ended(&failure.error);
            if end.is_some_and(|end| may_end(ends, end)) { Ok(said) } else { Err(said) }
        }
    }
}

fn ended(error: &VmError) -> (Option<End>, String) {
    let end = match error {
        VmError::Timeout { .. } => Some(End::Time),
        VmError::MemoryLimit { .. } => Some(End::Memory),
        VmError::OutputLimit { .. } => Some(End::Output),
        VmError::Protocol { .. } => Some(End::Protocol),
        VmError::WorkerCrashed { exit, .. } if exit.starts_with("signal") => Some(End::Signal),
        VmError::WorkerCrashed { .. } => Some(End::Exit),
        VmError::Script(_) | VmError::Syntax(_) => Some(End::Error),
        _ => None,
    };
    let said = match error {
        VmError::WorkerCrashed { exit, .. } => exit.clone(),
        other => other.to_string(),
    };
    (end, said)
}

/// Tells of an attack. What an attack says is cut: it is hostile.
fn tell(case: &Case, verdict: Result<String, String>, layers: &[Layer]) -> Tried {
    let contained = verdict.is_ok();
    let layer = verdict.as_ref().map_or_else(|_| String::new(), |by| layer(by, case, layers));
    let mut stopped_by = verdict.unwrap_or_else(|how| how);
    stopped_by.truncate(stopped_by.floor_char_boundary(160));
    let stopped_by = stopped_by.replace(|c: char| c.is_control(), " ");
    let language = case.language.to_string();
    Tried { name: case.name, language, tries: case.tries, contained: Some(contained), stopped_by, layer }
}

/// Names the layer that gives with this error. Where two layers stop a thing, the kernel asks the outer one first.
fn layer(by: &str, case: &Case, layers: &[Layer]) -> String {
    let has = |layer| layers.contains(&layer);
    let or = |first: Layer, second: &str| if has(first) { first.as_str().to_owned() } else { second.to_owned() };
    match by.split([' ', ':']).next().unwrap_or_default() {
        "EPERM" | "ENOSYS" => or(Layer::Seccomp, Layer::Capabilities.as_str()),
        "EACCES" => or(Layer::Landlock, Layer::UserNamespace.as_str()),
        "ENOENT" | "EROFS" | "EXDEV" | "ENODEV" => or(Layer::PrivateRoot, "kernel"),
        "ESRCH" => or(Layer::PidNamespace, "kernel"),
        "ENETUNREACH" | "ECONNREFUSED" | "EAFNOSUPPORT" => or(Layer::NetworkNamespace, "kernel"),
        "EMFILE" | "ENOMEM" | "EAGAIN" | "EFBIG" | "ENOSPC" => Layer::Rlimits.as_str().into(),
        "time" | "processor" => "host_clock".into(),
        "memory" => "host_watch".into(),
        "output" => "host_pipes".into(),
        "worker" => "protocol".into(),
        "signal" | "exit" | "closed" => "process".into(),
        _ if matches!(case.language, Language::Lua | Language::Wasm) => "engine".into(),
        _ => "kernel".into(),
    }
}
