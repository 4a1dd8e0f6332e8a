//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::runtime;

use crate::jobs;
use crate::peer::Stage;
use crate::progress::OUTSTANDING;
use crate::report::Report;
use crate::roster::Roster;
use crate::workloads::{Scale, Workload};

/// Measures kvwatch beside its peers and says which goals are met.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true
)]
struct Args {
    /// What is measured; all of it where nothing is named
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// How many rounds, of which the median is taken
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Where the table (Markdown, JSON) and the plots (SVG) go
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Only these peers, by their names in the table: to profile one
    #[arg(long)]
    peer: Vec<String>,
    /// A tenth of the work and no more than 100,000 watchers: to try the harness, not to judge by
    #[arg(long)]
    quick: bool,
    #[command(subcommand)]
    child: Option<Child>,
}

#[derive(Debug, Subcommand)]
enum Child {
    /// Prints the resident bytes of one peer's watchers, idle and used
    #[command(name = jobs::RESIDENT_CHILD, hide = true)]
    Resident { peer: String, watchers: usize },
}

/// Runs what the command line asks for.
#[must_use]
pub fn run(roster: Roster) -> ExitCode {
    let args = Args::parse();
    let done = match &args.child {
        Some(Child::Resident { peer, watchers }) => resident(&roster, peer, *watchers),
        None => roster
            .only(&args.peer)
            .and_then(|roster| measure(&roster, &args)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn resident(roster: &Roster, peer: &str, watchers: usize) -> Result<(), String> {
    let readings = roster.resident(peer, watchers);
    let [idle, used] = readings.ok_or_else(|| format!("there is no peer {peer:?}"))?;
    println!("{idle} {used}");
    Ok(())
}

fn measure(roster: &Roster, args: &Args) -> Result<(), String> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .map_err(|error| format!("no tokio runtime: {error}"))?;
    let stage = Stage {
        runtime: runtime.handle().clone(),
        // A marker may be under way beside what is counted.
        room: 2 * OUTSTANDING,
    };
    let scale = Scale { quick: args.quick };
    let workloads = match &args.workloads[..] {
        [] => Workload::value_variants(),
        some => some,
    };
    let mut report = Report::new(usize::from(args.rounds), args.quick);
    for workload in workloads {
        for heat in workload.heats(scale) {
            if let Some(row) = heat.rows.first() {
                eprintln!("{}: {} ...", heat.workload, row.what);
            }
            report.extend(heat.run(roster, &stage, usize::from(args.rounds)));
        }
    }
    println!("{}", report.markdown(roster));
    let written = report.write(roster, &args.out)?;
    for path in written {
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
