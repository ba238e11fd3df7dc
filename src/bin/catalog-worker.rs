//! The worker process that runs untrusted programs for Catalog; `catalog::vm::worker` is what it does.

use std::process::ExitCode;

#[cfg(any(feature = "lua", feature = "wasm"))]
fn main() -> ExitCode {
    catalog::vm::worker::main()
}

#[cfg(not(any(feature = "lua", feature = "wasm")))]
fn main() -> ExitCode {
    eprintln!("catalog-worker: this build has no engine; build it with the feature `lua` or `wasm`");
    ExitCode::FAILURE
}
