//! Errors of kept memory: code, name and what to do next.

use hypermesh_abi::Code;

use crate::ops::memory::MemoryError;
use crate::proxy::ProxyError;
use crate::proxy::client::ClientError;

pub(super) fn code(error: &MemoryError) -> Code {
    match error {
        MemoryError::NoArray { .. } => Code::INVALID_ARGUMENT,
        MemoryError::NoNode { .. } | MemoryError::NotKept { .. } => Code::NOT_FOUND,
        MemoryError::Key(_) | MemoryError::Client(ClientError::Transport(_)) => Code::RESOURCE_UNAVAILABLE,
        MemoryError::Client(ClientError::Refused(refused)) => match refused {
            ProxyError::NotGenuine | ProxyError::Revoked | ProxyError::Expired | ProxyError::Right(_) => {
                Code::POLICY_DENIED
            }
            ProxyError::NoRegion(_) | ProxyError::NoMapping(_) => Code::NOT_FOUND,
            ProxyError::Range { .. } | ProxyError::Alignment(_) | ProxyError::TooLong { .. } => Code::INVALID_ARGUMENT,
            ProxyError::Full(..) => Code::BUSY,
            _ => Code::RUNTIME_ERROR,
        },
        MemoryError::Client(_) => Code::CORRUPT,
    }
}

pub(super) fn name(error: &MemoryError) -> &'static str {
    match error {
        MemoryError::NoArray { .. } => "NOTHING_TO_KEEP",
        MemoryError::NoNode { .. } => "PEER_NOT_FOUND",
        MemoryError::NotKept { .. } => "MEMORY_NOT_FOUND",
        MemoryError::Client(ClientError::Refused(ProxyError::NoRegion(_))) => "MEMORY_NOT_FOUND",
        MemoryError::Client(ClientError::Transport(_)) => "PEER_UNREACHABLE",
        _ => "MEMORY_REFUSED",
    }
}

pub(super) fn help(error: &MemoryError) -> Option<String> {
    Some(match error {
        MemoryError::NoArray { .. } => "leave `--export` out; a smaller value is told whole".into(),
        MemoryError::NoNode { .. } | MemoryError::Client(ClientError::Transport(_)) => {
            "`catalog peers` shows who is connected; try again when the node that ran it is".into()
        }
        MemoryError::NotKept { .. } => "`catalog memory list` shows what this node keeps".into(),
        MemoryError::Client(ClientError::Refused(refused)) => match refused {
            ProxyError::NotGenuine => "only the node it was kept for may show it, unchanged".into(),
            ProxyError::Expired | ProxyError::NoRegion(_) => {
                "run the package again, with `--export-for` if it is to be kept longer".into()
            }
            ProxyError::Right(_) => "whoever runs the package gives more with `--export-rights read,write`".into(),
            ProxyError::Alignment(_) => "a word is at 0, 8, 16 and so on".into(),
            ProxyError::Range { .. } => "begin elsewhere, or take fewer bytes".into(),
            _ => return None,
        },
        _ => return None,
    })
}
