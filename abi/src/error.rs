//! The error of the SDK and of hosts: [`AbiError`] with ordinary Rust types.

use std::fmt;

use crate::contract::error::{AbiError, Code, Fault};
use crate::contract::message::{Bag, MessageError};
use crate::records::{Detail, ErrorRecord};

/// An error that can cross the boundary.
#[derive(Clone, Debug)]
pub struct Error {
    /// What went wrong, for programs.
    pub code: Code,
    /// Whose fault it was.
    pub fault: Fault,
    /// What went wrong, for people: one sentence, lower case, no full stop.
    pub message: String,
    /// The messages of the causes, nearest first.
    pub chain: Vec<String>,
    /// Where it happened and what to do next; boxed, since every `Result` of the SDK has room for an error.
    pub detail: Box<Detail>,
    /// Trying the same call again may succeed.
    pub retryable: bool,
    /// The extension can no longer be trusted to hold its invariants.
    pub poisoned: bool,
}

impl Error {
    /// Makes an error of a code, with the fault that code usually has.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            fault: code.usual_fault(),
            message: message.into(),
            chain: Vec::new(),
            detail: Box::default(),
            retryable: matches!(code, Code::BUSY | Code::RESOURCE_UNAVAILABLE),
            poisoned: false,
        }
    }

    /// Makes an error of a code from a Rust error, keeping its chain of causes.
    pub fn wrap(code: Code, error: &dyn std::error::Error) -> Self {
        let mut chain = Vec::new();
        let mut cause = error.source();
        while let Some(inner) = cause {
            chain.push(inner.to_string());
            cause = inner.source();
        }
        Self { chain, ..Self::new(code, error.to_string()) }
    }

    /// Says what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.detail.help = Some(help.into());
        self
    }

    /// Says whose fault it is, where that differs from what the code usually means.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.chain.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for Error {}

impl From<MessageError> for Error {
    fn from(error: MessageError) -> Self {
        Self::wrap(Code::INVALID_ARGUMENT, &error)
    }
}

impl From<Error> for AbiError {
    fn from(error: Error) -> Self {
        let flags = if error.retryable { Self::RETRYABLE } else { 0 } | if error.poisoned { Self::POISONED } else { 0 };
        Self {
            code: error.code,
            fault: error.fault,
            flags,
            message: error.message.into(),
            chain: error.chain.into_iter().map(Into::into).collect(),
            // A detail too large to carry is dropped rather than hiding the error it belongs to.
            detail: Bag::encode(&error.detail).unwrap_or_default(),
        }
    }
}

impl From<AbiError> for Error {
    fn from(error: AbiError) -> Self {
        Self {
            code: error.code,
            fault: error.fault,
            message: error.message.into_string(),
            chain: error.chain.into_iter().map(Into::into).collect(),
            detail: error.detail.decode().unwrap_or_default(),
            retryable: error.flags & AbiError::RETRYABLE != 0,
            poisoned: error.flags & AbiError::POISONED != 0,
        }
    }
}

impl From<&Error> for ErrorRecord {
    fn from(error: &Error) -> Self {
        Self {
            code: error.code.name().into(),
            number: error.code.0,
            fault: error.fault.name().into(),
            message: error.message.clone(),
            chain: error.chain.clone(),
            retryable: error.retryable,
            detail: error.detail.as_ref().clone(),
        }
    }
}

impl From<ErrorRecord> for Error {
    fn from(record: ErrorRecord) -> Self {
        let faults = [Fault::INPUT, Fault::PEER, Fault::ENVIRONMENT, Fault::POLICY];
        Self {
            code: Code(record.number),
            fault: faults.into_iter().find(|fault| fault.name() == record.fault).unwrap_or(Fault::BUG),
            message: record.message,
            chain: record.chain,
            detail: Box::new(record.detail),
            retryable: record.retryable,
            poisoned: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_survives_the_boundary() {
        let mut error = Error::new(Code::INTEGRITY, "digest differs").help("fetch it again").fault(Fault::PEER);
        error.chain = vec!["because".into()];
        error.poisoned = true;
        let back = Error::from(AbiError::from(error.clone()));
        assert_eq!(format!("{back:?}"), format!("{error:?}"));
        error.poisoned = false;
        let json = serde_json::to_string(&ErrorRecord::from(&error)).expect("is JSON");
        let back = Error::from(serde_json::from_str::<ErrorRecord>(&json).expect("reads back"));
        assert_eq!(format!("{back:?}"), format!("{error:?}"));
    }

    #[test]
    fn every_code_has_its_own_number_name_and_place() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.0), "{} is used twice", code.0);
            assert_ne!(code.name(), "UNKNOWN");
        }
        assert_eq!(Code(999_999).name(), "UNKNOWN");
        assert_eq!(Code(999_999).usual_fault(), Fault::BUG);
    }
}
