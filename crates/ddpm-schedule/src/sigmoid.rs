//! The sigmoid schedule: β follows a logistic curve, as in diffusers and in GeoDiff (Xu et al. 2022).

use crate::linear::linspace;

/// β_t = start + (end − start)·σ(u_t), u evenly spaced over [−6, 6] and σ the logistic function.
///
/// σ(±6) is 0.0025 and 0.9975, so β approaches the two limits without reaching them.
pub(crate) fn betas(start: f64, end: f64, timesteps: usize) -> Vec<f64> {
    let logistic = |u: f64| 1.0 / (1.0 + (-u).exp());
    linspace(-6.0, 6.0, timesteps).into_iter().map(|u| start + (end - start) * logistic(u)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symmetric_about_the_middle() {
        let betas = betas(0.1, 0.5, 101);
        assert!((betas[50] - 0.3).abs() < 1e-15);
        // Two rounding errors of numbers below 1.
        assert!((0..101).all(|i| (betas[i] + betas[100 - i] - 0.6).abs() < 1e-15));
    }
}
