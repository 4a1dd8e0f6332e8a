//! The command line.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use tokio::runtime;

use crate::peer::Setup;
use crate::peers::Peers;
use crate::progress::OUTSTANDING;
use crate::report::Report;
use crate::workloads::{Scale, Workload};

/// Measures kvwatch beside its peers, and reports which goals are met.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true
)]
struct Args {
    /// The workloads to measure; all of them if none is named
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// The number of rounds; the table shows their median
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// The folder for the table (Markdown and JSON) and the plots (SVG)
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Measure only this peer, by its name in the table (may be repeated)
    #[arg(long)]
    peer: Vec<String>,
    /// A tenth of the events and at most 100,000 watchers: a trial run, whose figures do not count
    #[arg(long)]
    quick: bool,
    /// Passed by `cargo bench`, and ignored
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    child: Option<Child>,
}

#[derive(Debug, Subcommand)]
enum Child {
    /// Runs one case once and prints its readings
    #[command(name = CHILD, hide = true)]
    Case {
        #[arg(value_enum)]
        workload: Workload,
        /// The index of the workload's group
        group: usize,
        /// The index of the group's case
        case: usize,
        #[arg(long)]
        quick: bool,
    },
}

/// The subcommand under which this program runs itself for each measurement. In one process, the
/// state in which one peer leaves the allocator would change the figures of the next.
const CHILD: &str = "case";

/// Runs the program with the arguments of this process.
#[must_use]
pub fn run(peers: Peers) -> ExitCode {
    let args = Args::parse();
    let result = match args.child {
        Some(Child::Case {
            workload,
            group,
            case,
            quick,
        }) => run_case(&peers, workload, (group, case), quick),
        None => peers
            .only(&args.peer)
            .and_then(|peers| run_groups(&peers, &args)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one case in this process, the child.
fn run_case(
    peers: &Peers,
    workload: Workload,
    (group, case): (usize, usize),
    quick: bool,
) -> Result<(), String> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .map_err(|error| format!("cannot start a tokio runtime: {error}"))?;
    let setup = Setup {
        runtime: runtime.handle().clone(),
        // Twice as many, because a peer may queue markers of its own beside the events.
        capacity: 2 * OUTSTANDING,
    };
    let groups = workload.groups(Scale { quick });
    let group = groups.get(group).ok_or("there is no such group")?;
    let case = group.cases.get(case).ok_or("there is no such case")?;
    let readings = peers.run(case.peer, &case.job, &setup);
    for reading in readings.ok_or("there is no such peer")? {
        println!("{reading}");
    }
    Ok(())
}

/// Runs one case in a child process, and returns its readings.
fn run_in_child(arguments: &[&str]) -> Result<Vec<f64>, String> {
    let program =
        env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let output = Command::new(program)
        .arg(CHILD)
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot start this program: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} failed: {stderr}", arguments.join(" ")));
    }
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(|reading| {
            let parsed = reading.parse();
            parsed.map_err(|error| format!("{reading:?} is not a reading: {error}"))
        })
        .collect()
}

fn run_groups(peers: &Peers, args: &Args) -> Result<(), String> {
    let scale = Scale { quick: args.quick };
    let workloads = match &args.workloads[..] {
        [] => {
            eprintln!(
                "measuring every workload; w1 as an argument measures that one, --help lists \
                 workloads and options"
            );
            Workload::value_variants()
        }
        named => named,
    };
    let rounds = usize::from(args.rounds);
    let mut report = Report::new(rounds, args.quick);
    for workload in workloads {
        let value = workload.to_possible_value().expect("none is skipped");
        for (index, group) in workload.groups(scale).iter().enumerate() {
            if let Some(row) = group.rows.first() {
                eprintln!("{}: {} ...", group.workload, row.name);
            }
            let rows = group.run(peers, rounds, |case| {
                let (group, case) = (index.to_string(), case.to_string());
                let mut arguments = vec![value.get_name(), &group, &case];
                arguments.extend(args.quick.then_some("--quick"));
                run_in_child(&arguments)
            })?;
            report.extend(rows);
        }
    }
    println!("{}", report.markdown(peers));
    let written = report.write(peers, &args.out)?;
    for path in written {
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
