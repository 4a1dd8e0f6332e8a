//! Deletes the entries of servers whose heartbeats are missing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kvwatch::stream::WatchStream;
use kvwatch::{Event, RecvError, WatchOptions};
use smol::Timer;
use smol::future::{or, pending};

use super::catalogue::{Catalogue, name};
use crate::AnyError;

/// The outcome of a wait for the next event.
enum Outcome {
    Event(Result<Event, RecvError>),
    /// The server with this name has been silent for too long.
    Silent(String),
}

/// Deletes the entries of silent servers, until the catalogue is shut down.
pub(crate) async fn delete_silent(catalogue: Catalogue, silence: Duration) -> Result<(), AnyError> {
    loop {
        let (revision, entries) = catalogue.reader.snapshot(&Catalogue::entries())?;
        let mut heartbeats = BTreeMap::new();
        for key in entries.keys() {
            heartbeats.insert(name(key)?, Instant::now());
        }
        let options = WatchOptions::new().start_revision(revision + 1);
        let watcher = catalogue.hub.watch_with(Catalogue::entries(), options)?;
        let mut events = WatchStream::new(watcher);
        loop {
            let oldest = oldest_heartbeat(&heartbeats);
            let event = async { Outcome::Event(events.recv().await) };
            let silence = async {
                let (name, since) = match oldest {
                    Some(oldest) => oldest,
                    None => pending().await,
                };
                Timer::at(since + silence).await;
                Outcome::Silent(name)
            };
            // Dropping the receive loses no event: it is cancel safe.
            match or(event, silence).await {
                Outcome::Event(Ok(event)) => record(&mut heartbeats, &event)?,
                // Heartbeats were lost: start over, as if all servers had just sent one.
                Outcome::Event(Err(RecvError::Lagged(_))) => break,
                Outcome::Event(Err(_)) => return Ok(()),
                Outcome::Silent(name) => {
                    catalogue.delete(&name).await?;
                    heartbeats.remove(&name);
                }
            }
        }
    }
}

/// The server whose last heartbeat is oldest, and the time of that heartbeat.
fn oldest_heartbeat(heartbeats: &BTreeMap<String, Instant>) -> Option<(String, Instant)> {
    let oldest = heartbeats.iter().min_by_key(|(_, last)| **last);
    oldest.map(|(name, last)| (name.clone(), *last))
}

fn record(heartbeats: &mut BTreeMap<String, Instant>, event: &Event) -> Result<(), AnyError> {
    let name = name(event.key())?;
    if event.value().is_some() {
        heartbeats.insert(name, Instant::now());
    } else {
        heartbeats.remove(&name);
    }
    Ok(())
}
