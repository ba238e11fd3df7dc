//! The integration tests of the workspace: one binary, one module per subject.

mod conformance;
mod contract;
mod frozen;
mod support;
mod tidy;
mod upgrade;
mod vm;
