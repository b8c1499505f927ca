//! What a trainer needs of a network, whatever the network is.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var};
use ddpm_diffusion::Denoiser;
use ddpm_ops::Recorded;
use ddpm_rng::Stream;

/// A network in training. Closures of the same form implement it.
pub trait TrainableDenoiser {
    /// The prediction (ε̂, or what else the diffusion process says) for noisy images, with the record that gradients are
    /// computed from. A tensor that candle tracks is one (`Recorded::from`).
    ///
    /// # Shapes
    /// `x_t` [batch, channel, height, width]; `t` `[batch]`, f32, on the CPU, time steps from 0. The result has the shape of `x_t`.
    ///
    /// # Errors
    /// Whatever the network says.
    fn predict_train(&self, x_t: &Tensor, t: &Tensor, dropout: &mut Stream) -> Result<Recorded>;
}

impl<F: Fn(&Tensor, &Tensor, &mut Stream) -> Result<Recorded>> TrainableDenoiser for F {
    fn predict_train(&self, x_t: &Tensor, t: &Tensor, dropout: &mut Stream) -> Result<Recorded> {
        self(x_t, t, dropout)
    }
}

/// A network over its parameters, and the same network over their averages.
pub struct TrainableModel {
    /// The network that is trained.
    pub denoiser: Box<dyn TrainableDenoiser>,
    /// Its parameters, by name.
    pub parameters: BTreeMap<String, Var>,
    /// The network over the averaged weights, for previews.
    pub averaged_denoiser: Box<dyn Denoiser>,
    /// The averaged weights, by the same names.
    pub averages: BTreeMap<String, Var>,
}

impl std::fmt::Debug for TrainableModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainableModel").field("parameters", &self.parameters.len()).finish_non_exhaustive()
    }
}
