//! `cargo run --release -p kvwatch-benches --bin bench -- [WORKLOAD]... [--rounds N] [--out DIR]
//! [--quick]`: kvwatch beside the peers that this workspace can build.

use std::process::ExitCode;

use kvwatch_benches::{Roster, cli};

fn main() -> ExitCode {
    cli::run(Roster::standard())
}
