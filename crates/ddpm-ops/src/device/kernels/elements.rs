//! The element types and pack sizes that the kernels are compiled for.

use candle_core::{DType, Tensor};

/// An element type and the number of adjacent elements that a thread processes at once. The kernels are compiled once
/// for each combination in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Elements {
    /// True for bf16, false for f32.
    pub(super) bf16: bool,
    /// `VEC` in `kernels.cu`: as many elements as 16 bytes hold if rows consist of whole packs, else 1.
    pub(super) pack: usize,
}

impl Elements {
    /// Elements for tensors of one type, whose rows have this number of elements.
    pub(super) fn of(tensors: &[&Tensor], row: usize) -> Self {
        let bf16 = tensors.first().is_some_and(|tensor| tensor.dtype() == DType::BF16);
        let largest = if bf16 { 8 } else { 4 };
        // A view of a part of a tensor may start in the middle of a pack.
        let aligned = |tensor: &&Tensor| tensor.layout().start_offset().is_multiple_of(largest);
        let packed = row.is_multiple_of(largest) && tensors.iter().all(aligned);
        Self { bf16, pack: if packed { largest } else { 1 } }
    }

    /// Elements of a type, processed one at a time.
    pub(super) fn single(dtype: DType) -> Self {
        Self { bf16: dtype == DType::BF16, pack: 1 }
    }
}
