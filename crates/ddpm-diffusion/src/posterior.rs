//! The posterior of the forward process, q(x_{t−1} | x_t, x_0).

use candle_core::Tensor;

use crate::error::check_shape;
use crate::{DiffusionError, GaussianDiffusion};

/// A normal distribution N(mean, variance I) for each image.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// μ̃_t(x_t, x_0), [batch, channel, height, width].
    pub mean: Tensor,
    /// β̃_t of each image; 0 at the first step, where the posterior is x_0 itself.
    pub variance: Vec<f64>,
    /// ln β̃_t, with the value of index 1 at index 0.
    pub log_variance_clipped: Vec<f64>,
}

impl GaussianDiffusion {
    /// q(x_{t−1} | x_t, x_0) (Ho et al. 2020, eq. 6 and 7):
    /// μ̃_t = √ᾱ_{t−1} β_t / (1 − ᾱ_t) x_0 + √α_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t) x_t.
    ///
    /// DIFFERENCE: the article's code takes ᾱ_{t−1} from index −1 at the first step; it is 1 there.
    ///
    /// # Shapes
    /// `x_0` and `x_t` [batch, channel, height, width]; `t` one index an image.
    ///
    /// # Errors
    /// When the shapes differ, or an index is not in the schedule.
    pub fn q_posterior(&self, x_0: &Tensor, x_t: &Tensor, t: &[usize]) -> Result<Posterior, DiffusionError> {
        check_shape("x_t", x_t.dims(), x_0.dims())?;
        let schedule = self.schedule();
        let of_x0 = self.per_image(t, x_0, |i| schedule.posterior_mean_coef_x0(i))?;
        let of_xt = self.per_image(t, x_t, |i| schedule.posterior_mean_coef_xt(i))?;
        Ok(Posterior {
            mean: (x_0.broadcast_mul(&of_x0)? + x_t.broadcast_mul(&of_xt)?)?,
            variance: t.iter().map(|i| schedule.posterior_variance(*i)).collect(),
            log_variance_clipped: t.iter().map(|i| schedule.posterior_log_variance_clipped(*i)).collect(),
        })
    }

    /// μ_θ = (x_t − β_t / √(1 − ᾱ_t) ε̂) / √α_t, the mean of p_θ(x_{t−1} | x_t) (Ho et al. 2020, eq. 11).
    ///
    /// Where a schedule ends at β = 1 it has no value at the last step, and asking is an error: x_T tells nothing of x_0
    /// there.
    ///
    /// # Shapes
    /// Those of [`GaussianDiffusion::q_posterior`].
    ///
    /// # Errors
    /// When the shapes differ, an index is not in the schedule, or α_t is 0 there ([`DiffusionError::NoSignal`]).
    pub fn model_mean(&self, x_t: &Tensor, t: &[usize], eps_hat: &Tensor) -> Result<Tensor, DiffusionError> {
        check_shape("eps_hat", eps_hat.dims(), x_t.dims())?;
        let schedule = self.schedule();
        let of_x = self.per_image(t, x_t, |i| schedule.alpha(i).sqrt().recip())?;
        let scale = |i| schedule.beta(i) / (schedule.sqrt_one_minus_alpha_bar(i) * schedule.alpha(i).sqrt());
        let of_eps = self.per_image(t, x_t, scale)?;
        Ok((x_t.broadcast_mul(&of_x)? - eps_hat.broadcast_mul(&of_eps)?)?)
    }
}
