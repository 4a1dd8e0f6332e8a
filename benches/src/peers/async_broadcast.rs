//! The async-broadcast channel: every receiver gets every event and filters for itself.

use async_broadcast::{InactiveReceiver, Receiver, Sender, TryRecvError};

use super::names;
use crate::events::Event;
use crate::peer::{Hub, Input, Output, Peer, Setup, Watch};

/// The channel, with a filter in each receiver.
#[derive(Debug)]
pub struct AsyncBroadcast;

/// A receiver and the watch by which it filters.
#[derive(Debug)]
pub struct Subscribed {
    receiver: Receiver<Event>,
    watch: Watch,
}

impl Peer for AsyncBroadcast {
    type Input = Sender<Event>;
    type Hub = InactiveReceiver<Event>;
    type Output = Subscribed;

    fn name(&self) -> &'static str {
        names::ASYNC_BROADCAST
    }

    fn start(&self, setup: &Setup) -> (Self::Input, Self::Hub) {
        let (sender, receiver) = async_broadcast::broadcast(setup.capacity);
        (sender, receiver.deactivate())
    }
}

impl Input for Sender<Event> {
    #[inline]
    fn publish(&mut self, event: Event) {
        self.try_broadcast(event).expect("the channel has capacity");
    }
}

impl Hub for InactiveReceiver<Event> {
    type Output = Subscribed;

    fn watch(&self, watch: Watch) -> Subscribed {
        Subscribed {
            receiver: self.activate_cloned(),
            watch,
        }
    }
}

impl Output for Subscribed {
    fn try_recv(&mut self) -> Option<u64> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) if self.watch.matches(&event.key) => return Some(event.seq),
                Ok(_) => {}
                Err(TryRecvError::Empty) => return None,
                Err(lost) => panic!("{lost}"),
            }
        }
    }

    fn recv(&mut self) -> u64 {
        loop {
            let event = self.receiver.recv_blocking().expect("nothing is lost");
            if self.watch.matches(&event.key) {
                return event.seq;
            }
        }
    }

    async fn recv_async(&mut self) -> u64 {
        loop {
            let event = self.receiver.recv_direct().await.expect("nothing is lost");
            if self.watch.matches(&event.key) {
                return event.seq;
            }
        }
    }
}
