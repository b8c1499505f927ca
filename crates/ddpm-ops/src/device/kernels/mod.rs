//! Our kernels: on a GPU, and for tests on the CPU.
//!
//! `kernels.cu` is the source of both. A structure there has its twin here, field by field, with `repr(C)`; addresses are
//! numbers, 0 for none.

mod dropout;
#[cfg(feature = "emulated-kernels")]
mod emulated;
mod join;
mod launch;
mod normalisation;
#[cfg(feature = "cuda")]
mod on_gpu;
mod pointwise;
mod softmax;
mod update;
mod weights;

use candle_core::{DType, Tensor};

pub(super) use self::dropout::dropout;
pub(super) use self::join::{join, join_by_part};
#[cfg(feature = "cuda")]
pub(super) use self::launch::{address, address_to_write, number, unwritten};
pub(super) use self::normalisation::{Statistics, normalisation, normalisation_by_all};
#[cfg(feature = "cuda")]
pub use self::on_gpu::open_gpu;
pub(super) use self::pointwise::{function, function_by_input, raised, sums_over_positions};
pub(super) use self::softmax::{softmax, softmax_by_input};
pub use self::update::{DeviceUpdate, UpdateRecord, UpdateStep, Updated};
pub(super) use self::weights::{kernel_of_weight, weight_of_kernel};
use crate::device::emulation::emulated;

/// Whether there are kernels for values like these.
pub(super) fn take(tensor: &Tensor) -> bool {
    let device = tensor.device();
    let there = cfg!(feature = "cuda") && device.is_cuda()
        || cfg!(feature = "emulated-kernels") && device.is_cpu() && emulated();
    there && matches!(tensor.dtype(), DType::F32 | DType::BF16) && tensor.elem_count() > 0
}
