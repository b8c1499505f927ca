//! Replaces `cudnn` in builds without the feature `cuda`: every function reports that cuDNN is not available.

use candle_core::{Result, Tensor};

pub(super) fn convolution(_: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
    Ok(None)
}

pub(super) fn convolution_input_backward(_: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
    Ok(None)
}

pub(super) fn convolution_kernel_backward(_: &Tensor, _: &Tensor, _: usize) -> Result<Option<Tensor>> {
    Ok(None)
}
