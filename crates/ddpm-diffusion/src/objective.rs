//! The interface of training objectives: the loss of a batch and its gradient with respect to the network's output.

use std::fmt::Debug;

use candle_core::Tensor;

use crate::loss_and_gradient::LossAndGradient;
use crate::squared_error_target::SquaredErrorTarget;
use crate::{DiffusionError, GaussianDiffusion};

/// A batch of images at random timesteps, with the noise that was added to them (Ho et al. 2020, algorithm 1, lines 2
/// to 4).
///
/// The three tensors have the shape [batch, channel, height, width], and x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε holds for them.
#[derive(Debug, Clone, Copy)]
pub struct NoisyBatch<'a> {
    /// The images, in [−1, 1].
    pub x_0: &'a Tensor,
    /// The timestep of each image: an index into the schedule.
    pub t: &'a [usize],
    /// The noise, drawn from N(0, I).
    pub eps: &'a Tensor,
    /// The noisy images, which the network was given.
    pub x_t: &'a Tensor,
}

/// The loss that the network is trained to minimize.
///
/// An objective computes the gradient itself, rather than leaving it to candle's backward pass, because the networks
/// of this workspace record their own operations and continue from ∂loss/∂output. Neither tensor of the result is
/// tracked by candle, and computing them does not wait for the device.
///
/// [`WeightedSquaredError`](crate::WeightedSquaredError) is the objective of every preset. A squared error with other
/// weights is a [`LossWeighting`](crate::LossWeighting); an objective that reads more of the output, such as a learned
/// variance, is another implementation of this trait.
pub trait Objective: Debug {
    /// The loss of `output`, which the network computed from `batch.x_t`, and its gradient.
    ///
    /// # Errors
    /// When the output has an unexpected shape or a tensor operation fails.
    fn loss_and_gradient(
        &self,
        diffusion: &GaussianDiffusion,
        batch: &NoisyBatch<'_>,
        output: &Tensor,
    ) -> Result<LossAndGradient, DiffusionError>;

    /// The target and the weights of an objective that is a weighted squared error of the output; None for any other
    /// one, whose steps cannot be captured as a CUDA graph.
    ///
    /// If it is Some, [`SquaredErrorTarget::loss_and_gradient`] returns the same as [`Self::loss_and_gradient`].
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn squared_error_target(
        &self,
        _diffusion: &GaussianDiffusion,
        _batch: &NoisyBatch<'_>,
    ) -> Result<Option<SquaredErrorTarget>, DiffusionError> {
        Ok(None)
    }
}
