//! Servers that start, stop and crash, and a client that finds them through a watched store, on
//! smol. `--help` lists the options; the program is in `src/service_discovery.rs`.

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
