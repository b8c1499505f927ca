//! A convolution's weight as its kernel, and the kernel's gradient as the weight's.

use candle_core::{DType, Result, Tensor};

use super::launch::{Elements, address, address_to_write, launch, number, one_each, unwritten};

/// `Taps` in `kernels.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Taps {
    weight: u64,
    kernel: u64,
    channels: i32,
    taps: i32,
    count: i64,
}

/// f32 [out, in, k, k] as [out, k, k, in] of `dtype`.
pub(in crate::device) fn kernel_of_weight(weight: &Tensor, dtype: DType) -> Result<Tensor> {
    let (out, channels, side, _) = weight.dims4()?;
    let kernel = unwritten((out, side, side, channels), dtype, weight.device())?;
    let args = Taps {
        weight: address(weight)?,
        kernel: address_to_write(&kernel)?,
        channels: number(channels)?,
        taps: number(side * side)?,
        count: weight.elem_count() as i64,
    };
    let elements = Elements::single(dtype);
    launch(weight.device(), elements, "kernel_of_weight", one_each(weight.elem_count())?, &args)?;
    Ok(kernel)
}

/// [out, k, k, in] as f32 [out, in, k, k].
pub(in crate::device) fn weight_of_kernel(kernel: &Tensor) -> Result<Tensor> {
    let (out, side, _, channels) = kernel.dims4()?;
    let weight = unwritten((out, channels, side, side), DType::F32, kernel.device())?;
    let args = Taps {
        weight: address_to_write(&weight)?,
        kernel: address(kernel)?,
        channels: number(channels)?,
        taps: number(side * side)?,
        count: kernel.elem_count() as i64,
    };
    let elements = Elements::single(kernel.dtype());
    launch(kernel.device(), elements, "weight_of_kernel", one_each(kernel.elem_count())?, &args)?;
    Ok(weight)
}
