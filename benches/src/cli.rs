//! The command line.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use tokio::runtime;

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
    /// Puts one entrant to work once and prints what it read
    #[command(name = CHILD, hide = true)]
    Entrant {
        #[arg(value_enum)]
        workload: Workload,
        /// Which of the workload's heats
        heat: usize,
        /// Which of the heat's entrants
        entrant: usize,
        #[arg(long)]
        quick: bool,
    },
}

/// The subcommand under which this program runs itself for each measurement: in one process, what
/// the peers before have left in the allocator counted, by up to a half.
const CHILD: &str = "entrant";

/// Runs what the command line asks for.
#[must_use]
pub fn run(roster: Roster) -> ExitCode {
    let args = Args::parse();
    let done = match args.child {
        Some(Child::Entrant {
            workload,
            heat,
            entrant,
            quick,
        }) => measure_one(&roster, workload, (heat, entrant), quick),
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

/// The child's work.
fn measure_one(
    roster: &Roster,
    workload: Workload,
    (heat, entrant): (usize, usize),
    quick: bool,
) -> Result<(), String> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .map_err(|error| format!("no tokio runtime: {error}"))?;
    let stage = Stage {
        runtime: runtime.handle().clone(),
        // A marker may be under way beside what is counted.
        room: 2 * OUTSTANDING,
    };
    let heats = workload.heats(Scale { quick });
    let heat = heats.get(heat).ok_or("there is no such heat")?;
    let entrant = heat.entrants.get(entrant);
    let entrant = entrant.ok_or("there is no such entrant")?;
    let readings = roster.run(entrant.peer, &entrant.job, &stage);
    for reading in readings.ok_or("there is no such peer")? {
        println!("{reading}");
    }
    Ok(())
}

/// The parent's side of it.
fn ask_child(arguments: &[&str]) -> Result<Vec<f64>, String> {
    let program = env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let output = Command::new(program)
        .arg(CHILD)
        .args(arguments)
        .output()
        .map_err(|error| format!("this program cannot be started: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} failed: {said}", arguments.join(" ")));
    }
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(|reading| {
            let parsed = reading.parse();
            parsed.map_err(|error| format!("{reading:?} is no reading: {error}"))
        })
        .collect()
}

fn measure(roster: &Roster, args: &Args) -> Result<(), String> {
    let scale = Scale { quick: args.quick };
    let workloads = match &args.workloads[..] {
        [] => Workload::value_variants(),
        some => some,
    };
    let rounds = usize::from(args.rounds);
    let mut report = Report::new(rounds, args.quick);
    for workload in workloads {
        let value = workload.to_possible_value().expect("none is skipped");
        for (number, heat) in workload.heats(scale).iter().enumerate() {
            if let Some(row) = heat.rows.first() {
                eprintln!("{}: {} ...", heat.workload, row.what);
            }
            let lines = heat.run(roster, rounds, |entrant| {
                let (heat, entrant) = (number.to_string(), entrant.to_string());
                let mut arguments = vec![value.get_name(), &heat, &entrant];
                arguments.extend(args.quick.then_some("--quick"));
                ask_child(&arguments)
            })?;
            report.extend(lines);
        }
    }
    println!("{}", report.markdown(roster));
    let written = report.write(roster, &args.out)?;
    for path in written {
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
