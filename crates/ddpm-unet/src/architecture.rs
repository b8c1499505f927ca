//! The interface that each denoising network implements.

use std::fmt::Debug;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use ddpm_ops::{Tape, Value};

use crate::context::Context;
use crate::error::UnetError;

/// The part of a network that is its own: its parameters and its forward pass.
///
/// [`crate::DenoisingNetwork`] adds what all networks share. To add a network, implement this trait; the example
/// `custom_unet.rs` does so in a few lines. To make it a choice of the configuration as well, add a variant to
/// [`crate::NetworkConfig`] and to [`crate::NetworkArchitecture`].
pub trait Architecture: Debug + Sized {
    /// The configuration, as plain data.
    type Config: Clone + Debug;

    /// Constructs the layers, whose parameters `vb` provides. The configuration is valid.
    ///
    /// # Errors
    /// When `vb` cannot provide a parameter.
    fn new(config: &Self::Config, vb: VarBuilder<'_>) -> Result<Self>;

    /// The embedding of the timesteps and of all other conditions of the prediction, [batch, time_channels],
    /// after its last activation. Blocks receive it as [`Context::time`].
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn embed(&self, tape: &Tape, conditioning: &Conditioning<'_>) -> Result<Value>;

    /// The prediction for `x_t`, [batch, channel, height, width].
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn forward(&self, x_t: &Value, context: &Context<'_>) -> Result<Value>;

    /// Checks that a network of this configuration exists.
    ///
    /// # Errors
    /// [`UnetError::Config`] with the first field that is out of its range.
    fn validate(_config: &Self::Config) -> std::result::Result<(), UnetError> {
        Ok(())
    }

    /// Checks that the network takes images of this shape.
    ///
    /// # Errors
    /// When it does not.
    fn check_image(
        _config: &Self::Config,
        _channels: usize,
        _height: usize,
        _width: usize,
    ) -> std::result::Result<(), UnetError> {
        Ok(())
    }

    /// The dropout rate in training, in [0, 1).
    fn dropout(_config: &Self::Config) -> f64 {
        0.0
    }

    /// Whether the prediction is conditioned on class labels. If so, every forward pass needs them.
    fn takes_class_labels(_config: &Self::Config) -> bool {
        false
    }
}

/// The conditions of a prediction besides the noisy image. A new condition is added as a field.
#[derive(Debug, Clone, Copy)]
pub struct Conditioning<'a> {
    /// Timesteps `[batch]`, counted from 0, of any dtype.
    pub timesteps: &'a Tensor,
    /// Class labels with `batch` as their first axis, present exactly if the network takes them.
    pub class_labels: Option<&'a Tensor>,
}
