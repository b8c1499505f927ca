//! The network of Ho et al. 2020, appendix B, with the options of diffusers' `UNet2DModel`.
//!
//! [`UNet2d`] is the network, [`UNet2dConfig`] its configuration. The blocks can be composed to other networks:
//!
//! | block | diffusers' name | function |
//! | --- | --- | --- |
//! | [`PreNormResBlock`] | `ResnetBlock2D` | residual block that normalizes before its convolutions |
//! | [`SelfAttention`] | `Attention` | self-attention with separate projections |
//! | [`DownBlock2d`] | `DownBlock2D`, `AttnDownBlock2D`, `ResnetDownsampleBlock2D` | a level of the contracting path |
//! | [`MidBlock2d`] | `UNetMidBlock2D` | the lowest level |
//! | [`UpBlock2d`] | `UpBlock2D`, `AttnUpBlock2D`, `ResnetUpsampleBlock2D` | a level of the expanding path |
//! | [`Downsample2d`], [`Upsample2d`] | `Downsample2D`, `Upsample2D` | half or twice the height and width |
//! | [`ClassEmbedding`] | `class_embedding` | the embedding of a class label |
//!
//! Parameter names and configuration fields are diffusers', so a `UNet2DModel` loads unchanged.

mod architecture;
mod attention;
mod block_config;
mod class_embedding;
mod config;
mod config_enums;
mod down_block;
mod downsample;
mod level;
mod mid_block;
mod output_scale;
mod res_block;
mod up_block;
mod upsample;
mod validation;

pub use architecture::{UNet2d, UNet2dArchitecture};
pub use attention::{SelfAttention, SelfAttentionConfig};
pub use class_embedding::ClassEmbedding;
pub use config::UNet2dConfig;
pub use config_enums::{
    ClassEmbedType, DownBlockType, MidBlockType, ResampleType, TimeEmbeddingType, TimeScaleShift, UpBlockType,
};
pub use down_block::{DownBlock2d, DownBlock2dConfig};
pub use downsample::{Downsample2d, Downsample2dConfig};
pub use mid_block::{MidBlock2d, MidBlock2dConfig};
pub use res_block::{PreNormResBlock, PreNormResBlockConfig};
pub use up_block::{UpBlock2d, UpBlock2dConfig};
pub use upsample::{Upsample2d, Upsample2dConfig};
