//! Layers with parameters over [`ddpm_ops::Tape`] and [`ddpm_ops::Value`].
//!
//! A layer is constructed from a [`candle_nn::VarBuilder`], as the layers of candle-nn are, and initialized as
//! PyTorch initializes the layer of the same name. It differs from candle-nn's in the tensors it computes with:
//! `forward` records a fused operation of `ddpm-ops` on a tape, so that a whole network is differentiated as one
//! operation.

mod conv2d;
mod embedding;
mod fan_in_init;
mod group_norm;
mod linear;
mod sinusoidal_embedding;
mod time_embedding;

pub use conv2d::Conv2d;
pub use embedding::Embedding;
pub use group_norm::GroupNorm;
pub use linear::Linear;
pub use sinusoidal_embedding::SinusoidalEmbedding;
pub use time_embedding::TimeEmbedding;
