//! The integration tests of the workspace: one binary, one module per subject.

mod audit;
mod authority;
mod basic;
mod bucket;
mod cli;
mod cluster;
mod conformance;
mod consensus;
mod console;
mod contract;
mod document;
mod executions;
mod flow;
mod frozen;
mod guides;
mod inspect;
mod julia;
mod mesh;
mod observe;
mod policy;
mod programs;
mod remote;
mod resolve;
mod sandbox;
mod schemas;
mod search;
mod store;
mod support;
mod telemetry;
mod templates;
mod tidy;
mod trust;
mod upgrade;
mod vm;
#[expect(dead_code, reason = "the unit tests of the client have it misbehave in more ways")]
mod web;
