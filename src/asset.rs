//! What a package asks of HyperMesh's asset system: its resources as requests to asset adapters.
//!
//! The mapping is total: every resource field of a package reaches a request, and nothing is requested that the package
//! does not need. Whether a request can be met is the adapters' business.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::package::Package;
use crate::package::model::{
    Bytes, CpuMillis, HardwareRequirement, HardwareType, PackageType, Resources, SandboxLevel, Security,
};

/// Graphics memory leased where a package needs a graphics processor and says no size, in MiB (HyperMesh's default).
pub const GPU_MEMORY_MB_DEFAULT: u64 = 1024;
/// The graphics programming model where a package says none (HyperMesh's default).
pub const GPU_TYPE_DEFAULT: &str = "CUDA";
/// Storage leased where a package keeps data and says no size (HyperMesh's sandbox limit).
pub const STORAGE_DEFAULT: Bytes = Bytes(100 << 20);
/// Bandwidth leased where a package uses the network and says no amount, in bytes per second (HyperMesh's sandbox limit).
pub const BANDWIDTH_DEFAULT: Bytes = Bytes(10 << 20);

/// A kind of HyperMesh asset. The first seven have HyperMesh's numbers; the others, which it only names, follow on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AssetKind {
    /// Processors.
    Cpu = 0,
    /// Graphics processors.
    Gpu = 1,
    /// Memory.
    Memory = 2,
    /// Storage.
    Storage = 3,
    /// Network.
    Network = 4,
    /// Containers.
    Container = 5,
    /// Stakes and payments.
    Economic = 6,
    /// Services of TrustChain.
    Service = 7,
    /// Certificates of TrustChain.
    Certificate = 8,
    /// Virtual machines that run programs.
    VirtualMachine = 9,
    /// Libraries.
    Library = 10,
    /// Datasets.
    Dataset = 11,
    /// Templates.
    Template = 12,
    /// Packages.
    Package = 13,
    /// Machine-learning models.
    Model = 14,
    /// Algorithms.
    Algorithm = 15,
}

/// A text that is no kind of asset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a kind of asset")]
pub struct ParseKindError {
    text: String,
}

/// One request to an asset adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetNeed {
    /// How much of what.
    pub amount: Amount,
    /// Further demands on this kind of hardware.
    pub hardware: Vec<HardwareRequirement>,
    /// How long it is needed at most: one run.
    pub duration_limit: Duration,
}

/// How much of one kind of asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Processors.
    Cpu {
        /// Whole cores to lease.
        cores: u32,
        /// Share while running.
        share: CpuMillis,
        /// Architecture, such as `x86_64`; any if not given.
        architecture: Option<String>,
    },
    /// Graphics processors.
    Gpu {
        /// Whole devices.
        units: u32,
        /// Memory of each.
        memory: Bytes,
        /// Programming model, such as `CUDA`.
        gpu_type: String,
    },
    /// Memory.
    Memory {
        /// Size.
        size: Bytes,
    },
    /// Storage.
    Storage {
        /// Size.
        size: Bytes,
        /// It outlives the run.
        persistent: bool,
    },
    /// Network.
    Network {
        /// Bytes per second.
        bandwidth: Bytes,
    },
    /// One container.
    Container {
        /// The file that describes its image.
        image: String,
    },
}

/// Every kind with its name, in the order of the numbers.
const KINDS: [(AssetKind, &str); 16] = [
    (AssetKind::Cpu, "cpu"),
    (AssetKind::Gpu, "gpu"),
    (AssetKind::Memory, "memory"),
    (AssetKind::Storage, "storage"),
    (AssetKind::Network, "network"),
    (AssetKind::Container, "container"),
    (AssetKind::Economic, "economic"),
    (AssetKind::Service, "service"),
    (AssetKind::Certificate, "certificate"),
    (AssetKind::VirtualMachine, "virtual-machine"),
    (AssetKind::Library, "library"),
    (AssetKind::Dataset, "dataset"),
    (AssetKind::Template, "template"),
    (AssetKind::Package, "package"),
    (AssetKind::Model, "model"),
    (AssetKind::Algorithm, "algorithm"),
];

impl AssetKind {
    /// Gives the kind of a number.
    pub fn from_number(number: u8) -> Option<Self> {
        KINDS.get(usize::from(number)).map(|(kind, _)| *kind)
    }

    /// Gives the number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Gives the name.
    pub fn as_str(self) -> &'static str {
        KINDS[usize::from(self.number())].1
    }

    /// Gives what a package of a type is as an asset itself.
    pub fn of_package(kind: PackageType) -> Self {
        match kind {
            PackageType::JuliaLibrary | PackageType::LuaLibrary => Self::Library,
            PackageType::Container => Self::Container,
            PackageType::MlModel => Self::Model,
            PackageType::JuliaProgram | PackageType::LuaScript | PackageType::WasmModule => Self::VirtualMachine,
            PackageType::DataPipeline => Self::Algorithm,
            PackageType::Binary | PackageType::Custom => Self::Package,
        }
    }
}

impl From<HardwareType> for AssetKind {
    fn from(hardware: HardwareType) -> Self {
        match hardware {
            HardwareType::Cpu => Self::Cpu,
            HardwareType::Gpu => Self::Gpu,
            HardwareType::Memory => Self::Memory,
            HardwareType::Storage => Self::Storage,
            HardwareType::Network => Self::Network,
        }
    }
}

impl FromStr for AssetKind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, ParseKindError> {
        let found = KINDS.iter().find(|(_, name)| *name == text);
        found.map(|(kind, _)| *kind).ok_or_else(|| ParseKindError { text: text.to_owned() })
    }
}

impl fmt::Display for AssetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AssetNeed {
    /// Gives the adapter's kind.
    pub fn kind(&self) -> AssetKind {
        match self.amount {
            Amount::Cpu { .. } => AssetKind::Cpu,
            Amount::Gpu { .. } => AssetKind::Gpu,
            Amount::Memory { .. } => AssetKind::Memory,
            Amount::Storage { .. } => AssetKind::Storage,
            Amount::Network { .. } => AssetKind::Network,
            Amount::Container { .. } => AssetKind::Container,
        }
    }
}

/// Gives the requests of a package in the order of their kinds, at most one of each kind.
pub fn needs(package: &Package) -> Vec<AssetNeed> {
    let resources = &package.resources;
    let asked = |kind: HardwareType| resources.hardware_requirements.iter().any(|need| need.hardware_type == kind);
    let amounts = [
        (resources.cpu_required || asked(HardwareType::Cpu)).then(|| cpu(resources)),
        (resources.gpu_required || asked(HardwareType::Gpu)).then(|| gpu(resources)),
        Some(Amount::Memory { size: resources.memory_mb.map_or(resources.memory_limit, mebibytes) }),
        storage(resources, asked(HardwareType::Storage)),
        network(resources, &package.security, asked(HardwareType::Network)),
        (package.kind == PackageType::Container).then(|| Amount::Container { image: package.content.main.to_string() }),
    ];
    amounts
        .into_iter()
        .flatten()
        .map(|amount| {
            let mut need = AssetNeed { amount, hardware: Vec::new(), duration_limit: resources.execution_timeout };
            let kind = need.kind();
            let demands = resources.hardware_requirements.iter();
            need.hardware = demands.filter(|demand| kind == demand.hardware_type.into()).cloned().collect();
            need
        })
        .collect()
}

fn cpu(resources: &Resources) -> Amount {
    let share = resources.cpu_limit;
    let cores = resources.cpu_cores.unwrap_or_else(|| u32::try_from(share.0.div_ceil(1000)).unwrap_or(u32::MAX));
    Amount::Cpu { cores, share, architecture: resources.cpu_architecture.clone() }
}

fn gpu(resources: &Resources) -> Amount {
    Amount::Gpu {
        units: 1,
        memory: mebibytes(resources.gpu_memory_mb.unwrap_or(GPU_MEMORY_MB_DEFAULT)),
        gpu_type: resources.gpu_type.clone().unwrap_or_else(|| GPU_TYPE_DEFAULT.into()),
    }
}

fn storage(resources: &Resources, is_asked: bool) -> Option<Amount> {
    let size = resources.storage_mb.map(mebibytes).or(resources.storage_required);
    let is_needed = size.is_some() || resources.persistent_storage || is_asked;
    is_needed
        .then(|| Amount::Storage { size: size.unwrap_or(STORAGE_DEFAULT), persistent: resources.persistent_storage })
}

fn network(resources: &Resources, security: &Security, is_asked: bool) -> Option<Amount> {
    let is_open = security.network_access.enabled && security.sandbox_level < SandboxLevel::Strict;
    let is_needed = resources.network_bandwidth.is_some() || is_open || is_asked;
    is_needed.then(|| Amount::Network { bandwidth: resources.network_bandwidth.unwrap_or(BANDWIDTH_DEFAULT) })
}

/// HyperMesh's megabytes are of 1024².
fn mebibytes(count: u64) -> Bytes {
    Bytes(count.saturating_mul(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Format, parse};

    fn package(kind: &str, spec: &str) -> Package {
        let text = format!(
            "apiVersion: catalog.v1\nmetadata: {{name: a, version: 1.0.0}}\nspec:\n  type: {kind}\n  content: {{main: m}}\n{spec}"
        );
        parse(&text, Format::Yaml, "p").unwrap_or_else(|faults| panic!("{faults}")).0
    }

    #[test]
    fn every_resource_of_a_full_package_reaches_a_request() {
        let text = include_str!("../manifests/examples/every-field.yaml");
        let package = parse(text, Format::Yaml, "p").unwrap_or_else(|faults| panic!("{faults}")).0;
        let needs = needs(&package);
        let amounts: Vec<_> = needs.iter().map(|need| need.amount.clone()).collect();
        assert_eq!(
            amounts,
            [
                Amount::Cpu { cores: 2, share: CpuMillis(2000), architecture: Some("x86_64".into()) },
                Amount::Gpu { units: 1, memory: Bytes(8192 << 20), gpu_type: "CUDA".into() },
                Amount::Memory { size: Bytes(2048 << 20) },
                Amount::Storage { size: Bytes(4096 << 20), persistent: true },
                Amount::Network { bandwidth: Bytes(10_000_000) },
            ]
        );
        assert_eq!(needs[1].hardware, package.resources.hardware_requirements);
        assert!(needs.iter().all(|need| need.duration_limit == Duration::from_secs(30)));
        assert!(needs.iter().filter(|need| need.kind() != AssetKind::Gpu).all(|need| need.hardware.is_empty()));
    }

    #[test]
    fn a_minimal_package_asks_for_a_core_and_memory_only() {
        let amounts: Vec<_> = needs(&package("lua-script", "")).into_iter().map(|need| need.amount).collect();
        let core = Amount::Cpu { cores: 1, share: CpuMillis(1000), architecture: None };
        assert_eq!(amounts, [core, Amount::Memory { size: Bytes(512 << 20) }]);
    }

    #[test]
    fn what_is_asked_without_a_size_gets_the_default() {
        let spec = "  resources: {cpu_required: false, gpu_required: true, persistent_storage: true}\n  security: {network_access: {enabled: true}}\n";
        let amounts: Vec<_> = needs(&package("container", spec)).into_iter().map(|need| need.amount).collect();
        assert_eq!(
            amounts,
            [
                Amount::Gpu { units: 1, memory: Bytes(1 << 30), gpu_type: "CUDA".into() },
                Amount::Memory { size: Bytes(512 << 20) },
                Amount::Storage { size: STORAGE_DEFAULT, persistent: true },
                Amount::Network { bandwidth: BANDWIDTH_DEFAULT },
                Amount::Container { image: "m".into() },
            ]
        );
        let strict = "  security: {sandbox_level: strict, network_access: {enabled: true}}\n";
        assert!(needs(&package("lua-script", strict)).iter().all(|need| need.kind() != AssetKind::Network));
    }

    #[test]
    fn a_demand_on_hardware_alone_makes_a_request() {
        let spec = "  resources: {hardware_requirements: [{hardware_type: storage, minimum_spec: nvme}]}\n";
        let needs = needs(&package("lua-script", spec));
        let storage = needs.iter().find(|need| need.kind() == AssetKind::Storage).expect("is asked");
        assert_eq!(storage.hardware[0].minimum_spec, "nvme");
    }

    #[test]
    fn kinds_read_back_from_numbers_and_names() {
        for number in 0..16 {
            let kind = AssetKind::from_number(number).expect("is known");
            assert_eq!((kind.number(), kind.as_str().parse()), (number, Ok(kind)));
        }
        assert_eq!((AssetKind::from_number(16), AssetKind::Economic.number()), (None, 6));
        assert!("cpus".parse::<AssetKind>().is_err());
    }
}
