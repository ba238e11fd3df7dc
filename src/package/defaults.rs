//! What a package gets where its manifest says nothing. HyperMesh itself has no defaults; these are the least that is useful.

use std::time::Duration;

use super::model::{
    AllocationStrategy, Bytes, CpuMillis, DelegationStrategy, Execution, FileAccess, FileAccessLevel, HashAlgorithm,
    NetworkAccess, Priority, Resources, RetryPolicy, SandboxLevel, Scheduling, Security, TimeoutConfig, Timing,
};

impl Default for Security {
    fn default() -> Self {
        Self {
            consensus_required: false,
            certificate_pinning: false,
            hash_validation: HashAlgorithm::Blake3,
            sandbox_level: SandboxLevel::Standard,
            allowed_syscalls: Vec::new(),
            permissions: Vec::new(),
            network_access: NetworkAccess::default(),
            file_access: FileAccess::default(),
        }
    }
}

impl Default for NetworkAccess {
    fn default() -> Self {
        Self { enabled: false, allowed_domains: Vec::new(), allowed_ports: Vec::new(), require_tls: true }
    }
}

impl Default for FileAccess {
    fn default() -> Self {
        Self { level: FileAccessLevel::None, allowed_paths: Vec::new(), denied_paths: Vec::new(), allow_temp: false }
    }
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu_limit: CpuMillis(1000),
            memory_limit: Bytes(512 << 20),
            execution_timeout: Duration::from_secs(30),
            storage_required: None,
            network_bandwidth: None,
            cpu_required: true,
            cpu_cores: None,
            cpu_architecture: None,
            gpu_required: false,
            gpu_memory_mb: None,
            gpu_type: None,
            memory_mb: None,
            storage_mb: None,
            persistent_storage: false,
            hardware_requirements: Vec::new(),
        }
    }
}

impl Default for Execution {
    fn default() -> Self {
        Self {
            delegation_strategy: DelegationStrategy::NearestNode,
            minimum_consensus: 1,
            retry_policy: RetryPolicy::None,
            max_concurrent: None,
            fuel: None,
            priority: Priority::Normal,
            timeout_config: TimeoutConfig::default(),
            scheduling: Scheduling::default(),
        }
    }
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self {
            execution: Duration::from_secs(30),
            network: Duration::from_secs(10),
            io: Duration::from_secs(5),
            compilation: Duration::from_secs(60),
        }
    }
}

impl Default for Scheduling {
    fn default() -> Self {
        Self {
            timing: Timing::Immediate,
            allocation_strategy: AllocationStrategy::Balanced,
            node_affinity: Vec::new(),
            anti_affinity: Vec::new(),
        }
    }
}
