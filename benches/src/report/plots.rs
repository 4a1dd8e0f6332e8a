//! Cost against the number of watchers, and latency.

use std::collections::BTreeMap;
use std::error::Error;

use plotters::prelude::*;

use crate::heat::{Line, Unit};
use crate::peers::names;

const SIZE: (u32, u32) = (900, 520);
const FONT: (&str, u32) = ("sans-serif", 15);
const TITLE: (&str, u32) = ("sans-serif", 20);

type Drawn = Result<(), Box<dyn Error>>;

/// Names and contents of the files; none for what was not measured.
///
/// # Errors
/// What could not be drawn, and why.
pub(super) fn render(lines: &[Line]) -> Result<Vec<(String, String)>, String> {
    let mut files = Vec::new();
    let mut draw = |name: String, draw: &dyn Fn(&mut String) -> Drawn| {
        let mut svg = String::new();
        draw(&mut svg).map_err(|error| format!("cannot draw {name}: {error}"))?;
        files.push((name, svg));
        Ok::<(), String>(())
    };
    for (title, series) in costs(lines) {
        let name = title.split(':').next().unwrap_or(title);
        let name = format!("{}.svg", name.to_lowercase().replace(' ', "-"));
        draw(name, &|svg| draw_costs(svg, title, &series))?;
    }
    let latencies = latencies(lines);
    if !latencies.is_empty() {
        draw("latency.svg".to_owned(), &|svg| {
            draw_latencies(svg, &latencies)
        })?;
    }
    Ok(files)
}

/// Points by peer: number of watchers, and ns an event.
type Series = BTreeMap<&'static str, Vec<(f64, f64)>>;

fn costs(lines: &[Line]) -> BTreeMap<&'static str, Series> {
    let mut plots: BTreeMap<&'static str, Series> = BTreeMap::new();
    for line in lines {
        let Some((title, watchers)) = line.plot else {
            continue;
        };
        let ours = (names::OURS, line.ours.as_ref());
        let peers = line
            .peers
            .iter()
            .map(|(name, figure)| (*name, figure.as_ref()));
        for (name, figure) in std::iter::once(ours).chain(peers) {
            let Some(figure) = figure else { continue };
            let nanoseconds = if line.unit.is_rate() {
                1e9 / figure.median
            } else {
                figure.median
            };
            let series = plots.entry(title).or_default().entry(name).or_default();
            series.push((watchers as f64, nanoseconds));
        }
    }
    plots
}

fn span(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    (low, values.fold(0.0, f64::max))
}

fn draw_costs(svg: &mut String, title: &str, series: &Series) -> Drawn {
    let points = || series.values().flatten();
    let (few, many) = span(points().map(|point| point.0));
    let (cheap, dear) = span(points().map(|point| point.1));
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
        .y_desc("ns an event")
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

/// A peer at one line: what is drawn as one bar.
struct Bar {
    name: String,
    p50: f64,
    p99: f64,
}

/// Pairs each line of medians with the line of 99th percentiles that follows it.
fn latencies(lines: &[Line]) -> Vec<Bar> {
    let mut bars = Vec::new();
    for pair in lines.windows(2) {
        let [p50, p99] = pair else { continue };
        if p50.unit != Unit::Microseconds || !p50.what.contains("p50") || !p99.what.contains("p99")
        {
            continue;
        }
        let receiver = if p50.what.contains("tokio") {
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
            let name = p50.what.split("; ").nth(1).unwrap_or(names::OURS);
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
    let (_, most) = span(bars.iter().map(|bar| bar.p99));
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
