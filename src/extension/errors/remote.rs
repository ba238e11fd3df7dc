//! Errors of remote registries: whose fault they are, and what to do next.

use hypermesh_abi::Code;

use crate::ops::network::NetworkError;
use crate::ops::remote::UpstreamError;
use crate::remote::{BucketFault, RemoteError};

pub(super) fn code_of_remote(error: &RemoteError) -> Code {
    match error {
        RemoteError::Unreachable { .. } | RemoteError::Status { .. } => Code::RESOURCE_UNAVAILABLE,
        RemoteError::Blob { .. } | RemoteError::TooLarge { .. } => Code::INTEGRITY,
        RemoteError::Redirect { .. } => Code::POLICY_DENIED,
        RemoteError::Authorities { .. } | RemoteError::Credentials { .. } | RemoteError::Endpoint(_) => {
            Code::INVALID_ARGUMENT
        }
        RemoteError::Bucket { fault, .. } => code_of_bucket(fault),
        _ => Code::CORRUPT,
    }
}

pub(super) fn name_of_remote(error: &RemoteError) -> &'static str {
    match error {
        RemoteError::Unreachable { .. } => "REMOTE_UNREACHABLE",
        RemoteError::Blob { .. } => "REMOTE_TAMPERED",
        RemoteError::Authorities { .. } => "NO_AUTHORITIES",
        RemoteError::Credentials { .. } => "NO_CREDENTIALS",
        RemoteError::Endpoint(_) => "INVALID_ADDRESS",
        RemoteError::Bucket { fault, .. } => name_of_bucket(fault),
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
        RemoteError::Endpoint(_) => "see `configuration.remote.url` and `configuration.s3` of the extension's manifest",
        RemoteError::Credentials { .. } => {
            "give `configuration.s3.credentials_file` a file of mode 600 with the profile of `configuration.s3.profile`"
        }
        RemoteError::Bucket { fault, .. } => help_of_bucket(fault),
        RemoteError::Status { .. } | RemoteError::Redirect { .. } => {
            "see whether `configuration.remote.url` is the address of a registry"
        }
        RemoteError::Blob { .. } | RemoteError::TooLarge { .. } => {
            "nothing of it was kept; tell whoever runs the registry, and take it from another meanwhile"
        }
        RemoteError::Document { .. } | RemoteError::Missing { .. } => {
            "have the registry exported anew (`catalog registry export`), whole and to where it is served from; in a bucket \
             `catalog registry rebuild` finds what is damaged"
        }
    }
}

fn code_of_bucket(fault: &BucketFault) -> Code {
    match fault {
        BucketFault::NoBucket | BucketFault::NoRegistry => Code::NOT_FOUND,
        BucketFault::NoCredentials | BucketFault::Credentials { .. } | BucketFault::Denied { .. } => {
            Code::POLICY_DENIED
        }
        BucketFault::Region { .. } => Code::INVALID_ARGUMENT,
        _ => Code::RESOURCE_UNAVAILABLE,
    }
}

fn name_of_bucket(fault: &BucketFault) -> &'static str {
    match fault {
        BucketFault::NoBucket => "BUCKET_NOT_FOUND",
        BucketFault::NoRegistry => "NO_REGISTRY_IN_BUCKET",
        BucketFault::NoCredentials => "NO_CREDENTIALS",
        BucketFault::Credentials { .. } => "CREDENTIALS_REFUSED",
        BucketFault::Denied { .. } => "BUCKET_DENIES",
        BucketFault::Region { .. } => "OTHER_REGION",
        BucketFault::Clock => "CLOCK_DIFFERS",
        _ => "REMOTE_UNREACHABLE",
    }
}

fn help_of_bucket(fault: &BucketFault) -> &'static str {
    match fault {
        BucketFault::NoBucket => {
            "make the bucket by the tools of its store, or see how it is written and whose `configuration.s3.endpoint` is"
        }
        BucketFault::NoRegistry => {
            "`catalog registry export s3://BUCKET/PREFIX` puts one there; see how the prefix is written"
        }
        BucketFault::NoCredentials => {
            "name a file of them as `configuration.s3.credentials_file`, or start the node with `AWS_ACCESS_KEY_ID` and \
             `AWS_SECRET_ACCESS_KEY` in its environment"
        }
        BucketFault::Credentials { .. } => {
            "see whether they are of this store and have not ended: `configuration.s3.credentials_file` or the environment"
        }
        BucketFault::Denied { .. } => {
            "reading needs `s3:ListBucket` and `s3:GetObject`, exporting `s3:PutObject` and `s3:DeleteObject`, too"
        }
        BucketFault::Region { .. } => "set `configuration.s3.region` to the region of the bucket",
        BucketFault::Clock => "set this machine's clock, as by NTP",
        _ => "try again, or ask whoever runs the store",
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
        UpstreamError::Offline { .. } => Code::INVALID_ARGUMENT,
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
        UpstreamError::Offline { .. } => "OFFLINE",
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
        UpstreamError::Offline { .. } => "leave `--offline` out",
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
        NetworkError::Later | NetworkError::Agree { .. } => Code::INVALID_ARGUMENT,
        NetworkError::Nodes { .. } => Code::RESOURCE_UNAVAILABLE,
        NetworkError::NoAgreement(_) => Code::CONSENSUS_VALIDATION_FAILED,
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
        NetworkError::Later | NetworkError::Agree { .. } => "NOT_RUNNABLE",
        NetworkError::Nodes { .. } => "TOO_FEW_NODES",
        NetworkError::NoAgreement(_) => "NO_AGREEMENT",
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
        NetworkError::Agree { .. } => "`--agree` is at least 1 and at most the number of nodes",
        NetworkError::Nodes { .. } => "`catalog peers` shows who is connected; ask for fewer nodes, or name them",
        NetworkError::NoAgreement(_) => {
            "a program that depends on time, chance or what a node stores gives each its own; else `--json` has the \
             receipts that they signed; run it on more nodes"
        }
        NetworkError::Later => "leave `--at` out, or run it at that time on this node",
        NetworkError::Refused { .. } => {
            "its administrator says whom it runs for (`network.run_for`) and what its policy accepts"
        }
        NetworkError::Failed { .. } => "run it here to see more of it, or ask its author",
    }
}
