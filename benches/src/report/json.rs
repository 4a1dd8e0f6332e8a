//! All rows as JSON, with the readings of each round.

use serde_json::{Map, Value, json};

use crate::row::{Estimate, Goal, Row, Verdict};

pub(super) fn render(rows: &[Row], rounds: usize, quick: bool) -> String {
    let rows: Vec<Value> = rows.iter().map(row).collect();
    let all = json!({ "rounds": rounds, "quick": quick, "lines": rows });
    format!("{all:#}\n")
}

fn row(row: &Row) -> Value {
    let (unit, scale) = row.unit.scale();
    let estimate = |estimate: &Option<Estimate>| match estimate {
        Some(Estimate { median, rounds }) => {
            let rounds: Vec<f64> = rounds.iter().map(|reading| reading / scale).collect();
            json!({ "median": median / scale, "rounds": rounds })
        }
        None => Value::Null,
    };
    let peers: Map<String, Value> = row
        .peers
        .iter()
        .map(|(name, peer)| ((*name).to_owned(), estimate(peer)))
        .collect();
    let goals: Vec<Value> = row.verdicts.iter().map(goal).collect();
    json!({
        "workload": row.workload,
        "what": row.name,
        "unit": unit,
        "ours": estimate(&row.ours),
        "peers": peers,
        "goals": goals,
    })
}

fn goal(verdict: &Verdict) -> Value {
    let (bound, factor, against) = match &verdict.goal {
        Goal::AtLeast(factor, best_of) => ("at least", factor, Some(best_of)),
        Goal::AtMost(factor, best_of) => ("at most", factor, Some(best_of)),
        Goal::Limit(limit) => ("at most", limit, None),
    };
    json!({
        "bound": bound,
        "factor_or_limit": factor,
        "best_of": against,
        "ratio": verdict.ratio.as_ref().map(|ratio| ratio.0),
        "met": verdict.met,
    })
}
