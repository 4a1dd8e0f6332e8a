//! The table: one line for each row, and one more for each further goal of the row.

use crate::peers::{Peers, names};
use crate::row::{Estimate, Goal, Row, Unit, Verdict};

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

pub(super) fn markdown(rows: &[Row], peers: &Peers) -> String {
    let columns: Vec<&str> = PEERS
        .into_iter()
        .filter(|name| is_shown(rows, name))
        .collect();
    let mut header = vec!["workload", "what", "ours"];
    header.extend(&columns);
    header.extend(["ratio", "goal", "met"]);
    let mut lines = vec![header.into_iter().map(str::to_owned).collect()];
    for row in rows {
        lines.extend(cells(row, &columns, peers));
    }
    align(&lines)
}

/// Whether a row has a case of this peer.
fn is_shown(rows: &[Row], name: &str) -> bool {
    rows.iter()
        .any(|row| row.peers.iter().any(|peer| peer.0 == name))
}

/// The lines of a row.
fn cells(row: &Row, columns: &[&str], peers: &Peers) -> Vec<Vec<String>> {
    let format = |estimate: &Estimate| row.unit.format(estimate.median);
    let mut first = vec![row.workload.to_owned(), row.name.clone()];
    first.push(row.ours.as_ref().map_or(String::new(), format));
    for &name in columns {
        let cell = match row.peers.iter().find(|peer| peer.0 == name) {
            Some((_, Some(estimate))) => format(estimate),
            Some((_, None)) if !peers.contains(name) => NOT_BUILT.to_owned(),
            _ => String::new(),
        };
        first.push(cell);
    }
    let blank = vec![String::new(); first.len()];
    if row.verdicts.is_empty() {
        first.extend(vec![String::new(); 3]);
        return vec![first];
    }
    let lines = std::iter::once(first).chain(std::iter::repeat(blank));
    lines
        .zip(&row.verdicts)
        .map(|(mut line, verdict)| {
            line.extend(goal_cells(verdict, row.unit));
            line
        })
        .collect()
}

fn goal_cells(verdict: &Verdict, unit: Unit) -> [String; 3] {
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

/// Pads every column to its widest cell.
fn align(lines: &[Vec<String>]) -> String {
    let columns = lines[0].len();
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, &width) in line.iter().zip(&widths) {
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
