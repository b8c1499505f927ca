//! The terms of the variational bound as a weighted loss of each image.

use candle_core::{D, Tensor};
use ddpm_schedule::VarianceKind;

use crate::error::check_shape;
use crate::{DiffusionError, GaussianDiffusion};

impl GaussianDiffusion {
    /// The general objective L_{t−1} − C of each image (Ho et al. 2020, eq. 12):
    /// β_t² / (2 σ_t² α_t (1 − ᾱ_t)) ‖ε − ε̂‖², summed over the elements, in nats.
    ///
    /// At index 0, where β̃ is 0, σ² is the clipped variance, which is that of index 1.
    ///
    /// # Shapes
    /// `eps_hat` and `eps` [batch, channel, height, width]; `t` holds one index per image. The result has the shape
    /// `[batch]` and is differentiable by candle.
    ///
    /// # Errors
    /// When the shapes differ, an index is not in the schedule, or α_t is 0 there ([`DiffusionError::NoSignal`]).
    pub fn weighted_loss(
        &self,
        eps_hat: &Tensor,
        eps: &Tensor,
        t: &[usize],
        variance: VarianceKind,
    ) -> Result<Tensor, DiffusionError> {
        check_shape("eps_hat", eps_hat.dims(), eps.dims())?;
        let squared = eps_hat.sub(eps)?.sqr()?.flatten_from(1)?.sum(D::Minus1)?;
        let weight = self.per_image(t, &squared, |i| self.loss_weight(variance, i))?;
        Ok(squared.mul(&weight)?)
    }

    /// β_t² / (2 σ_t² α_t (1 − ᾱ_t)), the weight of ‖ε − ε̂‖² in L_{t−1}.
    fn loss_weight(&self, variance: VarianceKind, i: usize) -> f64 {
        let schedule = self.schedule();
        let sigma_squared = schedule.log_variance_clipped(variance, i).exp();
        schedule.beta(i).powi(2) / (2.0 * sigma_squared * schedule.alpha(i) * schedule.one_minus_alpha_bar(i))
    }
}
