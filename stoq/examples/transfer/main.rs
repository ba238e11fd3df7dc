//! Serves one file to one client, or fetches it: two processes with certificates of one TrustChain, for measurements.
//!
//! ```text
//! transfer keys DIRECTORY
//! transfer serve DIRECTORY FILE                            prints ADDRESS PEER DIGEST; ends with its standard input
//! transfer fetch DIRECTORY FILE ADDRESS PEER DIGEST        verified, into a file
//! transfer raw DIRECTORY BYTES ADDRESS PEER                from memory, discarded: what the transport does alone
//! ```
//!
//! `STOQ_MTU` sets the largest UDP payload that is tried.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::time_provider::DefaultTimeProvider;
use stoq::PeerId;
use stoq::blobs::fetch::{FetchOptions, fetch};
use stoq::blobs::part::PartFile;
use stoq::blobs::schedule::Limits as FetchLimits;
use stoq::blobs::serve::{BlobServer, ServeLimits};
use stoq::blobs::{BlobFile, BlobSource, FileBlob};
use stoq::endpoint::{Endpoint, EndpointOptions};
use stoq::identity::Pending;
use stoq::limits::Limits;
use stoq::pool::Pool;
use stoq::service::{Caller, Peers as _, Service, ServiceError, Services, Stream};
use trustchain::digest::Blake3;

mod keys;

/// How much is written at once by the service that sends memory.
const RAW_CHUNK_BYTES: usize = 256 << 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["keys", directory] => keys::write(Path::new(directory)),
        ["serve", directory, file] => serve(Path::new(directory), Path::new(file)).await,
        ["fetch", directory, file, address, peer, digest] => {
            let pool = pool(Path::new(directory), "client", address.parse()?, peer.parse()?, Services::new())?;
            fetch_file(pool, Path::new(file), peer.parse()?, digest.parse()?).await
        }
        ["raw", directory, bytes, address, peer] => {
            let pool = pool(Path::new(directory), "client", address.parse()?, peer.parse()?, Services::new())?;
            raw(&pool, bytes.parse()?, peer.parse()?).await
        }
        _ => Err("give keys, serve, fetch or raw, as the head of the program says".into()),
    }
}

fn pool(
    directory: &Path,
    node: &str,
    address: SocketAddr,
    peer: PeerId,
    services: Services,
) -> Result<Pool, Box<dyn Error>> {
    let mut limits = Limits::default();
    if let Ok(mtu) = std::env::var("STOQ_MTU") {
        limits.mtu_max = mtu.parse()?;
    }
    let (endpoint, incoming) = Endpoint::bind(EndpointOptions {
        identity: Arc::new(keys::FileIdentity::read(directory, node)?),
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        limits,
        clock: Arc::new(DefaultTimeProvider),
    })?;
    let book = move |wanted: PeerId| if wanted == peer { vec![address] } else { Vec::new() };
    Ok(Pool::new(endpoint, incoming.data, services, book))
}

async fn serve(directory: &Path, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    let digest = Blake3::from_bytes(*hasher.finalize().as_bytes());
    let source = One { digest, file: Arc::new(FileBlob::new(File::open(path)?)?) };
    let services = Services::new();
    services.register(Arc::new(BlobServer::new(Arc::new(source), ServeLimits::STANDARD)))?;
    services.register(Arc::new(RawServer))?;
    let nobody = (Ipv4Addr::LOCALHOST, 0).into();
    let pool = pool(directory, "server", nobody, PeerId::random(), services)?;
    println(&format!("{} {} {digest}", pool.endpoint().local_address(), pool.endpoint().peer_id()));
    tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
    pool.endpoint().close().await;
    Ok(())
}

async fn fetch_file(pool: Pool, path: &Path, peer: PeerId, digest: Blake3) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let part = PartFile::open(path, digest)?;
    let options = FetchOptions { limits: FetchLimits::for_size(1 << 40), sources_wait: Duration::from_secs(10) };
    let (download, _handle) = fetch(Arc::new(pool.clone()), part, vec![peer], options);
    let fetched = download.await?;
    report(fetched.complete.size, started);
    pool.endpoint().close().await;
    Ok(())
}

async fn raw(pool: &Pool, bytes: u64, peer: PeerId) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut stream = pool.open(peer, RAW, &bytes.to_le_bytes()).await?;
    let mut buffer = vec![0; RAW_CHUNK_BYTES];
    let mut received = 0;
    while let Some(read) = stream.receive.read(&mut buffer).await? {
        received += read as u64;
    }
    report(received, started);
    pool.endpoint().close().await;
    Ok(())
}

/// Tells bytes, seconds, and the largest memory of this process in KiB.
fn report(bytes: u64, started: Instant) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim();
    println(&format!("{bytes} {:.3} {peak}", started.elapsed().as_secs_f64()));
}

#[expect(clippy::print_stdout, reason = "a program for the terminal")]
fn println(line: &str) {
    println!("{line}");
}

struct One {
    digest: Blake3,
    file: Arc<FileBlob>,
}

impl BlobSource for One {
    fn open(&self, digest: &Blake3) -> io::Result<Option<Arc<dyn BlobFile>>> {
        Ok((*digest == self.digest).then(|| Arc::clone(&self.file) as Arc<dyn BlobFile>))
    }

    fn may(&self, _: &Caller, _: &Blake3) -> bool {
        true
    }
}

const RAW: &str = "raw/1";

/// Sends as many bytes as are asked for, from memory.
struct RawServer;

impl Service for RawServer {
    fn name(&self) -> &'static str {
        RAW
    }

    fn serve(&self, caller: Caller, request: Bytes, mut stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let reason = || "it asks with eight bytes".to_owned();
            let refused = |_| ServiceError::Refused { peer: caller.peer, service: RAW, reason: reason() };
            let mut left = u64::from_le_bytes(request[..].try_into().map_err(refused)?);
            let chunk = Bytes::from(vec![7; RAW_CHUNK_BYTES]);
            while left > 0 {
                let length = RAW_CHUNK_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX));
                let sent = stream.send.write_chunk(chunk.slice(..length)).await;
                sent.map_err(|error| ServiceError::Ended { peer: caller.peer, service: RAW, source: Box::new(error) })?;
                left -= length as u64;
            }
            _ = stream.send.finish();
            Ok(())
        })
    }
}
