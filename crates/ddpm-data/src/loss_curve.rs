//! A plot of the training loss, as an SVG file.

use std::path::Path;

use plotters::prelude::*;

use crate::atomic_write::write_atomically;
use crate::error::DataError;
use crate::log_ticks::log_ticks;

/// The largest number of points per line: more points than pixels are not visible.
const MAX_POINTS: usize = 1000;

/// The losses of a training, as pairs of (step, loss).
#[derive(Debug, Clone, Default)]
pub struct LossCurves {
    /// The loss of every step.
    pub training: Vec<(u64, f64)>,
    /// The losses of the averaged weights on images that are trained on.
    pub averaged_training: Vec<(u64, f64)>,
    /// The same on images that are held out.
    pub averaged_held_out: Vec<(u64, f64)>,
}

/// Plots losses with a logarithmic axis: those of single steps in a pale color, their running mean in a dark one, and
/// those of the averaged weights as lines with a legend. Values that are not finite or not positive are left out.
///
/// # Errors
/// [`DataError`] when the file cannot be written.
pub fn save_loss_curve(path: &Path, losses: &LossCurves) -> Result<(), DataError> {
    let mut svg = String::new();
    let [points, training, held_out] =
        [&losses.training, &losses.averaged_training, &losses.averaged_held_out].map(|losses| positive(losses));
    draw(&mut svg, &points, &training, &held_out).map_err(|error| DataError::invalid(path.display(), error))?;
    write_atomically(path, svg.as_bytes())
}

fn positive(losses: &[(u64, f64)]) -> Vec<(f64, f64)> {
    losses.iter().filter(|(_, loss)| loss.is_finite() && *loss > 0.0).map(|(s, l)| (*s as f64, *l)).collect()
}

/// Draws the plot into `svg`.
fn draw(
    svg: &mut String,
    points: &[(f64, f64)],
    training: &[(f64, f64)],
    held_out: &[(f64, f64)],
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (800, 450)).into_drawing_area();
    root.fill(&WHITE)?;
    let last = [points, held_out].iter().filter_map(|points| points.last()).fold(1.0, |m: f64, (step, _)| m.max(*step));
    let all = || points.iter().chain(training).chain(held_out);
    let min = all().fold(f64::INFINITY, |m, (_, loss)| m.min(*loss)).min(1.0);
    let max = all().fold(0.0f64, |m, (_, loss)| m.max(*loss)).max(min * 1.1);
    let min = if min < max { min } else { max / 10.0 };
    let range = min * 0.9..max * 1.1;
    let losses = log_ticks(&range);
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .margin_right(32)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, range.log_scale().with_key_points(losses))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        // Steps are integers, so a short run has fewer labels.
        .x_labels((last as usize + 1).min(11))
        .x_desc("step")
        .y_desc("loss, mean squared error of the noise")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&f64::to_string)
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .draw()?;
    let pale = RGBColor(170, 195, 230);
    let dark = RGBColor(20, 80, 170);
    chart.draw_series(LineSeries::new(subsampled(points), pale.stroke_width(1)))?;
    chart.draw_series(LineSeries::new(subsampled(&running_mean(points)), dark.stroke_width(2)))?;
    if let [point] = points {
        chart.draw_series([Circle::new(*point, 3, dark.filled())])?;
    }
    if !held_out.is_empty() {
        let sides = [
            ("averaged weights, training images", training, RGBColor(30, 130, 60)),
            ("averaged weights, held-out images", held_out, RGBColor(200, 60, 20)),
        ];
        for (label, points, color) in sides {
            let style = color.stroke_width(2);
            let line = chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            line.label(label).legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
            if let [point] = points {
                chart.draw_series([Circle::new(*point, 3, color.filled())])?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .legend_area_size(32)
            .label_font(("sans-serif", 15))
            .background_style(WHITE.mix(0.8))
            .draw()?;
    }
    root.present()?;
    Ok(())
}

/// The running mean. The window of each point is the last twentieth of the points up to it, at least the point itself.
fn running_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut sums = vec![0.0];
    for (_, loss) in points {
        sums.push(sums[sums.len() - 1] + loss);
    }
    let mean = |i: usize| {
        let from = i - i / 20;
        (sums[i + 1] - sums[from]) / (i + 1 - from) as f64
    };
    points.iter().enumerate().map(|(i, (step, _))| (*step, mean(i))).collect()
}

/// At most about [`MAX_POINTS`] of the points, evenly spaced, with the last one.
fn subsampled(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(MAX_POINTS).max(1);
    points.iter().enumerate().filter(|(i, _)| i % every == 0 || i + 1 == points.len()).map(|(_, p)| *p).collect()
}
