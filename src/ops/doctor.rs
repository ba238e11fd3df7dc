//! `doctor`: what this machine can and cannot do for packages, and how to mend what it cannot. It changes nothing.
//!
//! The sandbox, the registry and the network are tried; the rest is read where it stands.

use std::sync::Arc;

use super::executions::off_thread;
use super::network::NetworkError;
use super::sandbox::Selftest;
use super::{Catalog, OpError};
use crate::host::{Host, Network, NodeResources};
use crate::store::Method;
use crate::vm::{Absent, Grade, Language, Layer, VmError};

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub area: &'static str,
    /// Whether it can be used.
    pub state: State,
    /// What there is, or why there is none.
    pub says: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Whether something can be used, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It can.
    Ready,
    /// It is not there, and nothing is wrong with that.
    Absent,
    /// It can with less than there could be.
    Limited,
    /// It cannot, and should.
    Broken,
}

impl State {
    /// Gives the name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Absent => "absent",
            Self::Limited => "limited",
            Self::Broken => "broken",
        }
    }
}

impl Finding {
    fn new(area: &'static str, state: State, says: impl Into<String>) -> Self {
        Self { area, state, says: says.into(), help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl Catalog {
    /// Examines the machine and this node. Starts one worker, each Julia that is found, and asks the remote registry.
    ///
    /// # Errors
    /// The host is stopping. What cannot be examined is a finding.
    pub async fn doctor(self: &Arc<Self>, host: Arc<dyn Host>) -> Result<Vec<Finding>, OpError> {
        let mut findings = vec![self.examine_sandbox().await];
        findings.extend(self.examine_engines());
        let (catalog, port) = (Arc::clone(self), Arc::clone(&host));
        findings.extend(off_thread(move || Ok(catalog.examine_files(&*port))).await?);
        findings.push(self.examine_trust(&*host).await);
        findings.push(self.examine_network(&*host).await);
        Ok(findings)
    }

    async fn examine_sandbox(&self) -> Finding {
        let area = "sandbox";
        if !self.config.vm {
            return Finding::new(area, State::Absent, "programs do not run here: `vm` is false")
                .help("set `configuration.vm: true` in the manifest of the extension to run packages");
        }
        if let Err(looked) = &self.engines {
            return Finding::new(area, State::Broken, VmError::WorkerMissing { looked: looked.clone() }.to_string())
                .help("build the bundle again, with the worker beside the library");
        }
        // One attack is enough to see which layers a worker has; whether all hold is for `sandbox selftest`.
        let names = self.attacks().first().map(|case| case.name.to_owned()).into_iter().collect();
        match self.selftest(Selftest { names, without: Vec::new() }).await {
            Ok(report) => of_grade(area, report.grade, &report.layers, &report.absent),
            Err(error) => Finding::new(area, State::Broken, format!("no worker starts: {error}"))
                .help("see `catalog sandbox selftest` and the log of this node"),
        }
    }

    fn examine_engines(&self) -> Vec<Finding> {
        let Ok(engines) = &self.engines else { return Vec::new() };
        let of = |area, language| match engines.of(language, false) {
            Ok(_) => Finding::new(area, State::Ready, "its engine is part of this build"),
            Err(error) => Finding::new(area, State::Absent, error.to_string()),
        };
        vec![of("lua", Language::Lua), of("wasm", Language::Wasm)]
    }

    fn examine_files(&self, host: &dyn Host) -> Vec<Finding> {
        let mut findings = Vec::new();
        #[cfg(feature = "julia")]
        if self.engines.is_ok() {
            findings.push(of_julia(&self.runtimes()));
        }
        findings.extend(of_machine(host.resources()));
        findings.push(self.examine_disk());
        findings.push(self.examine_advisories(host));
        findings.push(self.examine_registry(host));
        findings
    }

    fn examine_disk(&self) -> Finding {
        let area = "disk";
        let free = match rustix::fs::statvfs(&self.home) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            Err(error) => return Finding::new(area, State::Broken, format!("`{}`: {error}", self.home.display())),
        };
        let place = format!("{} free for `{}`", gibibytes(free), self.home.display());
        if free < DISK_FREE_BYTES_LOW {
            return Finding::new(area, State::Limited, place).help("make room, or `catalog cache prune`");
        }
        let _turn = self.writing();
        let method = match self.store.writer() {
            Ok(writer) => writer.method(),
            Err(error) => return Finding::new(area, State::Broken, format!("the store cannot be written: {error}")),
        };
        let says = format!("{place}; installed files share the store's bytes: {}", method.as_str());
        if method == Method::Copy {
            return Finding::new(area, State::Limited, says)
                .help("a file system with hard links or copy on write installs faster and takes less");
        }
        Finding::new(area, State::Ready, says)
    }

    fn examine_advisories(&self, host: &dyn Host) -> Finding {
        let area = "advisories";
        let status = match self.advisories_status() {
            Ok(status) => status,
            Err(error) => return Finding::new(area, State::Broken, error.to_string()),
        };
        let help = "`catalog advisories import` takes a database in the OSV format";
        let Some(imported) = status.imported_at else {
            return Finding::new(area, State::Absent, "none imported: no known weakness of a package is found")
                .help(help);
        };
        let days = (host.now() - imported).whole_days();
        let says = format!("{} that can find something, imported {days} days ago", status.advisories);
        if days > ADVISORY_DAYS_MAX {
            return Finding::new(area, State::Limited, says).help(help);
        }
        Finding::new(area, State::Ready, says)
    }

    fn examine_registry(&self, host: &dyn Host) -> Finding {
        let area = "registry";
        let here = match self.registry().count() {
            Ok(count) => format!("{} known here", many(count.versions as usize, "release")),
            Err(error) => return Finding::new(area, State::Broken, error.to_string()).help("see `catalog fsck`"),
        };
        let Some(remote) = &self.config.remote else {
            return Finding::new(area, State::Ready, format!("{here}; no remote registry is configured"));
        };
        match self.remote_status(host) {
            Ok(status) => Finding::new(
                area,
                State::Ready,
                format!("{here}; `{}` answers, with {} versions", remote.url, status.health.versions),
            ),
            Err(error) => Finding::new(area, State::Limited, format!("{here}; `{}`: {error}", remote.url))
                .help("what was fetched before stays usable; see `catalog registry status`"),
        }
    }

    async fn examine_trust(&self, host: &dyn Host) -> Finding {
        let area = "trust";
        let anchors = match host.anchors().await {
            Ok(anchors) => anchors,
            Err(refusal) => return Finding::new(area, State::Broken, refusal.to_string()),
        };
        if anchors.roots.is_empty() {
            return Finding::new(area, State::Broken, "no root is pinned: nothing can be verified")
                .help("have the administrator of this node pin a TrustChain root");
        }
        let says = format!(
            "{} pinned, {} of revocations, {} in cluster `{}`",
            many(anchors.roots.len(), "root"),
            many(anchors.revocations.len(), "list"),
            many(anchors.validators.len(), "validator"),
            anchors.cluster
        );
        Finding::new(area, State::Ready, says)
    }

    async fn examine_network(self: &Arc<Self>, host: &dyn Host) -> Finding {
        let area = "network";
        if host.network() == Network::NotGranted {
            return Finding::new(area, State::Absent, "this extension is not granted `NetworkAccess`")
                .help("add it to `capabilities.granted` in the manifest to reach registries and nodes");
        }
        match self.connected_peers().await {
            Ok(0) => Finding::new(area, State::Limited, "runs, with no peer")
                .help("add one with `catalog peers --add ADDRESS`, or to `configuration.network.bootstrap`"),
            Ok(peers) => Finding::new(area, State::Ready, many(peers, "peer")),
            Err(OpError::Network(error)) if matches!(*error, NetworkError::NotConfigured) => {
                Finding::new(area, State::Absent, "not configured: this node asks and answers no other")
                    .help("set `configuration.network` in the manifest of the extension")
            }
            Err(error) => Finding::new(area, State::Limited, error.to_string())
                .help("it runs while the node is up: `up` starts it"),
        }
    }
}

/// Below this an installation may not find room.
const DISK_FREE_BYTES_LOW: u64 = 1 << 30;

/// Databases of advisories change daily; after this long much is not known.
const ADVISORY_DAYS_MAX: i64 = 14;

fn of_grade(area: &'static str, grade: Grade, layers: &[Layer], absent: &[Absent]) -> Finding {
    let says = format!("{grade}: {} of {} layers hold", layers.len(), Layer::ALL.len());
    let missing: Vec<&Absent> = absent.iter().filter(|absent| Layer::COUNTED.contains(&absent.layer)).collect();
    let reasons: Vec<_> = missing.iter().map(|it| format!("{} ({})", it.layer.as_str(), it.reason)).collect();
    let state = match grade {
        Grade::Full => return Finding::new(area, State::Ready, says),
        Grade::Degraded => State::Limited,
        Grade::Refused => State::Broken,
    };
    let finding = Finding::new(area, state, format!("{says}; not: {}", reasons.join(", ")));
    match missing.iter().find_map(|absent| mending(absent.layer)) {
        Some(help) => finding.help(help),
        None => finding,
    }
}

/// Says what an administrator does so that a layer can be had.
fn mending(layer: Layer) -> Option<&'static str> {
    match layer {
        Layer::UserNamespace
        | Layer::MountNamespace
        | Layer::PidNamespace
        | Layer::NetworkNamespace
        | Layer::PrivateRoot => Some(
            "allow user namespaces: `sysctl kernel.unprivileged_userns_clone=1`, \
                 `user.max_user_namespaces`, or on Ubuntu `kernel.apparmor_restrict_unprivileged_userns=0`",
        ),
        Layer::Landlock => Some("needs Linux 5.13 or newer with `landlock` in the boot parameter `lsm=`"),
        Layer::Seccomp => Some("needs a kernel with CONFIG_SECCOMP_FILTER"),
        _ => None,
    }
}

#[cfg(feature = "julia")]
fn of_julia(runtimes: &[super::runtime::Runtime]) -> Finding {
    let area = "julia";
    let Some(chosen) = runtimes.iter().find(|runtime| runtime.is_chosen) else {
        return Finding::new(area, State::Absent, "there is no Julia 1.5 or newer on this machine")
            .help("`catalog runtime install julia`");
    };
    let says = format!("julia {} in `{}`", chosen.julia.version, chosen.julia.root.display());
    match &chosen.image {
        Some(_) => Finding::new(area, State::Ready, format!("{says}, starts at once")),
        None => {
            Finding::new(area, State::Limited, format!("{says}, without an image: a worker takes seconds to start"))
                .help("`catalog runtime install julia` makes the image; it needs a C compiler")
        }
    }
}

fn of_machine(resources: Option<NodeResources>) -> Vec<Finding> {
    let Some(resources) = resources else {
        return vec![Finding::new("machine", State::Absent, "the host does not say what this node has")];
    };
    let says =
        format!("{}, {} of memory", many(resources.cpu_cores as usize, "processor"), gibibytes(resources.memory_bytes));
    let machine = Finding::new("machine", State::Ready, says);
    let gpu = match resources.gpus {
        0 => Finding::new("gpu", State::Absent, "none found: packages that need one are refused")
            .help("a GPU of NVIDIA is found once its driver, with NVML, is installed"),
        gpus => {
            let memory = gibibytes(resources.gpu_memory_bytes);
            Finding::new("gpu", State::Ready, format!("{}, up to {memory}", many(gpus as usize, "GPU")))
        }
    };
    vec![machine, gpu]
}

fn many(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent(layers: &[Layer]) -> Vec<Absent> {
        layers.iter().map(|layer| Absent { layer: *layer, reason: "EPERM".into() }).collect()
    }

    #[test]
    fn a_sandbox_with_a_gap_says_which_and_how_to_close_it() {
        let full = of_grade("sandbox", Grade::Full, &Layer::COUNTED, &absent(&[Layer::Cgroup]));
        assert_eq!((full.state, full.help), (State::Ready, None));
        let gap =
            of_grade("sandbox", Grade::Degraded, &Layer::COUNTED[..14], &absent(&[Layer::Cgroup, Layer::Landlock]));
        assert_eq!(gap.state, State::Limited);
        assert_eq!(gap.says, "degraded: 14 of 23 layers hold; not: landlock (EPERM)");
        assert!(gap.help.is_some_and(|help| help.contains("lsm=")));
        let open = of_grade("sandbox", Grade::Refused, &[], &absent(&[Layer::UserNamespace]));
        assert_eq!(open.state, State::Broken);
        assert!(open.help.is_some_and(|help| help.contains("user namespaces")));
    }

    #[test]
    fn a_machine_without_gpu_says_what_follows_from_that() {
        let without = NodeResources { cpu_cores: 2, memory_bytes: 24 << 30, ..NodeResources::default() };
        let found = of_machine(Some(without));
        assert_eq!(found[0].says, "2 processors, 24.0 GiB of memory");
        assert_eq!(found[1].state, State::Absent);
        let with = NodeResources { gpus: 1, gpu_memory_bytes: 8 << 30, ..without };
        assert_eq!(of_machine(Some(with))[1].says, "1 GPU, up to 8.0 GiB");
    }
}
