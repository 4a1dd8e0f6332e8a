//! A server that answers each line, a name, with a greeting.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use kvwatch::{Mirror, Revision};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::settings::{SettingError, Settings};

/// The current settings: those in the mirror's view, or the last valid ones. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    mirror: Mirror,
    parsed: Arc<Mutex<Parsed>>,
}

/// The settings parsed from the view at a revision.
#[derive(Debug, Default)]
struct Parsed {
    revision: Revision,
    settings: Arc<Settings>,
    error: Option<SettingError>,
}

impl Current {
    pub(crate) fn new(mirror: Mirror) -> Self {
        let parsed = Arc::default();
        Self { mirror, parsed }
    }

    /// The settings for one request, all from one revision.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        // The view is read under the lock, so that an older view never replaces a newer one.
        if let Some(view) = self.mirror.view()
            && view.revision() > parsed.revision
        {
            parsed.revision = view.revision();
            match Settings::parse(&view) {
                Ok(settings) => {
                    parsed.settings = Arc::new(settings);
                    parsed.error = None;
                }
                Err(error) => parsed.error = Some(error),
            }
        }
        Arc::clone(&parsed.settings)
    }

    /// The error in the newest settings, if they are invalid.
    pub(crate) fn error(&self) -> Option<SettingError> {
        let parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        parsed.error.clone()
    }
}

/// Serves every connection in a task of its own. Dropping this future ends the tasks.
pub(crate) async fn serve(listener: TcpListener, current: Current) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        // Errors of a connection concern only its client.
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
