//! The weight of a convolution with its channels last, and the gradient of such a weight in the original layout.

use candle_core::{DType, Result, Tensor};

use crate::device::kernels::elements::Elements;
use crate::device::kernels::launch::launch;
use crate::device::kernels::launch_shape::{thread_per_item, to_i32};
use crate::device::kernels::memory::{address, address_to_write, uninitialized};

/// `WeightLayout` in `kernels.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct WeightLayout {
    weight: u64,
    channels_last: u64,
    channels: i32,
    taps: i32,
    count: i64,
}

/// `weight` [channel_out, channel_in, k, k] in f32, copied to [channel_out, k, k, channel_in] in `dtype`.
pub(crate) fn weight_to_channels_last(weight: &Tensor, dtype: DType) -> Result<Tensor> {
    let (out, channels, side, _) = weight.dims4()?;
    let kernel = uninitialized((out, side, side, channels), dtype, weight.device())?;
    let args = WeightLayout {
        weight: address(weight)?,
        channels_last: address_to_write(&kernel)?,
        channels: to_i32(channels)?,
        taps: to_i32(side * side)?,
        count: weight.elem_count() as i64,
    };
    let elements = Elements::single(dtype);
    launch(weight.device(), elements, "weight_to_channels_last", thread_per_item(weight.elem_count())?, &args)?;
    Ok(kernel)
}

/// `kernel` [channel_out, k, k, channel_in], copied to [channel_out, channel_in, k, k] in f32.
pub(crate) fn weight_from_channels_last(kernel: &Tensor) -> Result<Tensor> {
    let (out, side, _, channels) = kernel.dims4()?;
    let weight = uninitialized((out, channels, side, side), DType::F32, kernel.device())?;
    let args = WeightLayout {
        weight: address_to_write(&weight)?,
        channels_last: address(kernel)?,
        channels: to_i32(channels)?,
        taps: to_i32(side * side)?,
        count: kernel.elem_count() as i64,
    };
    let elements = Elements::single(kernel.dtype());
    launch(kernel.device(), elements, "weight_from_channels_last", thread_per_item(kernel.elem_count())?, &args)?;
    Ok(weight)
}
