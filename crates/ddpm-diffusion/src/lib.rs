//! The diffusion process: forward noising, posteriors, objectives and samplers over any denoiser.
//!
//! Owns the article's mathematics on tensors. It knows no network: whatever predicts ε (or x_0, or v) from (x_t, t) is a
//! [`Denoiser`], and closures implement it. Coefficients come from `ddpm-schedule` in f64 and are rounded once, when they meet a tensor.
//!
//! Time steps are indices from 0: index t here is step t + 1 of the papers. Tensors are [batch, channel, height, width].
//!
//! Reading order: [`GaussianDiffusion`]; the training [`Objective`], [`WeightedSquaredError`] and its [`LossWeighting`];
//! [`GaussianDiffusion::weighted_loss`] and [`GaussianDiffusion::variational_bound`]; the sampling [`sample`], whose methods are `ancestral`, `ddim`, `dpm_solver` and
//! `heun` over a `SamplerContext`, and [`Recording`] for images of its way.

mod ancestral;
mod ddim;
mod denoiser;
mod discretized_decoder;
mod dpm_solver;
mod error;
mod estimate;
mod forward_process;
mod heun;
mod loss_weighting;
mod objective;
mod posterior;
mod recording;
mod sampler_config;
mod sampler_context;
mod sampling;
mod variational_bound;
mod weighted_loss;
mod weighted_squared_error;

pub use denoiser::Denoiser;
pub use discretized_decoder::discretized_log_likelihood;
pub use error::DiffusionError;
pub use estimate::Estimate;
pub use forward_process::GaussianDiffusion;
pub use loss_weighting::{LossWeighting, UniformWeighting};
pub use objective::{LossAndGradient, NoisyBatch, Objective};
pub use posterior::Posterior;
pub use recording::Recording;
pub use sampler_config::{Clipping, EpsAfterClip, Method, ReverseVariance, SamplerConfig};
pub use sampling::{Sampling, SamplingProgress, sample};
pub use variational_bound::VariationalBound;
pub use weighted_squared_error::WeightedSquaredError;
