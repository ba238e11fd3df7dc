//! Memory that outlives the run that gave it: the arrays of a result stay on the node that ran it, and a holder reads and
//! changes them there, from this node or from another one.
//!
//! Who may do what with which bytes is decided by [`crate::proxy`]; here regions are leased from the host, kept, and ended.
//! Invariant: a region and its lease end at their time, or when somebody ends them, or with the node, whichever is first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::execute::Executed;
use super::executions::off_thread;
use super::network::{self, NetworkError};
use super::{Catalog, OpError};
use crate::asset::{Amount, AssetNeed};
use crate::host::{Host, Lease};
use crate::package::model::Bytes;
use crate::package::name::PackageName;
use crate::proxy::client::{Client, ClientError, Local, Mapped, Transport};
use crate::proxy::stream::{self, OverPeers};
use crate::proxy::{Capability, Export, Grant, Peer, ProxyAddress, ProxyError, Regions, Rights, WordMemory};
use crate::value::Value;
use crate::vm::execution::ExecutionId;

/// The longest that memory is kept.
pub const KEPT_MAX: Duration = Duration::from_secs(24 * 3600);
/// How many regions are kept at one time for one peer that has packages run here.
pub const KEPT_FOR_PEER_MAX: usize = 64;
/// How much longer than the memory its lease lasts.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// The network whose nodes are peers of each other by STOQ.
const NETWORK: [u8; 16] = *b"hypermesh-stoq-1";
/// The holder on this node, where it has no network.
const THIS_NODE: Peer = Peer([0; 32]);

/// For whom the arrays of a result are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// Who may reach them.
    pub holder: Peer,
    /// What the holder may do.
    pub rights: Rights,
    /// For how long, in seconds.
    pub seconds: u64,
    /// The peer that asks for it, as this node knows it; none if it is somebody here.
    #[serde(skip)]
    pub asked_by: Option<Peer>,
}

/// An array of a result that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Where it is.
    pub address: ProxyAddress,
    /// What its holder shows.
    pub capability: Capability,
    /// What gave it.
    pub execution: ExecutionId,
    /// The package that ran.
    pub package: PackageName,
    /// The way to it in the value: names and numbers, each behind a slash; empty for the value itself.
    pub at: String,
    /// The type of its elements; bytes have none.
    pub dtype: Option<String>,
    /// How many elements in each dimension.
    pub shape: Vec<u64>,
}

/// The regions of a node.
#[derive(Default)]
pub(super) struct Memory {
    regions: Mutex<Option<Arc<Regions>>>,
    kept: Mutex<Table>,
    timers: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    kept: BTreeMap<u64, Kept>,
}

struct Kept {
    region: Region,
    asked_by: Option<Peer>,
    _export: Export,
}

/// Why memory cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// A result has nothing that could be kept.
    #[error("`{package}` gave no array and no bytes that could be kept; its value is in execution `{execution}`")]
    NoArray {
        /// The package.
        package: PackageName,
        /// What gave the result.
        execution: ExecutionId,
    },
    /// No node that this one knows has an address.
    #[error("no connected node has `{address}`")]
    NoNode {
        /// The address.
        address: ProxyAddress,
    },
    /// This node keeps nothing there.
    #[error("this node keeps nothing at `{address}`; it may have ended")]
    NotKept {
        /// The address.
        address: ProxyAddress,
    },
    /// The node that keeps it refuses, or does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The system gives no random bytes for the key of the capabilities.
    #[error("there is no key for capabilities")]
    Key(#[source] std::io::Error),
}

impl From<ProxyError> for MemoryError {
    fn from(error: ProxyError) -> Self {
        Self::Client(error.into())
    }
}

/// A way to the node that keeps something.
pub type Way = Box<dyn Transport + Send>;

impl Memory {
    /// Gives the table of regions of this node, whose holder is `own`; it is made the first time.
    pub(super) fn regions(&self, own: Peer) -> Result<Arc<Regions>, MemoryError> {
        let mut regions = locked(&self.regions);
        if let Some(regions) = &*regions {
            return Ok(Arc::clone(regions));
        }
        let made = Regions::new(NETWORK, node_of(own)).map_err(MemoryError::Key)?;
        Ok(Arc::clone(regions.insert(made)))
    }

    fn end(&self, numbers: &[u64]) {
        let mut table = locked(&self.kept);
        let ended: Vec<_> = numbers.iter().filter_map(|number| table.kept.remove(number)).collect();
        drop(table);
        drop(ended);
    }
}

impl Catalog {
    /// Keeps the arrays and bytes of a result for a holder; their memory is leased from the host.
    ///
    /// # Errors
    /// There are none; the host has no memory for them; too many regions are kept already.
    pub(super) async fn keep(
        self: &Arc<Self>,
        executed: &Executed,
        keep: Keep,
        host: &dyn Host,
    ) -> Result<Vec<Region>, OpError> {
        let mut parts = Vec::new();
        find(&executed.outcome.value, String::new(), &mut parts);
        let package = &executed.package.name;
        if parts.is_empty() {
            return Err(MemoryError::NoArray { package: package.clone(), execution: executed.id }.into());
        }
        let lasts = Duration::from_secs(keep.seconds).min(KEPT_MAX);
        let size = Bytes(parts.iter().map(|part| part.bytes.len() as u64).sum());
        let needs =
            [AssetNeed { amount: Amount::Memory { size }, hardware: Vec::new(), duration_limit: lasts + LEASE_MARGIN }];
        let label = format!("{package}@{} kept", executed.package.version);
        let lease = host.lease(&label, &needs, lasts + LEASE_MARGIN).await;
        let lease = lease.map_err(|refusal| OpError::Resources { name: package.clone(), refusal })?;
        // It goes back with the last of them.
        let lease: Arc<dyn Lease> = lease.into();
        let regions = self.memory.regions(self.own_holder().await)?;
        let mut made = Vec::new();
        for part in parts {
            let length = part.bytes.len() as u64;
            let export = regions.export(Arc::new(WordMemory::new(part.bytes)), Box::new(Arc::clone(&lease)));
            let export = export.map_err(MemoryError::from)?;
            let Keep { holder, rights, asked_by, .. } = keep;
            let grant = Grant { holder, offset: 0, length, rights, expires_at: host.now() + lasts };
            let capability = export.grant(&grant).map_err(MemoryError::from)?;
            let region = Region {
                address: export.address(),
                capability,
                execution: executed.id,
                package: package.clone(),
                at: part.at,
                dtype: part.dtype,
                shape: part.shape,
            };
            made.push(Kept { region, asked_by, _export: export });
        }
        let list = made.iter().map(|kept| kept.region.clone()).collect();
        self.keep_for(made, keep.asked_by, lasts)?;
        Ok(list)
    }

    fn keep_for(self: &Arc<Self>, made: Vec<Kept>, asked_by: Option<Peer>, lasts: Duration) -> Result<(), MemoryError> {
        let mut numbers = Vec::new();
        let mut table = locked(&self.memory.kept);
        if asked_by.is_some() {
            let kept = table.kept.values().filter(|kept| kept.asked_by == asked_by).count();
            if kept + made.len() > KEPT_FOR_PEER_MAX {
                // It ends after the lock.
                drop(table);
                return Err(ProxyError::Full(kept, "regions for this peer".into()).into());
            }
        }
        for region in made {
            let number = table.next;
            table.next += 1;
            table.kept.insert(number, region);
            numbers.push(number);
        }
        drop(table);
        let catalog = Arc::downgrade(self);
        let mut timers = locked(&self.memory.timers);
        while timers.try_join_next().is_some() {}
        timers.spawn(async move {
            tokio::time::sleep(lasts).await;
            if let Some(catalog) = catalog.upgrade() {
                catalog.memory.end(&numbers);
            }
        });
        Ok(())
    }

    /// Gives what is kept here, in the order in which it was.
    pub fn kept_memory(&self) -> Vec<Region> {
        locked(&self.memory.kept).kept.values().map(|kept| kept.region.clone()).collect()
    }

    /// Ends what is kept at an address: nobody reaches it any more, and its memory goes back.
    ///
    /// # Errors
    /// [`MemoryError::NotKept`].
    pub fn end_memory(&self, address: ProxyAddress) -> Result<Region, OpError> {
        let mut table = locked(&self.memory.kept);
        let number = table.kept.iter().find(|(_, kept)| kept.region.address == address).map(|(number, _)| *number);
        let ended = number.and_then(|number| table.kept.remove(&number));
        drop(table);
        Ok(ended.ok_or(MemoryError::NotKept { address })?.region)
    }

    /// Does something with what a capability is for, wherever it is kept.
    ///
    /// # Errors
    /// No node has it, or its node refuses or does not answer.
    pub async fn with_memory<T: Send + 'static>(
        self: &Arc<Self>,
        capability: Capability,
        rights: Rights,
        host: Arc<dyn Host>,
        work: impl FnOnce(&Mapped<'_, Way>) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, OpError> {
        let way = self.way_to(capability.address, host).await?;
        off_thread(move || {
            let client = Client::new(way);
            let mapped = client.map(&capability, rights).map_err(MemoryError::from)?;
            Ok(work(&mapped).map_err(MemoryError::from)?)
        })
        .await
    }

    async fn way_to(self: &Arc<Self>, address: ProxyAddress, host: Arc<dyn Host>) -> Result<Way, OpError> {
        let own = self.own_holder().await;
        if address.node == node_of(own) && address.network == NETWORK {
            let regions = self.memory.regions(own)?;
            return Ok(Box::new(Local { regions, peer: own, now: move || -> OffsetDateTime { host.now() } }));
        }
        let node = match self.node().await {
            Err(OpError::Network(error)) if matches!(*error, NetworkError::NotConfigured) => None,
            node => Some(node?),
        };
        let node = node.ok_or(MemoryError::NoNode { address })?;
        let mut connected = network::connected(&node).await?.into_iter();
        let peer = connected.find(|peer| node_of(stream::holder(peer)) == address.node);
        let peer = peer.ok_or(MemoryError::NoNode { address })?;
        Ok(Box::new(OverPeers::new(node.pool(), peer, tokio::runtime::Handle::current())))
    }

    /// Gives who this node is to those that keep memory for it.
    pub(in crate::ops) async fn own_holder(&self) -> Peer {
        self.node().await.map_or(THIS_NODE, |node| stream::holder(&node.peer_id()))
    }

    /// Finds for whom memory is to be kept: `here` for this node, or a peer by its id, the end of it, its address or its name.
    ///
    /// # Errors
    /// There is no such peer.
    pub async fn holder(&self, word: &str) -> Result<Peer, OpError> {
        if word == "here" {
            return Ok(self.own_holder().await);
        }
        let node = self.node().await?;
        Ok(stream::holder(&self.find_peer(&node, word).await?))
    }
}

/// Gives the part of an address that says which node it is of.
pub(super) fn node_of(holder: Peer) -> [u8; 8] {
    std::array::from_fn(|at| holder.0[at])
}

/// A part of a value that can be kept.
struct Part<'a> {
    at: String,
    dtype: Option<String>,
    shape: Vec<u64>,
    bytes: &'a [u8],
}

/// Finds arrays and bytes in a value, as deep as they are.
fn find<'a>(value: &'a Value, at: String, parts: &mut Vec<Part<'a>>) {
    match value {
        Value::Array(array) => {
            if let Some(bytes) = array.bytes() {
                let (dtype, shape) = (Some(array.dtype().to_string()), array.shape().to_vec());
                parts.push(Part { at, dtype, shape, bytes });
            }
        }
        Value::Bytes(bytes) => parts.push(Part { at, dtype: None, shape: vec![bytes.len() as u64], bytes }),
        Value::List(values) => {
            for (number, value) in values.iter().enumerate() {
                find(value, format!("{at}/{number}"), parts);
            }
        }
        Value::Map(entries) => find_in(entries, &at, parts),
        Value::Struct(of) => find_in(&of.fields, &at, parts),
        // What has no name of its own is not found again.
        _ => {}
    }
}

fn find_in<'a>(entries: &'a BTreeMap<String, Value>, at: &str, parts: &mut Vec<Part<'a>>) {
    for (name, value) in entries {
        find(value, format!("{at}/{name}"), parts);
    }
}

/// Nothing under these locks leaves what they guard half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
