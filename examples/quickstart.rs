//! The main job in one run: a small store on redb, fed with the history of a git repository, and
//! watched in every way. `--help` says more; `src/quickstart.rs` has the whole of it.

use std::process::ExitCode;

use clap::Parser;
use kvwatch_examples::exit;
use kvwatch_examples::quickstart::{Args, run};

fn main() -> ExitCode {
    exit("quickstart", run(&Args::parse(), &mut std::io::stdout()))
}
