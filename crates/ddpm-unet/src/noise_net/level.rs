//! The blocks of each level, derived from the configuration.

use super::attention::QkvAttentionConfig;
use super::config::NoiseNetConfig;
use super::down_block::DownBlockConfig;
use super::mid_block::MidBlockConfig;
use super::res_block::PostNormResBlockConfig;
use super::up_block::UpBlockConfig;

/// One level of the network.
#[derive(Debug)]
pub(crate) struct Level {
    /// Channels of the down block's input and of the up block's output.
    channels_above: usize,
    /// Channels of the down block's output and of the up block's input.
    channels_below: usize,
    attention: bool,
    is_highest: bool,
    is_lowest: bool,
}

impl NoiseNetConfig {
    /// The levels, from the highest resolution.
    ///
    /// DIFFERENCE: the first entry of the article's list of resolutions is the number of base channels instead of the
    /// image size.
    pub(crate) fn levels(&self) -> Vec<Level> {
        let longer_side = self.image_size.height.max(self.image_size.width);
        let channels = |i: usize| self.base_channels * if i == 0 { 1 } else { self.channel_multipliers[i - 1] };
        let last = self.channel_multipliers.len() - 1;
        let level = |i: usize| Level {
            channels_above: channels(i),
            channels_below: channels(i + 1),
            attention: self.attention_resolutions.contains(&(longer_side >> i)),
            is_highest: i == 0,
            is_lowest: i == last,
        };
        (0..=last).map(level).collect()
    }

    pub(crate) fn down_block(&self, level: &Level) -> DownBlockConfig {
        let channels = level.channels_above;
        DownBlockConfig {
            res_block: self.res_block(channels, channels),
            attention: level.attention.then(|| self.attention(channels)),
            channels_out: level.channels_below,
            downsample: !level.is_lowest,
        }
    }

    pub(crate) fn mid_block(&self) -> MidBlockConfig {
        let channels = self.levels().last().map_or(self.base_channels, |level| level.channels_below);
        MidBlockConfig { res_block: self.res_block(channels, channels), attention: self.attention(channels) }
    }

    pub(crate) fn up_block(&self, level: &Level) -> UpBlockConfig {
        let (channels, skip_channels) = (level.channels_below, level.channels_above);
        UpBlockConfig {
            res_block: self.res_block(channels + skip_channels, channels),
            attention: level.attention.then(|| self.attention(channels)),
            channels_out: level.channels_above,
            upsample: !level.is_highest,
        }
    }

    pub(crate) fn res_block(&self, channels_in: usize, channels_out: usize) -> PostNormResBlockConfig {
        PostNormResBlockConfig {
            channels_in,
            channels_out,
            time_channels: self.time_channels(),
            norm_groups: self.norm_groups,
        }
    }

    fn attention(&self, channels: usize) -> QkvAttentionConfig {
        QkvAttentionConfig {
            channels,
            heads: self.attention_heads,
            head_channels: self.attention_head_channels,
            // DIFFERENCE: the article has no residual connection around attention, Ho et al. 2020 have one. Without
            // it, a level with attention passes on only what attention lets through.
            residual: self.attention_residual,
        }
    }
}
