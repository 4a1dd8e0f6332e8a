//! What came out: a table as text and Markdown, everything as JSON, and plots.

mod json;
mod plots;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use crate::heat::Line;
use crate::roster::Roster;

/// The lines of all heats.
#[derive(Debug)]
pub(crate) struct Report {
    lines: Vec<Line>,
    rounds: usize,
    quick: bool,
}

impl Report {
    pub(crate) fn new(rounds: usize, quick: bool) -> Self {
        Self {
            lines: Vec::new(),
            rounds,
            quick,
        }
    }

    pub(crate) fn extend(&mut self, lines: Vec<Line>) {
        self.lines.extend(lines);
    }

    /// The table, aligned so that it reads as text too.
    pub(crate) fn markdown(&self, roster: &Roster) -> String {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let quick = if self.quick {
            " A quick run: not to judge by."
        } else {
            ""
        };
        format!(
            "Medians over {} rounds on {cores} cores; in each round all peers of a line took their \
             turn.{quick}\n\n{}",
            self.rounds,
            table::markdown(&self.lines, roster)
        )
    }

    /// Writes everything into a folder, and returns what was written.
    ///
    /// # Errors
    /// The path that could not be written, and why.
    pub(crate) fn write(&self, roster: &Roster, folder: &Path) -> Result<Vec<PathBuf>, String> {
        let failed = |path: &Path, error: std::io::Error| {
            format!("cannot write {}: {error}", path.display())
        };
        fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        let mut files = vec![
            ("bench.md".to_owned(), self.markdown(roster)),
            (
                "bench.json".to_owned(),
                json::render(&self.lines, self.rounds, self.quick),
            ),
        ];
        files.extend(plots::render(&self.lines)?);
        let mut written = Vec::new();
        for (name, content) in files {
            let path = folder.join(name);
            fs::write(&path, content).map_err(|error| failed(&path, error))?;
            written.push(path);
        }
        Ok(written)
    }
}
