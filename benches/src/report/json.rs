//! Everything, with the readings of each round.

use serde_json::{Map, Value, json};

use crate::heat::{Figure, Goal, Line, Verdict};

pub(super) fn render(lines: &[Line], rounds: usize, quick: bool) -> String {
    let lines: Vec<Value> = lines.iter().map(line).collect();
    let all = json!({ "rounds": rounds, "quick": quick, "lines": lines });
    format!("{all:#}\n")
}

fn line(line: &Line) -> Value {
    let (unit, scale) = line.unit.scale();
    let figure = |figure: &Option<Figure>| match figure {
        Some(Figure { median, rounds }) => {
            let rounds: Vec<f64> = rounds.iter().map(|reading| reading / scale).collect();
            json!({ "median": median / scale, "rounds": rounds })
        }
        None => Value::Null,
    };
    let peers: Map<String, Value> = line
        .peers
        .iter()
        .map(|(name, peer)| ((*name).to_owned(), figure(peer)))
        .collect();
    let goals: Vec<Value> = line.verdicts.iter().map(verdict).collect();
    json!({
        "workload": line.workload,
        "what": line.what,
        "unit": unit,
        "ours": figure(&line.ours),
        "peers": peers,
        "goals": goals,
    })
}

fn verdict(verdict: &Verdict) -> Value {
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
