//! `cargo run --release --manifest-path benches/d-engine/Cargo.toml -- [WORKLOAD]... [--rounds N]
//! [--out DIR] [--quick] [--peer NAME]`: kvwatch beside all of its peers.

use std::process::ExitCode;

use kvwatch_benches::{Peers, cli};
use kvwatch_benches_d_engine::DEngine;

fn main() -> ExitCode {
    cli::run(Peers::standard().with(DEngine))
}
