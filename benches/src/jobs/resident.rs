//! What a watcher costs in resident memory. Everything it needs is counted: its handle, its queue,
//! its place in the registry, its key and the index entry. Measured in a process of its own, since
//! an allocator that has been at work hides what is taken.

use std::env;
use std::fs;
use std::pin::pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};
use std::thread;

use tokio::runtime::Builder;

use super::Kind;
use crate::load;
use crate::peer::{Hub, Input, Output, Peer, Stage};

/// The subcommand under which this program measures one peer, and prints the readings.
pub(crate) const CHILD: &str = "resident";

/// Room in each queue, where the peer wants to know: the rival's own default.
const ROOM: usize = 10;

/// Readings: bytes a watcher, idle, and after one event drained and one pending poll.
#[derive(Clone, Debug)]
pub(crate) struct Resident {
    pub(crate) watchers: usize,
}

impl Resident {
    pub(super) fn run<P: Peer>(&self, peer: &P) -> Vec<f64> {
        let program = env::current_exe().expect("this program has a path");
        let output = Command::new(program)
            .args([CHILD, peer.name(), &self.watchers.to_string()])
            .output()
            .expect("this program can be started");
        let said = String::from_utf8_lossy(&output.stdout);
        let readings: Vec<f64> = said
            .split_whitespace()
            .filter_map(|reading| reading.parse().ok())
            .collect();
        assert!(
            output.status.success() && readings.len() == 2,
            "the child failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        readings
    }

    /// The child's work.
    pub(crate) fn measure<P: Peer>(&self, peer: &P) -> [usize; 2] {
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
        [idle, used].map(|after| after.saturating_sub(before) / self.watchers)
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
