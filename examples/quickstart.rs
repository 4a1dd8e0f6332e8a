//! The main job in one run: a small store on redb, fed with the history of a git repository, and
//! watched in every way. `--help` says more; `src/quickstart.rs` has the whole of it.

use std::process::ExitCode;

use clap::Parser;
use kvwatch_examples::quickstart::{Args, run};

fn main() -> ExitCode {
    match run(&Args::parse(), &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}
