//! The one error type that crosses the boundary: an open code, whose fault it was, and the flattened chain of causes.

use abi_stable::StableAbi;
use abi_stable::std_types::{RResult, RString, RVec};
use async_ffi::FfiFuture;

use super::message::Bag;

/// The result of a call across the boundary.
pub type AbiResult<T> = RResult<T, AbiError>;

/// The result of an asynchronous call across the boundary. Dropping it cancels the call.
pub type Fut<T> = FfiFuture<AbiResult<T>>;

/// An open set of error codes: a receiver treats a code it does not know as [`Code::INTERNAL`].
///
/// Codes are append-only; `docs/abi.md` lists them. Codes from 1,000 up belong to extensions.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

/// Whose fault an error was; decides the exit status of a command and whether trying again can help.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault(pub u32);

/// An error as it travels. Hosts and extensions convert it to [`crate::Error`] at once.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiError {
    /// What went wrong, for programs.
    pub code: Code,
    /// Whose fault it was.
    pub fault: Fault,
    /// A set of [`AbiError::RETRYABLE`] and [`AbiError::POISONED`].
    pub flags: u32,
    /// What went wrong, for people: one sentence, lower case, no full stop.
    pub message: RString,
    /// The messages of the causes, nearest first.
    pub chain: RVec<RString>,
    /// A [`crate::records::Detail`]; may be empty.
    pub detail: Bag,
}

impl AbiError {
    /// Trying the same call again may succeed.
    pub const RETRYABLE: u32 = 1;
    /// The extension can no longer be trusted to hold its invariants; the host retires this generation.
    pub const POISONED: u32 = 2;
}

impl Fault {
    /// The caller's data or arguments.
    pub const INPUT: Self = Self(1);
    /// A remote party misbehaved or could not be reached.
    pub const PEER: Self = Self(2);
    /// Disk, network, time or a missing program on this machine.
    pub const ENVIRONMENT: Self = Self(3);
    /// A policy, a grant or a signature said no.
    pub const POLICY: Self = Self(4);
    /// One of our own invariants does not hold.
    pub const BUG: Self = Self(5);

    /// Gives the name used in JSON answers and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::INPUT => "input",
            Self::PEER => "peer",
            Self::ENVIRONMENT => "environment",
            Self::POLICY => "policy",
            _ => "bug",
        }
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $value:literal, $fault:ident;)+) => {
        impl Code {
            $($(#[doc = $doc])+ pub const $name: Self = Self($value);)+

            /// Every code of this version of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Gives the name used in JSON answers, logs and documentation; `UNKNOWN` for a code of a newer contract.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ _ => "UNKNOWN" }
            }

            /// Gives the fault an error of this code usually has.
            pub fn usual_fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)+ _ => Fault::BUG }
            }
        }
    };
}

codes! {
    /// An invariant of the callee does not hold.
    INTERNAL = 1, BUG;
    /// The callee panicked; the panic was contained.
    PANIC = 2, BUG;
    /// The callee does not know this verb, method or service.
    UNSUPPORTED = 3, INPUT;
    /// The call was cancelled, by its caller or because the extension stops.
    CANCELLED = 4, ENVIRONMENT;
    /// The deadline of the call passed.
    DEADLINE_EXCEEDED = 5, ENVIRONMENT;
    /// An argument, a manifest or a file is not what it should be.
    INVALID_ARGUMENT = 6, INPUT;
    /// The named thing does not exist.
    NOT_FOUND = 7, INPUT;
    /// The named thing exists already and cannot be replaced.
    ALREADY_EXISTS = 8, INPUT;
    /// The administrator's manifest does not grant the capability that the call needs.
    CAPABILITY_NOT_GRANTED = 9, POLICY;
    /// A limit of the manifest or of the package would be passed.
    RESOURCE_LIMIT_EXCEEDED = 10, POLICY;
    /// The machine cannot give the resource: none free, or no such device.
    RESOURCE_UNAVAILABLE = 11, ENVIRONMENT;
    /// The extension is not in a state in which it takes this call.
    NOT_RUNNING = 12, ENVIRONMENT;
    /// Versions of host, extension, format or contract do not fit together.
    VERSION_INCOMPATIBLE = 13, INPUT;
    /// A signature or certificate does not verify.
    CERTIFICATE_VALIDATION_FAILED = 14, POLICY;
    /// A consensus proof is missing or does not verify.
    CONSENSUS_VALIDATION_FAILED = 15, POLICY;
    /// The extension could not be constructed or activated.
    INITIALIZATION_FAILED = 16, ENVIRONMENT;
    /// Requirements cannot be satisfied, or depend on each other in a circle.
    DEPENDENCY_RESOLUTION_FAILED = 17, INPUT;
    /// Reading or writing failed.
    IO = 18, ENVIRONMENT;
    /// Bytes do not have the digest they were promised to have.
    INTEGRITY = 19, POLICY;
    /// No extension of this id is known.
    EXTENSION_NOT_FOUND = 20, INPUT;
    /// An extension of this id is loaded already.
    EXTENSION_ALREADY_LOADED = 21, INPUT;
    /// The program of a package failed.
    RUNTIME_ERROR = 22, INPUT;
    /// The program of a package ran longer than it may.
    TIMEOUT = 23, POLICY;
    /// The program of a package needed more memory than it may have.
    MEMORY_LIMIT = 24, POLICY;
    /// The program of a package wrote more output than it may.
    OUTPUT_LIMIT = 25, POLICY;
    /// A policy forbids the operation.
    POLICY_DENIED = 26, POLICY;
    /// A file that was written by this program is damaged.
    CORRUPT = 27, ENVIRONMENT;
    /// Too many calls at once; a later try may succeed.
    BUSY = 28, ENVIRONMENT;
}
