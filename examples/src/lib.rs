//! Programs that show kvwatch at work, and what they share: [`store`], a small key-value store
//! that publishes what it commits, [`input`], where changes come from, and [`Folder`], where a
//! store is.

pub mod config_reload;
pub mod input;
pub mod lock_wait;
pub mod quickstart;
pub mod service_discovery;
pub mod store;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Whatever went wrong: these are programs, and say it and stop.
pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// How a program ends: what went wrong is said on standard error, with the program's name.
pub fn exit(program: &str, result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where a program keeps its store: the folder that the user named, which stays, or else a
/// temporary one, which is removed with this.
#[derive(Debug)]
pub enum Folder {
    /// The user's.
    Named(PathBuf),
    /// Nobody's.
    Temporary(tempfile::TempDir),
}

impl Folder {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(named: Option<&Path>) -> std::io::Result<Self> {
        match named {
            Some(path) => {
                std::fs::create_dir_all(path)?;
                Ok(Self::Named(path.to_owned()))
            }
            None => tempfile::tempdir().map(Self::Temporary),
        }
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        match self {
            Self::Named(path) => path.join(name),
            Self::Temporary(folder) => folder.path().join(name),
        }
    }
}
