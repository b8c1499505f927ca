//! The network that a configuration chooses.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use ddpm_ops::{Tape, Value};

use crate::architecture::{Architecture, Conditioning};
use crate::context::Context;
use crate::denoising_network::DenoisingNetwork;
use crate::error::UnetError;
use crate::network_config::NetworkConfig;
use crate::noise_net::NoiseNetArchitecture;
use crate::parameters::ParameterSpec;
use crate::unet2d::UNet2dArchitecture;

/// A network of any kind: the one that its [`NetworkConfig`] chooses.
///
/// # Examples
/// ```
/// use ddpm_unet::{Network, NetworkConfig, UNet2dConfig};
///
/// let config = NetworkConfig::UNet2d(UNet2dConfig::cifar10());
/// assert_eq!(Network::parameters(&config)?["conv_in.weight"].shape, [128, 3, 3, 3]);
/// # Ok::<(), ddpm_unet::UnetError>(())
/// ```
pub type Network = DenoisingNetwork<NetworkArchitecture>;

/// The layers of a [`Network`].
#[derive(Debug)]
pub enum NetworkArchitecture {
    /// The layers of a [`crate::NoiseNet`].
    NoiseNet(NoiseNetArchitecture),
    /// The layers of a [`crate::UNet2d`].
    UNet2d(UNet2dArchitecture),
}

impl Architecture for NetworkArchitecture {
    type Config = NetworkConfig;

    fn new(config: &NetworkConfig, vb: VarBuilder<'_>) -> Result<Self> {
        match config {
            NetworkConfig::NoiseNet(config) => NoiseNetArchitecture::new(config, vb).map(Self::NoiseNet),
            NetworkConfig::UNet2d(config) => UNet2dArchitecture::new(config, vb).map(Self::UNet2d),
        }
    }

    fn embed(&self, tape: &Tape, conditioning: &Conditioning<'_>) -> Result<Value> {
        match self {
            Self::NoiseNet(network) => network.embed(tape, conditioning),
            Self::UNet2d(network) => network.embed(tape, conditioning),
        }
    }

    fn forward(&self, x_t: &Value, context: &Context<'_>) -> Result<Value> {
        match self {
            Self::NoiseNet(network) => network.forward(x_t, context),
            Self::UNet2d(network) => network.forward(x_t, context),
        }
    }

    fn validate(config: &NetworkConfig) -> std::result::Result<(), UnetError> {
        config.validate()
    }

    fn check_image(
        config: &NetworkConfig,
        channels: usize,
        height: usize,
        width: usize,
    ) -> std::result::Result<(), UnetError> {
        match config {
            NetworkConfig::NoiseNet(config) => NoiseNetArchitecture::check_image(config, channels, height, width),
            NetworkConfig::UNet2d(config) => UNet2dArchitecture::check_image(config, channels, height, width),
        }
    }

    fn dropout(config: &NetworkConfig) -> f64 {
        match config {
            NetworkConfig::NoiseNet(config) => NoiseNetArchitecture::dropout(config),
            NetworkConfig::UNet2d(config) => UNet2dArchitecture::dropout(config),
        }
    }

    fn takes_class_labels(config: &NetworkConfig) -> bool {
        match config {
            NetworkConfig::NoiseNet(config) => NoiseNetArchitecture::takes_class_labels(config),
            NetworkConfig::UNet2d(config) => UNet2dArchitecture::takes_class_labels(config),
        }
    }
}

/// Parameters of the network that the configuration chooses.
impl NetworkConfig {
    /// Every parameter, by name: [`Network::parameters`].
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn parameters(&self) -> std::result::Result<BTreeMap<String, ParameterSpec>, UnetError> {
        Network::parameters(self)
    }

    /// The number of learned values: [`Network::parameter_count`].
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn parameter_count(&self) -> std::result::Result<usize, UnetError> {
        Network::parameter_count(self)
    }

    /// Initial weights by name, f32 on the CPU: [`Network::initial_weights`].
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn initial_weights(&self, seed: u64) -> std::result::Result<BTreeMap<String, Tensor>, UnetError> {
        Network::initial_weights(self, seed)
    }
}
