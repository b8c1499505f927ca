//! The quadratic or scaled-linear schedule: √β evenly spaced.
//!
//! The code of Ho et al. 2020 calls it `quad`, and diffusers calls it `scaled_linear`. Both are
//! linspace(√β_start, √β_end)², so β is a quadratic function of t. They differ only in the usual ends: 1e-4 and 0.02 in
//! the code of Ho et al., 8.5e-4 and 0.012 in latent diffusion.

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
