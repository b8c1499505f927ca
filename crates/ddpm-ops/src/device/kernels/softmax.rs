//! Softmax over rows.

use candle_core::{D, Result, Tensor};

use super::launch::{Elements, address_to_write, launch, number, optional, rows_of, unwritten};

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

fn of_rows(
    kernel: &'static str,
    (s, p, grad): (Option<&Tensor>, Option<&Tensor>, Option<&Tensor>),
    like: &Tensor,
    scale: f64,
) -> Result<Tensor> {
    let columns = like.dim(D::Minus1)?;
    let out = unwritten(like.shape(), like.dtype(), like.device())?;
    let args = Softmax {
        s: optional(s)?,
        p: optional(p)?,
        grad: optional(grad)?,
        out: address_to_write(&out)?,
        columns: number(columns)?,
        scale: scale as f32,
    };
    let elements = Elements::single(like.dtype());
    launch(like.device(), elements, kernel, rows_of(like.elem_count() / columns, columns)?, &args)?;
    Ok(out)
}

pub(in crate::device) fn softmax(s: &Tensor, scale: f64) -> Result<Tensor> {
    of_rows("softmax", (Some(s), None, None), s, scale)
}

pub(in crate::device) fn softmax_by_input(p: &Tensor, grad: &Tensor, scale: f64) -> Result<Tensor> {
    of_rows("softmax_grad", (None, Some(p), Some(grad)), p, scale)
}
