//! What a watcher costs in resident memory. Everything it needs is counted: its handle, its queue,
//! its place in the registry, its key and the index entry.

use std::fs;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use tokio::runtime::Builder;

use super::Kind;
use crate::load;
use crate::peer::{Hub, Input, Output, Peer, Stage};

/// Room in each queue, where the peer wants to know: the rival's own default.
const ROOM: usize = 10;

/// Readings: bytes a watcher, idle, and after one event drained and one pending poll.
#[derive(Clone, Debug)]
pub(crate) struct Resident {
    pub(crate) watchers: usize,
}

impl Resident {
    pub(super) fn run<P: Peer>(&self, peer: &P) -> Vec<f64> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .expect("a runtime can be built");
        let stage = Stage {
            runtime: runtime.handle().clone(),
            room: ROOM,
        };
        let (mut input, hub) = peer.open(&stage);
        let mut outputs = Vec::with_capacity(self.watchers);
        let before = resident();
        for number in 0..self.watchers {
            outputs.push(hub.watch(Kind::Exact.watch(number)));
        }
        let idle = resident();
        for (number, output) in outputs.iter_mut().enumerate() {
            let seq = number as u64 + 1;
            let event = load::events(seq, std::iter::once(Kind::Exact.key(number)));
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
        let used = resident();
        // The vector's pages became resident as the handles were written, so they are counted.
        let bytes = |after: usize| (after.saturating_sub(before) / self.watchers) as f64;
        vec![bytes(idle), bytes(used)]
    }
}

fn poll(output: &mut impl Output) -> Poll<u64> {
    pin!(output.recv_async()).poll(&mut Context::from_waker(Waker::noop()))
}

/// Resident bytes of this process, as the kernel counts them.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.expect("it is told in kB") * 1024
}
