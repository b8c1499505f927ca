//! The diffusion process on tensors: forward process, posterior, objectives, variational bound and samplers.
//!
//! The crate does not depend on a network. Anything that predicts ε, x_0 or v from (x_t, t) is a [`Denoiser`], and
//! closures implement that trait. The coefficients come from `ddpm-schedule` in f64 and are rounded once, when they
//! multiply a tensor.
//!
//! Timesteps are indices that start at 0: index t in this crate is step t + 1 of the papers. Images are tensors
//! [batch, channel, height, width].
//!
//! # Modules in reading order
//!
//! | module | contents |
//! | --- | --- |
//! | `forward_process` | [`GaussianDiffusion`]: q(x_t \| x_0) and the conversions between x_0 and ε |
//! | `denoiser`, `denoised` | [`Denoiser`], and its output as predicted x_0 and ε ([`Denoised`]) |
//! | `guidance`, `guided_denoiser` | [`GuidedDenoiser`]: a class-conditional network as a denoiser of given classes |
//! | `posterior` | [`Posterior`]: q(x_{t−1} \| x_t, x_0) |
//! | `objective` | [`Objective`]: the interface of training objectives |
//! | `weighted_squared_error`, `loss_weighting` | [`WeightedSquaredError`] and its [`LossWeighting`] |
//! | `weighted_loss` | [`GaussianDiffusion::weighted_loss`]: the terms of the bound as a loss |
//! | `variational_bound`, `discretized_decoder` | the bound on the likelihood in bits per dimension |
//! | `method`, `clipping`, `reverse_variance`, `sampler_config` | the options of sampling, [`SamplerConfig`] |
//! | `sampling` | [`sample`]: the loop from x_T to x_0 |
//! | `sampler_context` | one evaluation of the network, clipped as configured |
//! | `ancestral`, `ddim`, `dpm_solver`, `heun` | one step of each method |
//! | `sdedit`, `repaint`, `ddim_inversion` | editing: [`SamplerConfig::noisy_start`], [`repaint()`], [`ddim_invert`] |
//! | `trajectory_recorder` | [`TrajectoryRecorder`]: intermediate images of a sampling run |
//!
//! # Adding a sampler
//!
//! 1. Add a variant to [`Method`] with its name, in `method.rs`.
//! 2. Write a file with a function `step` that computes x_{t−1} from x_t, such as `ddim.rs`. It evaluates the network
//!    through `SamplerContext::evaluate` and takes its coefficients from `SamplerContext::schedule`. Cite the equation.
//! 3. Call it in the `match` of [`sample`], in `sampling.rs`.
//!
//! The tests in `tests/samplers.rs` then run it on data that is a single point. If diffusers has the sampler, add its
//! trajectories to `tests/golden/generate_samplers.py` at the top of the repository.

mod ancestral;
mod clipping;
mod ddim;
mod ddim_inversion;
mod denoised;
mod denoiser;
mod discretized_decoder;
mod dpm_solver;
mod error;
mod forward_process;
mod guidance;
mod guided_denoiser;
mod heun;
mod loss_and_gradient;
mod loss_weighting;
mod method;
mod objective;
mod posterior;
mod repaint;
mod reverse_variance;
mod sampler_config;
mod sampler_context;
mod sampling;
mod sdedit;
mod squared_error_target;
#[cfg(test)]
mod state_precision;
mod trajectory_recorder;
mod variational_bound;
mod weighted_loss;
mod weighted_squared_error;

pub use clipping::{Clipping, EpsAfterClip};
pub use ddim_inversion::{DdimInversion, ddim_invert};
pub use denoised::Denoised;
pub use denoiser::Denoiser;
pub use discretized_decoder::discretized_log_likelihood;
pub use error::DiffusionError;
pub use forward_process::GaussianDiffusion;
pub use guidance::Guidance;
pub use guided_denoiser::GuidedDenoiser;
pub use loss_and_gradient::LossAndGradient;
pub use loss_weighting::{LossWeighting, UniformWeighting};
pub use method::Method;
pub use objective::{NoisyBatch, Objective};
pub use posterior::Posterior;
pub use repaint::{Repaint, repaint};
pub use reverse_variance::ReverseVariance;
pub use sampler_config::SamplerConfig;
pub use sampling::{Sampling, SamplingProgress, sample, sample_from};
pub use squared_error_target::SquaredErrorTarget;
pub use trajectory_recorder::TrajectoryRecorder;
pub use variational_bound::{VariationalBound, VariationalBoundConfig};
pub use weighted_squared_error::WeightedSquaredError;

/// The example of the README, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
