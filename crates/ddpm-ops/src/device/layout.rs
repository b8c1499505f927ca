//! The layout and the types of tensors on a device: channels last.

use candle_core::{DType, Result, Tensor};

/// The type of vectors, statistics and sums beside images of type `dtype`: at least f32.
pub(super) fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The shape [batch, …, channel] of [batch, channel, …].
pub(super) fn channels_last(dims: &[usize]) -> Vec<usize> {
    let mut last = dims.to_vec();
    if dims.len() > 2 {
        last[1..].rotate_left(1);
    }
    last
}

/// A tensor [batch, channel, …] as [batch, …, channel], contiguous.
pub(super) fn to_channels_last(tensor: &Tensor) -> Result<Tensor> {
    let mut axes: Vec<usize> = (0..tensor.rank()).collect();
    if axes.len() > 2 {
        axes[1..].rotate_left(1);
    }
    tensor.permute(axes)?.contiguous()
}

/// A tensor [batch, …, channel] as [batch, channel, …], contiguous.
pub(super) fn to_channels_first(tensor: &Tensor) -> Result<Tensor> {
    let mut axes: Vec<usize> = (0..tensor.rank()).collect();
    if axes.len() > 2 {
        axes[1..].rotate_right(1);
    }
    tensor.permute(axes)?.contiguous()
}

/// A tensor [batch, channel, …] in the form it has in a pass that computes images of type `dtype`: images of that type,
/// vectors wide, channels last.
pub(super) fn on_tape(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    let dtype = if tensor.rank() > 2 { dtype } else { wide(dtype) };
    to_channels_last(&tensor.detach().to_dtype(dtype)?)
}

/// A gradient [batch, …, channel] in the shape, layout and type of the tensor it belongs to.
pub(super) fn as_given(gradient: &Tensor, like: &Tensor) -> Result<Tensor> {
    to_channels_first(&gradient.reshape(channels_last(like.dims()))?)?.to_dtype(like.dtype())
}
