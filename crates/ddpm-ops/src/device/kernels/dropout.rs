//! Dropout without a stored mask.

use candle_core::{Result, Tensor};

use crate::device::kernels::elements::Elements;
use crate::device::kernels::launch::launch;
use crate::device::kernels::launch_shape::thread_per_item;
use crate::device::kernels::memory::{address, address_to_write, uninitialized};
use crate::device::seed::Seed;

/// `Dropout` in `kernels.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Dropout {
    x: u64,
    out: u64,
    stored_seed: u64,
    seed: u64,
    count: i64,
    rate: f32,
    scale: f32,
}

/// Zeroes each element with probability `rate` and multiplies the others by 1 / (1 − rate). Which ones are zeroed is a
/// function of `seed` and their index, so the backward pass calls this function again, with the gradient.
pub(crate) fn dropout(x: &Tensor, rate: f64, seed: &Seed) -> Result<Tensor> {
    let elements = Elements::of(&[x], x.elem_count());
    let out = uninitialized(x.shape(), x.dtype(), x.device())?;
    let (stored_seed, seed) = match seed {
        Seed::Value(value) => (0, *value),
        Seed::Stored(stored) => (address(stored)?, 0),
    };
    let args = Dropout {
        x: address(x)?,
        out: address_to_write(&out)?,
        stored_seed,
        seed,
        count: x.elem_count() as i64,
        rate: rate as f32,
        scale: (1.0 / (1.0 - rate)) as f32,
    };
    launch(x.device(), elements, "dropout", thread_per_item(x.elem_count() / elements.pack)?, &args)?;
    Ok(out)
}
