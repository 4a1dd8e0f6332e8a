//! Makes the same calls to etcd and to our server, and compares the answers.
//!
//! Both start empty and receive every call of every sequence, so that even their revisions match.
//! Every field of every answer is compared, except for these:
//!
//! | what differs | why |
//! | --- | --- |
//! | `cluster_id`, `member_id`, `raft_term` | each server has its own |
//! | how events are spread over responses, and those responses' header | depends on time: the events of each watch are compared, in order, with every field. Ours names the revision of the response's last event; etcd names the present one where it reads on |
//! | the remaining time of a lease, within a second | depends on time |
//! | the order in which leases, and the keys of one, are listed | etcd lists them in the order of a hash map |
//! | a delete up to `"\0"` in a transaction beside a put in its range | ours refuses it as a duplicate key; etcd 3.4.23 lets it pass, and crashes if the put ignores its value: not generated |
//! | a delete in a nested transaction beside a put of the key in an earlier one | ours refuses it as a duplicate key, as etcd does since 3.4.28; etcd 3.4.23 lets it pass: not generated |
//! | sort targets and orders that do not exist | ours refuses them as later etcds do; etcd 3.4.23 crashes: not generated |
//! | a compaction up to revision 0 | ours refuses it as compacted; etcd takes the first one, which does nothing, and refuses the others: not generated |
//! | the id of a watch that was cancelled as compacted | ours is free again; etcd keeps it until the client cancels the watch too, and answers that cancel: such ids are not reused |
//! | a watch from a negative revision | ours refuses it; etcd 3.4.23 disturbs other watches: not generated |

use std::collections::BTreeMap;
use std::fmt::Debug;

use kvwatch_etcd::wire::etcdserverpb::response_op::Response;
use kvwatch_etcd::wire::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest, ResponseHeader, TxnResponse,
    WatchCreateRequest, WatchResponse,
};
use kvwatch_etcd::wire::mvccpb::Event;
use tonic::Status;

use super::generate::{Generator, Step};
use super::{Client, WatchStream};

/// The id of a watch whose events show how far the stream is.
const FENCE: i64 = 9999;

/// The key of that watch.
const FENCE_KEY: &str = "~fence";

/// Both servers.
#[derive(Debug)]
pub struct Pair {
    ours: Client,
    etcd: Client,
    /// The highest compacted revision so far.
    compacted: i64,
}

/// One server's side of a sequence.
struct Side {
    client: Client,
    stream: Option<WatchStream>,
    seen: Seen,
    /// Whether a watch from the past was created since the last comparison.
    past: bool,
    /// The highest compacted revision so far.
    compacted: i64,
}

/// The responses of a watch stream, in an order that can be compared.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// The responses without events, in order.
    control: Vec<WatchResponse>,
    /// The events of each watch.
    events: BTreeMap<i64, Vec<Event>>,
    fences: usize,
}

impl Pair {
    /// Our server and etcd, both empty.
    #[must_use]
    pub fn new(ours: Client, etcd: Client) -> Self {
        Self {
            ours,
            etcd,
            compacted: 0,
        }
    }

    /// Runs one sequence.
    ///
    /// # Errors
    /// The first difference.
    pub async fn run(&mut self, seed: u64, steps: usize) -> Result<(), String> {
        let named = |what: String| format!("seed {seed}: {what}");
        let revision = self
            .ours
            .revision()
            .await
            .map_err(|status| named(status.to_string()))?;
        let mut generator = Generator::new(seed, revision);
        let mut sides = [self.ours.clone(), self.etcd.clone()].map(|client| Side {
            client,
            stream: None,
            seen: Seen::default(),
            past: false,
            compacted: self.compacted,
        });
        if let Some(first) = generator.first() {
            compare_call(&mut sides, &mut generator, &first)
                .await
                .map_err(named)?;
            self.compacted = sides[0].compacted;
        }
        let watching = seed.is_multiple_of(2);
        if watching {
            for side in &mut sides {
                side.open_stream().await;
            }
        }
        for _ in 0..steps {
            let step = generator.step(watching);
            if watching && matches!(step, Step::Cancel(_)) {
                compare_streams(&mut sides).await.map_err(named)?;
            }
            compare_call(&mut sides, &mut generator, &step)
                .await
                .map_err(named)?;
        }
        if watching {
            compare_streams(&mut sides).await.map_err(named)?;
        }
        // The next sequence must not find leases of this one.
        for lease in [11, 12, 13] {
            compare_call(&mut sides, &mut generator, &Step::Revoke(lease))
                .await
                .map_err(named)?;
        }
        Ok(())
    }
}

/// Makes one call to both servers and compares the answers.
async fn compare_call(
    sides: &mut [Side; 2],
    generator: &mut Generator,
    step: &Step,
) -> Result<(), String> {
    let [ours, etcd] = sides;
    let (our, revision) = ours.call(step).await;
    let (their, _) = etcd.call(step).await;
    if our != their {
        return Err(format!("{step:#?}\n ours: {our}\netcd: {their}"));
    }
    if let Some(revision) = revision {
        generator.revision = revision;
    }
    Ok(())
}

/// Waits until both watch streams have delivered the same responses.
async fn compare_streams(sides: &mut [Side; 2]) -> Result<(), String> {
    for side in &mut *sides {
        side.fence().await;
    }
    let [_, etcd] = &mut *sides;
    if std::mem::take(&mut etcd.past) {
        // etcd serves watches from the past ten times a second.
        etcd.read_within(120).await;
    }
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let [ours, etcd] = &mut *sides;
        if ours.seen == etcd.seen {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(format!(
                "watch streams:\n ours: {:#?}\netcd: {:#?}",
                ours.seen, etcd.seen
            ));
        }
        ours.read_within(10).await;
        etcd.read_within(10).await;
    }
}

impl Side {
    async fn open_stream(&mut self) {
        let fence = WatchCreateRequest {
            key: FENCE_KEY.into(),
            watch_id: FENCE,
            ..WatchCreateRequest::default()
        };
        self.stream = Some(self.client.watch_with(fence).await.expect("a stream"));
        self.read_until(|seen| seen.control.len() == 1).await;
    }

    /// Waits until everything written before has arrived, except for the events that watches from
    /// the past read separately.
    async fn fence(&mut self) {
        let fences = self.seen.fences;
        self.client.put(FENCE_KEY, "").await.expect("a put");
        self.read_until(|seen| seen.fences > fences).await;
    }

    async fn read_until(&mut self, condition: impl Fn(&Seen) -> bool) {
        while !condition(&self.seen) {
            let stream = self.stream.as_mut().expect("it is open");
            let response = stream.next().await.expect("a response");
            self.seen.add(response);
        }
    }

    /// Reads until no response arrives for `millis` milliseconds.
    async fn read_within(&mut self, millis: u64) {
        let stream = self.stream.as_mut().expect("it is open");
        while let Some(response) = stream.next_within(millis).await.expect("no end") {
            self.seen.add(response);
        }
    }

    /// Makes a call, and returns the comparable part of its answer and the answer's revision.
    async fn call(&mut self, step: &Step) -> (String, Option<i64>) {
        let client = self.client.clone();
        match step.clone() {
            Step::Range(request) => show(client.kv().range(request).await, |answer| {
                anonymous(&mut answer.header)
            }),
            Step::Put(request) => show(client.kv().put(request).await, |answer| {
                anonymous(&mut answer.header)
            }),
            Step::Delete(request) => show(client.kv().delete_range(request).await, |answer| {
                anonymous(&mut answer.header)
            }),
            Step::Txn(request) => show(client.kv().txn(request).await, anonymous_txn),
            Step::Compact(request) => {
                let revision = request.revision;
                let answer = client.kv().compact(request).await;
                if answer.is_ok() {
                    self.compacted = revision;
                }
                show(answer, |answer| anonymous(&mut answer.header))
            }
            Step::Grant(request) => show(client.lease().lease_grant(request).await, |answer| {
                anonymous(&mut answer.header)
            }),
            Step::Revoke(id) => {
                let request = LeaseRevokeRequest { id };
                show(client.lease().lease_revoke(request).await, |answer| {
                    anonymous(&mut answer.header)
                })
            }
            Step::KeepAlive(id) => show(keep_alive(&client, id).await, |answer| {
                anonymous(&mut answer.header)
            }),
            Step::TimeToLive(request) => {
                show(client.lease().lease_time_to_live(request).await, |answer| {
                    // The lease was just granted or kept alive, or it does not exist.
                    answer.ttl = if answer.ttl < 0 { answer.ttl } else { 0 };
                    answer.keys.sort();
                    anonymous(&mut answer.header)
                })
            }
            Step::Leases => {
                let request = LeaseLeasesRequest {};
                show(client.lease().lease_leases(request).await, |answer| {
                    answer.leases.sort_by_key(|lease| lease.id);
                    anonymous(&mut answer.header)
                })
            }
            Step::Watch(request) if self.seen.was_compacted(request.watch_id) => {
                (String::new(), None)
            }
            Step::Cancel(id) if self.seen.was_compacted(id) => (String::new(), None),
            Step::Watch(request) => {
                let created = self.seen.created();
                let start = request.start_revision;
                self.past |= start != 0;
                let stream = self.stream.as_ref().expect("it is open");
                stream.create(request);
                self.read_until(|seen| seen.created() > created).await;
                if start != 0 && start < self.compacted {
                    // etcd reports the compaction a little later.
                    self.read_until(|seen| !seen.is_open_last()).await;
                }
                (String::new(), None)
            }
            Step::Cancel(id) => {
                let is_open = self.seen.is_open(id);
                self.stream.as_ref().expect("it is open").cancel(id);
                if is_open {
                    self.read_until(|seen| !seen.is_open(id)).await;
                }
                (format!("open: {is_open}"), None)
            }
        }
    }
}

impl Seen {
    fn add(&mut self, mut response: WatchResponse) {
        if response.events.is_empty() {
            anonymous(&mut response.header);
            self.control.push(response);
        } else if response.watch_id == FENCE {
            self.fences += response.events.len();
        } else {
            let header_revision = response.header.map_or(0, |header| header.revision);
            for event in &response.events {
                let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
                assert!(revision <= header_revision, "a header below its events");
            }
            self.events
                .entry(response.watch_id)
                .or_default()
                .extend(response.events);
        }
    }

    fn created(&self) -> usize {
        self.control
            .iter()
            .filter(|response| response.created)
            .count()
    }

    /// Whether a watch with this id was cancelled as compacted.
    fn was_compacted(&self, id: i64) -> bool {
        let mut control = self.control.iter();
        control.any(|response| response.watch_id == id && response.compact_revision != 0)
    }

    /// Whether the watch created last is open.
    fn is_open_last(&self) -> bool {
        let last = self.control.iter().rfind(|response| response.created);
        last.is_some_and(|response| self.is_open(response.watch_id))
    }

    fn is_open(&self, id: i64) -> bool {
        let mut control = self.control.iter();
        let last = control.rfind(|response| response.watch_id == id);
        last.is_some_and(|response| !response.canceled)
    }
}

/// One keep-alive on a stream of its own.
async fn keep_alive(
    client: &Client,
    id: i64,
) -> Result<tonic::Response<kvwatch_etcd::wire::etcdserverpb::LeaseKeepAliveResponse>, Status> {
    let requests = futures::stream::iter([LeaseKeepAliveRequest { id }]);
    let mut answers = client
        .lease()
        .lease_keep_alive(requests)
        .await?
        .into_inner();
    let answer = answers.message().await?;
    Ok(tonic::Response::new(
        answer.ok_or_else(|| Status::ok("no answer"))?,
    ))
}

/// The comparable part of an answer as text, and the answer's revision.
fn show<T: Debug>(
    answer: Result<tonic::Response<T>, Status>,
    make_comparable: impl FnOnce(&mut T) -> Option<i64>,
) -> (String, Option<i64>) {
    match answer {
        Ok(answer) => {
            let mut answer = answer.into_inner();
            let revision = make_comparable(&mut answer);
            (format!("{answer:#?}"), revision)
        }
        Err(status) => (format!("{:?}: {}", status.code(), status.message()), None),
    }
}

/// Replaces the ids of the server that answered, unless they are 0 as in nested answers. Returns
/// the revision.
fn anonymous(header: &mut Option<ResponseHeader>) -> Option<i64> {
    let header = header.as_mut()?;
    let ResponseHeader {
        cluster_id,
        member_id,
        raft_term,
        revision,
    } = header;
    for id in [cluster_id, member_id, raft_term] {
        *id = (*id).min(1);
    }
    Some(*revision)
}

fn anonymous_txn(answer: &mut TxnResponse) -> Option<i64> {
    for response in &mut answer.responses {
        match &mut response.response {
            Some(Response::ResponseTxn(nested)) => drop(anonymous_txn(nested)),
            Some(Response::ResponseRange(range)) => drop(anonymous(&mut range.header)),
            Some(Response::ResponsePut(put)) => drop(anonymous(&mut put.header)),
            Some(Response::ResponseDeleteRange(delete)) => drop(anonymous(&mut delete.header)),
            None => {}
        }
    }
    anonymous(&mut answer.header)
}
