//! What a watcher does on its thread: receive to the end.

use kvwatch::{Event, Lagged, RecvError, Revision, Selector, Watcher};

/// What a watcher got.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) selector: Selector,
    pub(crate) start: Revision,
    pub(crate) events: Vec<Event>,
    pub(crate) lags: Vec<Lagged>,
}

impl Followed {
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

/// Receives until the store shuts down; what was published before arrives before.
///
/// # Errors
/// If the watcher ends for any other reason.
pub(crate) fn follow(mut watcher: Watcher) -> Result<Followed, RecvError> {
    let mut followed = Followed {
        selector: watcher.selector().clone(),
        start: watcher.start_revision(),
        events: Vec::new(),
        lags: Vec::new(),
    };
    for item in &mut watcher {
        match item {
            Ok(event) => followed.events.push(event),
            // Nothing is lost in silence: a program would read the store again here.
            Err(RecvError::Lagged(lagged)) => followed.lags.push(lagged),
            Err(error) => return Err(error),
        }
    }
    Ok(followed)
}
