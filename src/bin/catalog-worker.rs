//! The worker process that runs untrusted programs for Catalog.

fn main() {}
