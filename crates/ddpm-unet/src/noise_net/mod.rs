//! The network of the article *Introduction to Generative AI: Vision Series (3/3) – DDPM*, called "the article" below.
//!
//! [`NoiseNet`] is the network, [`NoiseNetConfig`] its configuration. The blocks can be composed to other networks:
//!
//! | block | the article's name | function |
//! | --- | --- | --- |
//! | [`ConvBlock`] | `ConvBlock` | convolution, group normalization, SiLU |
//! | [`PostNormResBlock`] | `ResnetBlock` | residual block that normalizes after its convolutions |
//! | [`QkvAttention`] | `Attention` | self-attention with one joint projection to queries, keys and values |
//! | [`DownBlock`], [`MidBlock`], [`UpBlock`] | the same | one level each of the UNet |
//! | [`UnshuffleDownsample`], [`NearestUpsample`] | `Downsample`, `Upsample` | half or twice the height and width |
//!
//! Parameter names are the module paths of the article's PyTorch code, so weights that it trained load unchanged.

mod architecture;
mod attention;
mod config;
mod conv_block;
mod down_block;
mod downsample;
mod level;
mod mid_block;
mod res_block;
mod up_block;
mod upsample;

pub use architecture::{NoiseNet, NoiseNetArchitecture};
pub use attention::{QkvAttention, QkvAttentionConfig};
pub use config::NoiseNetConfig;
pub use conv_block::ConvBlock;
pub use down_block::{DownBlock, DownBlockConfig};
pub use downsample::UnshuffleDownsample;
pub use mid_block::{MidBlock, MidBlockConfig};
pub use res_block::{PostNormResBlock, PostNormResBlockConfig};
pub use up_block::{UpBlock, UpBlockConfig};
pub use upsample::NearestUpsample;
