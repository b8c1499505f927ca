//! The configuration of the article's network.

use serde::{Deserialize, Serialize};

use crate::error::UnetError;
use crate::image_size::ImageSize;
use crate::size_limits::{MAX_CHANNELS, MAX_LEVELS, check_elements, check_scores};

/// The shape of a [`NoiseNet`](super::NoiseNet), as plain data that [`NoiseNetConfig::validate`] checks.
///
/// # Examples
/// ```
/// use ddpm_unet::{ImageSize, NoiseNet, NoiseNetConfig};
///
/// let config = NoiseNetConfig {
///     channels: 1,
///     image_size: ImageSize::square(8),
///     base_channels: 32,
///     channel_multipliers: vec![1, 2],
///     ..NoiseNetConfig::article()
/// };
/// assert_eq!(NoiseNet::parameter_count(&config)?, 698_209);
/// # Ok::<(), ddpm_unet::UnetError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseNetConfig {
    /// Channels of an image, at least 1: 1 for gray, 3 for RGB, 4 for RGBA.
    pub channels: usize,
    /// Size of an image. Both sides are multiples of 2^(levels − 1).
    pub image_size: ImageSize,
    /// Channels of the highest level and width of the sinusoidal time embedding: even, at least 4, and a multiple of
    /// `norm_groups`.
    pub base_channels: usize,
    /// One factor for each level, from the highest resolution: the down block of a level has `base_channels` times
    /// its factor as output channels.
    pub channel_multipliers: Vec<usize>,
    /// Resolutions with attention: a level has attention if the longer side of its feature map is in this list. The
    /// middle block always has attention.
    pub attention_resolutions: Vec<usize>,
    /// Number of heads of each attention. Default: the article's 4.
    #[serde(default = "article_heads")]
    pub attention_heads: usize,
    /// Channels of each attention head. Default: the article's 32.
    #[serde(default = "article_head_channels")]
    pub attention_head_channels: usize,
    /// Whether attention has a residual connection, as in Ho et al. 2020. The article has none. Default: true.
    #[serde(default = "default_attention_residual")]
    pub attention_residual: bool,
    /// Groups of each normalization in a convolution block. Default: the article's 4.
    #[serde(default = "article_norm_groups")]
    pub norm_groups: usize,
    /// Dropout rate in training, between the two convolutions of a residual block, in [0, 1). Default: 0, as in the
    /// article.
    #[serde(default)]
    pub dropout: f64,
    /// Number of classes that predictions are conditioned on, plus one if the network also predicts without a class:
    /// the rows of the table of class embeddings. An extension of the article, which has no classes; the name is
    /// diffusers'. Default: no classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_class_embeds: Option<usize>,
}

fn article_heads() -> usize {
    4
}

fn article_head_channels() -> usize {
    32
}

fn article_norm_groups() -> usize {
    4
}

fn default_attention_residual() -> bool {
    true
}

/// Added to the variance in each normalization: PyTorch's default, which the article uses. DIFFERENCE: Ho et al. 2020
/// use 1e-6.
pub(crate) const NORM_EPS: f64 = 1e-5;

impl NoiseNetConfig {
    /// The article's network for color images of 64 × 64 pixels: 132,864,579 parameters.
    pub fn article() -> Self {
        Self {
            channels: 3,
            image_size: ImageSize::square(64),
            base_channels: 64,
            channel_multipliers: vec![1, 2, 4, 8, 16],
            attention_resolutions: vec![16],
            attention_heads: article_heads(),
            attention_head_channels: article_head_channels(),
            attention_residual: true,
            norm_groups: article_norm_groups(),
            dropout: 0.0,
            num_class_embeds: None,
        }
    }

    /// Checks that a network of this configuration exists.
    ///
    /// # Errors
    /// [`UnetError::Config`] with the first field that is out of its range.
    pub fn validate(&self) -> Result<(), UnetError> {
        let within = |field, value: usize, least: usize| {
            if (least..=MAX_CHANNELS).contains(&value) {
                Ok(())
            } else {
                Err(UnetError::config(field, format!("a number from {least} to {MAX_CHANNELS}"), value))
            }
        };
        within("channels", self.channels, 1)?;
        within("base_channels", self.base_channels, 4)?;
        within("attention_heads", self.attention_heads, 1)?;
        within("attention_head_channels", self.attention_head_channels, 1)?;
        within("norm_groups", self.norm_groups, 1)?;
        within("num_class_embeds", self.num_class_embeds.unwrap_or(1), 1)?;
        let groups = self.norm_groups;
        if !self.base_channels.is_multiple_of(2) || !self.base_channels.is_multiple_of(groups) {
            let expected = format!("an even multiple of norm_groups = {groups}");
            return Err(UnetError::config("base_channels", expected, self.base_channels));
        }
        let multipliers = &self.channel_multipliers;
        if multipliers.is_empty() || multipliers.len() > MAX_LEVELS {
            return Err(UnetError::config("channel_multipliers", format!("1 to {MAX_LEVELS} factors"), multipliers));
        }
        if multipliers.iter().any(|m| *m == 0 || m.saturating_mul(self.base_channels) > MAX_CHANNELS) {
            let expected = format!("factors from 1, at most {MAX_CHANNELS} channels per level");
            return Err(UnetError::config("channel_multipliers", expected, multipliers));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(UnetError::config("dropout", "a rate in [0, 1)", self.dropout));
        }
        let ImageSize { height, width } = self.image_size;
        self.check_divides(height, width)
            .and_then(|()| within("image_size", height, 1))
            .and_then(|()| within("image_size", width, 1))?;
        self.check_products()
    }

    /// Checks the sizes of the largest weights and feature maps, which are products of several fields.
    fn check_products(&self) -> Result<(), UnetError> {
        let ImageSize { height, width } = self.image_size;
        let widest = self.base_channels * self.channel_multipliers.iter().max().copied().unwrap_or(1);
        let map = "base_channels × height × width: a feature map";
        check_elements("image_size", map, &[self.base_channels.max(self.channels), height, width])?;
        let weight = "the widest level's channels, twice and once, × 3 × 3: a weight";
        check_elements("base_channels × model.channel_multipliers", weight, &[2 * widest, widest, 9])?;
        let projection = "queries, keys and values × the widest level's channels: a weight";
        let axes = [3, self.attention_heads, self.attention_head_channels, widest];
        check_elements("attention_heads × model.attention_head_channels", projection, &axes)?;
        let rows = self.num_class_embeds.unwrap_or(1);
        check_elements("num_class_embeds", "rows × time channels: a table", &[rows, self.time_channels()])?;
        let last = self.channel_multipliers.len() - 1;
        let has_attention =
            |level: &usize| *level == last || self.attention_resolutions.contains(&(height.max(width) >> level));
        let levels = (0..=last).filter(has_attention);
        check_scores("image_size", levels.map(|level| (height >> level, width >> level)))
    }

    /// Checks that every level can halve an image of this size evenly.
    ///
    /// # Errors
    /// [`UnetError::Config`] when a height or width becomes odd.
    pub(crate) fn check_divides(&self, height: usize, width: usize) -> Result<(), UnetError> {
        let factor = 1 << (self.channel_multipliers.len() - 1);
        if height == 0 || width == 0 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
            let levels = self.channel_multipliers.len();
            let expected = format!("a height and a width that are multiples of {factor}, for {levels} levels");
            return Err(UnetError::Config { field: "image_size", expected, found: format!("{height}×{width}") });
        }
        Ok(())
    }

    /// Width of the time embedding.
    pub(crate) fn time_channels(&self) -> usize {
        4 * self.base_channels
    }
}
