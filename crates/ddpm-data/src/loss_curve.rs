//! The loss over a run, as SVG.

use std::path::Path;

use plotters::prelude::*;

use crate::DataError;
use crate::png_file::write_whole;

/// Points that are drawn at most: more than pixels help nobody.
const MAX_POINTS: usize = 1000;

/// Draws (step, loss) on a logarithmic axis: every value in pale, their running mean in full colour. Values that are not
/// finite or not above zero are left out; without any the plot is empty.
///
/// # Errors
/// When the file cannot be written.
pub fn save_loss_curve(path: &Path, losses: &[(u64, f64)]) -> Result<(), DataError> {
    let points: Vec<(f64, f64)> =
        losses.iter().filter(|(_, loss)| loss.is_finite() && *loss > 0.0).map(|(s, l)| (*s as f64, *l)).collect();
    let mut svg = String::new();
    draw(&mut svg, &points).map_err(|error| DataError::damaged(path.display(), error))?;
    write_whole(path, svg.as_bytes())
}

fn draw(svg: &mut String, points: &[(f64, f64)]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (800, 450)).into_drawing_area();
    root.fill(&WHITE)?;
    let last = points.last().map_or(1.0, |(step, _)| step.max(1.0));
    let least = points.iter().fold(f64::INFINITY, |m, (_, loss)| m.min(*loss)).min(1.0);
    let most = points.iter().fold(0.0f64, |m, (_, loss)| m.max(*loss)).max(least * 1.1);
    let least = if least < most { least } else { most / 10.0 };
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, (least * 0.9..most * 1.1).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("step")
        .y_desc("loss, mean squared error of the noise")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.3}"))
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .draw()?;
    let pale = RGBColor(170, 195, 230);
    let full = RGBColor(20, 80, 170);
    chart.draw_series(LineSeries::new(thinned(points), pale.stroke_width(1)))?;
    chart.draw_series(LineSeries::new(thinned(&running_mean(points)), full.stroke_width(2)))?;
    root.present()?;
    Ok(())
}

/// The mean of each point and those before it, back to a twentieth of the points so far.
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

fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(MAX_POINTS).max(1);
    points.iter().enumerate().filter(|(i, _)| i % every == 0 || i + 1 == points.len()).map(|(_, p)| *p).collect()
}
