//! Servers that come, go and crash, and a client that finds out from a watched store, under smol.
//! `--help` says more; `src/service_discovery.rs` has the whole of it.

use std::process::ExitCode;

use clap::Parser;
use kvwatch_examples::exit;
use kvwatch_examples::service_discovery::{Args, run};

fn main() -> ExitCode {
    exit(
        "service_discovery",
        run(&Args::parse(), &mut std::io::stdout()),
    )
}
