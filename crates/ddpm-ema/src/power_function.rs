//! Averages whose weights are a power of the training time.

/// The σ_rel of an average of all steps with equal weights, √(1/12): that of every power function is smaller.
pub const MAX_SIGMA_REL: f64 = 0.288_675_134_594_812_9;

/// A power-function average of weights ([Karras et al. 2024b](https://arxiv.org/abs/2312.02696), section 3.1).
///
/// After T steps, the weights of step t contribute in proportion to t^γ. In contrast to an exponential average, its
/// length is a constant share of the training: the initial weights never contribute, and a longer run needs no other
/// value. The length is given as σ_rel, the standard deviation of this distribution relative to T; 0.1 corresponds to
/// an average of about the last fifth of the training.
///
/// # Examples
/// ```
/// let average = ddpm_ema::PowerFunction::new(0.1).expect("between 0 and 0.288");
/// assert!((average.gamma() - 6.94).abs() < 5e-3);
/// assert_eq!(average.decay(0), 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerFunction {
    sigma_rel: f64,
    gamma: f64,
}

impl PowerFunction {
    /// The average of length `sigma_rel`, in (0, [`MAX_SIGMA_REL`]); `None` outside of this range.
    pub fn new(sigma_rel: f64) -> Option<Self> {
        (sigma_rel > 0.0 && sigma_rel < MAX_SIGMA_REL).then(|| Self { sigma_rel, gamma: gamma(sigma_rel) })
    }

    /// The standard deviation of the contributing steps relative to the number of steps.
    pub fn sigma_rel(&self) -> f64 {
        self.sigma_rel
    }

    /// The exponent γ, above 0.
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    /// The decay of an update, where `updates` counts the updates before it: (1 − 1/t)^(γ + 1) with t = `updates` + 1
    /// (equation 2 of the paper). The first update copies the weights.
    pub fn decay(&self, updates: u64) -> f64 {
        (1.0 - 1.0 / (updates as f64 + 1.0)).powf(self.gamma + 1.0)
    }
}

/// The exponent γ of a length σ: the largest root of γ³ + 7γ² + (16 − σ⁻²)γ + 12 − σ⁻², which is
/// σ² = (γ + 1) / ((γ + 2)² (γ + 3)).
fn gamma(sigma_rel: f64) -> f64 {
    let precision = sigma_rel.powi(-2);
    // The polynomial is positive and convex from 1/σ on, so Newton's iterates fall to the root from there.
    let mut gamma = 1.0 / sigma_rel;
    for _ in 0..100 {
        let value = ((gamma + 7.0) * gamma + 16.0 - precision) * gamma + 12.0 - precision;
        let slope = (3.0 * gamma + 14.0) * gamma + 16.0 - precision;
        let next = gamma - value / slope;
        if next >= gamma {
            break;
        }
        gamma = next;
    }
    gamma
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_those_of_the_paper() {
        // Section 3.2: "γ = 16.97 and 6.94" for 0.05 and 0.10.
        for (sigma_rel, expected) in [(0.05, 16.97), (0.10, 6.94)] {
            let found = PowerFunction::new(sigma_rel).expect("in range").gamma();
            assert!((found - expected).abs() < 5e-3, "{sigma_rel}: {found}");
        }
    }

    #[test]
    fn the_distribution_has_the_length() {
        for sigma_rel in [1e-3, 0.01, 0.05, 0.1, 0.2, 0.28, 0.2886] {
            let gamma = PowerFunction::new(sigma_rel).expect("in range").gamma();
            // Mean and second moment of (γ + 1) t^γ on [0, 1].
            let [mean, square] = [1.0, 2.0].map(|power| (gamma + 1.0) / (gamma + 1.0 + power));
            let found = (square - mean * mean).sqrt();
            assert!((found / sigma_rel - 1.0).abs() < 1e-6, "{sigma_rel}: {found}");
        }
    }

    #[test]
    fn lengths_outside_of_the_range_are_refused() {
        for sigma_rel in [0.0, -0.1, 0.2887, 1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(PowerFunction::new(sigma_rel), None, "{sigma_rel}");
        }
    }
}
