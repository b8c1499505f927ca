//! Softmax over the last axis.

use candle_core::{D, Result, Tensor};

use crate::device::kernels::elements::Elements;
use crate::device::kernels::launch::launch;
use crate::device::kernels::launch_shape::{block_per_row, to_i32};
use crate::device::kernels::memory::{address_to_write, optional_address, uninitialised};

/// `Softmax` in `kernels.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Softmax {
    s: u64,
    p: u64,
    grad: u64,
    out: u64,
    columns: i32,
    scale: f32,
}

fn softmax_kernel(
    kernel: &'static str,
    (s, p, grad): (Option<&Tensor>, Option<&Tensor>, Option<&Tensor>),
    like: &Tensor,
    scale: f64,
) -> Result<Tensor> {
    let columns = like.dim(D::Minus1)?;
    let out = uninitialised(like.shape(), like.dtype(), like.device())?;
    let args = Softmax {
        s: optional_address(s)?,
        p: optional_address(p)?,
        grad: optional_address(grad)?,
        out: address_to_write(&out)?,
        columns: to_i32(columns)?,
        scale: scale as f32,
    };
    let elements = Elements::single(like.dtype());
    launch(like.device(), elements, kernel, block_per_row(like.elem_count() / columns, columns)?, &args)?;
    Ok(out)
}

/// softmax(scale · s) over the last axis.
pub(crate) fn softmax(s: &Tensor, scale: f64) -> Result<Tensor> {
    softmax_kernel("softmax", (Some(s), None, None), s, scale)
}

/// The gradient of [`softmax`] with respect to s, from its result `p`.
pub(crate) fn softmax_backward(p: &Tensor, grad: &Tensor, scale: f64) -> Result<Tensor> {
    softmax_kernel("softmax_grad", (None, Some(p), Some(grad)), p, scale)
}
