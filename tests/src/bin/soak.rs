//! Runs rounds of [`kvwatch_tests::stress`] for some minutes, and prints their counts.
//!
//! `make soak`, or `cargo run --release -p kvwatch-tests --bin soak [MINUTES] [FIRST SEED]`

use std::alloc::System;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cap::Cap;
use kvwatch_tests::stress::{Figures, Round};

/// Counts the allocated bytes, so that a leak shows early.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

fn argument(nth: usize, default: u64) -> Result<u64, String> {
    match std::env::args().nth(nth) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| format!("{text:?} is not a number: soak [MINUTES] [FIRST SEED]")),
    }
}

fn run() -> Result<(), String> {
    let minutes = argument(1, 10)?;
    let mut seed = argument(2, 1)?;
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let (mut all, mut rounds, mut after_first) = (Figures::default(), 0_u64, 0);
    while Instant::now() < until {
        // Many watchers with short lives, or a few that receive a lot.
        let round = match seed % 3 {
            0 => Round::random(seed, 200, 1_000),
            1 => Round::random(seed, 16, 20_000),
            _ => Round {
                lives: 40,
                ..Round::random(seed, 64, 2_000)
            },
        };
        all.add(&round.run()?);
        rounds += 1;
        seed += 1;
        if rounds == 1 {
            after_first = HEAP.allocated();
        }
        if rounds.is_multiple_of(100) {
            println!(
                "{rounds} rounds, {} bytes allocated: {all:?}",
                HEAP.allocated()
            );
        }
    }
    println!("{rounds} rounds, up to seed {seed}: {all:?}");
    println!(
        "allocated after the first round {after_first} bytes, after the last {}",
        HEAP.allocated()
    );
    println!("no promise was broken");
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(broken) => {
            eprintln!("{broken}");
            ExitCode::FAILURE
        }
    }
}
