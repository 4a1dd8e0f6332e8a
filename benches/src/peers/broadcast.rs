//! tokio's broadcast channel: every receiver gets everything and looks for itself.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::sync::broadcast::{self, error::TryRecvError};

use super::names;
use crate::load::Event;
use crate::peer::{Hub, Input, Output, Peer, Stage, Watch};

/// How an event travels: by value, or behind an `Arc`.
pub trait Parcel: Clone + Send + Sync + AsRef<Event> + From<Event> + 'static {
    /// As the table calls the channel.
    const NAME: &'static str;
}

impl Parcel for Event {
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

impl Parcel for Shared {
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

/// The channel, with the filter in the receiver.
#[derive(Debug)]
pub struct Broadcast<T>(PhantomData<T>);

impl<T> Default for Broadcast<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// One subscription.
pub struct Subscribed<T> {
    receiver: broadcast::Receiver<T>,
    watch: Watch,
}

impl<T> fmt::Debug for Subscribed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscribed").field(&self.watch).finish()
    }
}

impl<T: Parcel> Peer for Broadcast<T> {
    type Input = broadcast::Sender<T>;
    type Hub = broadcast::Sender<T>;
    type Output = Subscribed<T>;

    fn name(&self) -> &'static str {
        T::NAME
    }

    fn open(&self, stage: &Stage) -> (Self::Input, Self::Hub) {
        let (sender, _) = broadcast::channel(stage.room);
        (sender.clone(), sender)
    }
}

impl<T: Parcel> Input for broadcast::Sender<T> {
    #[inline]
    fn publish(&mut self, event: Event) {
        // Refused only where nobody is subscribed.
        let _ = self.send(T::from(event));
    }
}

impl<T: Parcel> Hub for broadcast::Sender<T> {
    type Output = Subscribed<T>;

    fn watch(&self, watch: Watch) -> Subscribed<T> {
        Subscribed {
            receiver: self.subscribe(),
            watch,
        }
    }
}

impl<T: Parcel> Subscribed<T> {
    fn wanted(&self, parcel: &T) -> Option<u64> {
        let event = parcel.as_ref();
        self.watch.matches(&event.key).then_some(event.seq)
    }
}

impl<T: Parcel> Output for Subscribed<T> {
    fn try_recv(&mut self) -> Option<u64> {
        loop {
            match self.receiver.try_recv() {
                Ok(parcel) => {
                    if let Some(seq) = self.wanted(&parcel) {
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
            let parcel = self.receiver.blocking_recv().expect("nothing is lost");
            if let Some(seq) = self.wanted(&parcel) {
                return seq;
            }
        }
    }

    async fn recv_async(&mut self) -> u64 {
        loop {
            let parcel = self.receiver.recv().await.expect("nothing is lost");
            if let Some(seq) = self.wanted(&parcel) {
                return seq;
            }
        }
    }
}
