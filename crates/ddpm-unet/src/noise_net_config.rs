//! The configuration of the article's network.

use serde::{Deserialize, Serialize};

use crate::limits::{MOST_CHANNELS, MOST_LEVELS, check_values};
use crate::{ImageSize, UnetError};

/// The size and shape of a [`crate::NoiseNet`]. Plain data: [`NoiseNetConfig::validate`] says whether a network of it exists.
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
    /// Channels of an image: 1 grey, 3 RGB, 4 RGBA; any number from 1.
    pub channels: usize,
    /// Size of an image. Both sides divide by 2^(levels − 1).
    pub image_size: ImageSize,
    /// Channels of the highest level, also the width of the sinusoidal time embedding. Even, at least 4, and divisible by
    /// `norm_groups`.
    pub base_channels: usize,
    /// One factor a level, from the highest: level i passes on `base_channels` times its factor.
    pub channel_multipliers: Vec<usize>,
    /// The resolutions with attention: a level has it when the longer side of its feature map is among them. The middle
    /// always has it.
    pub attention_resolutions: Vec<usize>,
    /// Heads of each attention. The article's 4 if left out.
    #[serde(default = "article_heads")]
    pub attention_heads: usize,
    /// Channels of each head. The article's 32 if left out.
    #[serde(default = "article_head_channels")]
    pub attention_head_channels: usize,
    /// Whether attention is added to its input, as Ho et al. have it; false is the article's form. True if left out.
    #[serde(default = "yes")]
    pub attention_residual: bool,
    /// Groups of each normalisation in a convolution block. The article's 4 if left out.
    #[serde(default = "article_norm_groups")]
    pub norm_groups: usize,
    /// Share of activations zeroed in training between the two convolutions of a block, in [0, 1). 0, as the article has
    /// none, if left out.
    #[serde(default)]
    pub dropout: f64,
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

fn yes() -> bool {
    true
}

/// What each normalisation adds to the variance: PyTorch's default, which the article uses. DIFFERENCE: Ho et al. have 1e-6.
pub(crate) const EPS: f64 = 1e-5;

/// One level of the network, from the way down's point of view.
#[derive(Debug)]
pub(crate) struct Level {
    /// Channels that enter on the way down and leave on the way up.
    pub(crate) channels_in: usize,
    /// Channels that leave on the way down and enter on the way up.
    pub(crate) channels_out: usize,
    pub(crate) attention: bool,
    pub(crate) highest: bool,
    pub(crate) lowest: bool,
}

impl NoiseNetConfig {
    /// The article's network for 64 × 64 colour images: 132,864,579 parameters.
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
        }
    }

    /// Whether a network of this configuration exists.
    ///
    /// # Errors
    /// [`UnetError::Config`] with the first field that does not hold what it may.
    pub fn validate(&self) -> Result<(), UnetError> {
        let within = |field, value: usize, least: usize| {
            if (least..=MOST_CHANNELS).contains(&value) {
                Ok(())
            } else {
                Err(UnetError::config(field, format!("a number from {least} to {MOST_CHANNELS}"), value))
            }
        };
        within("channels", self.channels, 1)?;
        within("base_channels", self.base_channels, 4)?;
        within("attention_heads", self.attention_heads, 1)?;
        within("attention_head_channels", self.attention_head_channels, 1)?;
        within("norm_groups", self.norm_groups, 1)?;
        let groups = self.norm_groups;
        if !self.base_channels.is_multiple_of(2) || !self.base_channels.is_multiple_of(groups) {
            let expected = format!("an even number that divides by norm_groups = {groups}");
            return Err(UnetError::config("base_channels", expected, self.base_channels));
        }
        let multipliers = &self.channel_multipliers;
        if multipliers.is_empty() || multipliers.len() > MOST_LEVELS {
            return Err(UnetError::config("channel_multipliers", format!("1 to {MOST_LEVELS} factors"), multipliers));
        }
        if multipliers.iter().any(|m| *m == 0 || m.saturating_mul(self.base_channels) > MOST_CHANNELS) {
            let expected = format!("factors from 1, at most {MOST_CHANNELS} channels a level");
            return Err(UnetError::config("channel_multipliers", expected, multipliers));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(UnetError::config("dropout", "a share in [0, 1)", self.dropout));
        }
        let ImageSize { height, width } = self.image_size;
        self.check_divides(height, width)
            .and_then(|()| within("image_size", height, 1))
            .and_then(|()| within("image_size", width, 1))?;
        self.check_products()
    }

    /// Whether the largest weights and feature maps can be held: no field alone says.
    fn check_products(&self) -> Result<(), UnetError> {
        let ImageSize { height, width } = self.image_size;
        let widest = self.base_channels * self.channel_multipliers.iter().max().copied().unwrap_or(1);
        let map = "base_channels × height × width: a feature map";
        check_values("image_size", map, &[self.base_channels.max(self.channels), height, width])?;
        let weight = "the widest level's channels, twice and once, × 3 × 3: a weight";
        check_values("base_channels × model.channel_multipliers", weight, &[2 * widest, widest, 9])?;
        let projection = "queries, keys and values × the widest level's channels: a weight";
        let axes = [3, self.attention_heads, self.attention_head_channels, widest];
        check_values("attention_heads × model.attention_head_channels", projection, &axes)
    }

    /// Whether images of that size pass through: every halving must leave whole pixels.
    ///
    /// # Errors
    /// [`UnetError::Config`] when they do not.
    pub(crate) fn check_divides(&self, height: usize, width: usize) -> Result<(), UnetError> {
        let factor = 1 << (self.channel_multipliers.len() - 1);
        if height == 0 || width == 0 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
            let levels = self.channel_multipliers.len();
            let expected = format!("a height and a width that divide by {factor} (for {levels} levels)");
            return Err(UnetError::Config { field: "image_size", expected, found: format!("{height}×{width}") });
        }
        Ok(())
    }

    /// Width of the embedded time step.
    pub(crate) fn time_channels(&self) -> usize {
        4 * self.base_channels
    }

    /// The levels, from the highest.
    ///
    /// DIFFERENCE: the article's list of resolutions begins with the base channels; it is the image's size that is meant.
    pub(crate) fn levels(&self) -> Vec<Level> {
        let longer = self.image_size.height.max(self.image_size.width);
        let channels = |i: usize| self.base_channels * if i == 0 { 1 } else { self.channel_multipliers[i - 1] };
        let last = self.channel_multipliers.len() - 1;
        let level = |i: usize| Level {
            channels_in: channels(i),
            channels_out: channels(i + 1),
            attention: self.attention_resolutions.contains(&(longer >> i)),
            highest: i == 0,
            lowest: i == last,
        };
        (0..=last).map(level).collect()
    }
}
