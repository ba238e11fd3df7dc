//! The integration tests of the workspace: one binary, one module per subject.

mod tidy;
mod vm;
