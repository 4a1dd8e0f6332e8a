//! Where changes come from: the history of a git repository, or a file of JSON lines.

mod git;
mod lines;

pub use git::{Git, files_of};
pub use lines::read_lines;

use std::fmt;
use std::io;
use std::path::PathBuf;

use kvwatch::Change;

/// What is committed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Names it within its input, so that a later run can go on behind it.
    pub position: String,
    /// In order; there may be none.
    pub changes: Vec<Change>,
}

/// Why there is no input. Each says what would help.
#[derive(Debug)]
#[non_exhaustive]
pub enum InputError {
    /// git cannot be run.
    NoGit(io::Error),
    /// There is no git repository, or no commit in it.
    NoRepository {
        /// Where it was looked for.
        dir: PathBuf,
        /// What git says.
        said: String,
    },
    /// git failed in the middle, or said something unheard of.
    Git(String),
    /// What was loaded last time is not part of this input.
    OtherInput {
        /// The position that was reached last time.
        position: String,
    },
    /// The file cannot be read.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line of the file is no change.
    Line {
        /// Of which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what would be right.
        what: String,
    },
}

const INSTEAD: &str = "give a file of changes instead, such as the one that comes with this \
                       example: --changes examples/sample.jsonl";

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGit(error) => {
                write!(f, "git cannot be run ({error}): install it, or {INSTEAD}")
            }
            Self::NoRepository { dir, said } => write!(
                f,
                "{} is not in a git repository with a commit ({said}): name one with --repo, or \
                 {INSTEAD}",
                dir.display()
            ),
            Self::Git(said) => write!(f, "git log failed ({said}): {INSTEAD}"),
            Self::OtherInput { position } => write!(
                f,
                "the store was loaded up to {position}, which this input does not have: use the \
                 same input as before, or another --data folder"
            ),
            Self::File { path, error } => {
                write!(f, "{} cannot be read: {error}", path.display())
            }
            Self::Line { path, line, what } => {
                write!(f, "{}, line {line}: {what}", path.display())
            }
        }
    }
}

impl std::error::Error for InputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoGit(error) | Self::File { error, .. } => Some(error),
            _ => None,
        }
    }
}
