//! Real threads: many writers behind one lock, a crowd of watchers that come and go, and a judge.

use kvwatch_tests::stress::{Figures, Round};

/// Eight writers through one lock and two hundred watchers at a time.
fn crowded(seed: u64, history: usize) -> Figures {
    let round = Round {
        seed,
        writers: 8,
        commits: 2_000,
        watchers: 200,
        lives: 4,
        history,
        ingress: 1024,
        inline: seed % 2 == 1,
        lossy: false,
    };
    let figures = round.run().unwrap_or_else(|broken| panic!("{broken}"));
    println!("{figures:?}");
    assert!(figures.watchers > 200, "they came and went: {figures:?}");
    assert!(figures.complete > 20, "some stayed to the end: {figures:?}");
    assert!(figures.fell_behind > 100, "some were slow: {figures:?}");
    figures
}

#[test]
fn eight_writers_and_two_hundred_watchers_with_an_ample_history() {
    for seed in [1, 2] {
        assert_eq!(crowded(seed, 1_000_000).lags, 0);
    }
}

#[test]
fn eight_writers_and_two_hundred_watchers_with_a_short_history() {
    for seed in [3, 4] {
        assert!(crowded(seed, 500).lags > 0);
    }
}

#[test]
fn rounds_of_every_kind() {
    let mut all = Figures::default();
    for seed in 10..40 {
        let round = Round::random(seed, 24, 1_000);
        all.add(&round.run().unwrap_or_else(|broken| panic!("{broken}")));
    }
    println!("{all:?}");
    assert!(all.lags > 0 && all.caught_up > 0 && all.cancelled > 0);
}
