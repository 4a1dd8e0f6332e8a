//! The workloads and their readings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::ValueEnum;
use futures::future::try_join_all;
use tokio::runtime;
use tokio::task::{self, JoinHandle};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::AnyError;
use crate::client::{Connection, Watch};
use crate::server::Server;

/// Connections of each workload. Streams and calls are spread over them.
const CONNECTIONS: usize = 10;
const VALUE_BYTES: usize = 64;
/// Distinct keys.
const KEYS: usize = 1000;

/// Concurrent puts of the workloads that put as fast as possible.
const CONCURRENT_PUTS: usize = 250;
const PUT_FOR: Duration = Duration::from_millis(2500);
const WARM_UP: Duration = Duration::from_millis(500);

/// Watches of the one prefix.
const WATCHES: usize = 1000;
/// Concurrent puts under that prefix.
const CONCURRENT_HOT_PUTS: usize = 100;

const PACED: usize = 2500;
const PACE: Duration = Duration::from_millis(2);

const IDLE: usize = 5000;

/// A workload that takes longer hangs.
const HANG: Duration = Duration::from_secs(120);

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Workload {
    /// As many puts as possible, of 1,000 keys, without a watcher
    Puts,
    /// The same with 100 streams, each with a watch of one key
    Puts100,
    /// The same with 1,000
    Puts1000,
    /// 1,000 watches of one prefix, each on its own stream
    Streams1000,
    /// 1,000 watches of one prefix, on 10 streams
    Streams10,
    /// 500 puts a second, and one watch that receives them
    Latency,
    /// 5,000 streams with one watch each, without events
    Idle,
}

/// The unit of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    PutsPerSecond,
    EventsPerSecond,
    Seconds,
    Bytes,
}

/// A reading of a workload, one row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    /// The goal: how many times better than etcd.
    pub(crate) goal: Option<f64>,
}

impl Workload {
    pub(crate) const ALL: [Self; 7] = [
        Self::Puts,
        Self::Puts100,
        Self::Puts1000,
        Self::Streams1000,
        Self::Streams10,
        Self::Latency,
        Self::Idle,
    ];

    /// The readings that [`run`](Self::run) returns.
    pub(crate) fn rows(self) -> Vec<Row> {
        let row = |what, unit, goal| Row { what, unit, goal };
        let after = |what| row(what, Unit::Bytes, None);
        match self {
            Self::Puts => vec![
                row("puts, no watcher", Unit::PutsPerSecond, Some(1.0)),
                after("  resident after it"),
            ],
            Self::Puts100 => vec![row("puts, 100 watchers", Unit::PutsPerSecond, Some(1.0))],
            Self::Puts1000 => vec![row("puts, 1,000 watchers", Unit::PutsPerSecond, Some(1.0))],
            Self::Streams1000 => vec![
                row(
                    "1,000 watches, 1,000 streams",
                    Unit::EventsPerSecond,
                    Some(2.0),
                ),
                after("  resident after it"),
            ],
            Self::Streams10 => vec![
                row(
                    "1,000 watches, 10 streams",
                    Unit::EventsPerSecond,
                    Some(2.0),
                ),
                after("  resident after it"),
            ],
            Self::Latency => vec![
                row("put to event, p50", Unit::Seconds, Some(1.0)),
                row("put to event, p99", Unit::Seconds, Some(1.0)),
            ],
            Self::Idle => vec![row("5,000 idle streams", Unit::Bytes, Some(2.0))],
        }
    }

    pub(crate) async fn run(self, server: &Server) -> Result<Vec<f64>, AnyError> {
        let run = async {
            match self {
                Self::Puts => {
                    let puts = puts(server, 0).await?;
                    Ok(vec![puts, server.resident()?])
                }
                Self::Puts100 => Ok(vec![puts(server, 100).await?]),
                Self::Puts1000 => Ok(vec![puts(server, 1000).await?]),
                Self::Streams1000 => {
                    let events = fan_out(server, WATCHES, 1, 2000).await?;
                    Ok(vec![events, server.resident()?])
                }
                Self::Streams10 => {
                    let events = fan_out(server, 10, WATCHES / 10, 8000).await?;
                    Ok(vec![events, server.resident()?])
                }
                Self::Latency => on_one_thread(latency(server)),
                Self::Idle => {
                    let connections = connect(server).await?;
                    let _watches = watch(&connections, IDLE, 1, key).await?;
                    // By then the memory of setting them up is released.
                    sleep(Duration::from_secs(2)).await;
                    Ok(vec![server.resident()?])
                }
            }
        };
        timeout(HANG, run).await.map_err(|_| "the workload hangs")?
    }
}

/// The key of this number, which is a prefix of no other key.
fn key(number: usize) -> String {
    format!("key:{number:012}")
}

fn value() -> Bytes {
    Bytes::from_static(&[b'v'; VALUE_BYTES])
}

async fn connect(server: &Server) -> Result<Vec<Connection>, AnyError> {
    try_join_all((0..CONNECTIONS).map(|_| Connection::connect(server.address))).await
}

/// Opens streams, each with a number of watches of its prefix.
async fn watch(
    connections: &[Connection],
    streams: usize,
    watches: usize,
    prefix: impl Fn(usize) -> String,
) -> Result<Vec<Watch>, AnyError> {
    let mut all = Vec::with_capacity(streams);
    for number in 0..streams {
        let connection = &connections[number % connections.len()];
        all.push(connection.watch(&prefix(number), watches).await?);
    }
    Ok(all)
}

/// Puts the keys that `next_key` returns, `concurrent` at a time, until it returns none.
async fn put_all(
    connections: &[Connection],
    concurrent: usize,
    next_key: impl Fn() -> Option<Bytes> + Send + Sync + 'static,
) -> Result<(), AnyError> {
    let next_key = Arc::new(next_key);
    let putters = (0..concurrent).map(|number| {
        let connection = connections[number % connections.len()].clone();
        let next_key = Arc::clone(&next_key);
        tokio::spawn(async move {
            let value = value();
            while let Some(key) = next_key() {
                connection.put(&key, &value).await?;
            }
            Ok::<(), AnyError>(())
        })
    });
    for result in try_join_all(putters).await? {
        result?;
    }
    Ok(())
}

/// Puts a second, over all keys in turn.
async fn puts(server: &Server, watchers: usize) -> Result<f64, AnyError> {
    let connections = connect(server).await?;
    let readers: Vec<JoinHandle<_>> = watch(&connections, watchers, 1, key)
        .await?
        .into_iter()
        .map(|mut watch| {
            tokio::spawn(async move {
                loop {
                    if let Err(error) = watch.events().await {
                        return error;
                    }
                }
            })
        })
        .collect();
    let keys: Vec<Bytes> = (0..KEYS).map(|number| key(number).into()).collect();
    let count = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let counted = Arc::clone(&count);
    let putting = put_all(&connections, CONCURRENT_PUTS, move || {
        let nth = counted.fetch_add(1, Ordering::Relaxed);
        (start.elapsed() < WARM_UP + PUT_FOR).then(|| keys[nth as usize % KEYS].clone())
    });
    let counting = async {
        sleep(WARM_UP).await;
        let (begun, before) = (Instant::now(), count.load(Ordering::Relaxed));
        sleep(PUT_FOR - Duration::from_millis(100)).await;
        let made = count.load(Ordering::Relaxed) - before;
        made as f64 / begun.elapsed().as_secs_f64()
    };
    let (put, rate) = futures::join!(putting, counting);
    put?;
    for reader in readers {
        if reader.is_finished() {
            return Err(reader.await?);
        }
        reader.abort();
    }
    Ok(rate)
}

/// Events a second, from the first put until the last watch has received its last event.
async fn fan_out(
    server: &Server,
    streams: usize,
    watches: usize,
    puts: u64,
) -> Result<f64, AnyError> {
    let connections = connect(server).await?;
    let hot = watch(&connections, streams, watches, |_| "hot:".to_owned()).await?;
    let due = puts * watches as u64;
    let start = Instant::now();
    let readers = hot.into_iter().map(|mut watch| {
        tokio::spawn(async move {
            while watch.events().await? < due {}
            Ok::<_, AnyError>(watch)
        })
    });
    let readers: Vec<JoinHandle<_>> = readers.collect();
    let made = AtomicU64::new(0);
    // A connection of its own, so that puts do not queue behind watch responses.
    let putters = [Connection::connect(server.address).await?];
    put_all(&putters, CONCURRENT_HOT_PUTS, move || {
        let nth = made.fetch_add(1, Ordering::Relaxed);
        (nth < puts).then(|| format!("hot:{:012}", nth % KEYS as u64).into())
    })
    .await?;
    let mut read = Vec::new();
    for reader in readers {
        read.push(reader.await??);
    }
    Ok((due * streams as u64) as f64 / start.elapsed().as_secs_f64())
}

/// Runs the client on this thread only: waking other threads would make up a good part of the
/// measured time.
fn on_one_thread<T>(client: impl Future<Output = Result<T, AnyError>>) -> Result<T, AnyError> {
    task::block_in_place(|| {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(client)
    })
}

/// Median and 99th percentile of the time from before a put until its event has arrived.
async fn latency(server: &Server) -> Result<Vec<f64>, AnyError> {
    let putter = Connection::connect(server.address).await?;
    let watcher = Connection::connect(server.address).await?;
    let mut watch = watcher.watch(&key(0), 1).await?;
    let reader = tokio::spawn(async move {
        let mut arrived = Vec::with_capacity(PACED);
        while arrived.len() < PACED {
            let events = watch.events().await?;
            arrived.resize(events as usize, Instant::now());
        }
        Ok::<_, AnyError>(arrived)
    });
    let key = Bytes::from(key(0));
    let mut clock = interval(PACE);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut puts = Vec::with_capacity(PACED);
    let mut made = Vec::with_capacity(PACED);
    for _ in 0..PACED {
        clock.tick().await;
        let (putter, key) = (putter.clone(), key.clone());
        made.push(Instant::now());
        puts.push(tokio::spawn(
            async move { putter.put(&key, &value()).await },
        ));
    }
    for put in puts {
        put.await??;
    }
    let arrived = reader.await??;
    let mut took: Vec<f64> = made
        .into_iter()
        .zip(arrived)
        .map(|(made, arrived)| (arrived - made).as_secs_f64())
        .collect();
    took.sort_unstable_by(f64::total_cmp);
    Ok(vec![took[PACED / 2], took[PACED * 99 / 100]])
}
