//! The results: a table as text and Markdown, and all readings as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::{Value, json};

use crate::AnyError;
use crate::server::{Folder, Kind};
use crate::workloads::{Row, Unit, Workload};

/// All readings, by workload, row and folder.
#[derive(Debug, Default)]
pub(crate) struct Report {
    readings: BTreeMap<(Workload, usize, Folder), [Vec<f64>; 2]>,
}

impl Unit {
    /// The unit that the table shows, and how many of the reading's units it is.
    fn scale(self) -> (&'static str, f64) {
        match self {
            Self::PutsPerSecond => ("puts/s", 1.0),
            Self::EventsPerSecond => ("M events/s", 1e6),
            Self::Seconds => ("ms", 1e-3),
            Self::Bytes => ("MiB", 1024.0 * 1024.0),
        }
    }

    fn show(self, reading: f64) -> String {
        let scaled = reading / self.scale().1;
        if scaled >= 100.0 {
            format!("{scaled:.0}")
        } else {
            format!("{scaled:.2}")
        }
    }

    /// How many times better our reading is than etcd's.
    fn ratio(self, etcd: f64, ours: f64) -> f64 {
        match self {
            Self::PutsPerSecond | Self::EventsPerSecond => ours / etcd,
            Self::Seconds | Self::Bytes => etcd / ours,
        }
    }
}

/// The middle reading, or the mean of the middle two.
fn median(readings: &[f64]) -> Option<f64> {
    let mut sorted = readings.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// A row of the table.
struct Line<'r> {
    row: Row,
    folder: Folder,
    readings: &'r [Vec<f64>; 2],
    /// etcd's, then ours.
    medians: [Option<f64>; 2],
}

impl Line<'_> {
    fn ratio(&self) -> Option<f64> {
        let [etcd, ours] = self.medians;
        Some(self.row.unit.ratio(etcd?, ours?))
    }

    fn met(&self) -> Option<bool> {
        Some(self.ratio()? >= self.row.goal?)
    }

    fn cells(&self) -> [String; 7] {
        let show =
            |median: Option<f64>| median.map_or(String::new(), |median| self.row.unit.show(median));
        [
            format!("{}, {}", self.row.what, self.row.unit.scale().0),
            format!("{:?}", self.folder).to_lowercase(),
            show(self.medians[0]),
            show(self.medians[1]),
            self.ratio()
                .map_or(String::new(), |ratio| format!("{ratio:.2}×")),
            self.row
                .goal
                .map_or(String::new(), |goal| format!("≥ {goal}×")),
            match self.met() {
                Some(true) => "yes".to_owned(),
                Some(false) => "NO".to_owned(),
                None => String::new(),
            },
        ]
    }

    fn json(&self) -> Value {
        let (unit, scale) = self.row.unit.scale();
        let server = |nth: usize| {
            let rounds: Vec<f64> = self.readings[nth].iter().map(|read| read / scale).collect();
            json!({ "median": self.medians[nth].map(|median| median / scale), "rounds": rounds })
        };
        json!({
            "what": self.row.what.trim(),
            "unit": unit,
            "folder": format!("{:?}", self.folder).to_lowercase(),
            "etcd": server(0),
            "ours": server(1),
            "times_better": self.ratio(),
            "goal": self.row.goal,
            "met": self.met(),
        })
    }
}

impl Report {
    pub(crate) fn add(&mut self, workload: Workload, folder: Folder, kind: Kind, read: &[f64]) {
        for (nth, reading) in read.iter().enumerate() {
            let readings = self.readings.entry((workload, nth, folder)).or_default();
            readings[kind as usize].push(*reading);
        }
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.readings
            .iter()
            .map(|((workload, nth, folder), readings)| Line {
                row: workload.rows()[*nth],
                folder: *folder,
                readings,
                medians: readings.each_ref().map(|rounds| median(rounds)),
            })
    }

    /// The table, aligned so that it is readable as text.
    pub(crate) fn markdown(&self) -> String {
        let head = [
            "what",
            "folder",
            "etcd",
            "ours",
            "times better",
            "goal",
            "met",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.lines().map(|line| line.cells()));
        let widths: Vec<usize> = (0..head.len())
            .map(|column| {
                let cells = rows.iter().map(|row| row[column].chars().count());
                cells.max().unwrap_or(0)
            })
            .collect();
        let rule = widths.iter().map(|width| "-".repeat(*width));
        rows.insert(1, std::array::from_fn(|_| String::new()));
        for (cell, rule) in rows[1].iter_mut().zip(rule) {
            *cell = rule;
        }
        let rounds = self.readings.values().flatten().map(Vec::len).max();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut out = format!(
            "Medians over {} rounds on {cores} cores, which client and server share.\n\n",
            rounds.unwrap_or(0),
        );
        for row in rows {
            for (cell, width) in row.iter().zip(&widths) {
                out.push_str(&format!("| {cell:width$} "));
            }
            out.push_str("|\n");
        }
        out
    }

    /// Writes the table and the readings into a folder, and returns the files.
    pub(crate) fn write(&self, folder: &Path) -> Result<[PathBuf; 2], AnyError> {
        let lines: Vec<Value> = self.lines().map(|line| line.json()).collect();
        let markdown = folder.join("bench-etcd.md");
        fs::write(&markdown, self.markdown())?;
        let json = folder.join("bench-etcd.json");
        fs::write(&json, format!("{:#}\n", json!({ "lines": lines })))?;
        Ok([markdown, json])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_ratio_and_whether_the_goal_is_met() {
        let mut report = Report::default();
        for (etcd, ours) in [(0.003, 0.001), (0.001, 0.002), (0.002, 0.001)] {
            for (kind, p50) in [(Kind::Etcd, etcd), (Kind::Ours, ours)] {
                report.add(Workload::Latency, Folder::Disk, kind, &[p50, 2.0 * p50]);
            }
        }
        let lines: Vec<_> = report.lines().collect();
        assert_eq!(lines[0].medians, [Some(0.002), Some(0.001)]);
        assert_eq!((lines[1].ratio(), lines[1].met()), (Some(2.0), Some(true)));
        for (kind, bytes) in [(Kind::Etcd, 1.5e6), (Kind::Ours, 1e6)] {
            report.add(Workload::Idle, Folder::Memory, kind, &[bytes]);
        }
        let cells = report.lines().last().unwrap().cells();
        assert_eq!(cells[4..], ["1.50×", "≥ 2×", "NO"]);
    }
}
