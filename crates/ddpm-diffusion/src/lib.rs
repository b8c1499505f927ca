//! The diffusion process: forward noising, posteriors, objectives and samplers over any denoiser.
//!
//! Owns the article's mathematics on tensors. It knows no network: whatever predicts ε from (x_t, t) is a [`Denoiser`], and
//! closures implement it. Coefficients come from `ddpm-schedule` in f64 and are rounded once, when they meet a tensor.
//!
//! Time steps are indices from 0: index t here is step t + 1 of the papers. Tensors are [batch, channel, height, width].
//!
//! Reading order: [`GaussianDiffusion`]; the objectives [`simple_loss`], [`GaussianDiffusion::weighted_loss`],
//! [`GaussianDiffusion::variational_bound`]; the sampler [`sample`], and [`Recording`] for pictures of its way.

mod ancestral;
mod denoiser;
mod discretized_decoder;
mod error;
mod forward_process;
mod objective;
mod posterior;
mod recording;
mod sampler_config;
mod variational_bound;

pub use ancestral::{Progress, Sampling, sample};
pub use denoiser::Denoiser;
pub use discretized_decoder::discretized_log_likelihood;
pub use error::DiffusionError;
pub use forward_process::GaussianDiffusion;
pub use objective::simple_loss;
pub use posterior::Posterior;
pub use recording::Recording;
pub use sampler_config::{MeanForm, SamplerConfig};
pub use variational_bound::VariationalBound;
