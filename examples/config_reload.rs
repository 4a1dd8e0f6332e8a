//! A TCP server whose settings follow a prefix of a store: changed while clients talk to it, and
//! checked to reach every connection. `--help` says more; `src/config_reload.rs` has the whole of
//! it.

use std::process::ExitCode;

use clap::Parser;
use kvwatch_examples::config_reload::{Args, run};
use kvwatch_examples::exit;

fn main() -> ExitCode {
    exit("config_reload", run(&Args::parse(), &mut std::io::stdout()))
}
