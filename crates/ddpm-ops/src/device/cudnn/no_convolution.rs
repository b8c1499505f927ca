//! Replaces `convolution.rs` in a build without the feature `cuda`: no convolution is supported.

use candle_core::{Result, Tensor};

use crate::device::cudnn::Attempt;

const REASON: &str = "this program was built without cuDNN";

pub(in crate::device) fn convolution(_: &Tensor, _: &Tensor) -> Result<Attempt> {
    Ok(Err(REASON.into()))
}

pub(in crate::device) fn convolution_input_backward(_: &Tensor, _: &Tensor) -> Result<Attempt> {
    Ok(Err(REASON.into()))
}

pub(in crate::device) fn convolution_kernel_backward(_: &Tensor, _: &Tensor, _: usize) -> Result<Attempt> {
    Ok(Err(REASON.into()))
}
