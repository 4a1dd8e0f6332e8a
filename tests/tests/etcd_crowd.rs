//! Two thousand watch streams of the server, a million events, and clients that do not read. No
//! client misses an event, and unread events do not pile up in the server.

use kvwatch_tests::etcd::{ServerProcess, crowd};

/// The most memory in bytes: less than half of the events that are not read.
const MOST: u64 = 250_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolated_clients_that_do_not_read_cost_little_memory_and_delay_no_reader() {
    let server = ServerProcess::start(env!("CARGO_BIN_EXE_server"), &[]);
    let report = crowd::crowd(&server).await;
    println!("{report}");
    assert!(report.alone.delivered >= 1_000_000 && report.beside.delivered >= 1_000_000);
    assert!(report.alone.peak < MOST && report.beside.peak < MOST);
}
