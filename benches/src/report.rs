//! The results: a table as text and Markdown, all readings as JSON, and plots.

mod json;
mod plots;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use crate::peers::Peers;
use crate::row::Row;

/// The rows of all groups.
#[derive(Debug)]
pub(crate) struct Report {
    rows: Vec<Row>,
    rounds: usize,
    quick: bool,
}

impl Report {
    pub(crate) fn new(rounds: usize, quick: bool) -> Self {
        Self {
            rows: Vec::new(),
            rounds,
            quick,
        }
    }

    pub(crate) fn extend(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    /// The table, with aligned columns so that it reads as plain text too.
    pub(crate) fn markdown(&self, peers: &Peers) -> String {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let quick = if self.quick {
            " This was a quick run: its figures do not count."
        } else {
            ""
        };
        format!(
            "Medians over {} rounds on {cores} cores; in each round all peers of a row took their \
             turn.{quick}\n\n{}",
            self.rounds,
            table::markdown(&self.rows, peers)
        )
    }

    /// Writes all files into a folder, and returns their paths.
    ///
    /// # Errors
    /// Names the path that could not be written, and the cause.
    pub(crate) fn write(&self, peers: &Peers, folder: &Path) -> Result<Vec<PathBuf>, String> {
        let failed = |path: &Path, error: std::io::Error| {
            format!("cannot write {}: {error}", path.display())
        };
        fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        let mut files = vec![
            ("bench.md".to_owned(), self.markdown(peers)),
            (
                "bench.json".to_owned(),
                json::render(&self.rows, self.rounds, self.quick),
            ),
        ];
        files.extend(plots::render(&self.rows)?);
        let mut written = Vec::new();
        for (name, content) in files {
            let path = folder.join(name);
            fs::write(&path, content).map_err(|error| failed(&path, error))?;
            written.push(path);
        }
        Ok(written)
    }
}
