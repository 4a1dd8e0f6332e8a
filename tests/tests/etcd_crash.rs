//! kill -9 under load: no answered write is lost, and no watch breaks a promise. `make crashes`
//! kills the server fifty times.

use kvwatch_tests::etcd::{ServerProcess, crash};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reliable_answered_writes_and_watches_survive_when_the_server_is_killed() {
    let server = ServerProcess::start(
        env!("CARGO_BIN_EXE_server"),
        &["--history", "200", "--progress-interval", "0.05"],
    );
    let kills = std::env::var("KILLS").map_or(5, |kills| kills.parse().expect("a number"));
    crash::crash(server, kills).await;
}
