//! The rows of the table: first what they compare and the goals, then the measured estimates.

use crate::statistics;

/// The unit of a figure.
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
    /// Whether more is better: it is for rates, and not for costs.
    pub(crate) fn is_rate(self) -> bool {
        matches!(self, Self::Events | Self::Deliveries | Self::Registrations)
    }

    /// The unit's name in the table, and by how much to divide a reading for it.
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

    /// A reading with three significant digits and the unit's name.
    pub(crate) fn format(self, reading: f64) -> String {
        let (name, scale) = self.scale();
        let figure = reading / scale;
        match figure.abs() {
            size if size >= 100.0 => format!("{figure:.0} {name}"),
            size if size >= 10.0 => format!("{figure:.1} {name}"),
            _ => format!("{figure:.2} {name}"),
        }
    }
}

/// A goal for kvwatch's figure.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    /// At least this factor times the best of the cases with these labels.
    AtLeast(f64, Vec<String>),
    /// At most this factor times the best of the cases with these labels.
    AtMost(f64, Vec<String>),
    /// At most this, in the row's unit.
    Limit(f64),
}

/// A row before it is measured.
#[derive(Clone, Debug)]
pub(crate) struct RowSpec {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    /// The index of the job's reading that it shows.
    pub(crate) reading: usize,
    /// The label of kvwatch's case.
    pub(crate) ours: String,
    /// The labels of the peers' cases.
    pub(crate) peers: Vec<String>,
    pub(crate) goals: Vec<Goal>,
    /// The plot that shows it, and its number of watchers there.
    pub(crate) plot: Option<(&'static str, usize)>,
}

impl RowSpec {
    pub(crate) fn new(name: impl Into<String>, unit: Unit, ours: impl Into<String>) -> Self {
        Self {
            name: name.into(),
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

/// The readings of all rounds, and their median.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) rounds: Vec<f64>,
}

impl Estimate {
    /// `None` if there are no readings.
    pub(crate) fn new(rounds: Vec<f64>) -> Option<Self> {
        (!rounds.is_empty()).then(|| Self {
            median: statistics::median(&rounds),
            rounds,
        })
    }
}

/// Whether a goal is met.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) goal: Goal,
    /// Our median divided by the best peer's median, and that peer's label.
    pub(crate) ratio: Option<(f64, String)>,
    /// `None` if one of the two was not measured.
    pub(crate) met: Option<bool>,
}

impl Verdict {
    /// Compares our median with the goal. `estimate` returns the estimate of the case with a label.
    pub(crate) fn new(
        goal: &Goal,
        unit: Unit,
        ours: Option<f64>,
        estimate: impl Fn(&str) -> Option<Estimate>,
    ) -> Self {
        let ratio = |best_of: &[String]| {
            let medians = best_of
                .iter()
                .filter_map(|label| Some((estimate(label)?.median, label.clone())));
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
        Self {
            goal: goal.clone(),
            ratio,
            met,
        }
    }
}

/// A measured row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) ours: Option<Estimate>,
    /// By the peer's name. `None` for a peer that is not built or not selected.
    pub(crate) peers: Vec<(&'static str, Option<Estimate>)>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) plot: Option<(&'static str, usize)>,
}
