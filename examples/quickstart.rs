//! A small store on redb, loaded with the history of a git repository, and watched in every way.
//! `--help` lists the options; the program is in `src/quickstart.rs`.

use std::process::ExitCode;

use clap::Parser;
use kvwatch_examples::exit;
use kvwatch_examples::quickstart::{Args, run};

fn main() -> ExitCode {
    exit("quickstart", run(&Args::parse(), &mut std::io::stdout()))
}
