//! Fused, differentiable tensor operations for diffusion networks on candle.
//!
//! Owns every tensor operation that a network of this workspace calls in its hot path. A [`Tape`] records operations on
//! [`Value`]s, and [`fused`] makes of a whole forward pass one operation that candle differentiates; [`recorded`] gives the
//! parameters' gradients without candle's backward pass. [`conv2d`], [`group_norm`] and [`attention`] are such passes of one
//! operation. On the CPU in f32 the kernels are our own, multi-threaded with rayon; on GPUs, and in other types, images lie channels last
//! (`device`), with kernels of our own and cuDNN where there are some. [`composed`] holds the same operations composed of candle's:
//! the reference that both are tested against.
//!
//! It leaves out: parameters, configuration, anything that knows what a network is. It is the only crate of the
//! workspace with `unsafe`: calls of the `gemm` kernels, instructions of the matrix unit, and for GPUs calls of our kernels and of
//! cuDNN.
//!
//! Results are the same bits for the same inputs and thread count on one machine: work is divided by shape and thread
//! count alone, and partial sums are added in a fixed order.
//!
//! Tensors are [batch, channel, height, width], contiguous or not.

mod backend;
mod candle_op;
pub mod composed;
mod compute_options;
mod cpu;
mod device;
mod dispatch;
mod forward_pass;
mod functional;
mod ops;
mod packed_weights;
mod parameter_update;
mod precision;
mod tape;

pub use backend::conv2d::FusedConv2d;
pub use backend::dropout_source::DropoutSource;
pub use backend::norm::Norm;
pub use backend::rearrange::Rearrange;
pub use backend::resample::Resample;
pub use backend::update::{AdamStep, AdamUpdate};
pub use compute_options::ComputeOptions;
#[cfg(feature = "cuda")]
pub use device::open_gpu;
pub use device::{DeviceUpdate, UpdateRecord, UpdateStep, Updated};
pub use forward_pass::{ParameterGradients, Recorded, fused, recorded};
pub use functional::{attention, conv2d, group_norm, group_norm_silu};
pub use ops::tape::Tape;
pub use packed_weights::PackedWeights;
pub use parameter_update::{adam_step, ema_step, sums_of_squares};
pub use precision::{Precision, UnknownPrecision};
pub use tape::gradient::Gradient;
pub use tape::value::Value;
