//! tokio's broadcast channel: every receiver gets every event and filters for itself.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::sync::broadcast::{self, error::TryRecvError};

use super::names;
use crate::events::Event;
use crate::peer::{Hub, Input, Output, Peer, Setup, Watch};

/// What the channel carries: an event by value, or behind an `Arc`.
pub trait Message: Clone + Send + Sync + AsRef<Event> + From<Event> + 'static {
    /// The channel's name in the table.
    const NAME: &'static str;
}

impl Message for Event {
    const NAME: &'static str = names::BROADCAST;
}

impl AsRef<Event> for Event {
    fn as_ref(&self) -> &Event {
        self
    }
}

/// An event behind an `Arc`.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Event>);

impl Message for Shared {
    const NAME: &'static str = names::BROADCAST_ARC;
}

impl From<Event> for Shared {
    fn from(event: Event) -> Self {
        Self(Arc::new(event))
    }
}

impl AsRef<Event> for Shared {
    fn as_ref(&self) -> &Event {
        &self.0
    }
}

/// The channel, with a filter in each receiver.
#[derive(Debug)]
pub struct Broadcast<T>(PhantomData<T>);

impl<T> Default for Broadcast<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// A receiver and the watch by which it filters.
pub struct Subscribed<T> {
    receiver: broadcast::Receiver<T>,
    watch: Watch,
}

impl<T> fmt::Debug for Subscribed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscribed").field(&self.watch).finish()
    }
}

impl<T: Message> Peer for Broadcast<T> {
    type Input = broadcast::Sender<T>;
    type Hub = broadcast::Sender<T>;
    type Output = Subscribed<T>;

    fn name(&self) -> &'static str {
        T::NAME
    }

    fn start(&self, setup: &Setup) -> (Self::Input, Self::Hub) {
        let (sender, _) = broadcast::channel(setup.capacity);
        (sender.clone(), sender)
    }
}

impl<T: Message> Input for broadcast::Sender<T> {
    #[inline]
    fn publish(&mut self, event: Event) {
        // Fails only if there is no receiver.
        let _ = self.send(T::from(event));
    }
}

impl<T: Message> Hub for broadcast::Sender<T> {
    type Output = Subscribed<T>;

    fn watch(&self, watch: Watch) -> Subscribed<T> {
        Subscribed {
            receiver: self.subscribe(),
            watch,
        }
    }
}

impl<T: Message> Subscribed<T> {
    fn matching(&self, message: &T) -> Option<u64> {
        let event = message.as_ref();
        self.watch.matches(&event.key).then_some(event.seq)
    }
}

impl<T: Message> Output for Subscribed<T> {
    fn try_recv(&mut self) -> Option<u64> {
        loop {
            match self.receiver.try_recv() {
                Ok(message) => {
                    if let Some(seq) = self.matching(&message) {
                        return Some(seq);
                    }
                }
                Err(TryRecvError::Empty) => return None,
                Err(lost) => panic!("{lost}"),
            }
        }
    }

    fn recv(&mut self) -> u64 {
        loop {
            let message = self.receiver.blocking_recv().expect("nothing is lost");
            if let Some(seq) = self.matching(&message) {
                return seq;
            }
        }
    }

    async fn recv_async(&mut self) -> u64 {
        loop {
            let message = self.receiver.recv().await.expect("nothing is lost");
            if let Some(seq) = self.matching(&message) {
                return seq;
            }
        }
    }
}
