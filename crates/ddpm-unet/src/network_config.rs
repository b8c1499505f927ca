//! The configuration of any network.

use serde::{Deserialize, Serialize};

use crate::error::UnetError;
use crate::image_size::ImageSize;
use crate::network_kind::NetworkKind;
use crate::noise_net::NoiseNetConfig;
use crate::unet2d::{ClassEmbedType, UNet2dConfig};

/// The configuration of a network, with the network's name in the field `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum NetworkConfig {
    /// `kind = "noise-net"`: a [`crate::NoiseNet`].
    NoiseNet(NoiseNetConfig),
    /// `kind = "unet2d"`: a [`crate::UNet2d`].
    #[serde(rename = "unet2d")]
    UNet2d(UNet2dConfig),
}

impl NetworkConfig {
    /// The name of the network, the value of the field `kind`.
    pub fn kind(&self) -> NetworkKind {
        match self {
            Self::NoiseNet(_) => NetworkKind::NoiseNet,
            Self::UNet2d(_) => NetworkKind::UNet2d,
        }
    }

    /// Channels of an image.
    pub fn channels(&self) -> usize {
        match self {
            Self::NoiseNet(config) => config.channels,
            Self::UNet2d(config) => config.in_channels,
        }
    }

    /// Channels of the prediction: those of an image, or twice as many if the network also predicts a variance.
    pub fn out_channels(&self) -> usize {
        match self {
            Self::NoiseNet(config) => config.channels,
            Self::UNet2d(config) => config.out_channels,
        }
    }

    /// Number of rows of the table of class embeddings: of the classes, and one more if the network also predicts
    /// without a class. `None` if the network has no such table.
    pub fn num_class_embeds(&self) -> Option<usize> {
        match self {
            Self::NoiseNet(config) => config.num_class_embeds,
            Self::UNet2d(config) => config.num_class_embeds,
        }
    }

    /// Sets the number of rows of the table of class embeddings.
    pub fn set_num_class_embeds(&mut self, rows: Option<usize>) {
        match self {
            Self::NoiseNet(config) => config.num_class_embeds = rows,
            Self::UNet2d(config) => config.num_class_embeds = rows,
        }
    }

    /// How class labels become vectors if not by a table; `None` for a table or no classes.
    pub fn class_embed_type(&self) -> Option<ClassEmbedType> {
        match self {
            Self::NoiseNet(_) => None,
            Self::UNet2d(config) => config.class_embed_type,
        }
    }

    /// Whether predictions are conditioned on class labels. If so, every prediction needs them.
    pub fn takes_class_labels(&self) -> bool {
        self.num_class_embeds().is_some() || self.class_embed_type().is_some()
    }

    /// Size of an image.
    pub fn image_size(&self) -> ImageSize {
        match self {
            Self::NoiseNet(config) => config.image_size,
            Self::UNet2d(config) => config.sample_size,
        }
    }

    /// Number of elements of the largest feature map of one image, at least 1. The memory of a forward pass is
    /// proportional to it.
    pub fn largest_map(&self) -> usize {
        let ImageSize { height, width } = self.image_size();
        let channels = match self {
            Self::NoiseNet(config) => config.base_channels.max(config.channels),
            Self::UNet2d(config) => config.block_out_channels.first().copied().unwrap_or(1).max(config.in_channels),
        };
        channels.saturating_mul(height).saturating_mul(width).max(1)
    }

    /// Checks that a network of this configuration exists.
    ///
    /// # Errors
    /// [`UnetError::Config`] with the first field that is out of its range.
    pub fn validate(&self) -> Result<(), UnetError> {
        match self {
            Self::NoiseNet(config) => config.validate(),
            Self::UNet2d(config) => config.validate(),
        }
    }
}
