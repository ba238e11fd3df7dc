//! Serves one file with iroh-blobs, or fetches it into a store: from store to store, on the loopback interface, no relays.
//!
//! ```text
//! transfer-iroh serve STORE FILE                 prints ADDRESS ID HASH; ends with its standard input
//! transfer-iroh fetch STORE ADDRESS ID HASH      prints bytes, seconds and the largest memory
//! ```

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use iroh::endpoint::presets::Minimal;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode};
use iroh_blobs::api::blobs::{AddPathOptions, ImportMode};
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::{ALPN, BlobFormat, BlobsProtocol, Hash, HashAndFormat};
use tokio::io::AsyncReadExt as _;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", store, file] => serve(store, file).await,
        ["fetch", store, address, id, hash] => {
            let address = EndpointAddr::new(id.parse::<EndpointId>()?).with_ip_addr(address.parse()?);
            fetch(store, address, hash.parse()?).await
        }
        _ => bail!("give serve or fetch, as the head of the program says"),
    }
}

async fn endpoint() -> Result<Endpoint> {
    let builder = Endpoint::builder(Minimal).relay_mode(RelayMode::Disabled).clear_ip_transports();
    Ok(builder.bind_addr("127.0.0.1:0")?.bind().await?)
}

async fn serve(store: &str, file: &str) -> Result<()> {
    let store = FsStore::load(store).await?;
    let options = AddPathOptions {
        path: std::path::absolute(file)?,
        format: BlobFormat::Raw,
        mode: ImportMode::TryReference,
    };
    let tag = store.blobs().add_path_with_opts(options).await?;
    let endpoint = endpoint().await?;
    let address = endpoint.bound_sockets().into_iter().find(|address| address.is_ipv4()).context("no socket")?;
    println!("{address} {} {}", endpoint.id(), tag.hash);
    let router = Router::builder(endpoint).accept(ALPN, BlobsProtocol::new(&store, None)).spawn();
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    router.shutdown().await?;
    Ok(())
}

async fn fetch(store: &str, address: EndpointAddr, hash: Hash) -> Result<()> {
    let store = FsStore::load(store).await?;
    let endpoint = endpoint().await?;
    let started = Instant::now();
    let connection = endpoint.connect(address, ALPN).await?;
    let stats = store.remote().fetch(connection, HashAndFormat::raw(hash)).complete().await?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim();
    println!("{} {:.3} {peak}", stats.payload_bytes_read, started.elapsed().as_secs_f64());
    endpoint.close().await;
    store.shutdown().await?;
    Ok(())
}
