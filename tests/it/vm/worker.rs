//! The two ends of the socket, each against a stand-in that lies: forged workers, and a real worker whose host goes.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use catalog::value::Value;
use catalog::vm::pool::PoolOptions;
use catalog::vm::protocol::{self, Enclosed, FromWorker, Ready, ToWorker, WorkerLimits, WorkerUsage};
use catalog::vm::{
    Cancel, Context, ErrorKind, Executor, Failure, Grade, Language, Layer, Limits, ProcessExecutor, Session, VmError,
    WorkerProgram,
};

use super::{call, program, run, worker_program};

fn ready() -> FromWorker {
    FromWorker::Ready(Ready { version: protocol::VERSION, engine: "forged".into() })
}

/// What a forged launcher says, who is believed: no program has touched it yet.
fn enclosed() -> FromWorker {
    FromWorker::Enclosed(Enclosed {
        version: protocol::VERSION,
        layers: Layer::COUNTED.to_vec(),
        absent: vec![],
        grade: Grade::Full,
        process: 0,
    })
}

fn done(id: u64) -> FromWorker {
    FromWorker::Done { id, value: Value::Nil, usage: WorkerUsage { cpu_us: 0, memory_peak_bytes: 0, fuel_used: 0 } }
}

/// Runs a program in a worker that answers each question with the next of these frames, then does `last`.
async fn forged(frames: &[Vec<u8>], last: &str) -> Result<Value, Failure> {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let mut script = "#!/bin/sh\n".to_owned();
    for (index, frame) in frames.iter().enumerate() {
        let path = directory.path().join(index.to_string());
        fs::write(&path, frame).expect("writes");
        script += &format!("dd bs=65536 count=1 of=/dev/null status=none\ncat {} >&0\n", path.display());
    }
    script += last;
    let (text, path) = (directory.path().join("text"), directory.path().join("worker"));
    fs::write(&text, script).expect("writes");
    // By another process: a file that any process has open for writing cannot be executed, and the tests beside this one
    // fork while it is open here.
    let installed = Command::new("install").args(["-m", "755"]).args([&text, &path]).status().expect("is in coreutils");
    assert!(installed.success());
    let executor = ProcessExecutor::new(WorkerProgram::find(&[path]).expect("is there"), PoolOptions::DEFAULT);
    executor.execute(&run("return function() end"), &Cancel::new()).await.map(|outcome| outcome.value)
}

/// The first answer is in two frames.
fn frames(messages: &[FromWorker]) -> Vec<Vec<u8>> {
    let encoded = |message: &FromWorker| protocol::encode(message).expect("fits");
    let mut frames: Vec<Vec<u8>> = messages.iter().map(encoded).collect();
    frames[0] = [encoded(&enclosed()), frames[0].clone()].concat();
    frames
}

const ON: &str = "while :; do :; done";

#[tokio::test]
async fn forged_frames_are_refused() {
    let loaded = protocol::encode(&FromWorker::Loaded).expect("fits");
    let two = [loaded.clone(), loaded].concat();
    for (first, reason) in [
        (vec![0xff; 4], "longer than"),
        (b"\x01\0\0\0\xc1".to_vec(), "is not used here"),
        (b"\x03\0\0\0\xdc\xff\xff".to_vec(), "ends within an object"),
        (b"\x08\0\0\0\xa6Loadedx".to_vec(), "goes on after"),
        (b"\x04\0\0\0\xa3Bad".to_vec(), "is no message"),
        (two, "goes on after"),
    ] {
        let failure = forged(&[first], ON).await.expect_err("is forged");
        assert!(matches!(&*failure.error, VmError::Protocol { reason: said } if said.contains(reason)), "{failure:?}");
        assert_eq!(failure.error.kind(), ErrorKind::Peer);
    }
}

#[tokio::test]
async fn answers_to_other_questions_are_refused() {
    let other = Ready { version: protocol::VERSION + 1, engine: String::new() };
    for answers in [
        &[FromWorker::Loaded][..],
        &[FromWorker::Ready(other)],
        &[enclosed()],
        &[ready(), done(1)],
        &[ready(), FromWorker::Loaded, done(2)],
        &[ready(), FromWorker::Loaded, FromWorker::Loaded],
    ] {
        let failure = forged(&frames(answers), ON).await.expect_err("is forged");
        let refused = matches!(&*failure.error, VmError::Protocol { reason } if reason.starts_with("expected"));
        assert!(refused, "{answers:?}: {failure:?}");
    }
    let honest = forged(&frames(&[ready(), FromWorker::Loaded, done(1)]), ON).await;
    assert_eq!(honest.expect("keeps to the protocol"), Value::Nil);
}

#[tokio::test]
async fn ends_of_a_worker_are_told_apart() {
    let end = async |last: &str| *forged(&frames(&[ready()]), last).await.expect_err("has ended").error;
    let out_of_memory = end("echo memory allocation of 8 bytes failed >&2; kill -ABRT $$").await;
    assert!(matches!(out_of_memory, VmError::MemoryLimit { .. }), "{out_of_memory:?}");
    for (last, status, said) in [
        ("echo oops >&2; exit 3", "exit status: 3", "oops\n"),
        ("kill -ABRT $$", "signal: 6", ""),
        ("kill -SEGV $$", "signal: 11", ""),
        ("exec 0<&-; while :; do :; done", "closed its socket and went on", ""),
    ] {
        let error = end(last).await;
        let VmError::WorkerCrashed { exit, stderr_tail } = error else { panic!("{last}: {error:?}") };
        assert!(exit.starts_with(status) && stderr_tail == said, "{last}: {exit}, {stderr_tail}");
    }
}

/// A real worker whose host is this test.
struct Raw {
    child: Child,
    socket: UnixStream,
}

impl Raw {
    fn start() -> Self {
        let (socket, theirs) = UnixStream::pair().expect("sockets");
        let child = Command::new(env!("CARGO_BIN_EXE_catalog-worker"))
            .env_clear()
            .process_group(0)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo has built the worker");
        Self { child, socket }
    }

    fn say(&mut self, question: &ToWorker<'_>) {
        self.socket.write_all(&protocol::encode(question).expect("fits")).expect("the worker listens");
    }

    fn hear(&mut self) -> FromWorker {
        let mut header = [0; 4];
        self.socket.read_exact(&mut header).expect("the worker answers");
        let mut frame = vec![0; protocol::frame_length(header).expect("fits")];
        self.socket.read_exact(&mut frame).expect("the worker answers");
        protocol::decode(&frame).expect("is a message")
    }

    /// What a worker that ends by itself said; its host stays until then, since it dies with its host at once.
    fn last_words(mut self) -> String {
        self.child.wait().expect("is a child");
        io::read_to_string(self.child.stderr.expect("is piped")).expect("is text")
    }
}

fn hello(version: u32, language: Language) -> ToWorker<'static> {
    let limits = WorkerLimits { memory_bytes: 64 << 20, cpu_ms: 30_000, temp_bytes: 0, fuel: None };
    ToWorker::Hello { version, language, limits, image: None, without: vec![] }
}

#[test]
fn a_worker_dies_with_its_host() {
    let mut worker = Raw::start();
    worker.say(&hello(protocol::VERSION, Language::Lua));
    let FromWorker::Enclosed(enclosed) = worker.hear() else { panic!("the sandbox comes first") };
    assert!(matches!(worker.hear(), FromWorker::Ready(_)));
    let endless = program(&[("app", "return function() while true do end end")]);
    worker.say(&ToWorker::Load {
        program: Cow::Owned(endless),
        context: Cow::Owned(Context::default()),
        compiled: None,
    });
    assert_eq!(worker.hear(), FromWorker::Loaded);
    worker.say(&ToWorker::Call { id: 1, function: "main".into(), args: vec![].into(), is_last: false });
    drop(worker.socket);
    assert_eq!(worker.child.wait().expect("is a child").signal(), Some(9));
    assert!(enclosed.process > 0 && !Path::new(&format!("/proc/{}", enclosed.process)).exists());
}

#[test]
fn a_worker_refuses_another_host() {
    for (first, said) in [
        (
            hello(protocol::VERSION + 1, Language::Lua),
            "expected version 2 and a language built in, not version 3 and lua",
        ),
        (
            hello(protocol::VERSION, Language::Julia),
            "expected version 2 and a language built in, not version 2 and julia",
        ),
        (
            ToWorker::Call { id: 1, function: "main".into(), args: vec![].into(), is_last: false },
            "expected `Hello` first",
        ),
    ] {
        let mut worker = Raw::start();
        worker.say(&first);
        assert_eq!(worker.child.wait().expect("is a child").code(), Some(i32::from(catalog::vm::worker::EXIT_REFUSED)));
        let words = worker.last_words();
        assert!(words.contains(said), "{words}");
    }
    let mut worker = Raw::start();
    worker.socket.write_all(&[0xff; 4]).expect("the worker listens");
    assert!(worker.last_words().contains("longer than"));

    let mut worker = Raw::start();
    worker.say(&hello(protocol::VERSION, Language::Lua));
    assert!(matches!(worker.hear(), FromWorker::Enclosed(_)) && matches!(worker.hear(), FromWorker::Ready(_)));
    let question = ToWorker::Call { id: 1, function: "main".into(), args: vec![].into(), is_last: false };
    let question = protocol::encode(&question).expect("fits");
    worker.socket.write_all(&[question.clone(), question].concat()).expect("the worker listens");
    assert!(worker.last_words().contains("one message at a time"));
}

#[test]
fn what_the_host_leaks_is_closed() {
    let (mut ours, leaked) = io::pipe().expect("a pipe");
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).expect("is open");
    let mut worker = Raw::start();
    drop(leaked);
    worker.say(&hello(protocol::VERSION, Language::Lua));
    assert!(matches!(worker.hear(), FromWorker::Enclosed(_)));
    assert!(matches!(worker.hear(), FromWorker::Ready(_)));
    // The end comes only when nobody holds the other side any more, and the worker still runs.
    assert_eq!(ours.read(&mut [0]).expect("reads"), 0);
    assert!(worker.child.try_wait().expect("is a child").is_none());
    drop(worker.socket);
    worker.child.wait().expect("is a child");
}

#[tokio::test]
async fn the_kernel_keeps_the_limits() {
    let limits = Limits::default();
    let source = program(&[("app", "return function() end")]);
    let mut session =
        Session::open(&worker_program(), &source, &Context::default(), limits, &Cancel::new()).await.expect("loads");
    let process = Path::new("/proc").join(session.engine_pid().expect("has a worker").to_string());
    let read = |name| fs::read_to_string(process.join(name)).expect("is readable");
    let words =
        |text: String| text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    let data = limits.memory.0 + catalog::vm::sandbox::HEADROOM_BYTES;
    let held = words(read("limits"));
    for line in [
        format!("Max data size {data} {data} bytes"),
        "Max file size 0 0 bytes".into(),
        "Max core file size 0 0 bytes".into(),
        "Max processes 0 0 processes".into(),
        "Max open files 16 16 files".into(),
        "Max cpu time 31 unlimited seconds".into(),
    ] {
        assert!(held.contains(&line), "{line} is not in {held:#?}");
    }
    let status = words(read("status"));
    assert!(status.contains(&"NoNewPrivs: 1".into()) && status.contains(&"Threads: 1".into()), "{status:#?}");
    session.call(&call("main", []), &Cancel::new()).await.expect("runs within them");
}
