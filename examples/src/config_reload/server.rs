//! A server of lines: a name comes in, a greeting goes out.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use kvwatch::{Mirror, Revision};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::settings::{SettingError, Settings};

/// The settings in force: those of the mirror's view, or the last valid ones. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    mirror: Mirror,
    parsed: Arc<Mutex<Parsed>>,
}

/// What was made of the view at a revision.
#[derive(Debug, Default)]
struct Parsed {
    revision: Revision,
    settings: Arc<Settings>,
    refused: Option<SettingError>,
}

impl Current {
    pub(crate) fn new(mirror: Mirror) -> Self {
        let parsed = Arc::default();
        Self { mirror, parsed }
    }

    /// For one request: all of one revision.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken with the lock held, so that no older one comes after a newer one.
        if let Some(view) = self.mirror.view()
            && view.revision() > parsed.revision
        {
            parsed.revision = view.revision();
            match Settings::of(&view) {
                Ok(settings) => {
                    parsed.settings = Arc::new(settings);
                    parsed.refused = None;
                }
                Err(refused) => parsed.refused = Some(refused),
            }
        }
        Arc::clone(&parsed.settings)
    }

    /// Why the newest settings are not in force, if so.
    pub(crate) fn refused(&self) -> Option<SettingError> {
        let parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        parsed.refused.clone()
    }
}

/// Serves every connection in a task of its own; they end with this.
pub(crate) async fn serve(listener: TcpListener, current: Current) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        // A client that goes away is its own matter.
        while connections.try_join_next().is_some() {}
        connections.spawn(greet(stream, current.clone()));
    }
}

async fn greet(stream: TcpStream, current: Current) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut names = BufReader::new(reader).lines();
    let mut requests = 0;
    while let Some(name) = names.next_line().await? {
        requests += 1;
        let settings = current.settings();
        let Settings {
            greeting,
            signature,
            limit,
        } = &*settings;
        if requests > *limit {
            let answer = format!("no more than {limit} requests on one connection\n");
            return writer.write_all(answer.as_bytes()).await;
        }
        let answer = format!("{greeting}, {name}! -- {signature}\n");
        writer.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
