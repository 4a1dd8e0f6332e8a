//! `cargo bench [-- WORKLOAD... --rounds N --out DIR --quick --peer NAME]`: kvwatch beside the
//! peers that this workspace builds. The same program as the binary `bench`.

use std::process::ExitCode;

use kvwatch_benches::{Peers, cli};

fn main() -> ExitCode {
    // cargo starts a benchmark in its package's folder. Paths on the command line, and the folder
    // of the results, are relative to the workspace instead.
    if let Err(error) = std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")) {
        eprintln!("bench: cannot enter the workspace's folder: {error}");
        return ExitCode::FAILURE;
    }
    cli::run(Peers::standard())
}
