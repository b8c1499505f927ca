//! The check of a configuration, before anything is allocated.

use super::config::UNet2dConfig;
use super::config_enums::{DownBlockType, UpBlockType};
use crate::error::UnetError;
use crate::image_size::ImageSize;
use crate::size_limits::{MAX_CHANNELS, MAX_LEVELS, check_elements, check_scores};

/// Largest number of residual blocks of one level.
const MAX_LAYERS: usize = 64;

impl UNet2dConfig {
    /// Checks that a network of this configuration exists.
    ///
    /// # Errors
    /// [`UnetError::Config`] with the first field that is out of its range.
    pub fn validate(&self) -> Result<(), UnetError> {
        self.check_levels()?;
        self.check_numbers()?;
        self.check_groups()?;
        self.check_divides(self.sample_size.height, self.sample_size.width)?;
        self.check_products()
    }

    /// Checks the lists with one element for each level.
    fn check_levels(&self) -> Result<(), UnetError> {
        let levels = self.block_out_channels.len();
        if !(1..=MAX_LEVELS).contains(&levels) {
            let expected = format!("1 to {MAX_LEVELS} levels");
            return Err(UnetError::config("block_out_channels", expected, &self.block_out_channels));
        }
        if self.down_block_types.len() != levels {
            let expected = format!("{levels} blocks, one for each level of block_out_channels");
            return Err(UnetError::config("down_block_types", expected, &self.down_block_types));
        }
        if self.up_block_types.len() != levels {
            let expected = format!("{levels} blocks, one for each level of block_out_channels");
            return Err(UnetError::config("up_block_types", expected, &self.up_block_types));
        }
        self.block_out_channels.iter().try_for_each(|channels| check_count("block_out_channels", *channels))
    }

    /// Checks the fields that are single numbers.
    fn check_numbers(&self) -> Result<(), UnetError> {
        check_count("in_channels", self.in_channels)?;
        check_count("out_channels", self.out_channels)?;
        if !(1..=MAX_LAYERS).contains(&self.layers_per_block) {
            let expected = format!("a number from 1 to {MAX_LAYERS}");
            return Err(UnetError::config("layers_per_block", expected, self.layers_per_block));
        }
        check_count("norm_num_groups", self.norm_num_groups)?;
        check_count("time_embedding_dim", self.time_channels())?;
        check_count("attention_head_dim", self.attention_head_dim.unwrap_or(1))?;
        check_count("num_class_embeds", self.num_class_embeds.unwrap_or(1))?;
        let half = self.block_out_channels[0] / 2;
        if half == 0 || self.freq_shift >= half {
            let expected = format!("less than half of block_out_channels[0], {half}");
            return Err(UnetError::config("freq_shift", expected, self.freq_shift));
        }
        if self.downsample_padding > 1 {
            return Err(UnetError::config("downsample_padding", "0 or 1", self.downsample_padding));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(UnetError::config("dropout", "a rate in [0, 1)", self.dropout));
        }
        for (field, value) in [("norm_eps", self.norm_eps), ("mid_block_scale_factor", self.mid_block_scale_factor)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(UnetError::config(field, "a finite number above 0", value));
            }
        }
        Ok(())
    }

    /// Checks the sizes of the largest weights and feature maps, which are products of several fields.
    fn check_products(&self) -> Result<(), UnetError> {
        let ImageSize { height, width } = self.sample_size;
        let widest = self.block_out_channels.iter().max().copied().unwrap_or(1);
        let map = "channels × height × width: a feature map";
        check_elements("sample_size", map, &[self.block_out_channels[0].max(self.in_channels), height, width])?;
        let weight = "the widest level's channels, twice and once, × 3 × 3: a weight";
        check_elements("block_out_channels", weight, &[2 * widest, widest, 9])?;
        check_elements(
            "num_class_embeds",
            "rows × time channels: a table",
            &[self.num_class_embeds.unwrap_or(1), self.time_channels()],
        )?;
        let last = self.block_out_channels.len() - 1;
        let has_attention = |level: &usize| {
            // The up blocks are in the opposite order.
            self.down_block_types.get(*level) == Some(&DownBlockType::AttnDownBlock2D)
                || self.up_block_types.get(last - level) == Some(&UpBlockType::AttnUpBlock2D)
                || (*level == last && self.add_attention)
        };
        let levels = (0..=last).filter(has_attention);
        check_scores("sample_size", levels.map(|level| (height >> level, width >> level)))
    }

    /// Checks that the channels of every normalization are a multiple of its groups.
    fn check_groups(&self) -> Result<(), UnetError> {
        let channels = &self.block_out_channels;
        let up = self.up_levels().into_iter().flat_map(|level| level.channels_in);
        let all = channels.iter().copied().chain(up);
        let groups = self.norm_num_groups;
        if let Some(channels) = all.into_iter().find(|channels| !channels.is_multiple_of(groups)) {
            let expected = format!("a divisor of the channels that are normalized, {channels} among them");
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

    /// Checks that every level can halve an image of this size evenly.
    ///
    /// # Errors
    /// [`UnetError::Config`] when a height or width becomes odd.
    pub(super) fn check_divides(&self, height: usize, width: usize) -> Result<(), UnetError> {
        let levels = self.block_out_channels.len();
        let factor = 1 << (levels - 1);
        if height == 0 || width == 0 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
            let expected = format!("a height and a width that are multiples of {factor}, for {levels} levels");
            return Err(UnetError::Config { field: "sample_size", expected, found: format!("{height}×{width}") });
        }
        Ok(())
    }
}

/// Checks that a number of channels, groups or rows is in its range.
fn check_count(field: &'static str, value: usize) -> Result<(), UnetError> {
    if (1..=MAX_CHANNELS).contains(&value) {
        return Ok(());
    }
    Err(UnetError::config(field, format!("a number from 1 to {MAX_CHANNELS}"), value))
}
