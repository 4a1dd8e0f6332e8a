//! What a watcher does on its thread, or in its task: receive to the end.

use futures::stream::{Stream, StreamExt};
use kvwatch::{Event, Lagged, RecvError, Revision, Selector, Watcher};

use crate::AnyError;

/// What a watcher got.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) selector: Selector,
    pub(crate) start: Revision,
    pub(crate) events: Vec<Event>,
    pub(crate) lags: Vec<Lagged>,
}

impl Followed {
    fn by(watcher: &Watcher) -> Self {
        Self {
            selector: watcher.selector().clone(),
            start: watcher.start_revision(),
            events: Vec::new(),
            lags: Vec::new(),
        }
    }

    fn take(&mut self, item: Result<Event, RecvError>) -> Result<(), RecvError> {
        match item {
            Ok(event) => self.events.push(event),
            // Nothing is lost in silence: a program would read the store again here.
            Err(RecvError::Lagged(lagged)) => self.lags.push(lagged),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A stream is the same to every runtime.
    async fn take_all(
        mut self,
        mut stream: impl Stream<Item = Result<Event, RecvError>> + Unpin,
    ) -> Result<Self, RecvError> {
        while let Some(item) = stream.next().await {
            self.take(item)?;
        }
        Ok(self)
    }

    pub(crate) fn puts(&self) -> usize {
        let is_put = |event: &&Event| event.value().is_some();
        self.events.iter().filter(is_put).count()
    }

    /// The first and the last event's revision.
    pub(crate) fn span(&self) -> Option<(Revision, Revision)> {
        let (first, last) = (self.events.first()?, self.events.last()?);
        Some((first.revision(), last.revision()))
    }
}

/// Receives until the store shuts down, on a thread; what was published before arrives before.
///
/// # Errors
/// If the watcher ends for any other reason.
pub(crate) fn follow(mut watcher: Watcher) -> Result<Followed, RecvError> {
    let mut followed = Followed::by(&watcher);
    for item in &mut watcher {
        followed.take(item)?;
    }
    Ok(followed)
}

/// The same in a tokio task.
///
/// # Errors
/// As [`follow`]'s.
pub(crate) fn follow_with_tokio(watcher: Watcher) -> Result<Followed, AnyError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let followed = Followed::by(&watcher);
    let stream = kvwatch::tokio::WatchStream::new(watcher);
    Ok(runtime.block_on(followed.take_all(stream))?)
}

/// The same in an async-std task.
///
/// # Errors
/// As [`follow`]'s.
pub(crate) fn follow_with_async_std(watcher: Watcher) -> Result<Followed, AnyError> {
    let followed = Followed::by(&watcher);
    let stream = kvwatch::async_std::WatchStream::new(watcher);
    Ok(async_std::task::block_on(followed.take_all(stream))?)
}
