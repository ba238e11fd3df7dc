//! A web server of static files for tests: honest HTTP/1.1 until it is told to misbehave on a path.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A server on a port of its own; it ends when it is dropped.
pub(crate) struct Web {
    url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

/// What the server does in the place of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers a status without a body.
    Status(u16),
    /// Says nothing until the server ends.
    Silence,
    /// Closes the connection without an answer.
    HangUp,
    /// Promises the whole file and sends half of it.
    Cut,
    /// Sends these bytes as the file.
    Body(Vec<u8>),
    /// Promises more bytes than it has.
    Length(u64),
    /// Sends without end, promising no length.
    Flood,
    /// Sends on to elsewhere.
    Redirect(String),
}

struct Shared {
    root: PathBuf,
    state: Mutex<State>,
    ended: AtomicBool,
    end: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<String>,
    /// What to do for paths that contain a text, and how often still.
    faults: Vec<(String, Fault, usize)>,
}

impl Web {
    pub(crate) fn serve(root: &Path) -> Self {
        Self::serve_over(root, None)
    }

    /// Serves by HTTPS as `localhost`, and gives the certificate by which it is known, in PEM.
    pub(crate) fn serve_tls(root: &Path) -> (Self, String) {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
        let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider has them")
                .with_no_client_auth()
                .with_single_cert(vec![own.cert.der().clone()], key)
                .expect("they belong together");
        (Self::serve_over(root, Some(Arc::new(config))), own.cert.pem())
    }

    fn serve_over(root: &Path, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let url = if tls.is_some() { "https://localhost" } else { "http://127.0.0.1" };
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("has an address");
        let state = Mutex::default();
        let (ended, end) = (AtomicBool::new(false), Condvar::new());
        let shared = Arc::new(Shared { root: root.to_owned(), state, ended, end });
        let of_thread = Arc::clone(&shared);
        let accept = move || {
            let mut answering = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if of_thread.ended.load(Ordering::SeqCst) {
                    break;
                }
                let (shared, tls) = (Arc::clone(&of_thread), tls.clone());
                // A client that goes away is none of the server's business.
                answering.push(std::thread::spawn(move || match tls {
                    None => drop(shared.answer(stream)),
                    Some(tls) => {
                        let connection = rustls::ServerConnection::new(tls).expect("the configuration is whole");
                        drop(shared.answer(rustls::StreamOwned::new(connection, stream)));
                    }
                }));
            }
            answering.into_iter().for_each(|thread| thread.join().expect("no panic"));
        };
        let url = format!("{url}:{}", address.port());
        Self { url, address, shared, listener: Some(std::thread::spawn(accept)) }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Misbehaves on paths that contain a text, so many times.
    pub(crate) fn fault(&self, path: &str, fault: Fault, times: usize) {
        self.shared.state().faults.push((path.to_owned(), fault, times));
    }

    /// Gives the requests so far, as `path` or `path if TAG`, and forgets them.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().requests)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        drop(self.shared.state());
        self.shared.end.notify_all();
        // The listener wakes up to see that it is over.
        drop(TcpStream::connect(self.address));
        self.listener.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, mut stream: impl Read + Write) -> std::io::Result<()> {
        let mut lines = BufReader::new(&mut stream).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        let mut asked_tag = None;
        for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
            let header = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("if-none-match"));
            asked_tag = header.map(|(_, value)| value.trim().to_owned()).or(asked_tag);
        }
        let fault = self.note(&path, asked_tag.as_deref());
        let file = std::fs::read(self.root.join(&path)).ok();
        let (status, body, length, more) = match (fault, file) {
            (Some(Fault::Status(status)), _) => (status.to_string(), Vec::new(), None, String::new()),
            (Some(Fault::Silence), _) => {
                let state = self.state();
                drop(self.end.wait_while(state, |_| !self.ended.load(Ordering::SeqCst)));
                return Ok(());
            }
            (Some(Fault::HangUp), _) => return Ok(()),
            (Some(Fault::Redirect(to)), _) => ("302".into(), Vec::new(), None, format!("location: {to}\r\n")),
            (Some(Fault::Flood), _) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                while stream.write_all(&[b' '; 1 << 16]).is_ok() {}
                return Ok(());
            }
            (Some(Fault::Cut), Some(file)) => {
                ("200".into(), file[..file.len() / 2].to_vec(), Some(file.len() as u64), String::new())
            }
            (Some(Fault::Length(length)), Some(file)) => ("200".into(), file, Some(length), String::new()),
            (Some(Fault::Body(body)), _) => ("200".into(), body, None, String::new()),
            (_, None) => ("404".into(), Vec::new(), None, String::new()),
            (None, Some(file)) => {
                let tag = tag(&file);
                let (status, body) = if asked_tag.as_ref() == Some(&tag) { ("304", Vec::new()) } else { ("200", file) };
                (status.into(), body, None, format!("etag: {tag}\r\n"))
            }
        };
        let length = length.unwrap_or(body.len() as u64);
        write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{more}\r\n")?;
        stream.write_all(&body)?;
        stream.flush()
    }

    /// Notes a request, and gives what is to be done in the place of an answer.
    fn note(&self, path: &str, tag: Option<&str>) -> Option<Fault> {
        let mut state = self.state();
        state.requests.push(tag.map_or_else(|| path.to_owned(), |tag| format!("{path} if {tag}")));
        let (_, fault, times) = state.faults.iter_mut().find(|(text, _, times)| path.contains(text) && *times > 0)?;
        *times -= 1;
        Some(fault.clone())
    }
}

fn tag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:x}\"", hasher.finish())
}
