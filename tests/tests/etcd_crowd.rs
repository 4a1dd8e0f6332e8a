//! Two thousand watch streams of the standalone server, a million events, and clients that do not
//! read: nobody misses anything, and what is not read does not pile up in the server.

use kvwatch_tests::etcd::{Standalone, crowd};

/// Less than half of what would wait if all that is not read did.
const MOST: u64 = 250_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_costs_the_server_little_and_the_readers_nothing() {
    let server = Standalone::start(env!("CARGO_BIN_EXE_server"), &[]);
    let report = crowd::crowd(&server).await;
    println!("{report}");
    assert!(report.alone.delivered >= 1_000_000 && report.beside.delivered >= 1_000_000);
    assert!(report.alone.peak < MOST && report.beside.peak < MOST);
}
