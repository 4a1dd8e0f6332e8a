//! Deletes the entries of servers that have fallen silent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kvwatch::stream::WatchStream;
use kvwatch::{Event, RecvError, WatchOptions};
use smol::Timer;
use smol::future::{or, pending};

use super::catalogue::{Catalogue, name};
use crate::AnyError;

/// What came first.
enum Heard {
    Event(Result<Event, RecvError>),
    /// From this server, for too long.
    Nothing(String),
}

/// Runs until the catalogue ends.
pub(crate) async fn keep(catalogue: Catalogue, silence: Duration) -> Result<(), AnyError> {
    loop {
        let (revision, entries) = catalogue.reader.snapshot(&Catalogue::entries())?;
        let mut heard = BTreeMap::new();
        for key in entries.keys() {
            heard.insert(name(key)?, Instant::now());
        }
        let options = WatchOptions::new().start_revision(revision + 1);
        let watcher = catalogue.hub.watch_with(Catalogue::entries(), options)?;
        let mut events = WatchStream::new(watcher);
        loop {
            let longest = longest_silent(&heard);
            let event = async { Heard::Event(events.recv().await) };
            let silence = async {
                let (name, since) = match longest {
                    Some(longest) => longest,
                    None => pending().await,
                };
                Timer::at(since + silence).await;
                Heard::Nothing(name)
            };
            // A receive that is given up for the timer has taken nothing.
            match or(event, silence).await {
                Heard::Event(Ok(event)) => note(&mut heard, &event)?,
                // Beats were missed: everybody gets the benefit of the doubt.
                Heard::Event(Err(RecvError::Lagged(_))) => break,
                Heard::Event(Err(_)) => return Ok(()),
                Heard::Nothing(name) => {
                    catalogue.delete(&name).await?;
                    heard.remove(&name);
                }
            }
        }
    }
}

/// Who was heard longest ago, and when.
fn longest_silent(heard: &BTreeMap<String, Instant>) -> Option<(String, Instant)> {
    let longest = heard.iter().min_by_key(|(_, heard)| **heard);
    longest.map(|(name, heard)| (name.clone(), *heard))
}

fn note(heard: &mut BTreeMap<String, Instant>, event: &Event) -> Result<(), AnyError> {
    let name = name(event.key())?;
    if event.value().is_some() {
        heard.insert(name, Instant::now());
    } else {
        heard.remove(&name);
    }
    Ok(())
}
