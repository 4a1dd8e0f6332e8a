//! A real etcd and ours get the same calls, and answer the same.
//!
//! What may differ, and why, is the table in `kvwatch_tests::etcd::compare`.

use kvwatch_tests::etcd::compare::Pair;
use kvwatch_tests::etcd::{Client, Real, Standalone};

/// Each of about twenty calls, every other one with a watch stream.
const SEQUENCES: u64 = 600;

#[tokio::test]
async fn generated_sequences_are_answered_as_by_a_real_etcd() {
    let ours = Standalone::start(env!("CARGO_BIN_EXE_server"), &[]);
    let theirs = Real::start();
    let mut pair = Pair::new(
        Client::connect(ours.address()).await,
        Client::connect(theirs.address()).await,
    );
    for seed in 0..SEQUENCES {
        if seed % 100 == 0 {
            println!("{seed} sequences without a difference");
        }
        if let Err(difference) = pair.run(seed, 20).await {
            panic!("{difference}");
        }
    }
}
