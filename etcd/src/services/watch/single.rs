//! One watch of a stream: a watcher of the hub, and the options of its create request.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use kvwatch::{Filter, LagReason, Lagged, RecvError, Revision, WatchOptions, Watcher};

use super::ready::WatchHandle;
use super::response::{Pages, WatchStreamResponse, frame_event};
use crate::error::RequestError;
use crate::keys::KeyRange;
use crate::services::etcd::Etcd;
use crate::services::event_cache::{CacheHandle, WatchClass};
use crate::store::Store;
use crate::wire::etcdserverpb::{WatchCreateRequest, watch_create_request};

/// The options of a create request, apart from its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CreateOptions {
    /// 0: the next revision.
    pub(crate) start: Revision,
    pub(crate) prev_kv: bool,
    pub(crate) fragment: bool,
    pub(crate) progress: bool,
    /// `None` if the request filters all events out.
    filter: Option<Filter>,
}

impl CreateOptions {
    pub(crate) fn of(request: &WatchCreateRequest) -> Result<Self, RequestError> {
        let start = Revision::try_from(request.start_revision);
        let has =
            |filter: watch_create_request::FilterType| request.filters.contains(&filter.into());
        let no_put = has(watch_create_request::FilterType::Noput);
        let no_delete = has(watch_create_request::FilterType::Nodelete);
        Ok(Self {
            start: start.map_err(|_| RequestError::NegativeStart)?,
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            progress: request.progress_notify,
            filter: match (no_put, no_delete) {
                (false, false) => Some(Filter::All),
                (false, true) => Some(Filter::Puts),
                (true, false) => Some(Filter::Deletes),
                (true, true) => None,
            },
        })
    }

    /// The options of the watcher, whose queue holds up to `waiting_bytes`.
    pub(crate) fn watch_options(&self, waiting_bytes: usize) -> WatchOptions {
        let options = WatchOptions::new()
            .prev_value(self.prev_kv)
            .filter(self.filter.unwrap_or_default())
            .capacity_bytes(waiting_bytes);
        match self.start {
            0 => options,
            start => options.start_revision(start),
        }
    }

    /// The class of watches that receive the same events.
    pub(crate) fn class(&self, keys: KeyRange) -> WatchClass {
        WatchClass {
            keys,
            filter: self.filter.unwrap_or_default(),
            prev_kv: self.prev_kv,
        }
    }
}

/// One watch.
#[derive(Debug)]
pub(crate) struct Watch {
    watcher: Watcher,
    options: CreateOptions,
    cache: CacheHandle,
    handle: Arc<WatchHandle>,
    /// The handle as a waker.
    waker: Waker,
    /// The revision of the last event that was sent.
    sent_revision: Revision,
    /// No event was sent since [`take_quiet`](Self::take_quiet) was called last.
    is_quiet: bool,
}

/// The outcome of polling a watch.
pub(crate) enum WatchPoll {
    /// Responses with events.
    Events(Vec<WatchStreamResponse>),
    /// The watch missed events that are compacted. It could start again at this revision.
    Compacted(Revision),
    /// The store failed to read events that the watch missed.
    Failed,
    /// No events.
    Empty,
    /// The watch engine has stopped.
    Ended,
}

impl Watch {
    pub(crate) fn new(
        watcher: Watcher,
        options: CreateOptions,
        cache: CacheHandle,
        handle: Arc<WatchHandle>,
    ) -> Self {
        let waker = Waker::from(Arc::clone(&handle));
        Self {
            watcher,
            options,
            cache,
            handle,
            waker,
            sent_revision: 0,
            is_quiet: true,
        }
    }

    /// Whether the handle is this watch's, and not that of an earlier watch with the same id.
    pub(crate) fn owns(&self, handle: &Arc<WatchHandle>) -> bool {
        Arc::ptr_eq(&self.handle, handle)
    }

    /// Takes one batch of events from the watcher.
    pub(crate) fn poll<S: Store>(&mut self, etcd: &Etcd<S>) -> WatchPoll {
        let mut cx = Context::from_waker(&self.waker);
        let batch = match self.watcher.poll_recv_batch(&mut cx) {
            Poll::Pending => return WatchPoll::Empty,
            Poll::Ready(Err(RecvError::Lagged(Lagged { last, reason, .. }))) => {
                return match reason {
                    LagReason::ReplayFailed => WatchPoll::Failed,
                    _ => WatchPoll::Compacted(last.saturating_add(1)),
                };
            }
            Poll::Ready(Err(_)) => return WatchPoll::Ended,
            Poll::Ready(Ok(batch)) => batch,
        };
        // The watcher may have another batch, and registers the waker only when it has none.
        self.handle.mark_ready();
        if self.options.filter.is_none() {
            return WatchPoll::Empty;
        }
        let mut pages = Pages::new(
            self.handle.id,
            self.options.fragment,
            etcd.limits.message_bytes,
            batch.len(),
        );
        self.cache.encoded(
            &batch,
            |event, bytes| frame_event(bytes, |bytes| etcd.store.encode_event(event, bytes)),
            |revision, event| pages.add(revision, event),
        );
        self.sent_revision = batch.last_revision();
        self.is_quiet = false;
        WatchPoll::Events(pages.finish())
    }

    /// The revision up to which the client has every event, if that is at least `target` and the
    /// watch starts no later than `target`.
    pub(crate) fn synced_revision(&self, target: Revision) -> Option<Revision> {
        let synced = self.watcher.progress();
        let reached = synced >= target.max(self.options.start);
        let started = self.options.start <= target;
        (reached && started).then_some(synced)
    }

    /// Whether the watch requests progress, and no event was sent since the last call.
    pub(crate) fn take_quiet(&mut self) -> bool {
        let was_quiet = std::mem::replace(&mut self.is_quiet, true);
        self.options.progress && was_quiet
    }

    pub(crate) fn wants_progress(&self) -> bool {
        self.options.progress
    }

    pub(crate) fn sent_revision(&self) -> Revision {
        self.sent_revision
    }
}
