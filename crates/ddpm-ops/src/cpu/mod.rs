//! The CPU backend's kernels: convolution, matrix products, reductions, and the memory and threads that they use.

pub(crate) mod amx;
pub(crate) mod buffer;
pub(crate) mod conv2d;
pub(crate) mod exp;
pub(crate) mod gemm;
pub(crate) mod geometry;
pub(crate) mod micro_kernel;
pub(crate) mod planes;
pub(crate) mod reduce;
pub(crate) mod scratch;
pub(crate) mod tensor_slice;
pub(crate) mod transpose_16x16;
pub(crate) mod transpose_8x8;
pub(crate) mod vectorise;
pub(crate) mod work_division;

use candle_core::{DType, Tensor};

pub(crate) use self::scratch::{with_scratch, with_second_scratch as with_spare};
pub(crate) use self::tensor_slice::{with_slice, with_slices};
pub(crate) use self::work_division::even_ranges as runs;

/// Whether the fused CPU kernels take these tensors: all f32 and on the CPU.
pub(crate) fn takes(tensors: &[&Tensor]) -> bool {
    !crate::device::emulated() && tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32)
}
