//! The posterior of the forward process, q(x_{t−1} | x_t, x_0), and the mean of the reverse process.

use candle_core::Tensor;

use crate::error::check_shape;
use crate::{DiffusionError, GaussianDiffusion};

/// The normal distribution N(mean, variance I) of each image.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// μ̃_t(x_t, x_0), [batch, channel, height, width].
    pub mean: Tensor,
    /// β̃_t of each image. It is 0 at index 0, where the posterior is x_0 itself.
    pub variance: Vec<f64>,
    /// ln β̃_t of each image, with the value of index 1 at index 0.
    pub log_variance_clipped: Vec<f64>,
}

impl GaussianDiffusion {
    /// q(x_{t−1} | x_t, x_0) (Ho et al. 2020, eq. 6 and 7):
    /// μ̃_t = √ᾱ_{t−1} β_t / (1 − ᾱ_t) x_0 + √α_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t) x_t.
    ///
    /// DIFFERENCE: the article's code reads ᾱ_{t−1} at index −1 for the first step. Here it is 1.
    ///
    /// # Shapes
    /// `x_0` and `x_t` [batch, channel, height, width]; `t` has one index per image.
    ///
    /// # Errors
    /// If the shapes differ, or an index is not in the schedule.
    pub fn q_posterior(&self, x_0: &Tensor, x_t: &Tensor, t: &[usize]) -> Result<Posterior, DiffusionError> {
        check_shape("x_t", x_t.dims(), x_0.dims())?;
        let schedule = self.schedule();
        let x_0_coef = self.per_image(t, x_0, |i| schedule.posterior_mean_coef_x0(i))?;
        let x_t_coef = self.per_image(t, x_t, |i| schedule.posterior_mean_coef_xt(i))?;
        Ok(Posterior {
            mean: (x_0.broadcast_mul(&x_0_coef)? + x_t.broadcast_mul(&x_t_coef)?)?,
            variance: t.iter().map(|i| schedule.posterior_variance(*i)).collect(),
            log_variance_clipped: t.iter().map(|i| schedule.posterior_log_variance_clipped(*i)).collect(),
        })
    }

    /// μ_θ = (x_t − β_t / √(1 − ᾱ_t) ε̂) / √α_t, the mean of p_θ(x_{t−1} | x_t) (Ho et al. 2020, eq. 11).
    ///
    /// # Shapes
    /// As for [`GaussianDiffusion::q_posterior`].
    ///
    /// # Errors
    /// If the shapes differ or an index is not in the schedule, and [`DiffusionError::NoSignal`] if α_t is 0, as at the
    /// last step of a schedule with zero terminal SNR.
    pub fn model_mean(&self, x_t: &Tensor, t: &[usize], eps_hat: &Tensor) -> Result<Tensor, DiffusionError> {
        check_shape("eps_hat", eps_hat.dims(), x_t.dims())?;
        let schedule = self.schedule();
        let x_t_coef = self.per_image(t, x_t, |i| schedule.alpha(i).sqrt().recip())?;
        let ratio = |i| schedule.beta(i) / (schedule.sqrt_one_minus_alpha_bar(i) * schedule.alpha(i).sqrt());
        let eps_coef = self.per_image(t, x_t, ratio)?;
        Ok((x_t.broadcast_mul(&x_t_coef)? - eps_hat.broadcast_mul(&eps_coef)?)?)
    }
}
