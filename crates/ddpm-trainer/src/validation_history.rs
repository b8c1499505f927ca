//! The validations of a run so far: which one is the best, and whether the model overfits.

use serde::{Deserialize, Serialize};

use crate::validation::ValidationReport;

/// Number of validations for which the held-out loss has to be above its minimum.
const SUSTAINED: usize = 5;
/// How far it has to be above it.
const RISE: f64 = 0.01;

/// The validations of a run, in the order of their steps.
#[derive(Debug, Clone, Default)]
pub struct ValidationHistory(Vec<ValidationReport>);

impl ValidationHistory {
    /// The history of these validations, in the order of their steps.
    pub fn new(reports: Vec<ValidationReport>) -> Self {
        Self(reports)
    }

    /// Appends a validation.
    pub fn push(&mut self, report: ValidationReport) {
        self.0.push(report);
    }

    /// The validations.
    pub fn reports(&self) -> &[ValidationReport] {
        &self.0
    }

    /// The validation with the lowest held-out loss; None if there is none.
    pub fn best(&self) -> Option<&ValidationReport> {
        self.0.iter().min_by(|a, b| a.held_out.total.total_cmp(&b.held_out.total))
    }

    /// Whether the held-out loss of `step` is known and lower than that of the step `other`, or that is not known.
    pub(crate) fn is_better(&self, step: u64, other: Option<u64>) -> bool {
        let loss = |step: u64| Some(self.0.iter().find(|report| report.step == step)?.held_out.total);
        match (loss(step), other.and_then(loss)) {
            (Some(own), Some(other)) => own < other,
            (own, _) => own.is_some(),
        }
    }

    /// Whether the held-out loss has risen for good: the last five validations are all at least 1 % above the lowest
    /// held-out loss before them.
    pub fn is_overfit(&self) -> bool {
        let Some(first) = self.0.len().checked_sub(SUSTAINED).filter(|first| *first > 0) else { return false };
        let (before, last) = self.0.split_at(first);
        let lowest = before.iter().map(|report| report.held_out.total).fold(f64::INFINITY, f64::min);
        last.iter().all(|report| report.held_out.total > (1.0 + RISE) * lowest)
    }

    /// The validation with the lowest held-out loss, between the one before it and the one after it.
    fn observed(&self) -> Option<MemorizationForecast> {
        let best = self.best()?.step;
        let at = self.0.iter().position(|report| report.step == best)?;
        let step = |index: usize| self.0.get(index).map_or(best, |report| report.step) as f64;
        Some(MemorizationForecast { step: best as f64, interval: [step(at.saturating_sub(1)), step(at + 1)] })
    }

    /// When the model begins, or will begin, to memorize its training images: see [`MemorizationForecast`].
    pub fn forecast(&self) -> Option<MemorizationForecast> {
        if self.is_overfit() {
            return self.observed();
        }
        // The steps of the first half are dominated by learning what images of the set have in common.
        let half = self.0.len() / 2;
        let points: Vec<(f64, f64)> =
            self.0[half..].iter().map(|report| (report.step as f64, report.held_out.total)).collect();
        MemorizationForecast::fit(&points)
    }
}

/// The step at which the held-out loss is lowest, from which on the model learns about its training images only.
///
/// After a lasting rise it is the validation with the lowest held-out loss. Before, it is the minimum of a parabola
/// through the held-out losses of the second half of a run as a function of the logarithm of the step; a minimum beyond
/// the last step is an extrapolation, and the interval says how well the losses determine it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MemorizationForecast {
    /// The expected step.
    pub step: f64,
    /// A 90 % interval of the step, from the residuals of the fit; after a lasting rise, the validations before and
    /// after the best one.
    pub interval: [f64; 2],
}

/// Number of points below which nothing is said.
const MIN_POINTS: usize = 6;
/// How far beyond the last step, as a factor, a minimum may lie.
const FARTHEST: f64 = 1.5;
/// The 95 % quantile of the normal distribution.
const Z: f64 = 1.645;

impl MemorizationForecast {
    /// Fits points (step, held-out loss). None if there are fewer than six, or no minimum can be told: the parabola is
    /// not convex beyond chance, or its minimum is beyond one and a half times the last step. A loss that only flattens
    /// is convex too, and its minimum lies far away.
    fn fit(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < MIN_POINTS || points.iter().any(|(step, loss)| *step <= 0.0 || !loss.is_finite()) {
            return None;
        }
        let count = points.len() as f64;
        let center = points.iter().map(|(step, _)| step.ln()).sum::<f64>() / count;
        let x = |step: f64| step.ln() - center;
        // The normal equations of y = a + b x + c x².
        let moment = |power: i32| points.iter().map(|(step, _)| x(*step).powi(power)).sum::<f64>();
        let with_loss = |power: i32| points.iter().map(|(step, loss)| x(*step).powi(power) * loss).sum::<f64>();
        let matrix =
            [[count, moment(1), moment(2)], [moment(1), moment(2), moment(3)], [moment(2), moment(3), moment(4)]];
        let inverse = inverse(&matrix)?;
        let right = [with_loss(0), with_loss(1), with_loss(2)];
        let [a, b, c] = [0, 1, 2].map(|row| (0..3).map(|column| inverse[row][column] * right[column]).sum::<f64>());
        let residual = |(step, loss): &(f64, f64)| (loss - a - b * x(*step) - c * x(*step).powi(2)).powi(2);
        let variance = points.iter().map(residual).sum::<f64>() / (count - 3.0);
        let error = |row: usize, column: usize| variance * inverse[row][column];
        if c <= Z * error(2, 2).sqrt() {
            return None;
        }
        // The minimum at −b / 2c, and its standard error to first order.
        let minimum = -b / (2.0 * c);
        let (by_b, by_c) = (-1.0 / (2.0 * c), b / (2.0 * c * c));
        let deviation =
            (by_b * by_b * error(1, 1) + 2.0 * by_b * by_c * error(1, 2) + by_c * by_c * error(2, 2)).sqrt();
        let step = |x: f64| (x + center).exp();
        let last = points.last().map_or(1.0, |(step, _)| *step);
        (step(minimum) < FARTHEST * last)
            .then(|| Self { step: step(minimum), interval: [-Z, Z].map(|z| step(minimum + z * deviation)) })
    }
}

/// The inverse of a symmetric 3 × 3 matrix; None if it is singular.
fn inverse(m: &[[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let cofactor = |row: usize, column: usize| {
        let [r1, r2] = [(row + 1) % 3, (row + 2) % 3];
        let [c1, c2] = [(column + 1) % 3, (column + 2) % 3];
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let determinant: f64 = (0..3).map(|column| m[0][column] * cofactor(0, column)).sum();
    let scale = m[0][0] * m[1][1] * m[2][2];
    (determinant > 1e-12 * scale)
        .then(|| [0, 1, 2].map(|row| [0, 1, 2].map(|column| cofactor(column, row) / determinant)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::BandLosses;

    fn history(losses: impl IntoIterator<Item = f64>) -> ValidationHistory {
        let losses_of = |total| BandLosses { total, bands: [total; 4] };
        let report = |(i, total): (usize, f64)| ValidationReport {
            step: 100 * (i as u64 + 1),
            held_out: losses_of(total),
            training: losses_of(0.1),
        };
        ValidationHistory::new(losses.into_iter().enumerate().map(report).collect())
    }

    #[test]
    fn only_a_sustained_rise_is_overfitting() {
        assert!(!history([]).is_overfit());
        assert!(!history([1.0, 0.5, 0.4, 0.39, 0.38, 0.37]).is_overfit());
        assert!(!history([0.4, 0.41, 0.42, 0.41, 0.4, 0.41]).is_overfit(), "one of them is not above it");
        assert!(!history([0.4, 0.402, 0.403, 0.402, 0.403, 0.403]).is_overfit(), "less than 1 %");
        assert!(history([0.5, 0.4, 0.41, 0.42, 0.43, 0.44, 0.45]).is_overfit());
        assert_eq!(history([0.5, 0.4, 0.45]).best().map(|report| report.step), Some(200));
    }

    #[test]
    fn the_minimum_of_a_curve_is_found_and_extrapolated() {
        // The lowest loss is at ln(step) = 7.5, step 1808, and the noise has a known pattern.
        let loss = |i: u64, noise: f64| {
            let step = 100.0 * (i as f64 + 1.0);
            0.3 + 0.01 * (step.ln() - 7.5).powi(2) + noise * if i.is_multiple_of(2) { 1.0 } else { -1.0 }
        };
        for (count, noise, tolerance) in [(40, 0.0, 100.0), (40, 1e-4, 100.0), (14, 0.0, 1.0), (14, 1e-6, 300.0)] {
            let forecast = history((0..count).map(|i| loss(i, noise))).forecast().expect("convex");
            assert!((forecast.step - 1808.0).abs() < tolerance, "{count} {noise}: {forecast:?}");
            assert!(forecast.interval[0] <= forecast.step && forecast.step <= forecast.interval[1], "{forecast:?}");
        }
        // A curve that falls like a logarithm has no minimum, and noise alone has none either.
        assert_eq!(history((0..40).map(|i| 1.0 - 0.01 * (i as f64 + 1.0).ln())).forecast(), None);
        assert_eq!(history((0..40).map(|i| 0.3 + if i % 2 == 0 { 0.01 } else { -0.01 })).forecast(), None);
        // A loss that flattens like a power of the step is convex, but its minimum is not near.
        assert_eq!(history((0..20).map(|i| 0.1 + (i as f64 + 1.0).powf(-0.5))).forecast(), None);
        assert_eq!(history([0.5, 0.4, 0.3, 0.4, 0.5]).forecast(), None);
        let risen = history([0.5, 0.4, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]).forecast();
        assert_eq!(risen, Some(MemorizationForecast { step: 300.0, interval: [200.0, 400.0] }));
    }
}
