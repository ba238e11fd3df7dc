//! Figures of this node, read from the machine each time they are asked for, and only those that are: a lease waits for them, and
//! reading every network interface takes longer than the rest.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use serde::Serialize;
use sysinfo::{CpuRefreshKind, MINIMUM_CPU_UPDATE_INTERVAL, Networks, RefreshKind, System};

use super::gpu::{GpuAbsent, GpuFigures, Gpus};
use super::kind::AssetType;

/// Something that knows the figures of a node.
pub trait Node: Send + Sync {
    /// Reads the figures of these kinds, and always those of processors and memory; others are absent. Blocks for as long as the
    /// system takes, usually below a millisecond.
    fn figures(&self, kinds: &[AssetType]) -> NodeFigures;
}

/// The figures of a node. What the machine does not give is absent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeFigures {
    /// Processors.
    pub cpu: CpuFigures,
    /// Memory.
    pub memory: MemoryFigures,
    /// Storage; absent if the directory of the node cannot be asked.
    pub storage: Option<StorageFigures>,
    /// Network interfaces, by name.
    pub network: Vec<InterfaceFigures>,
    /// Graphics processors, by number.
    pub gpus: Vec<GpuFigures>,
    /// Why there are no graphics processors.
    pub gpu_absent: Option<GpuAbsent>,
}

/// Processors this process may use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CpuFigures {
    /// How many, within the limits of affinity and control groups.
    pub cores: u32,
    /// Their architecture, such as `x86_64`.
    pub architecture: String,
    /// Their name.
    pub model: Option<String>,
    /// Their clock in MHz.
    pub frequency_mhz: Option<u64>,
    /// How much of all of them was used since the last reading, in percent; absent at the first.
    pub utilisation_percent: Option<f32>,
}

/// Memory in bytes, within the limits of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryFigures {
    /// All of it.
    pub total: u64,
    /// What can be had without swapping.
    pub available: u64,
    /// Swap space.
    pub swap_total: u64,
    /// Swap space in use.
    pub swap_used: u64,
}

/// The file system that holds the node's directory, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StorageFigures {
    /// The directory.
    pub path: PathBuf,
    /// All of it.
    pub total: u64,
    /// What is free for programs without privileges.
    pub available: u64,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceFigures {
    /// Its name.
    pub name: String,
    /// Whether it only leads back to this node.
    pub loopback: bool,
    /// Bytes received since it came up.
    pub received: u64,
    /// Bytes sent since it came up.
    pub sent: u64,
    /// What the link can carry, in bytes per second.
    pub bytes_per_second: Option<u64>,
}

/// Why the machine cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no figures of this node: {reason}")]
pub struct NodeError {
    reason: String,
}

/// The node this process runs on.
pub struct LocalNode {
    home: PathBuf,
    system: Mutex<Reading>,
    gpus: OnceLock<Gpus>,
}

struct Reading {
    system: System,
    /// When processors were last read, and what the reading before that gives as utilisation.
    cpu_read: Instant,
    utilisation_percent: Option<f32>,
}

impl LocalNode {
    /// Prepares to read figures; storage is that of the file system with this directory.
    ///
    /// # Errors
    /// The system is not one figures can be read of.
    pub fn new(home: &Path) -> Result<Self, NodeError> {
        let kinds = RefreshKind::nothing().with_cpu(CpuRefreshKind::everything());
        let system = System::new_with_specifics(kinds).map_err(|error| unsupported(&error))?;
        let reading = Reading { system, cpu_read: Instant::now(), utilisation_percent: None };
        Ok(Self { home: home.to_owned(), system: Mutex::new(reading), gpus: OnceLock::new() })
    }

    fn cpu_and_memory(&self) -> (CpuFigures, MemoryFigures) {
        let mut reading = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        // Readings closer together than this measure nothing.
        if reading.cpu_read.elapsed() >= MINIMUM_CPU_UPDATE_INTERVAL {
            reading.system.refresh_cpu_usage();
            reading.utilisation_percent = Some(reading.system.global_cpu_usage());
            reading.cpu_read = Instant::now();
        }
        reading.system.refresh_memory();
        let system = &reading.system;
        let first = system.cpus().first();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cpu = CpuFigures {
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            architecture: std::env::consts::ARCH.to_owned(),
            model: first.map(|cpu| cpu.brand().to_owned()).filter(|brand| !brand.is_empty()),
            frequency_mhz: first.map(sysinfo::Cpu::frequency).filter(|frequency| *frequency > 0),
            utilisation_percent: reading.utilisation_percent,
        };
        let group = system.cgroup_limits();
        let within = |figure: u64, limit: Option<u64>| limit.map_or(figure, |limit| figure.min(limit));
        let memory = MemoryFigures {
            total: within(system.total_memory(), group.as_ref().map(|group| group.total_memory)),
            available: within(system.available_memory(), group.as_ref().map(|group| group.free_memory)),
            swap_total: system.total_swap(),
            swap_used: system.used_swap(),
        };
        (cpu, memory)
    }

    fn storage(&self) -> Option<StorageFigures> {
        let stat = rustix::fs::statvfs(&self.home).ok()?;
        Some(StorageFigures {
            path: self.home.clone(),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

impl Node for LocalNode {
    fn figures(&self, kinds: &[AssetType]) -> NodeFigures {
        let (cpu, memory) = self.cpu_and_memory();
        let gpus = kinds.contains(&AssetType::Gpu).then(|| self.gpus.get_or_init(Gpus::open).figures());
        let (gpus, gpu_absent) = match gpus.unwrap_or_else(|| Ok(Vec::new())) {
            Ok(gpus) => (gpus, None),
            Err(absent) => (Vec::new(), Some(absent)),
        };
        let storage = kinds.contains(&AssetType::Storage).then(|| self.storage()).flatten();
        let network = if kinds.contains(&AssetType::Network) { network() } else { Vec::new() };
        NodeFigures { cpu, memory, storage, network, gpus, gpu_absent }
    }
}

fn network() -> Vec<InterfaceFigures> {
    let Ok(networks) = Networks::new_with_refreshed_list() else { return Vec::new() };
    let mut interfaces: Vec<_> = networks
        .iter()
        .map(|(name, figures)| {
            let addresses = figures.ip_networks();
            let loopback = !addresses.is_empty() && addresses.iter().all(|network| network.addr.is_loopback());
            InterfaceFigures {
                name: name.to_string_lossy().into_owned(),
                loopback,
                received: figures.total_received(),
                sent: figures.total_transmitted(),
                bytes_per_second: figures.transmit_link_speed().filter(|bits| *bits > 0).map(|bits| bits / 8),
            }
        })
        .collect();
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    interfaces
}

fn unsupported(error: &sysinfo::Error) -> NodeError {
    NodeError { reason: format!("{error:?}") }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn figures_are_those_of_the_machine() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let figures = LocalNode::new(directory.path()).expect("supported").figures(&AssetType::HARDWARE);
        let cores = std::thread::available_parallelism().expect("known").get();
        assert_eq!((figures.cpu.cores as usize, &*figures.cpu.architecture), (cores, std::env::consts::ARCH));
        assert_eq!(figures.cpu.utilisation_percent, None, "one reading gives no utilisation");
        assert!(0 < figures.memory.available && figures.memory.available <= figures.memory.total);
        let stat = rustix::fs::statvfs(directory.path()).expect("asked");
        let storage = figures.storage.expect("given");
        assert_eq!(storage.total, stat.f_blocks * stat.f_frsize);
        // Other programs write meanwhile.
        assert!(storage.available.abs_diff(stat.f_bavail * stat.f_frsize) < 1 << 30);
        assert_eq!(figures.gpus.is_empty(), figures.gpu_absent.is_some());
    }

    #[test]
    fn storage_of_a_directory_that_is_not_there_is_absent() {
        let node = LocalNode::new(Path::new("/nowhere/at/all")).expect("supported");
        assert_eq!(node.figures(&AssetType::HARDWARE).storage, None);
    }

    #[test]
    fn what_nobody_asks_for_is_not_read() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let node = LocalNode::new(directory.path()).expect("supported");
        let figures = node.figures(&[AssetType::Storage]);
        assert!(figures.storage.is_some() && figures.cpu.cores > 0 && figures.memory.total > 0);
        assert!(figures.network.is_empty() && figures.gpus.is_empty() && figures.gpu_absent.is_none());
        assert!(node.gpus.get().is_none(), "the library of graphics processors is not opened for it");
    }

    #[test]
    fn bytes_over_the_loopback_interface_are_counted() {
        let loopback = || network().into_iter().find(|interface| interface.loopback);
        let Some(before) = loopback() else { return };
        let receiver = UdpSocket::bind(("127.0.0.1", 0)).expect("bound");
        let sender = UdpSocket::bind(("127.0.0.1", 0)).expect("bound");
        sender.send_to(&[0; 10_000], receiver.local_addr().expect("address")).expect("sent");
        receiver.recv(&mut [0; 10_000]).expect("received");
        assert!(loopback().expect("still there").received >= before.received + 10_000);
    }
}
