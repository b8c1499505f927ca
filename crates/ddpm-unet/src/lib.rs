//! Denoising networks: configuration in, predicted noise ε̂ out.
//!
//! Owns the layers of a diffusion UNet and the networks made of them. A network is built from a validated configuration
//! and a map of named tensors; it holds no optimiser, no schedule and no file format. Every tensor operation in a hot path
//! is one of `ddpm-ops`.
//!
//! Tensor names are the module paths of the PyTorch code: the article's for [`NoiseNet`], diffusers' for [`UNet2d`]. Weights
//! trained with it load as they are.
//!
//! Reading order: [`NoiseNetConfig`], [`NoiseNet`], then the blocks: `down_block`, `mid_block`, `up_block`,
//! `resnet_block`, `conv_block`, `attention`, `downsample`, `upsample`, `time_embedding`; `parameters` names and
//! initialises what they hold. [`UNet2d`] has blocks of its own in `unet2d`, and shares the layers.

mod attention;
mod context;
mod conv_block;
mod down_block;
mod downsample;
mod error;
mod image_size;
mod layers;
mod limits;
mod mid_block;
mod network;
mod noise_net;
mod noise_net_config;
mod parameters;
mod resnet_block;
mod time_embedding;
mod unet2d;
mod up_block;
mod upsample;

pub use ddpm_ops::Precision;
pub use error::UnetError;
pub use image_size::ImageSize;
pub use network::{Network, NetworkConfig};
pub use noise_net::NoiseNet;
pub use noise_net_config::NoiseNetConfig;
pub use parameters::{Init, ParameterSpec};
pub use unet2d::UNet2d;
pub use unet2d::config::{
    Activation, ClassEmbedType, DownBlockType, MidBlockType, ResampleType, TimeEmbeddingType, TimeScaleShift,
    UNet2dConfig, UpBlockType,
};
