//! Receives from a watcher until its end, on a thread or in a task.

use futures::stream::{Stream, StreamExt};
use kvwatch::{Event, Lagged, RecvError, Revision, Selector, Watcher};

use crate::AnyError;

/// What a watcher received.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) selector: Selector,
    pub(crate) start: Revision,
    pub(crate) events: Vec<Event>,
    pub(crate) lags: Vec<Lagged>,
}

impl Followed {
    fn new(watcher: &Watcher) -> Self {
        Self {
            selector: watcher.selector().clone(),
            start: watcher.start_revision(),
            events: Vec::new(),
            lags: Vec::new(),
        }
    }

    fn push(&mut self, item: Result<Event, RecvError>) -> Result<(), RecvError> {
        match item {
            Ok(event) => self.events.push(event),
            // A watcher reports every loss. Another program would read the store again here.
            Err(RecvError::Lagged(lagged)) => self.lags.push(lagged),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Receives from a stream until its end, on any runtime.
    async fn push_all(
        mut self,
        mut stream: impl Stream<Item = Result<Event, RecvError>> + Unpin,
    ) -> Result<Self, RecvError> {
        while let Some(item) = stream.next().await {
            self.push(item)?;
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

/// Receives on this thread until the store shuts down. Everything published before that arrives.
///
/// # Errors
/// If the watcher ends for any other reason.
pub(crate) fn follow(mut watcher: Watcher) -> Result<Followed, RecvError> {
    let mut followed = Followed::new(&watcher);
    for item in &mut watcher {
        followed.push(item)?;
    }
    Ok(followed)
}

/// [`follow`] in a tokio task.
///
/// # Errors
/// See [`follow`].
pub(crate) fn follow_with_tokio(watcher: Watcher) -> Result<Followed, AnyError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let followed = Followed::new(&watcher);
    let stream = kvwatch::tokio::WatchStream::new(watcher);
    Ok(runtime.block_on(followed.push_all(stream))?)
}

/// [`follow`] in an async-std task.
///
/// # Errors
/// See [`follow`].
pub(crate) fn follow_with_async_std(watcher: Watcher) -> Result<Followed, AnyError> {
    let followed = Followed::new(&watcher);
    let stream = kvwatch::async_std::WatchStream::new(watcher);
    Ok(async_std::task::block_on(followed.push_all(stream))?)
}
