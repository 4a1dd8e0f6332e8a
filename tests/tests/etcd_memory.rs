//! The server's memory under large values, transactions and replays: `make bounds` prints it.
//!
//! The server is set to hold 32 MiB of history, 8 MiB in the ingress, 128 MiB of pages and, for each
//! stream, one step of a replay and what the connection's window takes.

use std::fmt::Write as _;
use std::time::Duration;

use kvwatch_etcd::wire::etcdserverpb::request_op::Request;
use kvwatch_etcd::wire::etcdserverpb::{
    LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RequestOp, TxnRequest, WatchCreateRequest,
};
use kvwatch_tests::etcd::{Client, ServerProcess, WatchStream};

const MIB: u64 = 1024 * 1024;

/// The most memory above what the configured bounds add up to, in MiB.
const ABOVE_BOUNDS: u64 = 64;

/// A server, and its memory before anything was done with it.
struct Measured {
    server: ServerProcess,
    report: String,
}

impl Measured {
    fn start() -> Self {
        let server = ServerProcess::start(env!("CARGO_BIN_EXE_server"), &[]);
        Self {
            server,
            report: String::new(),
        }
    }

    async fn client(&self) -> Client {
        Client::connect(self.server.address()).await
    }

    /// Notes and returns the peak since the last note, and what is held now.
    fn note(&mut self, what: &str) -> (u64, u64) {
        let [peak, now] = ["VmHWM", "VmRSS"].map(|figure| self.server.memory(figure) / MIB);
        writeln!(self.report, "{what}: at most {peak} MiB, then {now} MiB").unwrap();
        self.server.reset_peak();
        (peak, now)
    }

    /// Waits until the peak no longer grows.
    async fn settle(&self) {
        let (mut peak, mut same) = (0, 0);
        while same < 20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.server.memory("VmHWM");
            same = if now == peak { same + 1 } else { 0 };
            peak = now;
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        print!("{}", self.report);
    }
}

async fn put(client: &Client, key: String, bytes: usize) {
    let request = PutRequest {
        key: key.into(),
        value: vec![7; bytes].into(),
        ..PutRequest::default()
    };
    client.kv().put(request).await.unwrap();
}

fn watch_from(key: &str, start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest {
        key: key.to_owned().into(),
        start_revision,
        ..WatchCreateRequest::default()
    }
}

#[tokio::test]
async fn bounded_server_holds_few_large_values_when_nobody_watches() {
    let mut measured = Measured::start();
    let client = measured.client().await;
    client.revision().await.unwrap();
    measured.note("idle");
    for number in 0..300 {
        put(&client, format!("k{}", number % 10), 1_400_000).await;
    }
    let (peak, _) = measured.note("300 puts of 1.4 MB, nobody watches");
    assert!(peak < 32 + 8 + 128 + ABOVE_BOUNDS, "{peak}");
}

#[tokio::test]
async fn bounded_server_replays_large_values_step_by_step() {
    let mut measured = Measured::start();
    let client = measured.client().await;
    for _ in 0..260 {
        put(&client, "k".to_owned(), MIB as usize).await;
    }
    measured.note("260 puts of 1 MiB");
    measured.server.kill();
    measured.server.restart();
    let client = measured.client().await;
    client.revision().await.unwrap();
    let (_, idle) = measured.note("idle, started again");
    let mut stream = client.watch().await.unwrap();
    stream.create(watch_from("missing", 2));
    assert!(stream.next().await.unwrap().created);
    put(&client, "missing".to_owned(), 1).await;
    assert_eq!(stream.next().await.unwrap().events.len(), 1);
    let (peak, _) = measured.note("a watch of a key that is not there, from revision 2");
    assert!(peak < idle + 16, "nothing of other keys is read: {peak}");
    let mut after = Vec::new();
    for _ in 0..2 {
        // Each on a connection of its own, because a client that does not read one fills its window.
        let mut unread: Vec<WatchStream> = Vec::new();
        for _ in 0..6 {
            let stream = measured.client().await.watch().await.unwrap();
            stream.create(watch_from("k", 2));
            unread.push(stream);
        }
        measured.settle().await;
        let (peak, _) = measured.note("six streams from revision 2 that are not read");
        assert!(peak < idle + ABOVE_BOUNDS, "{peak}");
        drop(unread);
        measured.settle().await;
        after.push(measured.note("after their end").1);
    }
    assert!(after[1] < after[0] + 16, "{after:?}");
}

#[tokio::test]
async fn bounded_server_shares_a_large_transaction_among_its_watches() {
    let mut measured = Measured::start();
    let client = measured.client().await;
    let grant = LeaseGrantRequest { ttl: 3600, id: 7 };
    client.lease().lease_grant(grant).await.unwrap();
    for part in 0..600 {
        let put = |number| RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key: format!("many/{part}/{number}").into(),
                lease: 7,
                ..PutRequest::default()
            })),
        };
        let transaction = TxnRequest {
            success: (0..100).map(put).collect(),
            ..TxnRequest::default()
        };
        client.kv().txn(transaction).await.unwrap();
    }
    let mut stream = client.watch().await.unwrap();
    for watch_id in 1..=200 {
        stream.create(WatchCreateRequest {
            key: "many/".into(),
            range_end: "many0".into(),
            watch_id,
            ..WatchCreateRequest::default()
        });
    }
    for _ in 0..200 {
        assert!(stream.next().await.unwrap().created);
    }
    let (_, before) = measured.note("60,000 keys of a lease, 200 watches");
    let revoke = LeaseRevokeRequest { id: 7 };
    client.lease().lease_revoke(revoke).await.unwrap();
    measured.settle().await;
    let (peak, _) = measured.note("the lease is revoked");
    assert!(peak < before + ABOVE_BOUNDS, "{peak}");
    drop(stream);
    measured.settle().await;
    measured.note("after their end");
}
