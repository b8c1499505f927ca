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
mod amx;
mod attention;
mod buffer;
mod candle_op;
pub mod composed;
mod conv2d;
mod conv2d_amx;
mod conv2d_gemm;
mod cpu;
mod exp;
mod gemm;
mod geometry;
mod group_norm;
mod linear;
mod loss;
mod optimiser;
mod padded_planes;
mod planes;
mod reduce;
mod split;
mod tape;

pub use attention::attention;
pub use candle_op::fused;
pub use conv2d::{Conv2d, Norm, conv2d};
pub use group_norm::{group_norm, group_norm_silu};
pub use loss::mean_squared_error;
pub use optimiser::{AdamStep, adam_step, ema_step, sum_of_squares};
pub use planes::Arrange;
pub use tape::{Tape, Value};
