//! A TCP server whose settings follow a prefix of a store. They change while clients are connected,
//! and the program checks that each change reaches every connection. `--help` lists the options;
//! the program is in `src/config_reload.rs`.

use std::process::ExitCode;

use clap::Parser;
use kvwatch_examples::config_reload::{Args, run};
use kvwatch_examples::exit;

fn main() -> ExitCode {
    exit("config_reload", run(&Args::parse(), &mut std::io::stdout()))
}
