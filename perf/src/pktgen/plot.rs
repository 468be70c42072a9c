//! A picture of the runs: what a packet costs in each, and how late packets are.

use std::path::Path;

use plotters::prelude::*;

use super::output::Run;

const WIDTH: u32 = 900;
const HEIGHT: u32 = 420;

/// Draws bars of core cycles above, lines of latency percentiles below.
///
/// # Errors
/// What the drawing library says, for people.
pub fn draw(path: &Path, runs: &[Run]) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let root = SVGBackend::new(path, (WIDTH, 2 * HEIGHT)).into_drawing_area();
    root.fill(&WHITE).map_err(|error| said(&error))?;
    let (above, below) = root.split_vertically(HEIGHT);

    let dearest = runs.iter().map(|run| run.core_cycles_median).fold(1.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(&above)
        .caption("core cycles per packet (p10 of windows; dark: to p50)", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0..runs.len().max(1), 0.0..dearest)
        .map_err(|error| said(&error))?;
    let name = |index: &usize| {
        runs.get(*index).map_or(String::new(), |run| {
            format!("{} {} {:?} {}", run.suite, run.size, run.direction, run.sas)
        })
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(runs.len().max(1))
        .x_label_formatter(&name)
        .draw()
        .map_err(|error| said(&error))?;
    let bars = runs.iter().enumerate().flat_map(|(index, run)| {
        let bar = |from, to, style: ShapeStyle| Rectangle::new([(index, from), (index + 1, to)], style);
        [
            bar(0.0, run.core_cycles, BLUE.mix(0.3).filled()),
            bar(run.core_cycles, run.core_cycles_median, BLUE.mix(0.5).filled()),
        ]
    });
    chart.draw_series(bars).map_err(|error| said(&error))?;

    let latest =
        runs.iter().filter_map(|run| run.latency_ns).map(|latency| latency.p99_99).max().unwrap_or(1).max(2)
            as f64
            * 1.2;
    let mut chart = ChartBuilder::on(&below)
        .caption("latency, ns: p50, p90, p99, p99.9, p99.99", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(0..4usize, (10.0..latest).log_scale())
        .map_err(|error| said(&error))?;
    let percentile =
        |index: &usize| ["p50", "p90", "p99", "p99.9", "p99.99"].get(*index).unwrap_or(&"").to_string();
    chart.configure_mesh().x_labels(5).x_label_formatter(&percentile).draw().map_err(|error| said(&error))?;
    for (number, run) in runs.iter().enumerate() {
        let Some(latency) = run.latency_ns else { continue };
        let points = [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.p99_99];
        let colour = Palette99::pick(number).stroke_width(2);
        let line = LineSeries::new(points.into_iter().enumerate().map(|(x, y)| (x, y as f64)), colour);
        chart
            .draw_series(line)
            .map_err(|error| said(&error))?
            .label(name(&number))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).draw().map_err(|error| said(&error))?;
    root.present().map_err(|error| said(&error))
}
