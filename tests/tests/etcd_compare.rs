//! etcd and our server receive the same calls and give the same answers.
//!
//! The table in `kvwatch_tests::etcd::compare` lists what may differ, and why.

use kvwatch_tests::etcd::compare::Pair;
use kvwatch_tests::etcd::{Client, EtcdProcess, ServerProcess};

/// Sequences of about twenty calls each. Every other sequence has a watch stream.
const SEQUENCES: u64 = 600;

#[tokio::test]
async fn generated_sequences_are_answered_as_etcd_answers_them() {
    let ours = ServerProcess::start(env!("CARGO_BIN_EXE_server"), &[]);
    let etcd = EtcdProcess::start();
    let mut pair = Pair::new(
        Client::connect(ours.address()).await,
        Client::connect(etcd.address()).await,
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
