//! Answers about memory that is kept of results.

use super::shapes;

shapes! {
    /// What this node keeps.
    Kept { memory: Vec<Region> }
    /// An array or bytes of a result.
    Region {
        /// `hypermesh://NETWORK:NODE/PORT`.
        address: String,
        /// What its holder shows; worth nothing to anybody else.
        capability: String,
        execution: String,
        package: String,
        /// Where it is in the value: names and numbers, each behind a slash.
        at: String,
        /// The type of its elements; bytes have none.
        dtype: Option<String>,
        /// How many elements in each dimension.
        shape: Vec<u64>,
        bytes: u64,
        /// The holder, as capabilities know it.
        holder: String,
        /// `read` or `write`.
        rights: Vec<String>,
        expires_at: String,
    }
    /// What was read.
    Bytes {
        offset: u64,
        length: u64,
        /// In Base64, where they are in no file.
        bytes: Option<String>,
        file: Option<String>,
    }
    /// What was written.
    Written { offset: u64, length: u64 }
    /// What was done to a word.
    Word {
        offset: u64,
        /// What was there.
        before: u64,
        /// It is another now, unless nothing was added.
        changed: bool,
    }
    /// Memory that is not kept any more.
    Ended { address: String, package: String, execution: String }
}
