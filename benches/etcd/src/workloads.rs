//! What is done to a server, and what is read off it.

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

/// Connections of each workload; its streams and calls are spread over them.
const CONNECTIONS: usize = 10;
const VALUE_BYTES: usize = 64;
/// Different keys that are put.
const KEYS: usize = 1000;

/// Puts under way at a time, where as many as possible are made.
const UNDER_WAY: usize = 250;
const PUT_FOR: Duration = Duration::from_millis(2500);
const WARM_UP: Duration = Duration::from_millis(500);

/// Watches of the prefix that everybody wants.
const WATCHES: usize = 1000;
/// Puts under way at a time that they all see.
const HOT_UNDER_WAY: usize = 100;

const PACED: usize = 2500;
const PACE: Duration = Duration::from_millis(2);

const IDLE: usize = 5000;

/// Nothing here takes as long.
const HANG: Duration = Duration::from_secs(120);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Workload {
    /// As many puts as possible, of 1,000 keys, and nobody watches
    Puts,
    /// The same with 100 streams with a watch of one key each
    Puts100,
    /// The same with 1,000
    Puts1000,
    /// 1,000 watches of one prefix, each on its own stream
    Streams1000,
    /// 1,000 watches of one prefix, on 10 streams
    Streams10,
    /// 500 puts a second, and one watch that sees them
    Latency,
    /// 5,000 streams with a watch each, and nothing happens
    Idle,
}

/// What a reading counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    PutsPerSecond,
    EventsPerSecond,
    Seconds,
    Bytes,
}

/// One reading of a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    /// How many times better than etcd we want to be; `None` where nothing is asked.
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

    /// What [`run`](Self::run) returns.
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
                Self::Latency => alone(latency(server)),
                Self::Idle => {
                    let connections = connect(server).await?;
                    let _watches = watch(&connections, IDLE, 1, key).await?;
                    // What was needed to set them up is given back by then.
                    sleep(Duration::from_secs(2)).await;
                    Ok(vec![server.resident()?])
                }
            }
        };
        timeout(HANG, run).await.map_err(|_| "it takes too long")?
    }
}

/// The `number`th of the keys that are put, and a prefix of no other.
fn key(number: usize) -> String {
    format!("key:{number:012}")
}

fn value() -> Bytes {
    Bytes::from_static(&[b'v'; VALUE_BYTES])
}

async fn connect(server: &Server) -> Result<Vec<Connection>, AnyError> {
    try_join_all((0..CONNECTIONS).map(|_| Connection::open(server.address))).await
}

/// So many streams with so many watches each; `prefix` says what those of a stream watch.
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

/// Keeps so many puts under way until `more` has none; it is asked for the key of each.
async fn put_all(
    connections: &[Connection],
    under_way: usize,
    more: impl Fn() -> Option<Bytes> + Send + Sync + 'static,
) -> Result<(), AnyError> {
    let more = Arc::new(more);
    let putters = (0..under_way).map(|number| {
        let connection = connections[number % connections.len()].clone();
        let more = Arc::clone(&more);
        tokio::spawn(async move {
            let value = value();
            while let Some(key) = more() {
                connection.put(&key, &value).await?;
            }
            Ok::<(), AnyError>(())
        })
    });
    for done in try_join_all(putters).await? {
        done?;
    }
    Ok(())
}

/// Puts a second, each of one of the keys in turn.
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
    let putting = put_all(&connections, UNDER_WAY, move || {
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

/// Events a second, from the first put until the last event has come to the last watch.
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
    // On a connection of its own: where responses stand in line, requests do not.
    let putters = [Connection::open(server.address).await?];
    put_all(&putters, HOT_UNDER_WAY, move || {
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

/// On this thread and no other: between threads that wake one another a client takes a good part
/// of what is measured here.
fn alone<T>(client: impl Future<Output = Result<T, AnyError>>) -> Result<T, AnyError> {
    task::block_in_place(|| {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(client)
    })
}

/// Median and 99th percentile of the time from before a put until its event has come.
async fn latency(server: &Server) -> Result<Vec<f64>, AnyError> {
    let putter = Connection::open(server.address).await?;
    let watcher = Connection::open(server.address).await?;
    let mut watch = watcher.watch(&key(0), 1).await?;
    let reader = tokio::spawn(async move {
        let mut came = Vec::with_capacity(PACED);
        while came.len() < PACED {
            let events = watch.events().await?;
            let now = Instant::now();
            came.resize(events as usize, now);
        }
        Ok::<_, AnyError>(came)
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
    let came = reader.await??;
    let mut took: Vec<f64> = made
        .into_iter()
        .zip(came)
        .map(|(made, came)| (came - made).as_secs_f64())
        .collect();
    took.sort_unstable_by(f64::total_cmp);
    Ok(vec![took[PACED / 2], took[PACED * 99 / 100]])
}
