//! Thousands of watch streams, and clients among them that do not read.
//!
//! The same writes run twice: with readers only, and with clients beside them that do not read.
//! Every stream is checked, including those that did not read, once they do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvwatch::{Change, Filter, Revision};
use kvwatch_etcd::wire::etcdserverpb::request_op::Request;
use kvwatch_etcd::wire::etcdserverpb::{PutRequest, RequestOp, TxnRequest, WatchCreateRequest};
use kvwatch_etcd::wire::mvccpb::KeyValue;
use tokio::task::JoinSet;

use super::event::{seen, text};
use super::{Client, ServerProcess, WatchStream};
use crate::HANG;
use crate::checker::{Complete, assert_kept};
use crate::record::{Item, Log, Trace};
use crate::selector::NaiveSelector;

/// The number of readers, and of their connections.
const READERS: usize = 2000;
const CONNECTIONS: usize = 20;

/// The number of clients that do not read, each on a connection of its own, and the watches of
/// each. If all their events waited in memory, these would take half a gigabyte.
const SILENT: usize = 20;
const WATCHES: i64 = 100;

/// The writes: with [`READERS`], a million events.
const WRITES: u64 = 100;
const KEYS: u64 = 5;
const VALUE: usize = 512;

/// The results of a round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// The time from the first write until every reader has the last event.
    pub time: Duration,
    /// The events that all readers received.
    pub delivered: usize,
    /// The server's peak memory in bytes.
    pub peak: u64,
}

/// The results of both rounds.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// The server's memory in bytes before the first stream.
    pub initial: u64,
    /// With readers only.
    pub alone: Round,
    /// With clients beside the readers that do not read.
    pub beside: Round,
    /// The server's memory in bytes after the last stream.
    pub after: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let Self { alone, beside, .. } = self;
        writeln!(
            f,
            "{READERS} watch streams      alone   beside {SILENT} that do not read"
        )?;
        writeln!(
            f,
            "events delivered   {:>9}   {}",
            alone.delivered, beside.delivered
        )?;
        let [first, second] = [alone, beside].map(|round| round.time.as_millis());
        writeln!(f, "until all events   {first:>6} ms   {second} ms")?;
        let [first, second] = [alone, beside].map(|round| megabytes(round.peak));
        writeln!(f, "server at its peak {first:>6} MB   {second} MB")?;
        let [initial, after] = [self.initial, self.after].map(megabytes);
        write!(
            f,
            "before the first stream {initial} MB, after the last {after} MB"
        )
    }
}

/// Runs both rounds against a new server.
///
/// # Panics
/// If a promise is broken.
pub async fn crowd(server: &ServerProcess) -> Report {
    let client = Client::connect(server.address()).await;
    // This connection is counted among the server's descriptors once it has an answer.
    client.revision().await.expect("an answer");
    let initial = server.memory("VmRSS");
    let descriptors = descriptors(server);
    let alone = round(server, &client, 0).await;
    let beside = round(server, &client, SILENT).await;
    let streams_dropped = Instant::now();
    while self::descriptors(server) > descriptors {
        assert!(
            streams_dropped.elapsed() < HANG,
            "the server keeps closed connections"
        );
        tokio::task::yield_now().await;
    }
    Report {
        initial,
        alone,
        beside,
        after: server.memory("VmRSS"),
    }
}

async fn round(server: &ServerProcess, client: &Client, silent: usize) -> Round {
    server.reset_peak();
    let key = format!("beside {silent}");
    let current = client.revision().await.expect("an answer").cast_unsigned();
    let log = Arc::new(log(&key, current + 1));
    let mut idle = Vec::new();
    for _ in 0..silent {
        let client = Client::connect(server.address()).await;
        idle.push(open_stream(&client, &key, WATCHES).await);
    }
    let mut readers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let client = Client::connect(server.address()).await;
        for _ in 0..READERS / CONNECTIONS {
            let stream = open_stream(&client, &key, 1).await;
            readers.spawn(read(stream, Arc::clone(&log), key.clone(), 1));
        }
    }
    let begin = Instant::now();
    for (revision, _) in &log.transactions {
        let written = client.kv().txn(write(&key, *revision)).await;
        let header = written.expect("an answer").into_inner().header;
        let header = header.expect("every answer has one");
        assert_eq!(header.revision.cast_unsigned(), *revision);
    }
    let mut delivered = 0;
    while let Some(events) = readers.join_next().await {
        delivered += events.expect("a reader");
    }
    let time = begin.elapsed();
    let peak = server.memory("VmHWM");
    for stream in idle {
        read(stream, Arc::clone(&log), key.clone(), WATCHES).await;
    }
    Round {
        time,
        delivered,
        peak,
    }
}

fn value(revision: Revision) -> String {
    format!("{revision} {}", "x".repeat(VALUE))
}

fn write(key: &str, revision: Revision) -> TxnRequest {
    let put = |nth| RequestOp {
        request: Some(Request::RequestPut(PutRequest {
            key: format!("{key}/{nth}").into(),
            value: value(revision).into(),
            ..PutRequest::default()
        })),
    };
    TxnRequest {
        success: (0..KEYS).map(put).collect(),
        ..TxnRequest::default()
    }
}

/// The writes of a round, from this revision on.
fn log(key: &str, first: Revision) -> Log {
    let write = |version: u64| {
        let kv = KeyValue {
            value: value(first + version).into(),
            create_revision: first.cast_signed(),
            mod_revision: (first + version).cast_signed(),
            version: version as i64 + 1,
            ..KeyValue::default()
        };
        let put = |nth| Change::put(format!("{key}/{nth}"), text(&kv));
        (first + version, (0..KEYS).map(put).collect())
    };
    Log {
        transactions: (0..WRITES).map(write).collect(),
        ..Log::default()
    }
}

/// Opens a stream with a number of watches of the keys, all of which start before the first write.
async fn open_stream(client: &Client, key: &str, watches: i64) -> WatchStream {
    let mut stream = client.watch().await.expect("a stream");
    for watch_id in 1..=watches {
        stream.create(WatchCreateRequest {
            key: format!("{key}/").into(),
            // '0' follows '/'.
            range_end: format!("{key}0").into(),
            watch_id,
            ..WatchCreateRequest::default()
        });
    }
    for _ in 1..=watches {
        let response = stream.next().await.expect("a response");
        assert!(response.created && !response.canceled, "{response:?}");
    }
    stream
}

/// Reads until each watch has the last revision, checks the watches, and returns the number of
/// events.
async fn read(mut stream: WatchStream, log: Arc<Log>, key: String, watches: i64) -> usize {
    let last = log.last();
    let mut traces: BTreeMap<i64, Trace> = (1..=watches)
        .map(|id| (id, trace(&key, id, log.transactions[0].0)))
        .collect();
    let mut unfinished = watches;
    while unfinished > 0 {
        let response = stream.next().await.expect("a response");
        assert!(!response.canceled, "{response:?}");
        let trace = traces.get_mut(&response.watch_id).expect("its id");
        let events = response.events.into_iter();
        let batch: Vec<_> = events.map(|event| seen(event, false)).collect();
        if batch.last().is_some_and(|event| event.revision == last) {
            unfinished -= 1;
        }
        trace.items.push(Item::Batch(batch));
    }
    for trace in traces.values() {
        assert_kept(&log, trace, Complete::UpTo(last));
    }
    traces.values().map(Trace::events).sum()
}

fn trace(key: &str, id: i64, start: Revision) -> Trace {
    Trace {
        name: format!("{key}, watch {id}"),
        selector: NaiveSelector::Prefix(format!("{key}/").into()),
        filter: Filter::All,
        prev: false,
        start,
        requested_start: None,
        items: Vec::new(),
        floors: Vec::new(),
    }
}

/// The number of the server's open files and connections.
fn descriptors(server: &ServerProcess) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.pid()));
    descriptors.expect("it runs").count()
}
