//! The table: a line for each row, and one more for each further goal.

use crate::heat::{Goal, Line, Unit, Verdict};
use crate::peers::names;
use crate::roster::Roster;

/// The peers' columns, from left to right.
const PEERS: [&str; 11] = [
    names::D_ENGINE,
    names::BROADCAST,
    names::BROADCAST_ARC,
    names::ASYNC_BROADCAST,
    names::SLED,
    names::RTRB,
    names::CROSSBEAM,
    names::FLUME,
    names::TOKIO_MPSC,
    names::PIPE,
    names::OURS,
];

const NOT_BUILT: &str = "not built: run make bench";

pub(super) fn markdown(lines: &[Line], roster: &Roster) -> String {
    let peers: Vec<&str> = PEERS
        .into_iter()
        .filter(|name| takes_part(lines, name))
        .collect();
    let mut header = vec!["workload", "what", "ours"];
    header.extend(&peers);
    header.extend(["ratio", "goal", "met"]);
    let mut rows = vec![header.into_iter().map(str::to_owned).collect()];
    for line in lines {
        rows.extend(cells(line, &peers, roster));
    }
    align(&rows)
}

fn takes_part(lines: &[Line], name: &str) -> bool {
    lines
        .iter()
        .any(|line| line.peers.iter().any(|peer| peer.0 == name))
}

fn cells(line: &Line, peers: &[&str], roster: &Roster) -> Vec<Vec<String>> {
    let show = |reading: f64| line.unit.show(reading);
    let mut first = vec![line.workload.to_owned(), line.what.clone()];
    first.push(line.ours.as_ref().map_or(String::new(), |f| show(f.median)));
    for &name in peers {
        let cell = match line.peers.iter().find(|peer| peer.0 == name) {
            Some((_, Some(figure))) => show(figure.median),
            Some((_, None)) if !roster.has(name) => NOT_BUILT.to_owned(),
            _ => String::new(),
        };
        first.push(cell);
    }
    let blank = vec![String::new(); first.len()];
    if line.verdicts.is_empty() {
        first.extend(vec![String::new(); 3]);
        return vec![first];
    }
    let starts = std::iter::once(first).chain(std::iter::repeat(blank));
    starts
        .zip(&line.verdicts)
        .map(|(mut row, verdict)| {
            row.extend(judged(verdict, line.unit));
            row
        })
        .collect()
}

fn judged(verdict: &Verdict, unit: Unit) -> [String; 3] {
    let ratio = verdict.ratio.as_ref();
    let ratio = ratio.map_or(String::new(), |(ratio, of)| format!("{ratio:.2}× {of}"));
    let goal = match &verdict.goal {
        Goal::AtLeast(factor, best_of) => format!("≥ {factor}× {}", best_of.join(" or ")),
        Goal::AtMost(factor, best_of) => format!("≤ {factor}× {}", best_of.join(" or ")),
        Goal::Limit(limit) => format!("≤ {limit} {}", unit.scale().0),
    };
    let met = match verdict.met {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "not judged",
    };
    [ratio, goal, met.to_owned()]
}

fn align(rows: &[Vec<String>]) -> String {
    let columns = rows[0].len();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, &width) in row.iter().zip(&widths) {
            out.push_str(&format!("| {cell:width$} "));
        }
        out.push_str("|\n");
        if number == 0 {
            for width in &widths {
                out.push_str(&format!("| {} ", "-".repeat(*width)));
            }
            out.push_str("|\n");
        }
    }
    out
}
