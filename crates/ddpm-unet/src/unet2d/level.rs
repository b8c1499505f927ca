//! The channels of each level, derived from the configuration.

use super::config::UNet2dConfig;

/// One level of the expanding path.
#[derive(Debug)]
pub(super) struct UpLevel {
    /// Output channels of each residual block.
    pub(super) channels: usize,
    /// Input channels of each residual block, including those of its skip connection.
    pub(super) channels_in: Vec<usize>,
    /// Whether this is the highest level, which does not upsample.
    pub(super) is_highest: bool,
}

impl UNet2dConfig {
    /// Width of the time embedding.
    pub(super) fn time_channels(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }

    /// The levels of the expanding path, from the lowest.
    pub(super) fn up_levels(&self) -> Vec<UpLevel> {
        let channels: Vec<usize> = self.block_out_channels.iter().rev().copied().collect();
        let last = channels.len() - 1;
        let level = |i: usize| {
            let channels_below = channels[i.saturating_sub(1)];
            // The last skip connection of a level is the input of the corresponding down block.
            let channels_above = channels[(i + 1).min(last)];
            let channels_in = |layer: usize| {
                let features = if layer == 0 { channels_below } else { channels[i] };
                let skip = if layer == self.layers_per_block { channels_above } else { channels[i] };
                features + skip
            };
            UpLevel {
                channels: channels[i],
                channels_in: (0..=self.layers_per_block).map(channels_in).collect(),
                is_highest: i == last,
            }
        };
        (0..=last).map(level).collect()
    }
}
