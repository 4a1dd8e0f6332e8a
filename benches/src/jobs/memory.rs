//! The resident memory of a watcher: its handle, its queue, its entry in the registry, its key and
//! the entry in the index.

use std::fs;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use tokio::runtime::Builder;

use super::receivers::WatchKind;
use crate::events;
use crate::peer::{Hub, Input, Output, Peer, Setup};

/// The capacity of each queue, for peers that allocate it up front: d-engine's default.
const CAPACITY: usize = 10;

/// Readings: bytes per watcher, first when idle, then after each watcher has received one event and
/// has once been polled without an event.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) watchers: usize,
}

impl Memory {
    pub(super) fn run<P: Peer>(&self, peer: &P) -> Vec<f64> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .expect("a runtime can be built");
        let setup = Setup {
            runtime: runtime.handle().clone(),
            capacity: CAPACITY,
        };
        let (mut input, hub) = peer.start(&setup);
        let mut outputs = Vec::with_capacity(self.watchers);
        let before = resident_bytes();
        for number in 0..self.watchers {
            outputs.push(hub.watch(WatchKind::Exact.watch(number)));
        }
        let idle = resident_bytes();
        for (number, output) in outputs.iter_mut().enumerate() {
            let seq = number as u64 + 1;
            let event = events::from_keys(seq, std::iter::once(WatchKind::Exact.key(number)));
            input.publish(event.into_iter().next().expect("there is one"));
            let got = loop {
                match poll(output) {
                    Poll::Ready(seq) => break seq,
                    Poll::Pending => thread::yield_now(),
                }
            };
            assert_eq!(got, seq);
            assert!(poll(output).is_pending());
        }
        let used = resident_bytes();
        // The vector's pages become resident when the handles are written, so handles are counted.
        let per_watcher = |after: usize| (after.saturating_sub(before) / self.watchers) as f64;
        vec![per_watcher(idle), per_watcher(used)]
    }
}

fn poll(output: &mut impl Output) -> Poll<u64> {
    pin!(output.recv_async()).poll(&mut Context::from_waker(Waker::noop()))
}

/// The resident bytes of this process, as Linux counts them.
fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.expect("VmRSS is in kB") * 1024
}
