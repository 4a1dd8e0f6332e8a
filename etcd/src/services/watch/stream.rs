//! `etcdserverpb.Watch`: one stream of requests and responses, any number of watches.
//!
//! ```text
//!   requests ──▶ WatchStream ──▶ responses        polled by tonic, when the client takes them
//!                 │ watches: id ─▶ a watcher of the hub
//!                 │ ready: whose watcher has something
//!                 │ outbox: what one poll made beyond the response it returned
//!                 └ progress: a round in which all have their say
//! ```
//!
//! A stream that its client does not read is not polled: requests are not taken, watchers are not
//! emptied, and what waits for it is what their queues hold.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready as ready_or};

use futures_core::Stream;
use tokio::task::coop;
use tonic::{Request, Status, Streaming};

use super::progress::{Progress, Why};
use super::ready::{Bell, Ready};
use super::response::WatchStreamResponse;
use super::single::{Said, Wanted, Watch};
use crate::error::RequestError;
use crate::header;
use crate::keys::KeyRange;
use crate::services::etcd::Etcd;
use crate::services::quota::StreamPermit;
use crate::services::users::{Access, Caller};
use crate::store::Store;
use crate::wire::etcdserverpb::watch_request::RequestUnion;
use crate::wire::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use kvwatch::{Revision, WatchError};

/// The id in responses that are about no watch, or about all.
const NO_WATCH: i64 = -1;

/// How many watches are polled in vain before other tasks get their turn.
const PATIENCE: usize = 32;

impl<S: Store> Etcd<S> {
    pub(crate) fn open_watch_stream(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<tonic::Response<WatchStream<S>>, Status> {
        let caller = self.caller(request.metadata())?;
        let permit = self.quota.acquire(request.remote_addr(), &self.limits)?;
        Ok(tonic::Response::new(WatchStream {
            etcd: self.clone(),
            caller,
            permit,
            requests: Some(request.into_inner()),
            watches: HashMap::new(),
            next_id: 0,
            ready: Ready::default(),
            outbox: VecDeque::new(),
            progress: Progress::default(),
            told: 0,
            done: false,
        }))
    }
}

/// The responses of one watch stream. It is the stream that tonic polls for
/// `etcdserverpb.Watch`, made by its service.
///
/// Dropped, it frees its watches at once. What slow and vanished clients mean to it is told at
/// [`Etcd`].
pub struct WatchStream<S> {
    etcd: Etcd<S>,
    caller: Caller,
    permit: StreamPermit,
    /// `None` once the client has closed its side: the watches go on.
    requests: Option<Streaming<WatchRequest>>,
    watches: HashMap<i64, Watch>,
    /// The next id to try where the client leaves it to us.
    next_id: i64,
    ready: Ready,
    outbox: VecDeque<WatchStreamResponse>,
    progress: Progress,
    /// The highest revision that was sent, of any watch.
    told: Revision,
    done: bool,
}

impl<S: Store> Stream for WatchStream<S> {
    type Item = Result<WatchStreamResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.done {
            return Poll::Ready(None);
        }
        let budget = ready_or!(coop::poll_proceed(cx));
        let polled = this.poll_response(cx);
        if let Poll::Ready(response) = &polled {
            budget.made_progress();
            this.done = response.is_err();
        }
        polled.map(Some)
    }
}

impl<S: Store> WatchStream<S> {
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<WatchStreamResponse, Status>> {
        let mut patience = PATIENCE;
        loop {
            if let Some(mut response) = self.outbox.pop_front() {
                self.etcd.fill_header(&mut response.head.header);
                return Poll::Ready(Ok(response));
            }
            if patience == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            patience -= 1;
            if self.poll_request(cx)? || self.poll_progress(cx)? {
                continue;
            }
            match self.ready.next(cx.waker()) {
                Some(bell) => self.hear(&bell)?,
                None => return Poll::Pending,
            }
        }
    }

    fn send(&mut self, response: WatchResponse) {
        self.outbox.push_back(response.into());
    }

    /// Takes one request, if there is one. While a round of progress is held the next one waits.
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
            Some(RequestUnion::ProgressRequest(_)) => self.begin_round(Why::Asked),
            // Something newer than this server: etcd passes over it too.
            None => {}
        }
        Ok(())
    }

    fn create(&mut self, request: WatchCreateRequest) -> Result<(), Status> {
        match self.try_create(request) {
            Ok(()) => Ok(()),
            Err(RequestError::Stopped) => Err(RequestError::Stopped.into()),
            Err(refusal) => {
                self.send(WatchResponse {
                    header: header::at_revision(self.etcd.hub.revision()),
                    watch_id: NO_WATCH,
                    created: true,
                    canceled: true,
                    cancel_reason: reason(refusal),
                    ..WatchResponse::default()
                });
                Ok(())
            }
        }
    }

    fn try_create(&mut self, request: WatchCreateRequest) -> Result<(), RequestError> {
        let wanted = Wanted::of(&request)?;
        let sent = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
        self.caller.check(Access::Read, &sent)?;
        let keys = if request.key.is_empty() {
            KeyRange::from_wire(&b"\0"[..], request.range_end)
        } else {
            sent
        };
        if keys.is_empty() {
            return Err(RequestError::EmptyWatch);
        }
        let id = self.name(request.watch_id)?;
        self.permit.add_watch(&self.etcd.limits)?;
        let waiting = self.etcd.limits.watch_bytes(self.watches.len() + 1);
        let options = wanted.options(waiting);
        let registered = self.etcd.hub.watch_with(keys.selector(), options);
        let created = |revision| WatchResponse {
            header: header::at_revision(revision),
            watch_id: id,
            created: true,
            ..WatchResponse::default()
        };
        match registered {
            Ok(watcher) => {
                // A client that loses its connection now comes back with this revision.
                let revision = match wanted.start {
                    0 => watcher.start_revision() - 1,
                    _ => self.etcd.hub.revision(),
                };
                self.send(created(revision));
                let member = self.etcd.groups.join(wanted.asked(keys));
                let watch = Watch::new(watcher, wanted, member, self.ready.bell(id));
                self.watches.insert(id, watch);
                if wanted.progress {
                    self.progress.start_timer(self.etcd.progress_interval);
                }
                Ok(())
            }
            Err(error) => {
                self.permit.remove_watch();
                let WatchError::Compacted { oldest, .. } = error else {
                    return Err(match error {
                        WatchError::TooManyWatchers { .. } => RequestError::ServerFull,
                        WatchError::EmptyRange { .. } => RequestError::EmptyWatch,
                        _ => RequestError::Stopped,
                    });
                };
                self.send(created(self.etcd.hub.revision()));
                self.send(compacted(id, oldest));
                Ok(())
            }
        }
    }

    /// The id of a new watch: the one asked for, or with 0 the next that is free.
    fn name(&mut self, asked: i64) -> Result<i64, RequestError> {
        if asked != 0 {
            if self.watches.contains_key(&asked) {
                return Err(RequestError::DuplicateWatch);
            }
            return Ok(asked);
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

    /// Lets a watch have its say.
    fn hear(&mut self, bell: &Arc<Bell>) -> Result<(), Status> {
        self.progress.said();
        let watch = self.watches.get_mut(&bell.id);
        let Some(watch) = watch.filter(|watch| watch.owns(bell)) else {
            return Ok(());
        };
        match watch.poll(&self.etcd) {
            Said::Nothing => {}
            Said::Events(responses) => {
                self.told = self.told.max(watch.told());
                self.outbox.extend(responses);
            }
            Said::Compacted(oldest) => {
                self.remove(bell.id);
                self.send(compacted(bell.id, oldest));
            }
            Said::Ended => return Err(RequestError::Stopped.into()),
        }
        Ok(())
    }

    /// Begins or ends a round of progress, if it is time.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Result<bool, Status> {
        if !self.progress.in_round() {
            if !self.progress.poll_due(cx, self.etcd.progress_interval) {
                return Ok(false);
            }
            self.begin_round(Why::Due);
        }
        match self.progress.poll(cx, self.ready.len()) {
            Poll::Pending => Ok(false),
            // The watches say so themselves, behind what they still have to deliver.
            Poll::Ready(Err(_)) if !self.watches.is_empty() => Ok(true),
            Poll::Ready(Err(_)) => Err(RequestError::Stopped.into()),
            Poll::Ready(Ok((why, target))) => {
                self.report(why, target);
                Ok(true)
            }
        }
    }

    /// No progress is reported below what was sent already.
    fn begin_round(&mut self, why: Why) {
        let target = self.etcd.hub.revision().max(self.told);
        self.progress.begin(why, &self.etcd.hub, target);
    }

    /// Tells all watches at once where all of them know everything up to `target`, or else each
    /// that does.
    fn report(&mut self, why: Why, target: Revision) {
        let mut known = Vec::with_capacity(self.watches.len());
        for (id, watch) in &mut self.watches {
            if why == Why::Asked || watch.is_quiet() {
                known.extend(watch.known(target).map(|revision| (*id, revision)));
            }
        }
        if why == Why::Asked && known.len() == self.watches.len() {
            let least = known.iter().map(|entry| entry.1).min().unwrap_or(target);
            // Events that came by meanwhile may be ahead of a watch that has yet to send its own:
            // then the stream as a whole must not be told of less than it knows.
            if least >= self.told {
                known = vec![(NO_WATCH, least)];
            }
        }
        known.sort_unstable();
        for (watch_id, revision) in known {
            self.send(WatchResponse {
                header: header::at_revision(revision),
                watch_id,
                ..WatchResponse::default()
            });
        }
    }
}

/// The end of a watch that wants what is gone.
fn compacted(id: i64, oldest: Revision) -> WatchResponse {
    WatchResponse {
        // As etcd has it: this answer is of no revision.
        header: header::at_revision(0),
        watch_id: id,
        canceled: true,
        compact_revision: oldest.cast_signed(),
        ..WatchResponse::default()
    }
}

/// Why a watch was not created, in the words that etcd has for it there.
fn reason(refusal: RequestError) -> String {
    match refusal {
        // The text of Go's error, which its client compares.
        RequestError::PermissionDenied => {
            format!("rpc error: code = PermissionDenied desc = {refusal}")
        }
        _ => refusal.to_string(),
    }
}

impl<S> fmt::Debug for WatchStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("watches", &self.watches.len())
            .field("outbox", &self.outbox.len())
            .field("progress", &self.progress)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
