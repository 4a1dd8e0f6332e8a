//! Locks in a watched store: threads wait, with deadlines, for the deletion of a key. `--help`
//! lists the options; the program is in `src/lock_wait.rs`.

use std::process::ExitCode;

use clap::Parser;
use kvwatch_examples::exit;
use kvwatch_examples::lock_wait::{Args, run};

fn main() -> ExitCode {
    exit("lock_wait", run(&Args::parse(), &mut std::io::stdout()))
}
