//! Plots: the cost of an event over the number of watchers, and latencies.

use std::collections::BTreeMap;
use std::error::Error;

use plotters::prelude::*;

use crate::peers::names;
use crate::row::{Row, Unit};

const SIZE: (u32, u32) = (900, 520);
const FONT: (&str, u32) = ("sans-serif", 15);
const TITLE: (&str, u32) = ("sans-serif", 20);

type Drawn = Result<(), Box<dyn Error>>;

/// The names and contents of the files. Rows that were not measured have no plot.
///
/// # Errors
/// Names the file that could not be drawn, and the cause.
pub(super) fn render(rows: &[Row]) -> Result<Vec<(String, String)>, String> {
    let mut files = Vec::new();
    let mut draw = |name: String, draw: &dyn Fn(&mut String) -> Drawn| {
        let mut svg = String::new();
        draw(&mut svg).map_err(|error| format!("cannot draw {name}: {error}"))?;
        files.push((name, svg));
        Ok::<(), String>(())
    };
    for (title, series) in costs(rows) {
        let name = title.split(':').next().unwrap_or(title);
        let name = format!("{}.svg", name.to_lowercase().replace(' ', "-"));
        draw(name, &|svg| draw_costs(svg, title, &series))?;
    }
    let latencies = latencies(rows);
    if !latencies.is_empty() {
        draw("latency.svg".to_owned(), &|svg| {
            draw_latencies(svg, &latencies)
        })?;
    }
    Ok(files)
}

/// Points by peer: the number of watchers, and ns per event.
type Series = BTreeMap<&'static str, Vec<(f64, f64)>>;

fn costs(rows: &[Row]) -> BTreeMap<&'static str, Series> {
    let mut plots: BTreeMap<&'static str, Series> = BTreeMap::new();
    for row in rows {
        let Some((title, watchers)) = row.plot else {
            continue;
        };
        let ours = (names::OURS, row.ours.as_ref());
        let peers = row
            .peers
            .iter()
            .map(|(name, estimate)| (*name, estimate.as_ref()));
        for (name, estimate) in std::iter::once(ours).chain(peers) {
            let Some(estimate) = estimate else { continue };
            let nanoseconds = if row.unit.is_rate() {
                1e9 / estimate.median
            } else {
                estimate.median
            };
            let series = plots.entry(title).or_default().entry(name).or_default();
            series.push((watchers as f64, nanoseconds));
        }
    }
    plots
}

/// The smallest and the largest value.
fn range(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    (low, values.fold(0.0, f64::max))
}

fn draw_costs(svg: &mut String, title: &str, series: &Series) -> Drawn {
    let points = || series.values().flatten();
    let (few, many) = range(points().map(|point| point.0));
    let (cheap, dear) = range(points().map(|point| point.1));
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, TITLE)
        .margin(15)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (few * 0.8..many * 1.25).log_scale(),
            (cheap.max(1.0) * 0.6..dear * 4.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("watchers")
        .y_desc("ns per event")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .label_style(FONT)
        .draw()?;
    for (index, (name, points)) in series.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        let dots = points.iter().map(|&at| Circle::new(at, 4, colour.filled()));
        chart.draw_series(dots)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .border_style(BLACK)
        .background_style(WHITE)
        .label_font(FONT)
        .draw()?;
    root.present()?;
    Ok(())
}

/// The latency of one peer, drawn as one bar.
struct Bar {
    name: String,
    p50: f64,
    p99: f64,
}

/// Pairs each row of medians with the row of 99th percentiles that follows it.
fn latencies(rows: &[Row]) -> Vec<Bar> {
    let mut bars = Vec::new();
    for pair in rows.windows(2) {
        let [p50, p99] = pair else { continue };
        if p50.unit != Unit::Microseconds || !p50.name.contains("p50") || !p99.name.contains("p99")
        {
            continue;
        }
        let receiver = if p50.name.contains("tokio") {
            "tokio"
        } else {
            "blocking"
        };
        let mut bar = |name: &str, p50: f64, p99: f64| {
            bars.push(Bar {
                name: format!("{name} ({receiver})"),
                p50,
                p99,
            });
        };
        if let (Some(half), Some(most)) = (&p50.ours, &p99.ours) {
            let name = p50.name.split("; ").nth(1).unwrap_or(names::OURS);
            bar(name, half.median, most.median);
        }
        for ((name, half), (_, most)) in p50.peers.iter().zip(&p99.peers) {
            if let (Some(half), Some(most)) = (half, most) {
                bar(name, half.median, most.median);
            }
        }
    }
    bars
}

fn draw_latencies(svg: &mut String, bars: &[Bar]) -> Drawn {
    let height = 110 + 26 * bars.len() as u32;
    let (_, most) = range(bars.iter().map(|bar| bar.p99));
    let root = SVGBackend::with_string(svg, (SIZE.0, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let rows = bars.len() as f64;
    let mut chart = ChartBuilder::on(&root)
        .caption("Publish to receive, one event a millisecond", TITLE)
        .margin(15)
        .x_label_area_size(45)
        .y_label_area_size(230)
        .build_cartesian_2d(0.0..most * 1.05, 0.0..rows)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_desc("µs; dark: median, light: 99th percentile")
        .y_labels(0)
        .label_style(FONT)
        .draw()?;
    for (index, bar) in bars.iter().enumerate() {
        let top = rows - index as f64;
        let span = |to: f64| [(0.0, top - 0.85), (to, top - 0.15)];
        chart.draw_series([
            Rectangle::new(span(bar.p99), BLUE.mix(0.25).filled()),
            Rectangle::new(span(bar.p50), BLUE.mix(0.8).filled()),
        ])?;
        let (x, y) = chart.backend_coord(&(0.0, top - 0.35));
        root.draw(&Text::new(bar.name.clone(), (x - 235, y - 6), FONT))?;
    }
    root.present()?;
    Ok(())
}
