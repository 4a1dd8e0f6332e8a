//! `make bench-etcd`: `kvwatch-server` beside a real etcd, in one run, on one machine, with one
//! client.
//!
//! ```text
//!   workloads   the load on a server, and the readings
//!      │
//!    client     HTTP/2 and gRPC, as far as the load needs them
//!      │
//!    server     etcd and kvwatch-server as processes, on disk or in memory
//!
//!    report     the table, as text, Markdown and JSON
//! ```
//!
//! In all workloads keys have 16 bytes and values 64, and client and server share the machine. In
//! each round the servers alternate, and each is started again for each workload. A figure is the
//! median of its rounds.
//!
//! The client is specific to this load. A general one uses more of the machine than either server,
//! so that the benchmark would measure the client.

mod client;
mod report;
mod responses;
mod server;
mod workloads;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::report::Report;
use crate::server::{Folder, Kind};
use crate::workloads::Workload;

type AnyError = Box<dyn Error + Send + Sync>;

/// Measures `kvwatch-server` beside a real etcd, and says which goals are met.
#[derive(Debug, Parser)]
#[command(name = "kvwatch-bench-etcd")]
struct Args {
    /// The workloads to measure. Default: all
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// The number of rounds, of which the median is taken
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// The folder for the table (Markdown, JSON) and, during the run, for the servers' files on
    /// disk
    #[arg(long, default_value = "target/bench-etcd")]
    out: PathBuf,
    /// The program kvwatch-server. Default: the one in this program's folder
    #[arg(long)]
    kvwatch_server: Option<PathBuf>,
    /// Measure only this server, for example to profile it
    #[arg(long, value_enum)]
    server: Option<Kind>,
    /// Measure only in this folder
    #[arg(long, value_enum)]
    folder: Option<Folder>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match measure(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-etcd: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(args: &Args) -> Result<(), AnyError> {
    let program = match &args.kvwatch_server {
        Some(program) => program.clone(),
        None => beside_this_program()?,
    };
    std::fs::create_dir_all(&args.out)?;
    let chosen = |workload| args.workloads.is_empty() || args.workloads.contains(&workload);
    let mut report = Report::default();
    for round in 0..usize::from(args.rounds) {
        for workload in Workload::ALL.into_iter().filter(|one| chosen(*one)) {
            for folder in Folder::ALL {
                let mut kinds = Kind::ALL;
                // The servers alternate in going first.
                kinds.rotate_left(round % 2);
                for kind in kinds {
                    if args.server.is_some_and(|only| only != kind)
                        || args.folder.is_some_and(|only| only != folder)
                    {
                        continue;
                    }
                    let read = one(kind, folder, workload, &program, &args.out).await?;
                    eprintln!("round {round}: {workload:?}, {folder:?}, {kind:?}: {read:.4?}");
                    report.add(workload, folder, kind, &read);
                }
            }
        }
    }
    println!("{}", report.markdown());
    for path in report.write(&args.out)? {
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

/// Runs one workload on a server of its own.
async fn one(
    kind: Kind,
    folder: Folder,
    workload: Workload,
    program: &Path,
    out: &Path,
) -> Result<Vec<f64>, AnyError> {
    let server = server::start(kind, folder, program, out).await?;
    let read = workload.run(&server).await;
    read.map_err(|error| format!("{kind:?}, {workload:?}: {error}").into())
}

fn beside_this_program() -> Result<PathBuf, AnyError> {
    let program = std::env::current_exe()?.with_file_name("kvwatch-server");
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!(
            "{} is missing: cargo build --release -p kvwatch-server",
            program.display()
        )
        .into())
    }
}
