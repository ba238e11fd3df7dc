//! A real S3 server over a directory, which checks signatures, behind a gate on a port of its own. Tests look at what it is asked,
//! and have it refuse, as stores do, what they choose.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tempfile::TempDir;

use crate::programs;

pub(super) const ACCESS_KEY: &str = "AKTESTTESTTEST";
pub(super) const SECRET_KEY: &str = "a/secret+that=nobody/may/see";
pub(super) const BUCKET: &str = "packages";

/// What stands in the place of the server's answer.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// This, as stores say what is wrong.
    Says(u16, String),
    /// Nothing.
    Silence,
}

/// A server; it ends when it is dropped.
pub(super) struct Server {
    address: SocketAddr,
    root: TempDir,
    gate: Arc<Gate>,
    process: Child,
    listener: Option<JoinHandle<()>>,
}

/// Says whether a request is refused: by its method, and by path and query.
type Refuses = Box<dyn FnMut(&str, &str) -> Option<Refusal> + Send>;

/// What stands before the server.
struct Gate {
    server: SocketAddr,
    state: Mutex<State>,
    ended: AtomicBool,
    end: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<String>,
    refuses: Option<Refuses>,
}

impl Server {
    pub(super) fn start() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join(BUCKET)).expect("a bucket");
        let mut process = Command::new(programs::bucket_server())
            .arg(root.path())
            .args([ACCESS_KEY, SECRET_KEY])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut said = String::new();
        BufReader::new(process.stdout.take().expect("is piped")).read_line(&mut said).expect("says its address");
        let server = said.trim().parse().expect("an address");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("has an address");
        let (state, ended, end) = (Mutex::default(), AtomicBool::new(false), Condvar::new());
        let gate = Arc::new(Gate { server, state, ended, end });
        let of_thread = Arc::clone(&gate);
        let listener = std::thread::spawn(move || of_thread.stand(&listener));
        Self { address, root, gate, process, listener: Some(listener) }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Gives the file of an object.
    pub(super) fn file(&self, key: &str) -> PathBuf {
        self.bucket().join(key)
    }

    pub(super) fn bucket(&self) -> PathBuf {
        self.root.path().join(BUCKET)
    }

    /// Refuses what is chosen by method, and by path and query; nothing any more if nothing is given.
    pub(super) fn refuse(&self, refuses: Option<Refuses>) {
        self.gate.state().refuses = refuses;
    }

    /// Gives the requests so far as `METHOD key`, lists as `LIST prefix`, and forgets them.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.gate.state().requests)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.gate.ended.store(true, Ordering::SeqCst);
        drop(self.gate.state());
        self.gate.end.notify_all();
        // The listener wakes up to see that it is over.
        drop(TcpStream::connect(self.address));
        self.listener.take().map(JoinHandle::join);
        drop(self.process.stdin.take());
        drop(self.process.wait());
    }
}

/// Makes what a store says when it refuses.
pub(super) fn says(status: u16, code: &str, more: &str) -> Refusal {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>it may not</Message>{more}</Error>");
    Refusal::Says(status, body)
}

/// Writes a file of credentials that nobody else may read.
pub(super) fn credentials(path: &Path, key: &str, secret: &str) {
    let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("changed");
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stand(self: Arc<Self>, listener: &TcpListener) {
        let mut passing = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            if self.ended.load(Ordering::SeqCst) {
                break;
            }
            let gate = Arc::clone(&self);
            // A client that goes away is none of the gate's business.
            passing.push(std::thread::spawn(move || drop(gate.pass(&stream))));
        }
        passing.into_iter().for_each(|thread| thread.join().expect("no panic"));
    }

    /// Passes one request on to the server, and the answer back; then the connection ends.
    fn pass(&self, client: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(client);
        let (mut head, mut first, mut length) = (Vec::new(), String::new(), 0);
        reader.read_line(&mut first)?;
        for line in reader.by_ref().lines() {
            let line = line?;
            if line.is_empty() {
                break;
            }
            let header = line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
            match header.as_ref().map(|(name, value)| (&**name, &**value)) {
                Some(("content-length", value)) => length = value.parse().expect("a length"),
                Some(("connection", _)) => continue,
                _ => {}
            }
            write!(head, "{line}\r\n")?;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut words = first.split(' ');
        let (method, uri) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let refusal = {
            let mut state = self.state();
            state.requests.push(told(method, uri));
            state.refuses.as_mut().and_then(|refuses| refuses(method, uri))
        };
        let mut to_client = client;
        match refusal {
            None => {
                let mut server = TcpStream::connect(self.server)?;
                write!(server, "{first}")?;
                server.write_all(&head)?;
                write!(server, "connection: close\r\n\r\n")?;
                server.write_all(&body)?;
                std::io::copy(&mut server, &mut to_client).map(drop)
            }
            Some(Refusal::Silence) => {
                let state = self.state();
                drop(self.end.wait_while(state, |_| !self.ended.load(Ordering::SeqCst)));
                Ok(())
            }
            Some(Refusal::Says(status, body)) => {
                let length = body.len();
                write!(to_client, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
            }
        }
    }
}

fn told(method: &str, uri: &str) -> String {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix="));
    match prefix {
        Some(prefix) => format!("LIST {}", prefix.replace("%2F", "/").replace("%7E", "~")),
        None => format!("{method} {}", path.trim_start_matches('/').trim_start_matches(BUCKET).trim_start_matches('/')),
    }
}
