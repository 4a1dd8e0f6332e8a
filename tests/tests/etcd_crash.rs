//! kill -9 under load: nothing that was answered is lost, and no promise of a watch is broken,
//! whoever watches. `make crashes` does it fifty times.

use kvwatch_tests::etcd::{Standalone, crash};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_the_server() {
    let server = Standalone::start(
        env!("CARGO_BIN_EXE_server"),
        &["--history", "200", "--progress-interval", "0.05"],
    );
    let kills = std::env::var("KILLS").map_or(5, |kills| kills.parse().expect("a number"));
    crash::crash(server, kills).await;
}
