//! Learned embedding of timesteps.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use ddpm_ops::{Tape, Value};

use super::linear::Linear;
use super::sinusoidal_embedding::SinusoidalEmbedding;
use crate::activation::Activation;

/// The embedding of a timestep that residual blocks receive: a sinusoidal embedding and an MLP,
/// linear2(activation(linear1(sinusoids(t)))).
#[derive(Debug, Clone)]
pub struct TimeEmbedding {
    sinusoids: SinusoidalEmbedding,
    linear1: Linear,
    activation: Activation,
    linear2: Linear,
}

impl TimeEmbedding {
    /// An embedding of `channels` elements. The two linear layers are read from `vb1` and `vb2`, because
    /// implementations name them differently.
    ///
    /// # Errors
    /// When a `VarBuilder` cannot provide the parameters.
    pub fn new(
        sinusoids: SinusoidalEmbedding,
        channels: usize,
        activation: Activation,
        vb1: VarBuilder<'_>,
        vb2: VarBuilder<'_>,
    ) -> Result<Self> {
        let linear1 = Linear::new(sinusoids.width, channels, vb1)?;
        Ok(Self { sinusoids, linear1, activation, linear2: Linear::new(channels, channels, vb2)? })
    }

    /// Timesteps `[batch]`, counted from 0, of any dtype, to [batch, channels].
    ///
    /// # Errors
    /// When `timesteps` has another rank.
    pub fn forward(&self, tape: &Tape, timesteps: &Tensor) -> Result<Value> {
        let sinusoids = tape.constant(&self.sinusoids.forward(timesteps)?)?;
        let hidden = self.activation.forward(tape, &self.linear1.forward(tape, &sinusoids)?)?;
        self.linear2.forward(tape, &hidden)
    }
}
