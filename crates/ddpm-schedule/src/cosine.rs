//! The cosine schedule of Nichol & Dhariwal 2021, eq. 17.

use std::f64::consts::FRAC_PI_2;

/// β_t = min(1 − f(t)/f(t−1), `max_beta`) with f(t) = cos²((t/T + s)/(1 + s)·π/2).
///
/// Because of the clipping, ᾱ of the schedule is the running product of the clipped 1 − β and not f(t)/f(0). At the
/// last step f is 0, but ᾱ is positive.
pub(crate) fn betas(offset: f64, max_beta: f64, timesteps: usize) -> Vec<f64> {
    let f = |t: usize| ((t as f64 / timesteps as f64 + offset) / (1.0 + offset) * FRAC_PI_2).cos().powi(2);
    (1..=timesteps).map(|t| (1.0 - f(t) / f(t - 1)).min(max_beta)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_last_beta_is_clipped() {
        let betas = betas(0.008, 0.999, 1000);
        assert_eq!(betas.iter().filter(|b| **b == 0.999).count(), 1);
        assert_eq!(betas[999], 0.999);
        assert!(betas.windows(2).all(|w| w[0] < w[1]));
    }
}
