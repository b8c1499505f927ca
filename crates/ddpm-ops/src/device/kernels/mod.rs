//! The project's own kernels, on a GPU or, for tests, on the CPU.
//!
//! `kernels.cu` is the source for both. Every structure that a kernel takes has a twin here with the same fields and
//! `repr(C)`, in which addresses are u64, and 0 means null.

mod activation;
#[cfg(any(feature = "cuda", test))]
mod compile_options;
mod dropout;
mod elements;
#[cfg(feature = "emulated-kernels")]
mod emulated;
#[cfg(feature = "cuda")]
mod gpu;
mod group_norm;
mod join;
mod launch;
mod launch_shape;
mod memory;
mod planes;
mod softmax;
mod support;
mod update;
mod update_table;
mod weight_layout;

pub(super) use self::activation::{activation, activation_backward};
pub(super) use self::dropout::dropout;
#[cfg(feature = "cuda")]
pub(super) use self::gpu::release_freed_memory;
#[cfg(feature = "cuda")]
pub use self::gpu::{gpu_memory, open_gpu};
pub(super) use self::group_norm::{Statistics, group_norm, group_norm_backward};
pub(super) use self::join::{join, join_backward};
#[cfg(feature = "cuda")]
pub(super) use self::launch_shape::to_i32;
#[cfg(feature = "cuda")]
pub(super) use self::memory::{address, address_to_write, uninitialized};
pub(super) use self::planes::{add_offset_and_residual, sums_over_positions};
pub(super) use self::softmax::{softmax, softmax_backward};
pub(super) use self::support::supports;
pub use self::update::{DeviceUpdate, UpdateHyperparameters, UpdateRecord};
pub use self::update_table::Updated;
pub(super) use self::weight_layout::{weight_from_channels_last, weight_to_channels_last};
