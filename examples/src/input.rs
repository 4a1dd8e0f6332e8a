//! The sources of changes: the history of a git repository, or a file of JSON lines.

mod git;
mod lines;

pub use git::{Git, files_of};
pub use lines::read_lines;

use std::fmt;
use std::io;
use std::path::PathBuf;

use kvwatch::Change;

/// Changes that are committed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Identifies the transaction within its input, so that a later run can continue after it.
    pub position: String,
    /// In order, and possibly empty.
    pub changes: Vec<Change>,
}

/// Why the input cannot be read. Each message says what the user can do.
#[derive(Debug)]
#[non_exhaustive]
pub enum InputError {
    /// Running git failed.
    NoGit(io::Error),
    /// There is no git repository, or no commit in it.
    NoRepository {
        /// The folder that was searched.
        dir: PathBuf,
        /// git's error message.
        message: String,
    },
    /// git failed while it printed the log, or its output cannot be parsed.
    Git(String),
    /// The input does not contain the transaction that was loaded last.
    OtherInput {
        /// The position of the last loaded transaction.
        position: String,
    },
    /// The file cannot be read.
    File {
        /// The file's path.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// A line of the file is not a change.
    Line {
        /// The file's path.
        path: PathBuf,
        /// The line's number, from 1 on.
        line: usize,
        /// What is wrong, and what is expected.
        message: String,
    },
}

/// How to run without git.
const WITHOUT_GIT: &str = "read a file of changes instead, such as the sample of this example: \
                           --changes examples/sample.jsonl";

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGit(error) => {
                write!(
                    f,
                    "git cannot be run ({error}): install it, or {WITHOUT_GIT}"
                )
            }
            Self::NoRepository { dir, message } => write!(
                f,
                "{} is not in a git repository with a commit ({message}): name one with --repo, or \
                 {WITHOUT_GIT}",
                dir.display()
            ),
            Self::Git(message) => write!(f, "git log failed ({message}): {WITHOUT_GIT}"),
            Self::OtherInput { position } => write!(
                f,
                "the store was loaded up to {position}, which this input does not have: use the \
                 same input as before, or another --data folder"
            ),
            Self::File { path, error } => {
                write!(f, "{} cannot be read: {error}", path.display())
            }
            Self::Line {
                path,
                line,
                message,
            } => {
                write!(f, "{}, line {line}: {message}", path.display())
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
