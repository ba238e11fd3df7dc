//! The integration tests of the workspace: one binary, one module per subject.

fn main() {}
