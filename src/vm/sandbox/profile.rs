//! What each kind of engine needs of a sandbox, and no more.

use std::path::PathBuf;

use super::filter::Width;
use super::root::Contents;
use super::{Plan, data_bytes};
use crate::vm::program::Language;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The bounds and openings of one sandbox.
#[derive(Debug)]
pub(super) struct Profile {
    /// Memory that is written, in bytes.
    pub(super) data_bytes: u64,
    /// Addresses, in bytes: what is reserved counts, whether it is used or not.
    pub(super) address_bytes: u64,
    /// Threads.
    pub(super) threads: u64,
    /// Descriptors.
    pub(super) descriptors: u64,
    /// Size of a file, in bytes.
    pub(super) file_bytes: u64,
    /// System calls.
    pub(super) width: Width,
    /// Files.
    pub(super) contents: Contents,
    /// How many of the first descriptors are the engine's.
    pub(super) inherited: i32,
}

impl Profile {
    /// Takes back what is well only in a root of its own.
    pub(super) fn without_private_root(&mut self) {
        if let Width::Broad { attributes, .. } = &mut self.width {
            *attributes = false;
        }
    }

    /// Gives the profile of a plan.
    pub(super) fn of(plan: &Plan<'_>, inherited: i32) -> Self {
        let data_bytes = data_bytes(plan.language, plan.limits.memory_bytes);
        let execute = plan.image.is_some();
        let read_only: Vec<PathBuf> = plan.image.map(|image| image.read_only.clone()).unwrap_or_default();
        // Enough for a text that is its own worker program; libraries of the engine are mapped by now.
        let own = Self {
            data_bytes,
            address_bytes: data_bytes + GIB,
            threads: 0,
            // Socket, pipes, arena; the rest is room for `poll`.
            descriptors: 16,
            file_bytes: 0,
            width: Width::Narrow,
            contents: Contents { read_only, system: false, temp_bytes: plan.limits.temp_bytes },
            inherited,
        };
        let runtime = |address_bytes, system| Self {
            address_bytes,
            threads: 64,
            descriptors: 256,
            file_bytes: plan.limits.temp_bytes,
            width: Width::Broad { execute, attributes: true },
            contents: Contents { system, read_only: own.contents.read_only.clone(), ..own.contents },
            ..own
        };
        match plan.language {
            Language::Lua => own,
            // Each linear memory reserves 4 GiB and a guard.
            Language::Wasm => runtime(256 * GIB, execute),
            // Julia 1.5 reserves 1.5 GiB when idle; it writes code through `/proc/self/mem`.
            Language::Julia => runtime(data_bytes + 8 * GIB, true),
            // The attacks get the widest sandbox there is.
            Language::Probe => runtime(data_bytes + 8 * GIB, true),
        }
    }
}

/// Gives the memory an engine needs beside its programs', in bytes.
pub(super) fn overhead_bytes(language: Language) -> u64 {
    match language {
        Language::Lua => 0,
        Language::Probe => 64 * MIB,
        // Compiled code and the compiler's own memory.
        Language::Wasm => 256 * MIB,
        // Version 1.5 has 284 MiB when idle.
        Language::Julia => 768 * MIB,
    }
}
