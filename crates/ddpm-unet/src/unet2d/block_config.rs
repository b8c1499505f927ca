//! The blocks of the network, derived from the configuration.

use ddpm_ops::Resample;

use super::attention::SelfAttentionConfig;
use super::config::UNet2dConfig;
use super::config_enums::{DownBlockType, MidBlockType, ResampleType, TimeScaleShift, UpBlockType};
use super::down_block::DownBlock2dConfig;
use super::downsample::Downsample2dConfig;
use super::level::UpLevel;
use super::mid_block::MidBlock2dConfig;
use super::res_block::PreNormResBlockConfig;
use super::up_block::UpBlock2dConfig;
use super::upsample::Upsample2dConfig;

impl UNet2dConfig {
    /// The down blocks, from the highest level.
    pub(super) fn down_blocks(&self) -> Vec<DownBlock2dConfig> {
        (0..self.block_out_channels.len()).map(|level| self.down_block(level)).collect()
    }

    fn down_block(&self, level: usize) -> DownBlock2dConfig {
        let all = &self.block_out_channels;
        let (channels_above, channels, kind) = (all[level.saturating_sub(1)], all[level], self.down_block_types[level]);
        let by_res_block = match kind {
            DownBlockType::ResnetDownsampleBlock2D => true,
            DownBlockType::AttnDownBlock2D => self.downsample_type == ResampleType::Resnet,
            DownBlockType::DownBlock2D => false,
        };
        let downsample = || {
            if by_res_block {
                let resample = Some(Resample::Mean);
                Downsample2dConfig::ResBlock(PreNormResBlockConfig { resample, ..self.res_block(channels, channels) })
            } else {
                Downsample2dConfig::Conv { channels, pad_all_sides: self.downsample_padding == 1 }
            }
        };
        let channels_in = |layer: usize| if layer == 0 { channels_above } else { channels };
        DownBlock2dConfig {
            res_blocks: (0..self.layers_per_block).map(|i| self.res_block(channels_in(i), channels)).collect(),
            attention: (kind == DownBlockType::AttnDownBlock2D).then(|| self.attention(channels)),
            downsample: (level + 1 < all.len()).then(downsample),
        }
    }

    /// The middle block; None if the network has none.
    pub(super) fn mid_block(&self) -> Option<MidBlock2dConfig> {
        if self.mid_block_type == MidBlockType::None {
            return None;
        }
        let channels = self.block_out_channels.last().copied()?;
        let output_scale_factor = self.mid_block_scale_factor;
        let norm_groups = self.attn_norm_num_groups.or(match self.resnet_time_scale_shift {
            TimeScaleShift::Default => Some(self.norm_num_groups),
            TimeScaleShift::ScaleShift => None,
        });
        let attention = || SelfAttentionConfig { norm_groups, output_scale_factor, ..self.attention(channels) };
        Some(MidBlock2dConfig {
            res_block: PreNormResBlockConfig { output_scale_factor, ..self.res_block(channels, channels) },
            attention: self.add_attention.then(attention),
        })
    }

    /// The up blocks, from the lowest level.
    pub(super) fn up_blocks(&self) -> Vec<UpBlock2dConfig> {
        let block = |(level, kind): (UpLevel, &UpBlockType)| {
            let channels = level.channels;
            let by_res_block = match kind {
                UpBlockType::ResnetUpsampleBlock2D => true,
                UpBlockType::AttnUpBlock2D => self.upsample_type == ResampleType::Resnet,
                UpBlockType::UpBlock2D => false,
            };
            let upsample = || {
                if by_res_block {
                    let resample = Some(Resample::Nearest);
                    Upsample2dConfig::ResBlock(PreNormResBlockConfig { resample, ..self.res_block(channels, channels) })
                } else {
                    Upsample2dConfig::Conv { channels }
                }
            };
            UpBlock2dConfig {
                res_blocks: level.channels_in.iter().map(|from| self.res_block(*from, channels)).collect(),
                attention: (*kind == UpBlockType::AttnUpBlock2D).then(|| self.attention(channels)),
                upsample: (!level.is_highest).then(upsample),
            }
        };
        self.up_levels().into_iter().zip(&self.up_block_types).map(block).collect()
    }

    fn res_block(&self, channels_in: usize, channels_out: usize) -> PreNormResBlockConfig {
        PreNormResBlockConfig {
            channels_in,
            channels_out,
            time_channels: self.time_channels(),
            norm_groups: self.norm_num_groups,
            norm_eps: self.norm_eps,
            activation: self.act_fn,
            time_scale_shift: self.resnet_time_scale_shift,
            resample: None,
            output_scale_factor: 1.0,
        }
    }

    fn attention(&self, channels: usize) -> SelfAttentionConfig {
        SelfAttentionConfig {
            channels,
            head_channels: self.attention_head_dim,
            norm_groups: Some(self.norm_num_groups),
            norm_eps: self.norm_eps,
            output_scale_factor: 1.0,
        }
    }
}
