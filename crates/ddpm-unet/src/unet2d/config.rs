//! The configuration of diffusers' `UNet2DModel`.

use serde::{Deserialize, Serialize};

use super::config_enums::{
    ClassEmbedType, DownBlockType, MidBlockType, ResampleType, TimeEmbeddingType, TimeScaleShift, UpBlockType,
};
use crate::activation::Activation;
use crate::image_size::ImageSize;

/// The shape and the options of a [`UNet2d`](super::UNet2d), with the names and defaults of diffusers' `UNet2DModel`,
/// as plain data that [`UNet2dConfig::validate`] checks.
///
/// # Examples
/// ```
/// use ddpm_unet::{UNet2d, UNet2dConfig};
///
/// // Ho et al. 2020, CIFAR-10.
/// assert_eq!(UNet2d::parameter_count(&UNet2dConfig::cifar10())?, 35_746_307);
/// # Ok::<(), ddpm_unet::UnetError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNet2dConfig {
    /// Size of an image. Both sides are multiples of 2^(levels − 1).
    pub sample_size: ImageSize,
    /// Channels of an image. Default: 3.
    #[serde(default = "default_image_channels")]
    pub in_channels: usize,
    /// Channels of the prediction: those of an image, or twice as many if the network also predicts a variance.
    /// Default: 3.
    #[serde(default = "default_image_channels")]
    pub out_channels: usize,
    /// Whether images come in [0, 1] and are mapped to [−1, 1] first. Default: false.
    #[serde(default)]
    pub center_input_sample: bool,
    /// How a timestep becomes a vector.
    #[serde(default)]
    pub time_embedding_type: TimeEmbeddingType,
    /// Width of the time embedding. Default: four times the channels of the highest level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_embedding_dim: Option<usize>,
    /// Shift in the frequencies of the sinusoidal embedding, whose lowest is 10000^(−(half − 1) / (half −
    /// `freq_shift`)) with half = `block_out_channels[0]` / 2. Ho et al. 2020 use 1. Default: 0.
    #[serde(default)]
    pub freq_shift: usize,
    /// Whether cosines precede sines. Ho et al. 2020 use false. Default: true.
    #[serde(default = "default_flip_sin_to_cos")]
    pub flip_sin_to_cos: bool,
    /// Kind of each down block, from the highest level.
    #[serde(default = "default_down_block_types")]
    pub down_block_types: Vec<DownBlockType>,
    /// Kind of the middle block. A configuration of diffusers may have null for no block, which is written `"none"`
    /// here.
    #[serde(default, deserialize_with = "none_for_null")]
    pub mid_block_type: MidBlockType,
    /// Kind of each up block, from the lowest level.
    #[serde(default = "default_up_block_types")]
    pub up_block_types: Vec<UpBlockType>,
    /// Channels of each level, from the highest.
    #[serde(default = "default_block_out_channels")]
    pub block_out_channels: Vec<usize>,
    /// Number of residual blocks of each down block; up blocks have one more. Default: 2.
    #[serde(default = "default_layers_per_block")]
    pub layers_per_block: usize,
    /// The outputs of the middle block's layers are divided by this number. Default: 1.
    #[serde(default = "default_mid_block_scale_factor")]
    pub mid_block_scale_factor: f64,
    /// Zero padding of the convolutions at stride 2: 1 for all sides, 0 for only below and to the right, as in Ho et
    /// al. 2020. Default: 1.
    #[serde(default = "default_downsample_padding")]
    pub downsample_padding: usize,
    /// How an `AttnDownBlock2D` halves height and width.
    #[serde(default)]
    pub downsample_type: ResampleType,
    /// How an `AttnUpBlock2D` doubles height and width.
    #[serde(default)]
    pub upsample_type: ResampleType,
    /// Dropout rate in training, before the second convolution of a residual block, in [0, 1). Default: 0.
    #[serde(default)]
    pub dropout: f64,
    /// The activation after each normalization of a residual block, and of the time embedding.
    #[serde(default)]
    pub act_fn: Activation,
    /// Channels of each attention head; null for a single head. DIFFERENCE: the default is a single head; diffusers'
    /// is 8 channels per head.
    #[serde(default)]
    pub attention_head_dim: Option<usize>,
    /// Groups of each normalization, a divisor of the channels of every level. Default: 32.
    #[serde(default = "default_norm_num_groups")]
    pub norm_num_groups: usize,
    /// Groups of the normalization of the middle block's attention. Default: `norm_num_groups`, or no normalization if
    /// `resnet_time_scale_shift` is `scale_shift`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attn_norm_num_groups: Option<usize>,
    /// Added to the variance in each normalization. Ho et al. 2020 use 1e-6. Default: 1e-5.
    #[serde(default = "default_norm_eps")]
    pub norm_eps: f64,
    /// How the time embedding acts on the features of a residual block.
    #[serde(default)]
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Whether the middle block has attention. Default: true.
    #[serde(default = "default_add_attention")]
    pub add_attention: bool,
    /// How class labels are embedded. Default: by a table if `num_class_embeds` is given, otherwise there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_embed_type: Option<ClassEmbedType>,
    /// Number of classes, the rows of the table of class embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_class_embeds: Option<usize>,
    /// Not used by the network. It is stored so that reading and writing preserve a configuration file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_train_timesteps: Option<usize>,
}

fn default_image_channels() -> usize {
    3
}

fn default_flip_sin_to_cos() -> bool {
    true
}

fn default_layers_per_block() -> usize {
    2
}

fn default_mid_block_scale_factor() -> f64 {
    1.0
}

fn default_downsample_padding() -> usize {
    1
}

fn default_add_attention() -> bool {
    true
}

fn default_down_block_types() -> Vec<DownBlockType> {
    use DownBlockType::{AttnDownBlock2D, DownBlock2D};
    vec![DownBlock2D, AttnDownBlock2D, AttnDownBlock2D, AttnDownBlock2D]
}

fn default_up_block_types() -> Vec<UpBlockType> {
    use UpBlockType::{AttnUpBlock2D, UpBlock2D};
    vec![AttnUpBlock2D, AttnUpBlock2D, AttnUpBlock2D, UpBlock2D]
}

fn default_block_out_channels() -> Vec<usize> {
    vec![224, 448, 672, 896]
}

fn default_norm_num_groups() -> usize {
    32
}

fn default_norm_eps() -> f64 {
    1e-5
}

fn none_for_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<MidBlockType, D::Error> {
    Ok(Option::<MidBlockType>::deserialize(deserializer)?.unwrap_or(MidBlockType::None))
}

impl UNet2dConfig {
    /// The network of Ho et al. 2020 for CIFAR-10: 35,746,307 parameters.
    ///
    /// DIFFERENCE: Ho et al. initialize some weights with zeros. diffusers and this crate do not.
    pub fn cifar10() -> Self {
        use DownBlockType::{AttnDownBlock2D, DownBlock2D};
        use UpBlockType::{AttnUpBlock2D, UpBlock2D};
        Self {
            sample_size: ImageSize::square(32),
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: TimeEmbeddingType::Positional,
            time_embedding_dim: None,
            freq_shift: 1,
            flip_sin_to_cos: false,
            down_block_types: vec![DownBlock2D, AttnDownBlock2D, DownBlock2D, DownBlock2D],
            mid_block_type: MidBlockType::UNetMidBlock2D,
            up_block_types: vec![UpBlock2D, UpBlock2D, AttnUpBlock2D, UpBlock2D],
            block_out_channels: vec![128, 256, 256, 256],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 0,
            downsample_type: ResampleType::Conv,
            upsample_type: ResampleType::Conv,
            dropout: 0.1,
            act_fn: Activation::Silu,
            attention_head_dim: None,
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-6,
            resnet_time_scale_shift: TimeScaleShift::Default,
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
        }
    }

    /// The network of Ho et al. 2020 for images of 256 × 256 pixels: 113,673,219 parameters.
    pub fn large() -> Self {
        use DownBlockType::{AttnDownBlock2D, DownBlock2D};
        use UpBlockType::{AttnUpBlock2D, UpBlock2D};
        Self {
            sample_size: ImageSize::square(256),
            down_block_types: vec![DownBlock2D, DownBlock2D, DownBlock2D, DownBlock2D, AttnDownBlock2D, DownBlock2D],
            up_block_types: vec![UpBlock2D, AttnUpBlock2D, UpBlock2D, UpBlock2D, UpBlock2D, UpBlock2D],
            block_out_channels: vec![128, 128, 256, 256, 512, 512],
            dropout: 0.0,
            ..Self::cifar10()
        }
    }
}
