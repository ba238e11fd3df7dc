//! Errors about to whom packages belong: whose fault they are, and what to do next.

use hypermesh_abi::Code;

use crate::ops::owners::OwnerError;

pub(super) fn code_of_owner(error: &OwnerError) -> Code {
    match error {
        OwnerError::Nobody { .. } => Code::NOT_FOUND,
        OwnerError::NotOwner { .. } | OwnerError::NobodyHere { .. } => Code::POLICY_DENIED,
        OwnerError::Domain { .. } | OwnerError::Stay { .. } => Code::INVALID_ARGUMENT,
        OwnerError::TooMany { .. } => Code::RESOURCE_LIMIT_EXCEEDED,
    }
}

pub(super) fn name_of_owner(error: &OwnerError) -> &'static str {
    match error {
        OwnerError::Nobody { .. } => "NO_OWNER",
        OwnerError::NotOwner { .. } | OwnerError::NobodyHere { .. } => "NOT_OWNER",
        OwnerError::Domain { .. } => "INVALID_PUBLISHER",
        OwnerError::Stay { .. } => "OWNERS_UNCHANGED",
        OwnerError::TooMany { .. } => "TOO_MANY_OWNERS",
    }
}

pub(super) fn help_of_owner(error: &OwnerError) -> String {
    match error {
        OwnerError::Nobody { name } => {
            format!("publish it first, signed; `catalog info {name}` shows what is known of it")
        }
        OwnerError::NotOwner { name, .. } | OwnerError::NobodyHere { name, .. } => {
            format!("ask one of them for `catalog owner add {name} PUBLISHER` on its node")
        }
        OwnerError::Domain { .. } => {
            "write it as its certificate has it, such as acme.pub.trustchain; `catalog feeds` lists publishers".into()
        }
        OwnerError::Stay { name, .. } => format!("`catalog owner list {name}` shows who owns it"),
        OwnerError::TooMany { .. } => {
            "at most 16 at a time, and 16 before; their domains must fit into 2 KiB together".into()
        }
    }
}
