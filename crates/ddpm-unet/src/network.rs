//! Whichever network a configuration names.

use std::collections::BTreeMap;

use candle_core::Tensor;
use ddpm_ops::{Precision, Recorded};
use ddpm_rng::Stream;
use serde::{Deserialize, Serialize};

use crate::{ImageSize, NoiseNet, NoiseNetConfig, ParameterSpec, UNet2d, UNet2dConfig, UnetError};

/// The configuration of a network, with its kind in the field `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NetworkConfig {
    /// The article's network: `kind = "noise-net"`.
    NoiseNet(NoiseNetConfig),
    /// The paper's, as diffusers has it: `kind = "unet2d"`.
    #[serde(rename = "unet2d")]
    UNet2d(UNet2dConfig),
}

impl NetworkConfig {
    /// The name of its kind, as the field `kind` has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoiseNet(_) => "noise-net",
            Self::UNet2d(_) => "unet2d",
        }
    }

    /// Channels of an image.
    pub fn channels(&self) -> usize {
        match self {
            Self::NoiseNet(config) => config.channels,
            Self::UNet2d(config) => config.in_channels,
        }
    }

    /// Channels of what the network says of an image: twice those of the image where a variance is learnt as well.
    pub fn out_channels(&self) -> usize {
        match self {
            Self::NoiseNet(config) => config.channels,
            Self::UNet2d(config) => config.out_channels,
        }
    }

    /// Size of an image.
    pub fn image_size(&self) -> ImageSize {
        match self {
            Self::NoiseNet(config) => config.image_size,
            Self::UNet2d(config) => config.sample_size,
        }
    }

    /// Values of the largest feature map of one image, at least 1: what a batch takes in memory is some multiple of it.
    pub fn largest_map(&self) -> usize {
        let ImageSize { height, width } = self.image_size();
        let channels = match self {
            Self::NoiseNet(config) => config.base_channels.max(config.channels),
            Self::UNet2d(config) => config.block_out_channels.first().copied().unwrap_or(1).max(config.in_channels),
        };
        channels.saturating_mul(height).saturating_mul(width).max(1)
    }

    /// [`NoiseNetConfig::validate`] or its like.
    ///
    /// # Errors
    /// When no network of this configuration exists.
    pub fn validate(&self) -> Result<(), UnetError> {
        match self {
            Self::NoiseNet(config) => config.validate(),
            Self::UNet2d(config) => config.validate(),
        }
    }

    /// Every parameter of the network, by name.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn parameters(&self) -> Result<BTreeMap<String, ParameterSpec>, UnetError> {
        match self {
            Self::NoiseNet(config) => NoiseNet::parameters(config),
            Self::UNet2d(config) => UNet2d::parameters(config),
        }
    }

    /// How many numbers the network learns.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn parameter_count(&self) -> Result<usize, UnetError> {
        match self {
            Self::NoiseNet(config) => NoiseNet::parameter_count(config),
            Self::UNet2d(config) => UNet2d::parameter_count(config),
        }
    }

    /// Initial weights, f32 on the CPU, a function of (configuration, seed) alone.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn initial_weights(&self, seed: u64) -> Result<BTreeMap<String, Tensor>, UnetError> {
        match self {
            Self::NoiseNet(config) => NoiseNet::initial_weights(config, seed),
            Self::UNet2d(config) => UNet2d::initial_weights(config, seed),
        }
    }
}

/// A network of any kind, built.
#[derive(Debug)]
#[non_exhaustive]
pub enum Network {
    /// The article's.
    NoiseNet(NoiseNet),
    /// The paper's.
    UNet2d(UNet2d),
}

impl Network {
    /// The network of that configuration with those weights.
    ///
    /// # Errors
    /// Those of [`NoiseNet::new`].
    pub fn new(config: &NetworkConfig, weights: &BTreeMap<String, Tensor>) -> Result<Self, UnetError> {
        match config {
            NetworkConfig::NoiseNet(config) => NoiseNet::new(config, weights).map(Self::NoiseNet),
            NetworkConfig::UNet2d(config) => UNet2d::new(config, weights).map(Self::UNet2d),
        }
    }

    /// The network, computing in that precision: f32 before.
    pub fn with_precision(self, precision: Precision) -> Self {
        match self {
            Self::NoiseNet(network) => Self::NoiseNet(network.with_precision(precision)),
            Self::UNet2d(network) => Self::UNet2d(network.with_precision(precision)),
        }
    }

    /// The network with its weights packed once and for all: [`NoiseNet::with_packed_weights`].
    pub fn with_packed_weights(self) -> Self {
        match self {
            Self::NoiseNet(network) => Self::NoiseNet(network.with_packed_weights()),
            Self::UNet2d(network) => Self::UNet2d(network.with_packed_weights()),
        }
    }

    /// The network with its residual blocks computed again for the gradient: [`NoiseNet::with_recompute`].
    pub fn with_recompute(self, recompute: bool) -> Self {
        match self {
            Self::NoiseNet(network) => Self::NoiseNet(network.with_recompute(recompute)),
            Self::UNet2d(network) => Self::UNet2d(network.with_recompute(recompute)),
        }
    }

    /// Its prediction for noisy images: [`NoiseNet::forward`].
    ///
    /// # Errors
    /// When the shapes do not fit the configuration.
    pub fn forward(&self, x_t: &Tensor, t: &Tensor) -> Result<Tensor, UnetError> {
        match self {
            Self::NoiseNet(network) => network.forward(x_t, t),
            Self::UNet2d(network) => network.forward(x_t, t, None),
        }
    }

    /// The same in training: [`NoiseNet::forward_train`].
    ///
    /// # Errors
    /// When the shapes do not fit the configuration.
    pub fn forward_train(&self, x_t: &Tensor, t: &Tensor, dropout: &mut Stream) -> Result<Recorded, UnetError> {
        match self {
            Self::NoiseNet(network) => network.forward_train(x_t, t, dropout),
            Self::UNet2d(network) => network.forward_train(x_t, t, None, dropout),
        }
    }
}
