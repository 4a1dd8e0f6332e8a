//! Writers, compactions and all kinds of watches against a server that is killed, and a check of
//! what they received.
//!
//! ```text
//!   writers   ─▶ ┌────────┐ ─▶ the witness: every event     ─▶ history, matched with the writes
//!   compactor ─▶ │ server │ ─▶ watches: fast, slow, dropped ─▶ traces, checked by the history
//!                └────────┘    and resumed
//!                  kill -9
//! ```
//!
//! In the end, every answered write is in the history, under the revision of its answer and with
//! the right effect. No revision is used twice, and each is explained by a write. The store still
//! holds its past states. Each watch, over all its streams, received what the promises require, up
//! to the last revision.

mod follower;
mod history;
mod world;
mod write;

use std::sync::{Arc, PoisonError};

use kvwatch::Revision;
use kvwatch_etcd::wire::etcdserverpb::{CompactionRequest, LeaseGrantRequest, RangeRequest};
use tonic::{Code, Status};

use self::follower::{Figures, Follower, Watched};
use self::history::History;
use self::world::World;
use self::write::{Model, Write};
use super::{Client, ServerProcess};
use crate::Rng;
use crate::checker::{Complete, check};

/// The numbers of clients that write and that watch.
const WRITERS: u64 = 6;
const FOLLOWERS: u64 = 60;

/// The number of writes that are answered before each kill.
const WRITES: u64 = 2000;

/// Kills the server `kills` times under load, and checks the results.
///
/// # Panics
/// If a promise is broken.
pub async fn crash(mut server: ServerProcess, kills: usize) {
    let world = Arc::new(World::new(server.address().to_owned()));
    let follow = |number| tokio::spawn(Follower::new(&world, number).follow());
    let mut followers: Vec<_> = (0..FOLLOWERS / 2).map(follow).collect();
    let mut clients: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(Arc::clone(&world), writer)))
        .collect();
    clients.push(tokio::spawn(compact(Arc::clone(&world))));
    for kill in 0..kills {
        world.wait_for_answers(WRITES).await;
        println!("kill {kill} at revision {}", world.written());
        server.kill();
        server.restart();
        // The other followers join one by one, so that most of them start with a past.
        let due = FOLLOWERS / 2 * (kill as u64 + 1) / kills as u64;
        let next = followers.len() as u64;
        followers.extend((next..FOLLOWERS / 2 + due).map(follow));
    }
    world.wait_for_answers(WRITES).await;
    world.stop();
    for client in clients {
        client.await.expect("a client");
    }
    let client = Client::connect(&world.address).await;
    let last = client.revision().await.expect("an answer").cast_unsigned();
    world.end(last);
    let (mut watches, mut figures) = (Vec::new(), Figures::default());
    for follower in followers {
        let (own_watches, own_figures) = follower.await.expect("a follower");
        watches.extend(own_watches);
        figures.add(&own_figures);
    }
    println!("{last} revisions, {} watches, {figures:?}", watches.len());
    let states = verdict(&world, &watches, last).unwrap_or_else(|broken| panic!("{broken}"));
    for (revision, model) in states {
        check_state(&client, revision, &model).await;
    }
    // Otherwise the run did not exercise them.
    assert!(
        figures.compacted > 0 && figures.fragments > 0,
        "{figures:?}"
    );
}

/// Checks all watches, and returns the past states that the store must still hold.
fn verdict(
    world: &World,
    watches: &[Watched],
    last: Revision,
) -> Result<Vec<(Revision, Model)>, String> {
    let mut writes = world.writes.lock().unwrap_or_else(PoisonError::into_inner);
    let compacted = world.compactions();
    let oldest = compacted.last().copied().unwrap_or(2);
    let kept = [oldest, u64::midpoint(oldest, last), last];
    let writes = std::mem::take(&mut *writes);
    // The witness receives every event, so its trace can be matched with the writes.
    let history = History::explained(&watches[0].trace, writes, last, &kept)?;
    let mut log = history.log;
    log.compacted = compacted;
    for watch in watches {
        let complete = match watch.over {
            true => Complete::No,
            false => Complete::UpTo(last),
        };
        check(&log, &watch.trace, complete).map_err(|violation| violation.to_string())?;
        if !watch.is_done(last) {
            return Err(format!(
                "{} received every event, but no progress up to the last revision",
                watch.trace.name
            ));
        }
    }
    Ok(history.states.into_iter().collect())
}

/// Reads the store at a past revision, and compares.
async fn check_state(client: &Client, revision: Revision, model: &Model) {
    let request = RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        revision: revision.cast_signed(),
        ..RangeRequest::default()
    };
    let found = client.kv().range(request).await.expect("it is readable");
    let found = found.into_inner().kvs;
    assert!(
        found.iter().eq(model.keys.values()),
        "the store at revision {revision}: {found:?}"
    );
}

/// One writer: sends one write after the other.
async fn write(world: Arc<World>, writer: u64) {
    let mut rng = Rng::new(100 + writer);
    let mut client = Client::connect(&world.address).await;
    let (mut number, mut lease) = (0_u64, 0);
    while !world.is_stopping() {
        number += 1;
        let unique = format!("{writer}.{number}");
        if lease == 0 && writer % 2 == 1 {
            let request = LeaseGrantRequest { ttl: 5000, id: 0 };
            match client.lease().lease_grant(request).await {
                Ok(granted) => lease = granted.into_inner().id,
                Err(status) => client = reconnect(&world, &status).await,
            }
            continue;
        }
        let write = match number % 100 {
            50 if writer == 0 => Write::large(&unique),
            25 | 75 if lease != 0 => Write::Revoke(std::mem::take(&mut lease)),
            _ => Write::random(&mut rng, &unique, lease),
        };
        match write.send(&client).await {
            Ok(revision) => world.answered(write, revision),
            Err(status) => {
                world.unanswered(write);
                client = reconnect(&world, &status).await;
            }
        }
    }
}

/// Compacts now and then, up to a revision that the witness has received.
async fn compact(world: Arc<World>) {
    let mut rng = Rng::new(99);
    let mut client = Client::connect(&world.address).await;
    let mut last = 2;
    while !world.is_stopping() {
        world.wait_for_more(50 + rng.next_below(400)).await;
        let revision = world.written().saturating_sub(rng.next_below(1000));
        if revision <= last {
            continue;
        }
        last = revision;
        world.compacting(revision);
        let request = CompactionRequest {
            revision: revision.cast_signed(),
            physical: rng.next_below(2) == 0,
        };
        if let Err(status) = client.kv().compact(request).await {
            client = reconnect(&world, &status).await;
        }
    }
}

/// Connects again if the connection failed. Panics on any other error.
async fn reconnect(world: &World, status: &Status) -> Client {
    let connection_lost = [
        Code::Unavailable,
        Code::Unknown,
        Code::Internal,
        Code::Cancelled,
    ];
    assert!(
        connection_lost.contains(&status.code()),
        "refused: {status}"
    );
    Client::connect(&world.address).await
}
