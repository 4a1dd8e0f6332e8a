//! What a watcher costs in resident memory: idle, and after one event drained and one pending
//! poll. Everything a watcher needs is counted: its handle, its queue, its place in the registry,
//! its key and the index entry.
//!
//! `cargo run --release -p kvwatch-benches --bin memory [WATCHERS]`

use std::process::exit;
use std::task::{Context, Poll, Waker};

use kvwatch::{Builder, Change, Watcher};

const DEFAULT_WATCHERS: usize = 100_000;
/// In bytes a watcher, handle included.
const GOAL_IDLE: usize = 400;
const GOAL_USED: usize = 600;

/// Resident bytes of this process, as the kernel counts them.
fn resident() -> Result<usize, String> {
    let path = "/proc/self/status";
    let status = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    Ok(kib.ok_or_else(|| format!("{path} has no VmRSS in kB"))? * 1024)
}

fn key(number: usize) -> String {
    format!("key/{number:012}")
}

fn measure(watchers: usize) -> Result<(usize, usize), Box<dyn std::error::Error>> {
    // Without a history, so that the events published do not count as the watchers'.
    let (mut publisher, hub, _dispatcher) = Builder::new().history(0).build()?;
    let mut handles: Vec<Watcher> = Vec::with_capacity(watchers);
    let before = resident()?;
    for number in 0..watchers {
        handles.push(hub.watch(key(number))?);
    }
    let idle = resident()?;
    let mut cx = Context::from_waker(Waker::noop());
    for (number, watcher) in handles.iter_mut().enumerate() {
        publisher.publish(Change::put(key(number), vec![b'v'; 64]))?;
        let Poll::Ready(Ok(event)) = watcher.poll_recv(&mut cx) else {
            return Err(format!("watcher {number} did not get its event").into());
        };
        drop(event);
        if watcher.poll_recv(&mut cx).is_ready() {
            return Err(format!("watcher {number} got a second event").into());
        }
    }
    let used = resident()?;
    // The vector's pages became resident as the handles were written, so they are counted.
    let each = |after: usize| after.saturating_sub(before) / watchers;
    Ok((each(idle), each(used)))
}

fn main() {
    let watchers = match std::env::args().nth(1).map(|arg| arg.parse()) {
        None => DEFAULT_WATCHERS,
        Some(Ok(watchers)) if watchers > 0 => watchers,
        Some(_) => {
            eprintln!("usage: memory [WATCHERS], a number above 0");
            exit(2);
        }
    };
    match measure(watchers) {
        Ok((idle, used)) => {
            let verdict = |figure, goal| if figure <= goal { "met" } else { "NOT met" };
            println!("resident bytes a watcher, handle included, of {watchers} exact watchers");
            println!(
                "idle                                        {idle:>5}  (goal {GOAL_IDLE}: {})",
                verdict(idle, GOAL_IDLE)
            );
            println!(
                "after one event drained and a pending poll  {used:>5}  (goal {GOAL_USED}: {})",
                verdict(used, GOAL_USED)
            );
            exit(i32::from(idle > GOAL_IDLE || used > GOAL_USED));
        }
        Err(error) => {
            eprintln!("memory: {error}");
            exit(1);
        }
    }
}
