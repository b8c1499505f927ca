//! The variational bound on −ln p(x_0), term by term, in bits a dimension.

use candle_core::{DType, Tensor};
use ddpm_rng::ImageNoise;
use ddpm_schedule::VarianceKind;

use crate::discretized_decoder::discretized_log_likelihood;
use crate::{Denoiser, DiffusionError, GaussianDiffusion};

/// L = L_T + Σ L_{t−1} + L_0 (Ho et al. 2020, eq. 5), the mean over a batch, in bits a dimension.
///
/// DIFFERENCE: the article's sum begins at t = 1 and so counts L_0 twice; it begins at t = 2. Its L_T has p(x_t) where
/// p(x_T) is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct VariationalBound {
    /// D_KL(q(x_T | x_0) ‖ p(x_T)): what the noise still tells of the image.
    pub prior: f64,
    /// Entry i is the term of index i: L_0 = −ln p_θ(x_0 | x_1) at 0, D_KL(q(x_{t−1} | x_t, x_0) ‖ p_θ(x_{t−1} | x_t))
    /// beyond.
    pub terms: Vec<f64>,
}

impl VariationalBound {
    /// The bound itself.
    pub fn total(&self) -> f64 {
        self.prior + self.terms.iter().sum::<f64>()
    }
}

impl GaussianDiffusion {
    /// The bound for a batch of images, each term estimated with one draw of x_t an image from `noise`.
    ///
    /// # Shapes
    /// `x_0` [batch, channel, height, width] with the values k / 127.5 − 1 of 8-bit images, as many images as `noise` has
    /// streams.
    ///
    /// # Errors
    /// When the shapes do not fit, or the denoiser fails.
    pub fn variational_bound(
        &self,
        denoiser: &dyn Denoiser,
        x_0: &Tensor,
        variance: VarianceKind,
        noise: &mut ImageNoise,
    ) -> Result<VariationalBound, DiffusionError> {
        let mut terms = vec![0.0; self.schedule().len()];
        for i in (0..terms.len()).rev() {
            let eps = noise.draw(&x_0.dims()[1..], x_0.device())?.to_dtype(x_0.dtype())?;
            terms[i] = self.bound_term(denoiser, x_0, &eps, i, variance)?;
        }
        Ok(VariationalBound { prior: self.prior_term(x_0)?, terms })
    }

    /// L_T = D_KL(N(√ᾱ_T x_0, 1 − ᾱ_T) ‖ N(0, 1)): the mean over all elements, in bits a dimension.
    ///
    /// # Errors
    /// When `x_0` has no elements.
    pub fn prior_term(&self, x_0: &Tensor) -> Result<f64, DiffusionError> {
        let last = self.schedule().len() - 1;
        let second_moment = x_0.to_dtype(DType::F64)?.sqr()?.mean_all()?.to_scalar::<f64>()?;
        let (signal, noise) = (self.schedule().alpha_bar(last), self.schedule().one_minus_alpha_bar(last));
        // −ln(1 − ᾱ_T) through ln_1p: ᾱ_T is small.
        Ok(0.5 * (noise + signal * second_moment - 1.0 - (-signal).ln_1p()) / std::f64::consts::LN_2)
    }

    /// The term of index `i` for given noise, the mean over the batch, in bits a dimension.
    fn bound_term(
        &self,
        denoiser: &dyn Denoiser,
        x_0: &Tensor,
        eps: &Tensor,
        i: usize,
        variance: VarianceKind,
    ) -> Result<f64, DiffusionError> {
        let batch = x_0.dim(0)?;
        let t = vec![i; batch];
        let x_t = self.q_sample(x_0, &t, eps)?;
        let output = denoiser.predict(&x_t, &self.network_time(&t)?)?;
        let eps_hat = self.estimate(&x_t, &t, &output)?.eps;
        let mean = self.model_mean(&x_t, &t, &eps_hat)?;
        let log_variance = self.schedule().log_variance_clipped(variance, i);
        let elements = x_0.elem_count().max(1) as f64;
        let nats = if i == 0 {
            -discretized_log_likelihood(x_0, &mean, &vec![log_variance; batch])?.iter().sum::<f64>() / elements
        } else {
            // D_KL of two normals: ½ (ln σ²/β̃ + (β̃ + (μ̃ − μ)²) / σ² − 1), the mean over the elements.
            let true_mean = self.q_posterior(x_0, &x_t, &t)?.mean;
            let distance = (true_mean - mean)?.to_dtype(DType::F64)?.sqr()?.mean_all()?.to_scalar::<f64>()?;
            let true_log_variance = self.schedule().posterior_log_variance_clipped(i);
            let ratio = (true_log_variance - log_variance).exp();
            0.5 * (log_variance - true_log_variance + ratio + distance * (-log_variance).exp() - 1.0)
        };
        Ok(nats / std::f64::consts::LN_2)
    }
}
