//! Real threads: many writers behind one lock, and a crowd of watchers that come and go.

use std::time::Instant;

use kvwatch_tests::HANG;
use kvwatch_tests::stress::{Figures, Progress, Round};

/// Eight writers through one lock and two hundred watchers at a time.
fn crowd(seed: u64, history: usize) -> Round {
    Round {
        seed,
        writers: 8,
        commits: 2_000,
        watchers: 200,
        lives: 4,
        history,
        ingress: 1024,
        inline: seed % 2 == 1,
        lossy: false,
    }
}

/// Watchers came and went, and many of them were slow.
fn is_crowded(progress: &Progress) -> bool {
    progress.watchers > 200 && progress.stats.fell_behind > 100
}

/// Checks that enough watchers live until the shutdown. The seed decides that: it keeps two thirds
/// of the first watchers alive.
fn assert_crowded(figures: &Figures) {
    println!("{figures:?}");
    assert!(figures.watchers > 200 && figures.fell_behind > 100);
    assert!(figures.complete > 20, "{figures:?}");
}

#[test]
fn every_promise_holds_for_two_hundred_watchers_with_an_ample_history() {
    for seed in [1, 2] {
        let round = crowd(seed, 1_000_000);
        let figures = round.run_until(is_crowded);
        let figures = figures.unwrap_or_else(|broken| panic!("{broken}"));
        assert_crowded(&figures);
        assert_eq!(figures.lags, 0);
    }
}

#[test]
fn every_promise_holds_for_two_hundred_watchers_with_a_short_history() {
    for seed in [3, 4] {
        let round = crowd(seed, 500);
        let figures = round.run_until(|now| is_crowded(now) && now.stats.lagged > 0);
        let figures = figures.unwrap_or_else(|broken| panic!("{broken}"));
        assert_crowded(&figures);
        assert!(figures.lags > 0);
    }
}

/// At least thirty rounds, and more until each kind of trouble has occurred.
#[test]
fn every_promise_holds_in_rounds_of_every_kind() {
    let deadline = Instant::now() + HANG;
    let mut all = Figures::default();
    for seed in 10.. {
        let round = Round::random(seed, 24, 1_000);
        all.add(&round.run().unwrap_or_else(|broken| panic!("{broken}")));
        let enough = all.lags > 0 && all.caught_up > 0 && all.cancelled > 0;
        if seed >= 39 && enough {
            break;
        }
        assert!(seed < 39 || Instant::now() < deadline, "never: {all:?}");
    }
    println!("{all:?}");
}
