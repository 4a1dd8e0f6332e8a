//! Locks over a watched store: threads wait, with deadlines, for the deletion of one key. `--help`
//! says more; `src/lock_wait.rs` has the whole of it.

use std::process::ExitCode;

use clap::Parser;
use kvwatch_examples::exit;
use kvwatch_examples::lock_wait::{Args, run};

fn main() -> ExitCode {
    exit("lock_wait", run(&Args::parse(), &mut std::io::stdout()))
}
