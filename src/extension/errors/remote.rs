//! Errors of remote registries: whose fault they are, and what to do next.

use hypermesh_abi::Code;

use crate::ops::network::NetworkError;
use crate::ops::remote::UpstreamError;
use crate::remote::RemoteError;

pub(super) fn code_of_remote(error: &RemoteError) -> Code {
    match error {
        RemoteError::Unreachable { .. } | RemoteError::Status { .. } => Code::RESOURCE_UNAVAILABLE,
        RemoteError::Blob { .. } | RemoteError::TooLarge { .. } => Code::INTEGRITY,
        RemoteError::Redirect { .. } => Code::POLICY_DENIED,
        RemoteError::Authorities { .. } => Code::INVALID_ARGUMENT,
        _ => Code::CORRUPT,
    }
}

pub(super) fn name_of_remote(error: &RemoteError) -> &'static str {
    match error {
        RemoteError::Unreachable { .. } => "REMOTE_UNREACHABLE",
        RemoteError::Blob { .. } => "REMOTE_TAMPERED",
        RemoteError::Authorities { .. } => "NO_AUTHORITIES",
        _ => "REMOTE_INVALID",
    }
}

pub(super) fn help_of_remote(error: &RemoteError) -> &'static str {
    match error {
        RemoteError::Unreachable { .. } => {
            "try again, or use what is on this node with `--offline`; `catalog registry status` asks how the registry is"
        }
        RemoteError::Authorities { .. } => {
            "give `configuration.remote.ca_file` certificates in PEM, or leave it out to believe the public authorities"
        }
        RemoteError::Status { .. } | RemoteError::Redirect { .. } => {
            "see whether `configuration.remote.url` is the address of a registry"
        }
        RemoteError::Blob { .. } | RemoteError::TooLarge { .. } => {
            "nothing of it was kept; tell whoever runs the registry, and take it from another meanwhile"
        }
        RemoteError::Document { .. } | RemoteError::Missing { .. } => {
            "have the registry exported anew (`catalog registry export`), whole and to where it is served from"
        }
    }
}

pub(super) fn code_of_upstream(error: &UpstreamError) -> Code {
    match error {
        UpstreamError::NotGranted { .. } => Code::CAPABILITY_NOT_GRANTED,
        UpstreamError::NotThere { .. }
        | UpstreamError::NotCached { .. }
        | UpstreamError::NotDownloaded { .. }
        | UpstreamError::NotConfigured => Code::NOT_FOUND,
        UpstreamError::Conflict { .. } | UpstreamError::RolledBack { .. } | UpstreamError::Forked { .. } => {
            Code::INTEGRITY
        }
        UpstreamError::Unbelievable { .. } | UpstreamError::Feed { .. } => Code::CERTIFICATE_VALIDATION_FAILED,
        UpstreamError::TooMany { .. } | UpstreamError::TooManyChains { .. } => Code::RESOURCE_LIMIT_EXCEEDED,
        UpstreamError::Centralised { .. } | UpstreamError::ForeignName { .. } | UpstreamError::ForeignFeed { .. } => {
            Code::POLICY_DENIED
        }
    }
}

pub(super) fn name_of_upstream(error: &UpstreamError) -> &'static str {
    match error {
        UpstreamError::NotGranted { .. } => "CAPABILITY_NOT_GRANTED",
        UpstreamError::NotConfigured => "NO_REMOTE_REGISTRY",
        UpstreamError::NotThere { .. } | UpstreamError::NotCached { .. } => "PACKAGE_NOT_FOUND",
        UpstreamError::NotDownloaded { .. } => "ARCHIVE_NOT_FETCHED",
        UpstreamError::Conflict { .. } => "REMOTE_CONFLICT",
        UpstreamError::RolledBack { .. } => "REMOTE_ROLLED_BACK",
        UpstreamError::Forked { .. } => "REMOTE_FORKED",
        UpstreamError::Unbelievable { .. } | UpstreamError::Feed { .. } => "REMOTE_UNTRUSTED",
        UpstreamError::TooMany { .. } => "TOO_MANY_PACKAGES",
        UpstreamError::TooManyChains { .. } => "REMOTE_INVALID",
        UpstreamError::Centralised { .. } => "SINGLE_REGISTRY",
        UpstreamError::ForeignName { .. } => "FOREIGN_NAME",
        UpstreamError::ForeignFeed { .. } => "FOREIGN_FEED",
    }
}

pub(super) fn help_of_upstream(error: &UpstreamError) -> String {
    match error {
        UpstreamError::NotGranted { .. } => "add `NetworkAccess` to `capabilities.granted` of the extension's manifest",
        UpstreamError::NotConfigured => {
            "name one as `configuration.remote.url` of the extension's manifest; `catalog registry export` makes one"
        }
        UpstreamError::NotThere { .. } => "`catalog search` finds packages that are known here; see how its name is written",
        UpstreamError::NotCached { .. } | UpstreamError::NotDownloaded { .. } => {
            "leave `--offline` out once; what was fetched is then on this node"
        }
        UpstreamError::Conflict { .. } | UpstreamError::Forked { .. } => {
            "versions and feeds never change, so one of the two is not the publisher's: ask the publisher which"
        }
        UpstreamError::RolledBack { .. } => "have the registry exported from its newest state; what is known here still counts",
        UpstreamError::Feed { publisher, .. } => {
            return format!(
                "have `{publisher}` renew it (`catalog feeds --renew`, then `catalog registry export`), or see whether its \
                 root, authority and lists are in `HOME/trust`"
            );
        }
        UpstreamError::Unbelievable { .. } => "see whether the publisher's root, authority and lists are in `HOME/trust`",
        UpstreamError::TooMany { .. } => "ask for fewer packages at once",
        UpstreamError::TooManyChains { .. } => "no honest registry does: tell whoever runs it, and take it from another",
        UpstreamError::Centralised { .. } => "publish on the registry's own node, and export it there",
        UpstreamError::ForeignName { .. } => "publish on the registry's own node, or under another name",
        UpstreamError::ForeignFeed { .. } => "publish on that registry's node, or as another publisher (`--publisher`)",
    }
    .into()
}

pub(super) fn code_of_network(error: &NetworkError) -> Code {
    match error {
        NetworkError::NotConfigured | NetworkError::NoPeer { .. } => Code::NOT_FOUND,
        NetworkError::NotRunning { .. } | NetworkError::Start { .. } | NetworkError::Peer { .. } => {
            Code::RESOURCE_UNAVAILABLE
        }
        NetworkError::Later => Code::INVALID_ARGUMENT,
        NetworkError::Refused { .. } => Code::POLICY_DENIED,
        NetworkError::Failed { .. } => Code::RUNTIME_ERROR,
    }
}

pub(super) fn name_of_network(error: &NetworkError) -> &'static str {
    match error {
        NetworkError::NotConfigured => "NO_NETWORK",
        NetworkError::NoPeer { .. } => "PEER_NOT_FOUND",
        NetworkError::NotRunning { .. } | NetworkError::Start { .. } => "NETWORK_DOWN",
        NetworkError::Peer { .. } => "PEER_UNREACHABLE",
        NetworkError::Later => "NOT_RUNNABLE",
        NetworkError::Refused { .. } => "PEER_REFUSES",
        NetworkError::Failed { .. } => "PEER_RUN_FAILED",
    }
}

pub(super) fn help_of_network(error: &NetworkError) -> &'static str {
    match error {
        NetworkError::NotConfigured => "give this node a `configuration.network` in the extension's manifest",
        NetworkError::NotRunning { .. } => {
            "it needs the capability `TransportAccess` and a certificate for this node: see `catalog` in `host-sim status`"
        }
        NetworkError::Start { .. } => "see that the address is this machine's and its UDP port is free",
        NetworkError::Peer { .. } => "`catalog peers` shows who is connected; try again, or ask another",
        NetworkError::NoPeer { .. } => {
            "`catalog peers` lists them; name one by its id, the end of it, its address or its node"
        }
        NetworkError::Later => "leave `--at` out, or run it at that time on this node",
        NetworkError::Refused { .. } => {
            "its administrator says whom it runs for (`network.run_for`) and what its policy accepts"
        }
        NetworkError::Failed { .. } => "run it here to see more of it, or ask its author",
    }
}
