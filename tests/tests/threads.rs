//! Real threads: many writers behind one lock, a crowd of watchers that come and go, and a judge.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::thread;

use kvwatch::{Builder, Change, EndReason, Hub, Overflow, Publisher, RecvError, WatchOptions};
use kvwatch_tests::judge::{Complete, judge};
use kvwatch_tests::record::{Item, Log, Trace};
use kvwatch_tests::want::Want;
use kvwatch_tests::{Counting, HANG, Rng, join_in_time};

const WRITERS: u64 = 8;
const COMMITS: u64 = 4_000;
/// Watchers at any time, and how many take each one's place in turn.
const WATCHERS: u64 = 200;
const LIVES: u64 = 4;

/// A store with many writers publishes inside its commit lock.
struct Store {
    publisher: Publisher,
    log: Log,
}

impl Store {
    fn commit(&mut self, rng: &mut Rng) {
        let change = |rng: &mut Rng| {
            let key = format!("k{}/{}", rng.below(8), rng.below(16));
            match rng.below(4) {
                0 => Change::delete(key),
                value => Change::put(key, value.to_string()),
            }
        };
        let revision = self.publisher.revision() + 1;
        let changes: Vec<_> = (0..=rng.below(3)).map(|_| change(rng)).collect();
        self.log.transactions.push((revision, changes.clone()));
        self.publisher.publish_batch(changes).expect("it runs");
    }
}

fn random_want(rng: &mut Rng) -> Want {
    let (group, key) = (rng.below(8), rng.below(16));
    match rng.below(6) {
        0 | 1 => Want::Exact(format!("k{group}/{key}").into_bytes()),
        2 => Want::Prefix(format!("k{group}/").into_bytes()),
        3 => Want::Range(b"k2/".to_vec(), format!("k{}/", 3 + group).into_bytes()),
        4 => Want::Any(vec![
            Want::Exact(format!("k{group}/{key}").into_bytes()),
            Want::From(b"k6".to_vec()),
            Want::Prefix(b"k7".to_vec()),
        ]),
        _ => Want::All,
    }
}

/// How one watcher lives: in which ways it receives, how slow it is, and when it goes.
fn live(hub: &Hub, name: String, rng: &mut Rng) -> Option<Trace> {
    let want = random_want(rng);
    let cancels = rng.below(8) == 0;
    let mut options = WatchOptions::new().capacity(1 + rng.below(64) as usize);
    if cancels {
        options = options.overflow(Overflow::Cancel);
    }
    if rng.below(3) == 0 {
        let oldest = hub.stats().history.oldest;
        options = options.start_revision(oldest + rng.below(hub.revision() + 2 - oldest));
    }
    // Refused if it is compacted by now, or the engine has ended.
    let mut watcher = hub.watch_with(want.selector(), options).ok()?;
    let mut trace = Trace::new(name, want, &watcher);
    let (counting, waker) = Counting::here();
    let patience = match rng.below(4) {
        0 => rng.below(200),
        _ => u64::MAX,
    };
    let slowness = rng.below(40);
    for _ in 0..patience {
        for _ in 0..slowness {
            thread::yield_now();
        }
        let received = match rng.below(4) {
            0 => watcher.recv().map(|event| Item::Event((&event).into())),
            1 => {
                let mut polled = watcher.poll_recv(&mut Context::from_waker(&waker));
                while polled.is_pending() {
                    counting.park_beyond(0);
                    polled = watcher.poll_recv(&mut Context::from_waker(&waker));
                }
                match polled {
                    std::task::Poll::Ready(received) => {
                        received.map(|event| Item::Event((&event).into()))
                    }
                    std::task::Poll::Pending => unreachable!("polled until ready"),
                }
            }
            _ => {
                let batch = watcher.recv_batch();
                batch.map(|batch| Item::Batch(batch.iter().map(Into::into).collect()))
            }
        };
        let ended = matches!(received, Err(RecvError::Closed(_)));
        trace.write(received);
        trace.items.push(Item::Progress(watcher.progress()));
        if ended {
            break;
        }
    }
    Some(trace)
}

#[test]
fn eight_writers_and_two_hundred_watchers_that_come_and_go() {
    for (seed, history) in [(1, 1_000_000), (2, 2_000)] {
        let builder = Builder::new().history(history).inline(seed == 1);
        let (publisher, hub) = builder.spawn().unwrap();
        let store = Arc::new(Mutex::new(Store {
            publisher,
            log: Log::default(),
        }));
        let traces = Arc::new(Mutex::new(Vec::new()));
        let refused = Arc::new(AtomicUsize::new(0));
        let done = Arc::new(AtomicBool::new(false));
        let watchers: Vec<_> = (0..WATCHERS)
            .map(|place| {
                let (hub, done) = (hub.clone(), Arc::clone(&done));
                let (traces, refused) = (Arc::clone(&traces), Arc::clone(&refused));
                thread::spawn(move || {
                    let mut rng = Rng::new(seed * 1000 + place);
                    for life in 0..LIVES {
                        let name = format!("{place}, life {life}, seed {seed}");
                        match live(&hub, name, &mut rng) {
                            Some(trace) => traces.lock().unwrap().push(trace),
                            None => _ = refused.fetch_add(1, Ordering::SeqCst),
                        }
                        if done.load(Ordering::SeqCst) {
                            break;
                        }
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = Arc::clone(&store);
                thread::spawn(move || {
                    let mut rng = Rng::new(seed * 77 + writer);
                    for _ in 0..COMMITS / 2 {
                        store.lock().unwrap().commit(&mut rng);
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(join_in_time);
        let store = Arc::into_inner(store).unwrap().into_inner().unwrap();
        done.store(true, Ordering::SeqCst);
        store.publisher.shutdown(HANG).unwrap();
        watchers.into_iter().for_each(join_in_time);
        let traces = Arc::into_inner(traces).unwrap().into_inner().unwrap();
        let mut ended = 0;
        for trace in &traces {
            let complete = match trace.end() {
                Some(EndReason::ShutDown) => Complete::UpTo(store.log.last()),
                _ => Complete::No,
            };
            ended += usize::from(trace.end() == Some(EndReason::ShutDown));
            if let Err(violation) = judge(&store.log, trace, complete) {
                panic!("seed {seed}: {violation}");
            }
        }
        assert!(traces.len() > WATCHERS as usize, "they came and went");
        assert!(ended > 20, "{ended} lived to the end");
        let stats = hub.stats();
        assert_eq!(stats.published_transactions, WRITERS * COMMITS / 2);
        assert_eq!((stats.watchers, stats.keys_watched), Default::default());
        assert!(stats.fell_behind > 100, "{stats:?}");
        assert!(history == 1_000_000 || stats.lagged > 0, "{stats:?}");
    }
}
