//! Writers and watchers against a server that is killed under them, and the judge of it.
//!
//! What must hold afterwards: every write that was answered is there, under the revision that was
//! answered; revisions were never used twice; and every watcher, which resumed where it was, got
//! every revision once and in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kvwatch::etcd::wire::etcdserverpb::{RangeRequest, WatchCreateRequest};
use tokio::task::JoinHandle;

use super::{Client, Standalone};

/// How many clients write at once, and how many watch.
const WRITERS: u64 = 8;
const WATCHERS: usize = 4;

/// How many writes are answered before each kill.
const WRITES: u64 = 200;

/// The last key that is written.
const END: &str = "~end";

/// A write as its client knows it, and an event as a watcher does: revision, key, value.
type Fact = (i64, String, String);

/// Kills the server so many times under load, and judges.
///
/// # Panics
/// If a promise was broken.
pub async fn crash(mut server: Standalone, kills: usize) {
    let address = server.address().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let watchers: Vec<JoinHandle<Vec<Fact>>> = (0..WATCHERS)
        .map(|_| tokio::spawn(watch(address.clone())))
        .collect();
    let writers: Vec<JoinHandle<Vec<Fact>>> = (0..WRITERS)
        .map(|writer| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(write(address.clone(), writer, stop, answered))
        })
        .collect();
    for kill in 0..kills {
        let due = answered.load(Ordering::Relaxed) + WRITES;
        while answered.load(Ordering::Relaxed) < due {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        println!("kill {kill}");
        server.kill();
        server.restart();
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("a writer"));
    }
    let client = Client::connect(&address).await;
    client.put(END, "").await.expect("the last put");
    let mut seen = Vec::new();
    for watcher in watchers {
        seen.push(watcher.await.expect("a watcher"));
    }
    judge(&client, &acknowledged, &seen).await;
}

async fn judge(client: &Client, acknowledged: &[Fact], seen: &[Vec<Fact>]) {
    let first = &seen[0];
    for (at, (revision, ..)) in first.iter().enumerate() {
        // Each write is a revision of its own: none is missing, none comes twice.
        assert_eq!(
            *revision,
            at as i64 + 2,
            "a watcher missed or repeated a revision"
        );
    }
    for other in seen {
        assert!(other == first, "two watchers saw different histories");
    }
    for (revision, key, value) in acknowledged {
        let event = &first[*revision as usize - 2];
        let wanted = (revision, key, value);
        assert_eq!(
            (&event.0, &event.1, &event.2),
            wanted,
            "an answered write is lost"
        );
        let request = RangeRequest {
            key: key.clone().into(),
            revision: *revision,
            ..RangeRequest::default()
        };
        let found = client.kv().range(request).await.expect("it is readable");
        let found = found.into_inner().kvs.pop().expect("the key is there");
        assert_eq!(
            (found.mod_revision, &found.value[..]),
            (*revision, value.as_bytes())
        );
    }
}

/// Puts one value after the other; whether one that was not answered happened is not known.
async fn write(
    address: String,
    writer: u64,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
) -> Vec<Fact> {
    let mut client = Client::connect(&address).await;
    let mut done = Vec::new();
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let (key, value) = (format!("k{writer}/{}", number % 5), number.to_string());
        match client.put(&key, &value).await {
            Ok(revision) => {
                done.push((revision, key, value));
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => client = Client::connect(&address).await,
        }
    }
    done
}

/// Watches everything from the beginning, over every restart, up to the last key.
async fn watch(address: String) -> Vec<Fact> {
    let mut seen: Vec<Fact> = Vec::new();
    loop {
        let client = Client::connect(&address).await;
        let next = seen.last().map_or(1, |fact| fact.0 + 1);
        let request = WatchCreateRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            start_revision: next,
            ..WatchCreateRequest::default()
        };
        let Ok(mut stream) = client.watch_with(request).await else {
            continue;
        };
        while let Ok(response) = stream.next().await {
            assert!(!response.canceled, "{response:?}");
            for event in response.events {
                let kv = event.kv.expect("a key");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let key = text(&kv.key);
                let last = key == END;
                seen.push((kv.mod_revision, key, text(&kv.value)));
                if last {
                    return seen;
                }
            }
        }
    }
}
