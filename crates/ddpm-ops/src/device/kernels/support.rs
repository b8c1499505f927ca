//! Which tensors the kernels support.

use candle_core::{DType, Tensor};

use crate::device::emulation::emulated;

/// Whether the kernels can process this tensor: a non-empty tensor of f32 or bf16 on a GPU, or on the CPU if it
/// emulates a GPU.
pub(crate) fn supports(tensor: &Tensor) -> bool {
    let device = tensor.device();
    let available = cfg!(feature = "cuda") && device.is_cuda()
        || cfg!(feature = "emulated-kernels") && device.is_cpu() && emulated();
    available && matches!(tensor.dtype(), DType::F32 | DType::BF16) && tensor.elem_count() > 0
}
