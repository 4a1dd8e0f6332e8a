//! Publishes events for an instruction count under callgrind: see `benches/count-instructions`.
//!
//! The engine has its default configuration and no dispatcher thread, so that this thread
//! publishes, dispatches and receives. [`publish_matched`] and [`publish_unmatched`] are the
//! functions to count. Making the events and a warm-up that fills the history are outside of them.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use kvwatch::{Builder, Change, Publisher, Watcher};

const WATCHED: &str = "key:000000000000";
const UNWATCHED: &str = "not:000000000000";
/// More events than the history of the default configuration holds.
const WARM_UP: usize = 72 * 1024;
/// A multiple of the number of unmatched events after which the publisher dispatches.
const EVENTS: usize = 20 * 1024;
/// Longer than a flush takes, also under callgrind.
const TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let (mut publisher, hub, _dispatcher) = Builder::new().build().expect("the defaults are valid");
    let watcher = hub.watch(Bytes::from(WATCHED));
    let mut watcher = watcher.expect("the engine runs");
    let events = match std::env::args().nth(1).as_deref() {
        Some("matched") => {
            publish_and_receive(&mut publisher, &mut watcher, changes(WATCHED, WARM_UP));
            let measured = changes(WATCHED, EVENTS);
            publish_matched(&mut publisher, &mut watcher, measured)
        }
        Some("unmatched") => {
            publish(&mut publisher, changes(UNWATCHED, WARM_UP));
            publisher.flush(TIMEOUT).expect("this thread dispatches");
            let measured = changes(UNWATCHED, EVENTS);
            publish_unmatched(&mut publisher, measured)
        }
        _ => {
            eprintln!("usage: instructions matched|unmatched");
            return ExitCode::FAILURE;
        }
    };
    println!("{events}");
    ExitCode::SUCCESS
}

fn changes(key: &'static str, count: usize) -> Vec<Change> {
    let change = |_| Change::put(Bytes::copy_from_slice(key.as_bytes()), vec![1; 64]);
    (0..count).map(change).collect()
}

/// Counted by callgrind, with everything that it calls. Returns the number of events.
#[inline(never)]
fn publish_matched(
    publisher: &mut Publisher,
    watcher: &mut Watcher,
    changes: Vec<Change>,
) -> usize {
    publish_and_receive(publisher, watcher, changes)
}

/// Counted by callgrind, with everything that it calls. Returns the number of events.
#[inline(never)]
fn publish_unmatched(publisher: &mut Publisher, changes: Vec<Change>) -> usize {
    publish(publisher, changes)
}

fn publish_and_receive(
    publisher: &mut Publisher,
    watcher: &mut Watcher,
    changes: Vec<Change>,
) -> usize {
    let count = changes.len();
    for change in changes {
        publisher.publish(change).expect("the engine runs");
        watcher.try_recv().expect("the event matches");
    }
    count
}

fn publish(publisher: &mut Publisher, changes: Vec<Change>) -> usize {
    let count = changes.len();
    for change in changes {
        publisher.publish(change).expect("the engine runs");
    }
    count
}
