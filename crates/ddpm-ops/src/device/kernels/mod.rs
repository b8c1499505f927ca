//! The project's own kernels, on a GPU or, for tests, on the CPU.
//!
//! `kernels.cu` is the source for both. Every structure that a kernel takes has a twin here with the same fields and
//! `repr(C)`, in which addresses are u64, and 0 means null.

mod dropout;
mod elements;
#[cfg(feature = "emulated-kernels")]
mod emulated;
#[cfg(feature = "cuda")]
mod gpu;
mod join;
mod launch;
mod launch_shape;
mod memory;
mod normalisation;
mod pointwise;
mod softmax;
mod support;
mod update;
mod weights;

pub(super) use self::dropout::dropout;
#[cfg(feature = "cuda")]
pub use self::gpu::open_gpu;
pub(super) use self::join::{join, join_by_part};
#[cfg(feature = "cuda")]
pub(super) use self::launch_shape::to_i32;
#[cfg(feature = "cuda")]
pub(super) use self::memory::{address, address_to_write, uninitialised};
pub(super) use self::normalisation::{Statistics, normalisation, normalisation_by_all};
pub(super) use self::pointwise::{function, function_by_input, raised, sums_over_positions};
pub(super) use self::softmax::{softmax, softmax_by_input};
pub(super) use self::support::supports;
pub use self::update::{DeviceUpdate, UpdateRecord, UpdateStep, Updated};
pub(super) use self::weights::{kernel_of_weight, weight_of_kernel};
