//! Transfers between real endpoints on the loopback interface.

mod faults;
mod hostile;
mod network;
mod paths;
mod resume;
mod serving;
mod transfer;

/// A blob in memory, for the tests of other modules.
pub(super) fn memory(bytes: &[u8]) -> impl super::BlobFile + use<> {
    network::Memory(bytes.to_vec())
}
