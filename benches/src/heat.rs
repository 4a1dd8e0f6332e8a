//! Heats: what is compared runs in the same rounds, taking turns, so that whatever else the machine
//! does hits all of it alike.

use std::collections::HashMap;

use crate::figures;
use crate::jobs::Job;
use crate::roster::Roster;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Events,
    Deliveries,
    Registrations,
    Nanoseconds,
    Microseconds,
    Bytes,
}

impl Unit {
    /// Whether more is better: rates are, costs are not.
    pub(crate) fn is_rate(self) -> bool {
        matches!(self, Self::Events | Self::Deliveries | Self::Registrations)
    }

    /// What a figure of 1 is called, and how much of the raw reading that is.
    pub(crate) fn scale(self) -> (&'static str, f64) {
        match self {
            Self::Events => ("M events/s", 1e6),
            Self::Deliveries => ("M deliveries/s", 1e6),
            Self::Registrations => ("k registrations/s", 1e3),
            Self::Nanoseconds => ("ns", 1.0),
            Self::Microseconds => ("µs", 1.0),
            Self::Bytes => ("B", 1.0),
        }
    }

    /// A reading as it is printed.
    pub(crate) fn show(self, reading: f64) -> String {
        let (name, scale) = self.scale();
        let figure = reading / scale;
        match figure.abs() {
            size if size >= 100.0 => format!("{figure:.0} {name}"),
            size if size >= 10.0 => format!("{figure:.1} {name}"),
            _ => format!("{figure:.2} {name}"),
        }
    }
}

/// A peer and what it is put to.
#[derive(Clone, Debug)]
pub(crate) struct Entrant {
    /// The peer's name, unless it takes part more than once.
    pub(crate) label: String,
    pub(crate) peer: &'static str,
    pub(crate) job: Job,
}

/// How far we want to go.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    /// At least this many times the best of those.
    AtLeast(f64, Vec<String>),
    /// At most this many times the best of those.
    AtMost(f64, Vec<String>),
    /// At most this, in the row's unit.
    Limit(f64),
}

/// A line of the table, before it is measured.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    /// Which of the job's readings.
    pub(crate) reading: usize,
    /// The labels of ours and of those it stands beside.
    pub(crate) ours: String,
    pub(crate) peers: Vec<String>,
    pub(crate) goals: Vec<Goal>,
    /// Where the row stands in a plot of cost against the number of watchers: its name and place.
    pub(crate) plot: Option<(&'static str, usize)>,
}

/// What runs together, and the lines that it gives.
#[derive(Clone, Debug)]
pub(crate) struct Heat {
    pub(crate) workload: &'static str,
    pub(crate) entrants: Vec<Entrant>,
    pub(crate) rows: Vec<Row>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, unit: Unit, ours: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            unit,
            reading: 0,
            ours: ours.into(),
            peers: Vec::new(),
            goals: Vec::new(),
            plot: None,
        }
    }

    pub(crate) fn reading(mut self, reading: usize) -> Self {
        self.reading = reading;
        self
    }

    pub(crate) fn beside<'a>(mut self, peers: impl IntoIterator<Item = &'a str>) -> Self {
        self.peers.extend(peers.into_iter().map(str::to_owned));
        self
    }

    pub(crate) fn at_least(mut self, factor: f64, best_of: &[&str]) -> Self {
        let best_of = best_of.iter().map(|&label| label.to_owned()).collect();
        self.goals.push(Goal::AtLeast(factor, best_of));
        self
    }

    pub(crate) fn at_most(mut self, factor: f64, best_of: &[&str]) -> Self {
        let best_of = best_of.iter().map(|&label| label.to_owned()).collect();
        self.goals.push(Goal::AtMost(factor, best_of));
        self
    }

    pub(crate) fn limit(mut self, limit: f64) -> Self {
        self.goals.push(Goal::Limit(limit));
        self
    }

    pub(crate) fn plot(mut self, name: &'static str, watchers: usize) -> Self {
        self.plot = Some((name, watchers));
        self
    }
}

/// The readings of all rounds, as one figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) rounds: Vec<f64>,
}

/// How a goal came out.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) goal: Goal,
    /// Ours as a multiple of what it is compared with, and the label of that.
    pub(crate) ratio: Option<(f64, String)>,
    /// `None` where what it is compared with is not there.
    pub(crate) met: Option<bool>,
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) workload: &'static str,
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) ours: Option<Figure>,
    /// By the peer's name; without a figure where it is not built.
    pub(crate) peers: Vec<(&'static str, Option<Figure>)>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) plot: Option<(&'static str, usize)>,
}

impl Heat {
    /// All of these peers at the same job.
    pub(crate) fn new(workload: &'static str, job: &Job, peers: &[&'static str]) -> Self {
        let heat = Self {
            workload,
            entrants: Vec::new(),
            rows: Vec::new(),
        };
        peers
            .iter()
            .fold(heat, |heat, peer| heat.entrant(*peer, peer, job.clone()))
    }

    pub(crate) fn entrant(
        mut self,
        label: impl Into<String>,
        peer: &'static str,
        job: Job,
    ) -> Self {
        self.entrants.push(Entrant {
            label: label.into(),
            peer,
            job,
        });
        self
    }

    pub(crate) fn row(mut self, row: Row) -> Self {
        self.rows.push(row);
        self
    }

    /// The row, and beside it the same of another configuration of ours, without goals.
    pub(crate) fn row_and(self, row: Row, other: &'static str, job: &Job) -> Self {
        let what = format!("{}; {other}", row.what);
        let beside = Row::new(what, row.unit, other).reading(row.reading);
        self.entrant(other, other, job.clone()).row(row).row(beside)
    }

    /// Runs it; `read` puts the entrant of that number to work once and returns what it read.
    pub(crate) fn run(
        &self,
        roster: &Roster,
        rounds: usize,
        read: impl Fn(usize) -> Result<Vec<f64>, String>,
    ) -> Result<Vec<Line>, String> {
        let mut readings: HashMap<&str, Vec<Vec<f64>>> = HashMap::new();
        for round in 0..rounds {
            // Whoever comes first in one round comes later in the next.
            let turns = self.entrants.iter().enumerate().cycle().skip(round);
            for (number, entrant) in turns.take(self.entrants.len()) {
                if roster.has(entrant.peer) {
                    let read = read(number)?;
                    readings.entry(&entrant.label).or_default().push(read);
                }
            }
        }
        let figure = |label: &str, reading: usize| {
            let rounds = readings.get(label)?.iter();
            let rounds: Vec<f64> = rounds
                .filter_map(|read| read.get(reading).copied())
                .collect();
            (!rounds.is_empty()).then(|| Figure {
                median: figures::median(&rounds),
                rounds,
            })
        };
        let lines = self
            .rows
            .iter()
            .map(|row| self.line(row, |label| figure(label, row.reading)));
        Ok(lines.collect())
    }

    fn line(&self, row: &Row, figure: impl Fn(&str) -> Option<Figure>) -> Line {
        let peer = |label: &String| {
            let entrant = self.entrants.iter().find(|entrant| entrant.label == *label);
            (
                entrant.expect("a row is about entrants").peer,
                figure(label),
            )
        };
        let ours = figure(&row.ours);
        let verdicts = row.goals.iter().map(|goal| {
            let ours = ours.as_ref().map(|figure| figure.median);
            judge(goal, row.unit, ours, &figure)
        });
        Line {
            workload: self.workload,
            what: row.what.clone(),
            unit: row.unit,
            verdicts: verdicts.collect(),
            peers: row.peers.iter().map(peer).collect(),
            ours,
            plot: row.plot,
        }
    }
}

fn judge(
    goal: &Goal,
    unit: Unit,
    ours: Option<f64>,
    figure: impl Fn(&str) -> Option<Figure>,
) -> Verdict {
    let ratio = |best_of: &[String]| {
        let medians = best_of
            .iter()
            .filter_map(|label| Some((figure(label)?.median, label.clone())));
        let best = if unit.is_rate() {
            medians.max_by(|a, b| a.0.total_cmp(&b.0))
        } else {
            medians.min_by(|a, b| a.0.total_cmp(&b.0))
        };
        let (best, label) = best?;
        Some((ours? / best, label))
    };
    let (ratio, met) = match goal {
        Goal::AtLeast(factor, best_of) => {
            let ratio = ratio(best_of);
            let met = ratio.as_ref().map(|(ratio, _)| ratio >= factor);
            (ratio, met)
        }
        Goal::AtMost(factor, best_of) => {
            let ratio = ratio(best_of);
            let met = ratio.as_ref().map(|(ratio, _)| ratio <= factor);
            (ratio, met)
        }
        Goal::Limit(limit) => (None, ours.map(|ours| ours <= *limit)),
    };
    Verdict {
        goal: goal.clone(),
        ratio,
        met,
    }
}
