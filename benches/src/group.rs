//! Comparison groups: the cases of a group run in interleaved rounds, so that disturbances by the
//! machine affect all of them alike.

use std::collections::HashMap;

use crate::jobs::Job;
use crate::peers::Peers;
use crate::row::{Estimate, Row, RowSpec, Verdict};

/// A peer and the job that it runs.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The peer's name, unless the group has more than one case of this peer.
    pub(crate) label: String,
    pub(crate) peer: &'static str,
    pub(crate) job: Job,
}

/// Cases that are compared, and the rows that show them.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) workload: &'static str,
    pub(crate) cases: Vec<Case>,
    pub(crate) rows: Vec<RowSpec>,
}

impl Group {
    /// A case of the same job for each of these peers.
    pub(crate) fn new(workload: &'static str, job: &Job, peers: &[&'static str]) -> Self {
        let group = Self {
            workload,
            cases: Vec::new(),
            rows: Vec::new(),
        };
        peers
            .iter()
            .fold(group, |group, peer| group.case(*peer, peer, job.clone()))
    }

    pub(crate) fn case(mut self, label: impl Into<String>, peer: &'static str, job: Job) -> Self {
        self.cases.push(Case {
            label: label.into(),
            peer,
            job,
        });
        self
    }

    pub(crate) fn row(mut self, row: RowSpec) -> Self {
        self.rows.push(row);
        self
    }

    /// Adds the row, and a second one without goals for another configuration of kvwatch.
    pub(crate) fn row_and_variant(self, row: RowSpec, variant: &'static str, job: &Job) -> Self {
        let name = format!("{}; {variant}", row.name);
        let second = RowSpec::new(name, row.unit, variant).reading(row.reading);
        self.case(variant, variant, job.clone())
            .row(row)
            .row(second)
    }

    /// Runs all rounds. `run_case` runs the case with an index once and returns its readings.
    pub(crate) fn run(
        &self,
        peers: &Peers,
        rounds: usize,
        run_case: impl Fn(usize) -> Result<Vec<f64>, String>,
    ) -> Result<Vec<Row>, String> {
        let mut readings: HashMap<&str, Vec<Vec<f64>>> = HashMap::new();
        for round in 0..rounds {
            // Each round starts with the next case, so that none is always first.
            let order = self.cases.iter().enumerate().cycle().skip(round);
            for (index, case) in order.take(self.cases.len()) {
                if peers.contains(case.peer) {
                    let run = run_case(index)?;
                    readings.entry(&case.label).or_default().push(run);
                }
            }
        }
        let estimate = |label: &str, reading: usize| {
            let runs = readings.get(label)?.iter();
            let rounds = runs.filter_map(|run| run.get(reading).copied());
            Estimate::new(rounds.collect())
        };
        let rows = self
            .rows
            .iter()
            .map(|row| self.measured(row, |label| estimate(label, row.reading)));
        Ok(rows.collect())
    }

    fn measured(&self, row: &RowSpec, estimate: impl Fn(&str) -> Option<Estimate>) -> Row {
        let peer = |label: &String| {
            let case = self.cases.iter().find(|case| case.label == *label);
            let case = case.expect("a row shows cases of its group");
            (case.peer, estimate(label))
        };
        let ours = estimate(&row.ours);
        let verdicts = row.goals.iter().map(|goal| {
            let ours = ours.as_ref().map(|estimate| estimate.median);
            Verdict::new(goal, row.unit, ours, &estimate)
        });
        Row {
            workload: self.workload,
            name: row.name.clone(),
            unit: row.unit,
            verdicts: verdicts.collect(),
            peers: row.peers.iter().map(peer).collect(),
            ours,
            plot: row.plot,
        }
    }
}
