//! One watch of a stream: a watcher of the hub, and what its client asked for.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::ready::Bell;
use super::response::{Pages, WatchStreamResponse, framed};
use crate::error::RequestError;
use crate::keys::KeyRange;
use crate::services::etcd::Etcd;
use crate::services::event_cache::{Asked, Member};
use crate::store::Store;
use crate::wire::etcdserverpb::{WatchCreateRequest, watch_create_request};
use kvwatch::{Filter, Lagged, RecvError, Revision, WatchOptions, Watcher};

/// What a client asked of a watch, beyond its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// 0: from now on.
    pub(crate) start: Revision,
    pub(crate) prev_kv: bool,
    pub(crate) fragment: bool,
    pub(crate) progress: bool,
    filter: Option<Filter>,
}

impl Wanted {
    pub(crate) fn of(request: &WatchCreateRequest) -> Result<Self, RequestError> {
        let start = Revision::try_from(request.start_revision);
        let asked =
            |filter: watch_create_request::FilterType| request.filters.contains(&filter.into());
        let no_put = asked(watch_create_request::FilterType::Noput);
        let no_delete = asked(watch_create_request::FilterType::Nodelete);
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

    pub(crate) fn options(&self, waiting_bytes: usize) -> WatchOptions {
        let options = WatchOptions::new()
            .prev_value(self.prev_kv)
            .filter(self.filter.unwrap_or_default())
            .capacity_bytes(waiting_bytes);
        match self.start {
            0 => options,
            start => options.start_revision(start),
        }
    }

    /// By which a watch of these keys finds those that get the same events.
    pub(crate) fn asked(&self, keys: KeyRange) -> Asked {
        Asked {
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
    wanted: Wanted,
    member: Member,
    bell: Arc<Bell>,
    /// Of the bell.
    waker: Waker,
    /// The last revision of which it was told, by an event or as progress.
    told: Revision,
    /// Nothing was sent since the last look.
    quiet: bool,
}

/// What a watch has to say.
pub(crate) enum Said {
    Events(Vec<WatchStreamResponse>),
    /// It can no longer get what it wanted; reading succeeds from this revision on.
    Compacted(Revision),
    Nothing,
    /// The engine has stopped.
    Ended,
}

impl Watch {
    pub(crate) fn new(watcher: Watcher, wanted: Wanted, member: Member, bell: Arc<Bell>) -> Self {
        let waker = Waker::from(Arc::clone(&bell));
        Self {
            watcher,
            wanted,
            member,
            bell,
            waker,
            told: 0,
            quiet: true,
        }
    }

    /// Whether this bell is its own, and not that of one that had its id before.
    pub(crate) fn owns(&self, bell: &Arc<Bell>) -> bool {
        Arc::ptr_eq(&self.bell, bell)
    }

    /// Takes all that is at hand, at most one step of the history where it is behind.
    pub(crate) fn poll<S: Store>(&mut self, etcd: &Etcd<S>) -> Said {
        let mut cx = Context::from_waker(&self.waker);
        let batch = match self.watcher.poll_recv_batch(&mut cx) {
            Poll::Pending => return Said::Nothing,
            Poll::Ready(Err(RecvError::Lagged(Lagged { to, .. }))) => {
                return Said::Compacted(to.saturating_add(1));
            }
            Poll::Ready(Err(_)) => return Said::Ended,
            Poll::Ready(Ok(batch)) => batch,
        };
        // There may be more.
        self.bell.ring();
        if self.wanted.filter.is_none() {
            return Said::Nothing;
        }
        let mut pages = Pages::new(
            self.bell.id,
            self.wanted.fragment,
            etcd.limits.message_bytes,
            batch.len(),
        );
        self.member.encoded(
            &batch,
            |event, bytes| framed(bytes, |bytes| etcd.store.encode_event(event, bytes)),
            |revision, event| pages.add(revision, event),
        );
        self.told = batch.last_revision();
        self.quiet = false;
        Said::Events(pages.finish())
    }

    /// Up to where its client can be told that it knows everything, if that is `wanted` or
    /// beyond, and not below where it starts.
    pub(crate) fn known(&self, wanted: Revision) -> Option<Revision> {
        let known = self.watcher.progress();
        let due = known >= wanted.max(self.wanted.start);
        // Nor is a watch that starts in the future told of what lies between.
        let begun = self.wanted.start <= wanted;
        (due && begun).then_some(known)
    }

    /// Whether it asked for progress, and nothing was sent since this was asked before.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let quiet = self.quiet;
        self.quiet = true;
        self.wanted.progress && quiet
    }

    pub(crate) fn wants_progress(&self) -> bool {
        self.wanted.progress
    }

    pub(crate) fn told(&self) -> Revision {
        self.told
    }
}
