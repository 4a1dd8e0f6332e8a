//! One watch stream: requests in, responses out.
//!
//! ```text
//!   requests ──▶ WatchStream ──▶ responses      polled by tonic when the client can take more
//!                 │ watches    id ─▶ a watcher of the hub
//!                 │ ready      watches that may have something to send
//!                 │ outbox     responses beyond the one that a poll returns
//!                 └ progress   the current round of progress notifications
//! ```
//!
//! tonic does not poll a stream whose client does not read. Its requests wait in the connection,
//! and its events in the watchers' queues, which are bounded.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use kvwatch::{Revision, WatchError};
use tokio::task::coop;
use tonic::{Request, Status, Streaming};

use super::progress::{Progress, Trigger};
use super::ready::{ReadyQueue, WatchHandle};
use super::response::WatchStreamResponse;
use super::single::{CreateOptions, Watch, WatchPoll};
use crate::error::RequestError;
use crate::header;
use crate::keys::KeyRange;
use crate::services::etcd::Etcd;
use crate::services::quota::StreamPermit;
use crate::services::users::{Access, Caller};
use crate::store::Store;
use crate::wire::etcdserverpb::watch_request::RequestUnion;
use crate::wire::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};

/// The id in responses about no watch or about all watches.
const NO_WATCH: i64 = -1;

/// How many times one poll of the stream may find no response before it yields to other tasks.
const POLLS_BEFORE_YIELD: usize = 32;

/// The responses of one watch stream, which tonic polls for `etcdserverpb.Watch`.
///
/// - *If the client is slow:* tonic stops polling the stream, and events wait in the queues of its
///   watches, within [`Limits::waiting_bytes`](crate::Limits::waiting_bytes).
/// - *If the stream is dropped:* its watches are freed at once.
/// - *If the watch engine is closed:* the stream ends with UNAVAILABLE, after everything that was
///   published.
pub struct WatchStream<S> {
    etcd: Etcd<S>,
    caller: Caller,
    permit: StreamPermit,
    /// `None` once the client has closed its side. The watches go on.
    requests: Option<Streaming<WatchRequest>>,
    watches: HashMap<i64, Watch>,
    /// The next id to try for a watch whose id the server chooses.
    next_id: i64,
    ready: ReadyQueue,
    outbox: VecDeque<WatchStreamResponse>,
    progress: Progress,
    /// The highest revision of an event that was sent, over all watches.
    sent_revision: Revision,
    ended: bool,
}

impl<S: Store> Stream for WatchStream<S> {
    type Item = Result<WatchStreamResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let budget = ready!(coop::poll_proceed(cx));
        let polled = this.poll_response(cx);
        if let Poll::Ready(response) = &polled {
            budget.made_progress();
            this.ended = response.is_err();
        }
        polled.map(Some)
    }
}

impl<S: Store> WatchStream<S> {
    pub(crate) fn new(
        etcd: &Etcd<S>,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Self, Status> {
        let caller = etcd.caller(request.metadata())?;
        let permit = etcd.quota.acquire(request.remote_addr(), &etcd.limits)?;
        Ok(Self {
            etcd: etcd.clone(),
            caller,
            permit,
            requests: Some(request.into_inner()),
            watches: HashMap::new(),
            next_id: 0,
            ready: ReadyQueue::default(),
            outbox: VecDeque::new(),
            progress: Progress::default(),
            sent_revision: 0,
            ended: false,
        })
    }

    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<WatchStreamResponse, Status>> {
        let mut polls = POLLS_BEFORE_YIELD;
        loop {
            if let Some(mut response) = self.outbox.pop_front() {
                self.etcd.fill_header(&mut response.head.header);
                return Poll::Ready(Ok(response));
            }
            if polls == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            polls -= 1;
            if self.poll_request(cx)? || self.poll_progress(cx)? {
                continue;
            }
            match self.ready.next(cx.waker()) {
                Some(handle) => self.poll_watch(&handle)?,
                None => return Poll::Pending,
            }
        }
    }

    fn send(&mut self, response: WatchResponse) {
        self.outbox.push_back(response.into());
    }

    /// Takes one request, if there is one. Requests wait for the end of a round of progress.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<bool, Status> {
        if self.progress.in_round() {
            return Ok(false);
        }
        let Some(requests) = &mut self.requests else {
            return Ok(false);
        };
        match Pin::new(requests).poll_next(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(None) => {
                self.requests = None;
                Ok(true)
            }
            Poll::Ready(Some(request)) => {
                self.handle(request?)?;
                Ok(true)
            }
        }
    }

    fn handle(&mut self, request: WatchRequest) -> Result<(), Status> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request)?,
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.begin_round(Trigger::Requested),
            // A request of a newer API. etcd ignores these too.
            None => {}
        }
        Ok(())
    }

    fn create(&mut self, request: WatchCreateRequest) -> Result<(), Status> {
        match self.try_create(request) {
            Ok(()) => Ok(()),
            Err(RequestError::Stopped) => Err(RequestError::Stopped.into()),
            Err(error) => {
                self.send(WatchResponse {
                    header: header::at_revision(self.etcd.hub.revision()),
                    watch_id: NO_WATCH,
                    created: true,
                    canceled: true,
                    cancel_reason: cancel_reason(error),
                    ..WatchResponse::default()
                });
                Ok(())
            }
        }
    }

    fn try_create(&mut self, request: WatchCreateRequest) -> Result<(), RequestError> {
        let options = CreateOptions::of(&request)?;
        let requested = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
        self.caller.check(Access::Read, &requested)?;
        let keys = if request.key.is_empty() {
            KeyRange::from_wire(&b"\0"[..], request.range_end)
        } else {
            requested
        };
        if keys.is_empty() {
            return Err(RequestError::EmptyWatch);
        }
        let id = self.choose_id(request.watch_id)?;
        self.permit.add_watch(&self.etcd.limits)?;
        let registered = self.register(id, options, keys);
        if registered.is_err() {
            self.permit.remove_watch();
        }
        match registered {
            Ok(()) => Ok(()),
            Err(WatchError::Compacted { oldest, .. }) => {
                self.send(created(id, self.etcd.hub.revision()));
                self.send(compacted(id, oldest));
                Ok(())
            }
            Err(WatchError::TooManyWatchers { .. }) => Err(RequestError::ServerFull),
            Err(WatchError::EmptyRange { .. }) => Err(RequestError::EmptyWatch),
            Err(_) => Err(RequestError::Stopped),
        }
    }

    /// Registers a watcher and answers the request.
    fn register(
        &mut self,
        id: i64,
        options: CreateOptions,
        keys: KeyRange,
    ) -> Result<(), WatchError> {
        let waiting = self.etcd.limits.watch_bytes(self.watches.len() + 1);
        let watch_options = options.watch_options(waiting);
        let watcher = self.etcd.hub.watch_with(keys.selector(), watch_options)?;
        // A client that loses its connection before the first event resumes after this revision.
        let revision = match options.start {
            0 => watcher.start_revision() - 1,
            _ => self.etcd.hub.revision(),
        };
        self.send(created(id, revision));
        let cache = self.etcd.event_cache.join(options.class(keys));
        let watch = Watch::new(watcher, options, cache, self.ready.add(id));
        self.watches.insert(id, watch);
        if options.progress {
            self.progress.start_timer(self.etcd.progress_interval);
        }
        Ok(())
    }

    /// The id of a new watch: the requested one, or for 0 the next unused one.
    fn choose_id(&mut self, requested: i64) -> Result<i64, RequestError> {
        if requested != 0 {
            if self.watches.contains_key(&requested) {
                return Err(RequestError::DuplicateWatch);
            }
            return Ok(requested);
        }
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        Ok(id)
    }

    fn cancel(&mut self, id: i64) {
        if self.remove(id) {
            self.send(WatchResponse {
                header: header::at_revision(self.etcd.hub.revision()),
                watch_id: id,
                canceled: true,
                ..WatchResponse::default()
            });
        }
    }

    fn remove(&mut self, id: i64) -> bool {
        if self.watches.remove(&id).is_none() {
            return false;
        }
        self.permit.remove_watch();
        if !self.watches.values().any(Watch::wants_progress) {
            self.progress.stop_timer();
        }
        true
    }

    /// Polls one watch and queues its responses.
    fn poll_watch(&mut self, handle: &Arc<WatchHandle>) -> Result<(), Status> {
        self.progress.watch_polled();
        let watch = self.watches.get_mut(&handle.id);
        let Some(watch) = watch.filter(|watch| watch.owns(handle)) else {
            return Ok(());
        };
        match watch.poll(&self.etcd) {
            WatchPoll::Empty => {}
            WatchPoll::Events(responses) => {
                self.sent_revision = self.sent_revision.max(watch.sent_revision());
                self.outbox.extend(responses);
            }
            WatchPoll::Compacted(oldest) => {
                self.remove(handle.id);
                self.send(compacted(handle.id, oldest));
            }
            WatchPoll::Failed => {
                self.remove(handle.id);
                self.send(WatchResponse {
                    header: header::at_revision(0),
                    watch_id: handle.id,
                    canceled: true,
                    cancel_reason: "the store failed to read the events of this watch".to_owned(),
                    ..WatchResponse::default()
                });
            }
            WatchPoll::Ended => return Err(RequestError::Stopped.into()),
        }
        Ok(())
    }

    /// Begins or ends a round of progress, if it is time.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Result<bool, Status> {
        if !self.progress.in_round() {
            let interval = self.etcd.progress_interval;
            if !self.progress.poll_timer(cx, interval) {
                return Ok(false);
            }
            self.begin_round(Trigger::Interval);
        }
        match self.progress.poll_round(cx, self.ready.len()) {
            Poll::Pending => Ok(false),
            // The engine has stopped. The watches end by themselves, after their last events.
            Poll::Ready(Err(_)) if !self.watches.is_empty() => Ok(true),
            Poll::Ready(Err(_)) => Err(RequestError::Stopped.into()),
            Poll::Ready(Ok((trigger, target))) => {
                self.report(trigger, target);
                Ok(true)
            }
        }
    }

    /// Begins a round. Its target is not below any revision that was sent.
    fn begin_round(&mut self, trigger: Trigger) {
        let target = self.etcd.hub.revision().max(self.sent_revision);
        self.progress.begin(trigger, &self.etcd.hub, target);
    }

    /// Reports progress: once for the whole stream if the client requested it and all watches are
    /// synced up to `target`, otherwise for each watch that is.
    fn report(&mut self, trigger: Trigger, target: Revision) {
        let mut synced = Vec::with_capacity(self.watches.len());
        for (id, watch) in &mut self.watches {
            if trigger == Trigger::Requested || watch.take_quiet() {
                let revision = watch.synced_revision(target);
                synced.extend(revision.map(|revision| (*id, revision)));
            }
        }
        if trigger == Trigger::Requested && synced.len() == self.watches.len() {
            let least = synced.iter().map(|entry| entry.1).min().unwrap_or(target);
            // During the round one watch may have sent newer events than another has synced. The
            // stream's progress must not be below a revision that was sent.
            if least >= self.sent_revision {
                synced = vec![(NO_WATCH, least)];
            }
        }
        synced.sort_unstable();
        for (watch_id, revision) in synced {
            self.send(WatchResponse {
                header: header::at_revision(revision),
                watch_id,
                ..WatchResponse::default()
            });
        }
    }
}

/// Confirms a watch.
fn created(watch_id: i64, revision: Revision) -> WatchResponse {
    WatchResponse {
        header: header::at_revision(revision),
        watch_id,
        created: true,
        ..WatchResponse::default()
    }
}

/// Ends a watch that needs compacted revisions.
fn compacted(watch_id: i64, oldest: Revision) -> WatchResponse {
    WatchResponse {
        // etcd sets no revision here.
        header: header::at_revision(0),
        watch_id,
        canceled: true,
        compact_revision: oldest.cast_signed(),
        ..WatchResponse::default()
    }
}

/// The reason that etcd gives when it does not create a watch.
fn cancel_reason(error: RequestError) -> String {
    match error {
        // etcd's client compares the text of the Go error.
        RequestError::PermissionDenied => {
            format!("rpc error: code = PermissionDenied desc = {error}")
        }
        _ => error.to_string(),
    }
}

impl<S> fmt::Debug for WatchStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("watches", &self.watches.len())
            .field("outbox", &self.outbox.len())
            .field("progress", &self.progress)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
