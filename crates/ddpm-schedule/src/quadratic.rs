//! The quadratic schedule, better known today as scaled-linear: √β evenly spaced.
//!
//! Ho's code calls it `quad`, latent diffusion made it popular, and diffusers calls it `scaled_linear`: all three are
//! linspace(√β_start, √β_end)², so β is a quadratic function of t. They differ only in the ends that their
//! users pass (1e-4 → 0.02 in Ho, 8.5e-4 → 0.012 in latent diffusion).

use crate::linear::linspace;

/// β_t = (√start + (√end − √start)·t/(T−1))².
pub(crate) fn betas(start: f64, end: f64, timesteps: usize) -> Vec<f64> {
    linspace(start.sqrt(), end.sqrt(), timesteps).into_iter().map(|root| root * root).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_differences_are_constant() {
        let betas = betas(1e-4, 0.02, 50);
        let second: Vec<f64> = betas.windows(3).map(|w| w[2] - 2.0 * w[1] + w[0]).collect();
        // Rounding of values up to 0.02 is 3e-18; second differences are 1.4e-5.
        assert!(second.iter().all(|d| (d - second[0]).abs() < 1e-16));
        assert!(second[0] > 1e-6);
    }
}
