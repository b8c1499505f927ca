//! Denoising networks for diffusion models, and the blocks that they are made of.
//!
//! This crate owns the layers of a diffusion UNet, two networks, [`NoiseNet`] and [`UNet2d`], and what all networks
//! share. A network is constructed from a configuration and a [`candle_nn::VarBuilder`]; it takes and returns
//! ordinary candle tensors. Every tensor operation in its forward pass is one of `ddpm-ops`. The crate has no
//! optimizer, no noise schedule and no file format.
//!
//! Parameter names are the module paths of the PyTorch code, the article's for [`NoiseNet`] and diffusers' for
//! [`UNet2d`], so weights that were trained there load unchanged.
//!
//! # Reading order
//! 1. [`DenoisingNetwork`]: construction, prediction, and training of any network; [`Architecture`]: what a network
//!    adds.
//! 2. [`noise_net`] and [`unet2d`]: the two networks and their blocks. [`Network`] is whichever a [`NetworkConfig`]
//!    chooses.
//! 3. [`Context`] and [`SkipStack`]: what the blocks of one forward pass share; [`layers`]: the layers of the blocks.
//! 4. [`list_parameters`], [`InitialWeights`], [`build_from_tensors`]: `VarBuilder` backends.
//!
//! # Adding a network
//! Implement [`Architecture`] for its layers, in a folder of its own beside `noise_net` and `unet2d`, and define
//! a type alias for its `DenoisingNetwork`. The example `custom_unet.rs` shows one. To make it a choice of the
//! configuration, add a variant to [`NetworkKind`], [`NetworkConfig`] and [`NetworkArchitecture`]; the compiler lists
//! the matches to extend. Golden files against a reference implementation belong in `tests/golden`.

mod activation;
mod architecture;
mod context;
mod denoising_network;
mod enum_names;
mod error;
mod image_size;
pub mod layers;
mod network;
mod network_config;
mod network_kind;
pub mod noise_net;
mod parameters;
mod size_limits;
mod skip_stack;
pub mod unet2d;

pub use activation::Activation;
pub use architecture::{Architecture, Conditioning};
pub use context::Context;
pub use ddpm_ops::Precision;
pub use denoising_network::DenoisingNetwork;
pub use error::UnetError;
pub use image_size::ImageSize;
pub use network::{Network, NetworkArchitecture};
pub use network_config::NetworkConfig;
pub use network_kind::NetworkKind;
pub use noise_net::{NoiseNet, NoiseNetConfig};
pub use parameters::{InitialWeights, ParameterSpec, build_from_tensors, list_parameters};
pub use skip_stack::SkipStack;
pub use unet2d::{
    ClassEmbedType, DownBlockType, MidBlockType, ResampleType, TimeEmbeddingType, TimeScaleShift, UNet2d, UNet2dConfig,
    UpBlockType,
};

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
