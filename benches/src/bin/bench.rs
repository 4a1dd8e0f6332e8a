//! `cargo run --release -p kvwatch-benches -- [WORKLOAD]... [--rounds N] [--out DIR] [--quick]
//! [--peer NAME]`: kvwatch beside the peers that this workspace builds.

use std::process::ExitCode;

use kvwatch_benches::{Peers, cli};

fn main() -> ExitCode {
    cli::run(Peers::standard())
}
