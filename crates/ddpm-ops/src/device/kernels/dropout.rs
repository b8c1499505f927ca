//! Dropout whose mask is a function of a seed.

use candle_core::{Result, Tensor};

use super::launch::{Elements, address, address_to_write, launch, one_each, unwritten};

/// `Dropout` in `kernels.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Dropout {
    x: u64,
    out: u64,
    seed: u64,
    count: i64,
    rate: f32,
    kept: f32,
}

pub(in crate::device) fn dropout(x: &Tensor, rate: f64, seed: u64) -> Result<Tensor> {
    let elements = Elements::of(&[x], x.elem_count());
    let out = unwritten(x.shape(), x.dtype(), x.device())?;
    let args = Dropout {
        x: address(x)?,
        out: address_to_write(&out)?,
        seed,
        count: x.elem_count() as i64,
        rate: rate as f32,
        kept: (1.0 / (1.0 - rate)) as f32,
    };
    launch(x.device(), elements, "dropout", one_each(x.elem_count() / elements.pack)?, &args)?;
    Ok(out)
}
