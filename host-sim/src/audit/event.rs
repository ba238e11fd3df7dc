//! What the audit log records.

use serde::{Deserialize, Serialize};

use super::TEXT_CHARS_MAX;
use crate::manifest::{Capability, Digest, ExtensionId};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts from 1, without gaps.
    pub sequence: u64,
    /// Microseconds since 1970 (UTC) by the log's clock.
    pub time_us: u64,
    /// BLAKE3 of the line before, without its line feed; of nothing for the first.
    pub previous: Digest,
    /// What happened.
    pub event: Event,
}

/// Something worth recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum Event {
    /// An extension asked for something that needs a capability.
    CapabilityRequest {
        /// Who asked.
        extension: ExtensionId,
        /// What is needed.
        capability: Capability,
        /// Whether it was granted.
        granted: bool,
    },
    /// An extension used something of the host.
    ResourceAccess {
        /// Who.
        extension: ExtensionId,
        /// What.
        resource: String,
        /// How.
        action: String,
        /// Whether it was allowed.
        allowed: bool,
    },
    /// A rule of the host was broken.
    SecurityViolation {
        /// By whom, if known.
        extension: Option<ExtensionId>,
        /// Which rule.
        violation: String,
        /// What happened.
        detail: String,
    },
    /// Something is not as it usually is.
    AnomalyDetected {
        /// With whom, if known.
        extension: Option<ExtensionId>,
        /// What.
        anomaly: String,
        /// What the host did about it.
        action: AnomalyAction,
    },
    /// A setting changed.
    ConfigurationChange {
        /// Whose setting; the host's own if none.
        extension: Option<ExtensionId>,
        /// Which one.
        field: String,
        /// What it was, if it was set.
        before: Option<String>,
        /// What it is, if it is set.
        after: Option<String>,
    },
    /// An extension became known.
    #[serde(rename = "registered")]
    Registered {
        /// Which.
        extension: ExtensionId,
        /// In which version.
        version: String,
    },
    /// An extension was loaded.
    #[serde(rename = "loaded")]
    Loaded {
        /// Which.
        extension: ExtensionId,
        /// In which version.
        version: String,
        /// Its generation on this host.
        generation: u64,
        /// The library.
        library: Digest,
        /// The fingerprint of the certificate that stands for it; none if its administrator does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<String>,
    },
    /// An extension was stopped.
    #[serde(rename = "unloaded")]
    Unloaded {
        /// Which.
        extension: ExtensionId,
        /// Its generation on this host.
        generation: u64,
    },
    /// The health of an extension changed.
    #[serde(rename = "health_changed")]
    HealthChanged {
        /// Which.
        extension: ExtensionId,
        /// What it was.
        from: String,
        /// What it is.
        to: String,
    },
    /// An extension failed.
    #[serde(rename = "failed")]
    Failed {
        /// Which.
        extension: ExtensionId,
        /// Why.
        reason: String,
    },
}

/// What a host does about an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnomalyAction {
    /// Write it down.
    Log,
    /// Tell the administrator.
    Alert,
    /// Serve the extension more slowly.
    Throttle,
    /// Pause the extension.
    Suspend,
    /// Stop the extension.
    Terminate,
}

impl Event {
    /// Cuts every text an extension may have written to its bound.
    pub(super) fn bounded(mut self) -> Self {
        self.texts().into_iter().for_each(cut);
        self
    }

    fn texts(&mut self) -> Vec<&mut String> {
        match self {
            Self::CapabilityRequest { .. } | Self::Unloaded { .. } => Vec::new(),
            Self::ResourceAccess { resource, action, .. } => vec![resource, action],
            Self::SecurityViolation { violation, detail, .. } => vec![violation, detail],
            Self::AnomalyDetected { anomaly, .. } => vec![anomaly],
            Self::ConfigurationChange { field, before, after, .. } => {
                [Some(field), before.as_mut(), after.as_mut()].into_iter().flatten().collect()
            }
            Self::Registered { version, .. } => vec![version],
            Self::Loaded { version, certificate, .. } => std::iter::once(version).chain(certificate).collect(),
            Self::HealthChanged { from, to, .. } => vec![from, to],
            Self::Failed { reason, .. } => vec![reason],
        }
    }
}

fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        let rest = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("… ({rest} bytes cut)"));
    }
}
