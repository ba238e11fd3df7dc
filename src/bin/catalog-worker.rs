//! The worker process that runs untrusted programs for Catalog; `catalog::vm::worker` is what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    catalog::vm::worker::main()
}
