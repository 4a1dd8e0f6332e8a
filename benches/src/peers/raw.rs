//! Raw channels: one receiver, no matching.

use std::sync::Mutex;
use std::thread;

use tokio::sync::mpsc;

use super::names;
use crate::load::Event;
use crate::peer::{Hub, Input, Output, Peer, Stage, Watch};

/// Gives the only receiver to the first who watches.
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
        let mut receiver = self.0.lock().expect("nobody panics here");
        receiver.take().expect("a raw channel has one receiver")
    }
}

/// A ring of values, without any wait: both sides try until they succeed.
#[derive(Debug)]
pub struct Rtrb;

impl Peer for Rtrb {
    type Input = rtrb::Producer<Event>;
    type Hub = Single<Self::Output>;
    type Output = rtrb::Consumer<Event>;

    fn name(&self) -> &'static str {
        names::RTRB
    }

    fn open(&self, stage: &Stage) -> (Self::Input, Self::Hub) {
        let (sender, receiver) = rtrb::RingBuffer::new(stage.room);
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

    fn open(&self, stage: &Stage) -> (Self::Input, Self::Hub) {
        let (sender, receiver) = crossbeam_channel::bounded(stage.room);
        (sender, Single::new(receiver))
    }
}

impl Input for crossbeam_channel::Sender<Event> {
    #[inline]
    fn publish(&mut self, event: Event) {
        self.send(event).expect("the receiver is there");
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
        received.expect("the sender is there").seq
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

    fn open(&self, stage: &Stage) -> (Self::Input, Self::Hub) {
        let (sender, receiver) = flume::bounded(stage.room);
        (sender, Single::new(receiver))
    }
}

impl Input for flume::Sender<Event> {
    #[inline]
    fn publish(&mut self, event: Event) {
        self.send(event).expect("the receiver is there");
    }
}

impl Output for flume::Receiver<Event> {
    fn try_recv(&mut self) -> Option<u64> {
        flume::Receiver::try_recv(self).ok().map(|event| event.seq)
    }

    fn recv(&mut self) -> u64 {
        let received = flume::Receiver::recv(self);
        received.expect("the sender is there").seq
    }

    async fn recv_async(&mut self) -> u64 {
        let received = flume::Receiver::recv_async(self).await;
        received.expect("the sender is there").seq
    }
}

/// A tokio channel.
#[derive(Debug)]
pub struct TokioMpsc;

impl Peer for TokioMpsc {
    type Input = mpsc::Sender<Event>;
    type Hub = Single<Self::Output>;
    type Output = mpsc::Receiver<Event>;

    fn name(&self) -> &'static str {
        names::TOKIO_MPSC
    }

    fn open(&self, stage: &Stage) -> (Self::Input, Self::Hub) {
        let (sender, receiver) = mpsc::channel(stage.room);
        (sender, Single::new(receiver))
    }
}

impl Input for mpsc::Sender<Event> {
    #[inline]
    fn publish(&mut self, event: Event) {
        self.blocking_send(event).expect("the receiver is there");
    }
}

impl Output for mpsc::Receiver<Event> {
    fn try_recv(&mut self) -> Option<u64> {
        mpsc::Receiver::try_recv(self).ok().map(|event| event.seq)
    }

    fn recv(&mut self) -> u64 {
        self.blocking_recv().expect("the sender is there").seq
    }

    async fn recv_async(&mut self) -> u64 {
        let received = mpsc::Receiver::recv(self).await;
        received.expect("the sender is there").seq
    }
}
