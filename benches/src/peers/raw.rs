//! Raw channels, with one receiver and without matching.

use std::sync::Mutex;
use std::thread;

use tokio::sync::mpsc;

use super::names;
use crate::events::Event;
use crate::peer::{Hub, Input, Output, Peer, Setup, Watch};

/// Gives the channel's only receiver to the first watch.
#[derive(Debug)]
pub struct Single<T>(Mutex<Option<T>>);

impl<T> Single<T> {
    pub(super) fn new(receiver: T) -> Self {
        Self(Mutex::new(Some(receiver)))
    }
}

impl<T: Output> Hub for Single<T> {
    type Output = T;

    fn watch(&self, _watch: Watch) -> T {
        let mut receiver = self.0.lock().expect("no holder panics");
        receiver.take().expect("a raw channel has one receiver")
    }
}

/// A ring buffer that never blocks: both ends retry until they succeed.
#[derive(Debug)]
pub struct Rtrb;

impl Peer for Rtrb {
    type Input = rtrb::Producer<Event>;
    type Hub = Single<Self::Output>;
    type Output = rtrb::Consumer<Event>;

    fn name(&self) -> &'static str {
        names::RTRB
    }

    fn start(&self, setup: &Setup) -> (Self::Input, Self::Hub) {
        let (sender, receiver) = rtrb::RingBuffer::new(setup.capacity);
        (sender, Single::new(receiver))
    }
}

impl Input for rtrb::Producer<Event> {
    #[inline]
    fn publish(&mut self, mut event: Event) {
        while let Err(rtrb::PushError::Full(back)) = self.push(event) {
            event = back;
            thread::yield_now();
        }
    }
}

impl Output for rtrb::Consumer<Event> {
    fn try_recv(&mut self) -> Option<u64> {
        self.pop().ok().map(|event| event.seq)
    }
}

/// A crossbeam channel.
#[derive(Debug)]
pub struct Crossbeam;

impl Peer for Crossbeam {
    type Input = crossbeam_channel::Sender<Event>;
    type Hub = Single<Self::Output>;
    type Output = crossbeam_channel::Receiver<Event>;

    fn name(&self) -> &'static str {
        names::CROSSBEAM
    }

    fn start(&self, setup: &Setup) -> (Self::Input, Self::Hub) {
        let (sender, receiver) = crossbeam_channel::bounded(setup.capacity);
        (sender, Single::new(receiver))
    }
}

impl Input for crossbeam_channel::Sender<Event> {
    #[inline]
    fn publish(&mut self, event: Event) {
        self.send(event).expect("the receiver is connected");
    }
}

impl Output for crossbeam_channel::Receiver<Event> {
    fn try_recv(&mut self) -> Option<u64> {
        crossbeam_channel::Receiver::try_recv(self)
            .ok()
            .map(|event| event.seq)
    }

    fn recv(&mut self) -> u64 {
        let received = crossbeam_channel::Receiver::recv(self);
        received.expect("the sender is connected").seq
    }
}

/// A flume channel.
#[derive(Debug)]
pub struct Flume;

impl Peer for Flume {
    type Input = flume::Sender<Event>;
    type Hub = Single<Self::Output>;
    type Output = flume::Receiver<Event>;

    fn name(&self) -> &'static str {
        names::FLUME
    }

    fn start(&self, setup: &Setup) -> (Self::Input, Self::Hub) {
        let (sender, receiver) = flume::bounded(setup.capacity);
        (sender, Single::new(receiver))
    }
}

impl Input for flume::Sender<Event> {
    #[inline]
    fn publish(&mut self, event: Event) {
        self.send(event).expect("the receiver is connected");
    }
}

impl Output for flume::Receiver<Event> {
    fn try_recv(&mut self) -> Option<u64> {
        flume::Receiver::try_recv(self).ok().map(|event| event.seq)
    }

    fn recv(&mut self) -> u64 {
        let received = flume::Receiver::recv(self);
        received.expect("the sender is connected").seq
    }

    async fn recv_async(&mut self) -> u64 {
        let received = flume::Receiver::recv_async(self).await;
        received.expect("the sender is connected").seq
    }
}

/// A tokio mpsc channel.
#[derive(Debug)]
pub struct TokioMpsc;

impl Peer for TokioMpsc {
    type Input = mpsc::Sender<Event>;
    type Hub = Single<Self::Output>;
    type Output = mpsc::Receiver<Event>;

    fn name(&self) -> &'static str {
        names::TOKIO_MPSC
    }

    fn start(&self, setup: &Setup) -> (Self::Input, Self::Hub) {
        let (sender, receiver) = mpsc::channel(setup.capacity);
        (sender, Single::new(receiver))
    }
}

impl Input for mpsc::Sender<Event> {
    #[inline]
    fn publish(&mut self, event: Event) {
        self.blocking_send(event)
            .expect("the receiver is connected");
    }
}

impl Output for mpsc::Receiver<Event> {
    fn try_recv(&mut self) -> Option<u64> {
        mpsc::Receiver::try_recv(self).ok().map(|event| event.seq)
    }

    fn recv(&mut self) -> u64 {
        self.blocking_recv().expect("the sender is connected").seq
    }

    async fn recv_async(&mut self) -> u64 {
        let received = mpsc::Receiver::recv(self).await;
        received.expect("the sender is connected").seq
    }
}
