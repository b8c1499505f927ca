//! The variational bound on the negative log-likelihood, term by term, in bits per dimension.

use candle_core::{DType, Tensor};
use ddpm_rng::ImageNoise;

use crate::discretized_decoder::discretized_log_likelihood;
use crate::sampler_context::split_channels;
use crate::{Denoiser, DiffusionError, GaussianDiffusion, ReverseVariance};

/// How the reverse process of the variational bound is defined. Both choices change the bound, so neither has a
/// default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariationalBoundConfig {
    /// The variance of p_θ(x_{t−1} | x_t), fixed or learned.
    pub variance: ReverseVariance,
    /// Whether predicted x_0 is clipped to [−1, 1] before the mean of p_θ(x_{t−1} | x_t) is computed. The bits per
    /// dimension published by Ho et al. 2020 and by Nichol & Dhariwal 2021 are computed with clipping (`clip_denoised`
    /// in their code).
    pub clip_denoised: bool,
}

/// L = L_T + Σ L_{t−1} + L_0 (Ho et al. 2020, eq. 5): the mean over a batch, in bits per dimension.
///
/// DIFFERENCE: the article's sum starts at t = 1 and counts L_0 twice; here it starts at t = 2. The second term of the
/// article's L_T is p(x_t); it should be p(x_T).
#[derive(Debug, Clone, PartialEq)]
pub struct VariationalBound {
    /// How the bound was evaluated.
    pub config: VariationalBoundConfig,
    /// L_T = D_KL(q(x_T | x_0) ‖ p(x_T)), the prior term.
    pub prior: f64,
    /// L_0 = −ln p_θ(x_0 | x_1) at index 0, and L_i = D_KL(q(x_{t−1} | x_t, x_0) ‖ p_θ(x_{t−1} | x_t)) at index i > 0.
    pub terms: Vec<f64>,
    /// The bound of each image of the batch, the sum of its terms.
    pub images: Vec<f64>,
}

impl VariationalBound {
    /// The bound: the sum of the prior term and all other terms.
    pub fn total(&self) -> f64 {
        self.prior + self.terms.iter().sum::<f64>()
    }
}

impl GaussianDiffusion {
    /// The variational bound of a batch of images. Each term is estimated with one draw of x_t per image from `noise`.
    ///
    /// # Shapes
    /// `x_0` [batch, channel, height, width] with the values k / 127.5 − 1 of 8-bit images, and as many images as
    /// `noise` has streams. The network receives x_t in the dtype of `x_0`; the terms are computed in f64.
    ///
    /// # Errors
    /// If the shapes do not match, the errors of the denoiser, and [`DiffusionError::NoSignal`] if the network predicts
    /// ε and ᾱ_T is 0.
    pub fn variational_bound(
        &self,
        denoiser: &dyn Denoiser,
        x_0: &Tensor,
        config: VariationalBoundConfig,
        noise: &mut ImageNoise,
    ) -> Result<VariationalBound, DiffusionError> {
        let mut terms = vec![0.0; self.schedule().len()];
        let mut images = self.prior_terms(x_0)?;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let prior = mean(&images);
        for i in (0..terms.len()).rev() {
            let eps = noise.draw(&x_0.dims()[1..], x_0.device())?.to_dtype(x_0.dtype())?;
            let of_images = self.bound_term(denoiser, x_0, &eps, i, config)?;
            terms[i] = mean(&of_images);
            images.iter_mut().zip(of_images).for_each(|(sum, term)| *sum += term);
        }
        Ok(VariationalBound { config, prior, terms, images })
    }

    /// L_T = D_KL(N(√ᾱ_T x_0, 1 − ᾱ_T) ‖ N(0, 1)): the mean over all elements, in bits per dimension.
    ///
    /// # Errors
    /// If `x_0` has no elements.
    pub fn prior_term(&self, x_0: &Tensor) -> Result<f64, DiffusionError> {
        let second_moment = x_0.to_dtype(DType::F64)?.sqr()?.mean_all()?.to_scalar::<f64>()?;
        Ok(self.prior_of(second_moment))
    }

    /// The prior term of each image.
    fn prior_terms(&self, x_0: &Tensor) -> Result<Vec<f64>, DiffusionError> {
        let second_moments = x_0.to_dtype(DType::F64)?.sqr()?.flatten_from(1)?.mean(1)?.to_vec1::<f64>()?;
        Ok(second_moments.into_iter().map(|second_moment| self.prior_of(second_moment)).collect())
    }

    /// The prior term of values with the given mean of x_0².
    fn prior_of(&self, second_moment: f64) -> f64 {
        let last = self.schedule().len() - 1;
        let (alpha_bar, variance) = (self.schedule().alpha_bar(last), self.schedule().one_minus_alpha_bar(last));
        // ln(1 − ᾱ_T) is computed with ln_1p because ᾱ_T is small.
        0.5 * (variance + alpha_bar * second_moment - 1.0 - (-alpha_bar).ln_1p()) / std::f64::consts::LN_2
    }

    /// The term of index `i` for the given noise: that of each image, in bits per dimension.
    fn bound_term(
        &self,
        denoiser: &dyn Denoiser,
        x_0: &Tensor,
        eps: &Tensor,
        i: usize,
        config: VariationalBoundConfig,
    ) -> Result<Vec<f64>, DiffusionError> {
        let t = vec![i; x_0.dim(0)?];
        let x_t = self.q_sample(x_0, &t, eps)?;
        let output = denoiser.predict(&x_t, &self.network_timesteps(&t)?)?.detach();
        let [x_0, x_t, output] = [x_0, &x_t, &output].map(|tensor| tensor.to_dtype(DType::F64));
        let (x_0, x_t) = (x_0?, x_t?);
        let (output, learned_variance) = split_channels(&output?, x_0.dim(1)?)?;

        // The mean of p_θ(x_{t−1} | x_t) is the mean of q(x_{t−1} | x_t, x_0) at predicted x_0.
        let predicted_x_0 = self.denoised(&x_t, &t, &output)?.x_0;
        let predicted_x_0 = if config.clip_denoised { predicted_x_0.clamp(-1.0, 1.0)? } else { predicted_x_0 };
        let mean = self.q_posterior(&predicted_x_0, &x_t, &t)?.mean;
        let log_variance = config.variance.log_variance(self.schedule(), i, learned_variance, &x_0)?;

        let nats = if i == 0 {
            let dimensions = x_0.elem_count() as f64 / t.len().max(1) as f64;
            let log_likelihood = discretized_log_likelihood(&x_0, &mean, &log_variance)?;
            log_likelihood.into_iter().map(|nats| -nats / dimensions).collect()
        } else {
            let true_mean = self.q_posterior(&x_0, &x_t, &t)?.mean;
            let squared_distance = (true_mean - mean)?.sqr()?;
            let own = self.schedule().posterior_log_variance_clipped(i);
            kl_divergence(&squared_distance, own, &log_variance)?.flatten_from(1)?.mean(1)?.to_vec1::<f64>()?
        };
        Ok(nats.into_iter().map(|nats| nats / std::f64::consts::LN_2).collect())
    }
}

/// D_KL(N(μ_1, σ_1²) ‖ N(μ_2, σ_2²)) = ½ (ln σ_2² / σ_1² + (σ_1² + (μ_1 − μ_2)²) / σ_2² − 1) of each element, in nats.
fn kl_divergence(
    squared_distance: &Tensor,
    log_variance_1: f64,
    log_variance_2: &Tensor,
) -> Result<Tensor, DiffusionError> {
    let log_ratio = (log_variance_2 - log_variance_1)?;
    let variance_ratio = log_ratio.neg()?.exp()?;
    let distance = (squared_distance * log_variance_2.neg()?.exp()?)?;
    Ok((((log_ratio + variance_ratio)? + distance)?.affine(0.5, -0.5))?)
}
