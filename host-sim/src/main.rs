//! The stand-in host as a command: a node on this machine, and everything one does with extensions.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    host_sim::child_main();
    host_sim::loader::make_room_for_images();
    cli::main()
}
