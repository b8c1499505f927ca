//! Fused, differentiable tensor operations for diffusion networks on candle.
//!
//! Owns every tensor operation that a network of this workspace calls in its hot path: each is a function over
//! candle tensors whose gradient is exact and cheap. On the CPU in f32 they are custom operations of our own,
//! multi-threaded over images with rayon; for every other device and dtype the same function composes candle's
//! operations. [`composed`] holds those compositions: they are the reference that the fused forms are tested against.
//!
//! It leaves out: parameters, configuration, anything that knows what a network is. It is the only crate of the
//! workspace with `unsafe`, and that in one place: the calls of the `gemm` kernels.
//!
//! Results are the same bits for the same inputs and thread count on one machine: work is divided by shape and thread
//! count alone, and partial sums are added in a fixed order.
//!
//! Tensors are [batch, channel, height, width], contiguous or not.

mod activation;
mod add_per_channel;
mod attention;
pub mod composed;
mod conv2d;
mod cpu;
mod exp;
mod gemm;
mod group_norm;
mod im2col;
mod linear;
mod loss;
mod optimiser;
mod rearrange;
mod reduce;

pub use activation::{gelu, silu};
pub use add_per_channel::add_per_channel;
pub use attention::attention;
pub use conv2d::conv2d;
pub use group_norm::{group_norm, group_norm_silu};
pub use linear::linear;
pub use loss::mean_squared_error;
pub use optimiser::{AdamStep, adam_step, ema_step, sum_of_squares};
pub use rearrange::{concat_channels, pixel_unshuffle_2x, upsample_nearest_2x};
