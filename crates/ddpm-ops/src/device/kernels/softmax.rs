//! Softmax over the last axis.

use candle_core::{D, Result, Tensor};

use crate::device::kernels::elements::Elements;
use crate::device::kernels::launch::launch;
use crate::device::kernels::launch_shape::{to_i32, warp_per_row};
use crate::device::kernels::memory::{address_to_write, optional_address, uninitialized};

/// `Softmax` in `kernels.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Softmax {
    s: u64,
    p: u64,
    grad: u64,
    out: u64,
    rows: i64,
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
    let rows = like.elem_count() / columns;
    let out = uninitialized(like.shape(), like.dtype(), like.device())?;
    let args = Softmax {
        s: optional_address(s)?,
        p: optional_address(p)?,
        grad: optional_address(grad)?,
        out: address_to_write(&out)?,
        rows: rows as i64,
        columns: to_i32(columns)?,
        scale: scale as f32,
    };
    let given: Vec<&Tensor> = [s, p, grad].into_iter().flatten().collect();
    launch(like.device(), Elements::of(&given, columns), kernel, warp_per_row(rows)?, &args)?;
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
