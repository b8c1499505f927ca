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
    let range = least * 0.9..most * 1.1;
    let losses = ticks(&range);
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .margin_right(32)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, range.log_scale().with_key_points(losses))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        // Steps are whole numbers.
        .x_labels((last as usize + 1).min(11))
        .x_desc("step")
        .y_desc("loss, mean squared error of the noise")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&f64::to_string)
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .draw()?;
    let pale = RGBColor(170, 195, 230);
    let full = RGBColor(20, 80, 170);
    chart.draw_series(LineSeries::new(thinned(points), pale.stroke_width(1)))?;
    chart.draw_series(LineSeries::new(thinned(&running_mean(points)), full.stroke_width(2)))?;
    if let [point] = points {
        chart.draw_series([Circle::new(*point, 3, full.filled())])?;
    }
    root.present()?;
    Ok(())
}

/// Values to label on a logarithmic axis: round ones, in the coarsest steps that give at least three.
fn ticks(range: &std::ops::Range<f64>) -> Vec<f64> {
    let decades = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let rounded = |mantissas: &[&str]| -> Vec<f64> {
        let all = decades.clone().flat_map(|decade| mantissas.iter().map(move |m| format!("{m}e{decade}")));
        // By way of text, so that 5e-2 is the value that is written 0.05.
        all.filter_map(|text| text.parse().ok()).filter(|value| range.contains(value)).collect()
    };
    let coarse = [rounded(&["1"]), rounded(&["1", "2", "5"])].into_iter().find(|ticks| ticks.len() >= 3);
    coarse.unwrap_or_else(|| rounded(&["1", "1.2", "1.4", "1.6", "1.8", "2", "2.5", "3", "4", "5", "6", "7", "8", "9"]))
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

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn labels_are_round_and_few() {
        assert_eq!(ticks(&(0.07..1.1)), [0.1, 0.2, 0.5, 1.0]);
        assert_eq!(ticks(&(0.008..20.0)), [0.01, 0.1, 1.0, 10.0]);
        assert_eq!(ticks(&(0.85..1.3)), [0.9, 1.0, 1.2]);
        assert_eq!(ticks(&(0.07..1.1)).iter().map(f64::to_string).collect::<Vec<_>>(), ["0.1", "0.2", "0.5", "1"]);
    }
}
