//! The configuration of the paper's network, field by field that of diffusers' `UNet2DModel`.

use serde::{Deserialize, Serialize};

use crate::limits::{MOST_CHANNELS, MOST_LEVELS, check_values};
use crate::{ImageSize, UnetError};

/// The size and shape of a [`crate::UNet2d`], in the names and with the defaults of diffusers' `UNet2DModel`. Plain data:
/// [`UNet2dConfig::validate`] says whether a network of it exists.
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
    /// Size of an image. Both sides divide by 2^(levels − 1).
    pub sample_size: ImageSize,
    /// Channels of an image.
    #[serde(default = "three")]
    pub in_channels: usize,
    /// Channels of the prediction: those of an image, or twice as many where the variance is learnt too.
    #[serde(default = "three")]
    pub out_channels: usize,
    /// Whether images come in [0, 1] and are spread over [−1, 1].
    #[serde(default)]
    pub center_input_sample: bool,
    /// How a time step becomes a vector.
    #[serde(default)]
    pub time_embedding_type: TimeEmbeddingType,
    /// Width of the embedded time step; four times the highest level's channels if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_embedding_dim: Option<usize>,
    /// The lowest frequency of the sinusoids is 10000^(−(half − 1) / (half − `freq_shift`)). Ho et al. have 1.
    #[serde(default)]
    pub freq_shift: usize,
    /// Whether cosines come first. Ho et al. have sines first.
    #[serde(default = "yes")]
    pub flip_sin_to_cos: bool,
    /// The levels on the way down, from the highest.
    #[serde(default = "default_down_block_types")]
    pub down_block_types: Vec<DownBlockType>,
    /// The bottom. A configuration of diffusers' may have null there, for none: write `"none"`.
    #[serde(default, deserialize_with = "none_for_null")]
    pub mid_block_type: MidBlockType,
    /// The levels on the way up, from the lowest.
    #[serde(default = "default_up_block_types")]
    pub up_block_types: Vec<UpBlockType>,
    /// Channels of each level, from the highest.
    #[serde(default = "default_block_out_channels")]
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of a level on the way down; on the way up there is one more.
    #[serde(default = "two")]
    pub layers_per_block: usize,
    /// What the results of the middle's blocks are divided by.
    #[serde(default = "one")]
    pub mid_block_scale_factor: f64,
    /// 1: zeros on all sides before a strided convolution. 0: below and to the right alone, as Ho et al. have it.
    #[serde(default = "one_pixel")]
    pub downsample_padding: usize,
    /// How an `AttnDownBlock2D` halves the size.
    #[serde(default)]
    pub downsample_type: ResampleType,
    /// How an `AttnUpBlock2D` doubles the size.
    #[serde(default)]
    pub upsample_type: ResampleType,
    /// Share of activations zeroed in training before the second convolution of a block, in [0, 1).
    #[serde(default)]
    pub dropout: f64,
    /// What follows each normalisation.
    #[serde(default)]
    pub act_fn: Activation,
    /// Channels of an attention head; all in one head where it is left out or null. DIFFERENCE: where diffusers' own
    /// configuration leaves it out, it is 8.
    #[serde(default)]
    pub attention_head_dim: Option<usize>,
    /// Groups of each normalisation.
    #[serde(default = "default_norm_num_groups")]
    pub norm_num_groups: usize,
    /// Groups of the normalisation before the middle's attention. If left out: `norm_num_groups`, or no normalisation at all
    /// where `resnet_time_scale_shift` is `scale_shift`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attn_norm_num_groups: Option<usize>,
    /// Added to the variance in each normalisation. Ho et al. have 1e-6.
    #[serde(default = "default_norm_eps")]
    pub norm_eps: f64,
    /// What a block does with the embedded time step.
    #[serde(default)]
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Whether the middle has attention.
    #[serde(default = "yes")]
    pub add_attention: bool,
    /// What a class is embedded by; none, or a table where `num_class_embeds` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_embed_type: Option<ClassEmbedType>,
    /// Rows of the table of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_class_embeds: Option<usize>,
    /// Read and kept for the sake of the file; it says nothing about this network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_train_timesteps: Option<usize>,
}

/// How a time step becomes a vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TimeEmbeddingType {
    /// Sines and cosines.
    #[default]
    Positional,
}

/// A level on the way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DownBlockType {
    /// Residual blocks, then a strided convolution.
    DownBlock2D,
    /// The same with attention after each residual block.
    AttnDownBlock2D,
    /// Residual blocks, then one that halves the size.
    ResnetDownsampleBlock2D,
}

/// The bottom of the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MidBlockType {
    /// A residual block, attention, a residual block.
    #[default]
    UNetMidBlock2D,
    /// Nothing.
    #[serde(rename = "none")]
    None,
}

/// A level on the way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum UpBlockType {
    /// Residual blocks beside skips, then upsampling and a convolution.
    UpBlock2D,
    /// The same with attention after each residual block.
    AttnUpBlock2D,
    /// Residual blocks beside skips, then one that doubles the size.
    ResnetUpsampleBlock2D,
}

/// How a level with attention changes the size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResampleType {
    /// By a convolution.
    #[default]
    Conv,
    /// By a residual block.
    Resnet,
}

/// An activation function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Activation {
    /// x σ(x)
    #[default]
    #[serde(alias = "swish")]
    Silu,
    /// x tanh(ln(1 + e^x))
    Mish,
    /// x Φ(x)
    Gelu,
    /// max(x, 0)
    Relu,
}

/// What a block does with the embedded time step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimeScaleShift {
    /// Adds it before the second normalisation.
    #[default]
    Default,
    /// Scales and shifts by it after the second normalisation.
    ScaleShift,
}

/// What a class is embedded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ClassEmbedType {
    /// As a time step is.
    Timestep,
    /// It is the embedding already.
    Identity,
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn one_pixel() -> usize {
    1
}

fn two() -> usize {
    2
}

fn three() -> usize {
    3
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
    /// Ho et al. 2020 for CIFAR-10: 35,746,307 parameters. DIFFERENCE: they zero some weights at the beginning, diffusers does
    /// not, and neither do we.
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

    /// Ho et al. 2020 for images of 256 × 256: 113,673,219 parameters.
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

    /// Whether a network of this configuration exists.
    ///
    /// # Errors
    /// [`UnetError::Config`] with the first field that does not hold what it may.
    pub fn validate(&self) -> Result<(), UnetError> {
        let within = |field, value: usize, least: usize| match (least..=MOST_CHANNELS).contains(&value) {
            true => Ok(()),
            false => Err(UnetError::config(field, format!("a number from {least} to {MOST_CHANNELS}"), value)),
        };
        let levels = self.block_out_channels.len();
        if !(1..=MOST_LEVELS).contains(&levels) {
            let expected = format!("1 to {MOST_LEVELS} levels");
            return Err(UnetError::config("block_out_channels", expected, &self.block_out_channels));
        }
        if self.down_block_types.len() != levels {
            let expected = format!("{levels} blocks, one for each of block_out_channels");
            return Err(UnetError::config("down_block_types", expected, &self.down_block_types));
        }
        if self.up_block_types.len() != levels {
            let expected = format!("{levels} blocks, one for each of block_out_channels");
            return Err(UnetError::config("up_block_types", expected, &self.up_block_types));
        }
        for channels in &self.block_out_channels {
            within("block_out_channels", *channels, 1)?;
        }
        within("in_channels", self.in_channels, 1)?;
        within("out_channels", self.out_channels, 1)?;
        if !(1..=MOST_LAYERS).contains(&self.layers_per_block) {
            let expected = format!("a number from 1 to {MOST_LAYERS}");
            return Err(UnetError::config("layers_per_block", expected, self.layers_per_block));
        }
        within("norm_num_groups", self.norm_num_groups, 1)?;
        within("time_embedding_dim", self.time_channels(), 1)?;
        within("attention_head_dim", self.attention_head_dim.unwrap_or(1), 1)?;
        within("num_class_embeds", self.num_class_embeds.unwrap_or(1), 1)?;
        let half = self.block_out_channels[0] / 2;
        if half == 0 || self.freq_shift >= half {
            let expected = format!("less than half of block_out_channels[0], {half}");
            return Err(UnetError::config("freq_shift", expected, self.freq_shift));
        }
        if self.downsample_padding > 1 {
            return Err(UnetError::config("downsample_padding", "0 or 1", self.downsample_padding));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(UnetError::config("dropout", "a share in [0, 1)", self.dropout));
        }
        for (field, value) in [("norm_eps", self.norm_eps), ("mid_block_scale_factor", self.mid_block_scale_factor)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(UnetError::config(field, "a finite number above 0", value));
            }
        }
        self.check_groups()?;
        let ImageSize { height, width } = self.sample_size;
        self.check_divides(height, width)?;
        let widest = self.block_out_channels.iter().max().copied().unwrap_or(1);
        let map = "channels × height × width: a feature map";
        check_values("sample_size", map, &[self.block_out_channels[0].max(self.in_channels), height, width])?;
        let weight = "the widest level's channels, twice and once, × 3 × 3: a weight";
        check_values("block_out_channels", weight, &[2 * widest, widest, 9])?;
        check_values(
            "num_class_embeds",
            "rows × time channels: a table",
            &[self.num_class_embeds.unwrap_or(1), self.time_channels()],
        )
    }

    /// Whether the channels of every normalisation divide into its groups.
    fn check_groups(&self) -> Result<(), UnetError> {
        let channels = &self.block_out_channels;
        let joined = self.up_levels().into_iter().flat_map(|level| level.joined);
        let all = channels.iter().copied().chain(joined);
        let groups = self.norm_num_groups;
        if let Some(channels) = all.into_iter().find(|channels| !channels.is_multiple_of(groups)) {
            let expected = format!("a divisor of the channels that are normalised, {channels} among them");
            return Err(UnetError::config("norm_num_groups", expected, groups));
        }
        let lowest = channels.last().copied().unwrap_or(1);
        match self.attn_norm_num_groups {
            Some(groups) if groups == 0 || !lowest.is_multiple_of(groups) => {
                Err(UnetError::config("attn_norm_num_groups", format!("a divisor of {lowest}"), groups))
            }
            _ => Ok(()),
        }
    }

    /// Whether images of that size pass through: every halving must leave whole pixels.
    ///
    /// # Errors
    /// [`UnetError::Config`] when they do not.
    pub(crate) fn check_divides(&self, height: usize, width: usize) -> Result<(), UnetError> {
        let levels = self.block_out_channels.len();
        let factor = 1 << (levels - 1);
        if height == 0 || width == 0 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
            let expected = format!("a height and a width that divide by {factor} (for {levels} levels)");
            return Err(UnetError::Config { field: "sample_size", expected, found: format!("{height}×{width}") });
        }
        Ok(())
    }

    /// Width of the embedded time step.
    pub(crate) fn time_channels(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }

    /// Channels of the blocks on the way up, from the lowest.
    pub(crate) fn up_levels(&self) -> Vec<UpLevel> {
        let reversed: Vec<usize> = self.block_out_channels.iter().rev().copied().collect();
        let last = reversed.len() - 1;
        (0..=last)
            .map(|i| {
                let (before, channels) = (reversed[i.saturating_sub(1)], reversed[i]);
                // The last skip of a level is what came into it on the way down.
                let above = reversed[(i + 1).min(last)];
                let joined = (0..=self.layers_per_block)
                    .map(|layer| {
                        let from_below = if layer == 0 { before } else { channels };
                        from_below + if layer == self.layers_per_block { above } else { channels }
                    })
                    .collect();
                UpLevel { channels, joined, double: i < last }
            })
            .collect()
    }
}

/// One level on the way up.
#[derive(Debug)]
pub(crate) struct UpLevel {
    pub(crate) channels: usize,
    /// Channels that enter each residual block, its skip among them.
    pub(crate) joined: Vec<usize>,
    /// Whether the next level has twice the size.
    pub(crate) double: bool,
}

/// More residual blocks on a level than any network has.
const MOST_LAYERS: usize = 64;
