//! Fused, differentiable tensor operations for diffusion networks on candle.
//!
//! This crate owns every tensor operation that a network of this workspace calls in its hot path: convolution with the
//! operations around it ([`FusedConv2d`]), group normalization, attention, linear layers, activations, and the updates
//! of parameters ([`adam_step`], [`ema_step`], [`DeviceUpdate`]). It leaves out parameters, configuration, and
//! everything that depends on a network. It is the only crate of the workspace with `unsafe` code.
//!
//! # Use
//!
//! A network runs its whole forward pass inside [`fused`], which passes it a [`Tape`] and its inputs as [`Value`]s. The
//! result is an ordinary candle tensor that candle differentiates with respect to the inputs and all parameters
//! that the operations used. [`recorded`] does the same for callers that want the gradients of the parameters directly,
//! or other [`ComputeOptions`]. [`conv2d`], [`group_norm`] and [`attention`] are forward passes of one operation.
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//!
//! # fn main() -> candle_core::Result<()> {
//! let x = Tensor::randn(0f32, 1.0, (2, 3, 8, 8), &Device::Cpu)?;
//! let weight = Var::randn(0f32, 0.1, (16, 3, 3, 3), &Device::Cpu)?;
//! let out = ddpm_ops::fused(&[&x], |tape, values| {
//!     tape.silu(&tape.conv2d(&ddpm_ops::FusedConv2d::new(&values[0], &weight, None))?)
//! })?;
//! let gradients = out.sqr()?.mean_all()?.backward()?;
//! assert_eq!(gradients.get(&weight).map(Tensor::dims), Some(&[16, 3, 3, 3][..]));
//! # Ok(())
//! # }
//! ```
//!
//! # How the parts fit together
//!
//! An arrow reads "uses". No module uses one above it.
//!
//! ```text
//! forward_pass, candle_op      a forward pass starts, ends, and becomes one operation of candle
//!     │
//!     ├── dispatch             chooses the backend: the only module that names both
//!     │      ├── cpu           f32 on the CPU: kernels of this crate on rayon's threads
//!     │      └── device        everything else: candle tensors with the channels last, kernels for GPUs, cuDNN
//!     │
//!     ├── ops                  the operations of a `Tape`: each checks its shapes, then calls the backend
//!     │
//!     backend                  the trait `Backend`, and descriptions of operations
//!     │
//!     tape                     values, the record of operations, gradients: no backend and no operation
//! ```
//!
//! The backend is chosen once, when a forward pass starts. A [`Tape`] holds it behind a trait object, and neither `ops`
//! nor `tape` depends on which one it is. [`composed`] holds the same operations composed of candle's: the reference
//! that both backends are tested against.
//!
//! To read the code, follow one convolution: `ops/conv2d.rs`, `backend/conv2d.rs`, then `cpu/ops/conv2d.rs` with the
//! kernels of `cpu/conv2d`, or `device/ops/conv2d.rs` with `device/primitives.rs`. Then read `tape/record.rs` for its
//! gradient, and `forward_pass.rs` for how a pass starts and ends.
//!
//! # Adding an operation or a backend
//!
//! An operation is a file in `ops` that checks shapes, a method of the trait in `backend/mod.rs`, and its
//! implementation with its backward step in `cpu/ops` and in `device/ops`. The test `against_composed` compares values
//! and gradients with an implementation of a few lines in [`composed`].
//!
//! A backend is a type that implements the trait, with its own type of gradients and a [`PackedWeights`] cache of its
//! own if it packs weights, and a line in `dispatch.rs`. A convolution kernel for the CPU is a file in `cpu/conv2d`.
//!
//! # Guarantees
//!
//! - The same inputs, thread count and machine give the same bits on the CPU: work is divided by shape and thread count
//!   alone, and partial sums are added in a fixed order.
//! - Tensors are [batch, channel, height, width] at the interface, contiguous or not.
//! - Shapes that do not fit are errors. A panic is a bug.

mod backend;
mod candle_op;
pub mod composed;
mod compute_options;
mod cpu;
mod device;
mod dispatch;
mod forward_pass;
mod functional;
mod gradient_bucket;
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
pub use cpu::kernel_names::cpu_kernels;
pub use device::{
    ConvolutionMethod, ConvolutionShape, ConvolutionUse, DeviceUpdate, Fallback, GpuMemory, Pass, StepGraph,
    TrainingCache, UpdateHyperparameters, UpdateRecord, Updated, convolution_report, fallbacks, gpu_memory, open_gpu,
    upload,
};
pub use forward_pass::{ParameterGradients, Recorded, fused, recorded};
pub use functional::{attention, conv2d, group_norm, group_norm_silu};
pub use gradient_bucket::{concatenate_gradients, split_gradients};
pub use ops::tape::Tape;
pub use packed_weights::PackedWeights;
pub use parameter_update::{adam_step, ema_step, sums_of_squares};
pub use precision::{Precision, UnknownPrecision};
pub use tape::gradient::Gradient;
pub use tape::value::Value;

/// Compiles and runs the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
