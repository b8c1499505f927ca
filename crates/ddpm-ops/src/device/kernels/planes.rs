//! Sums over the positions of planes, and additions of one value at all positions.

use candle_core::{DType, Result, Tensor};

use crate::device::kernels::launch::launch;
use crate::device::kernels::launch_shape::{ImageDivision, ImageShape, offset_stride, thread_per_item, to_i32};
use crate::device::kernels::memory::{address, address_to_write, optional_address, uninitialized};

/// `Planes` in `kernels.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Planes {
    x: u64,
    residual: u64,
    out: u64,
    offset: u64,
    partial: u64,
    sums: u64,
    image: ImageShape,
    blocks: i32,
    images: i32,
    offset_stride: i32,
}

impl Planes {
    /// The arguments that all kernels have in common.
    fn of(x: &Tensor, division: &ImageDivision) -> Result<Self> {
        let (blocks, images) = (to_i32(division.blocks)?, to_i32(division.images)?);
        Ok(Self { x: address(x)?, image: division.image, blocks, images, ..Self::default() })
    }
}

/// The sums over the positions of each channel of each image of `x` [image, …, channel], in f32: [image, channel].
pub(crate) fn sums_over_positions(x: &Tensor) -> Result<Tensor> {
    let (device, division) = (x.device(), ImageDivision::of(x, &[])?);
    let partial = uninitialized((division.images, division.blocks, division.channels(), 2), DType::F32, device)?;
    let sums = uninitialized((division.images, division.channels()), DType::F32, device)?;
    let (to_partial, to_sums) = (address_to_write(&partial)?, address_to_write(&sums)?);
    let args = Planes { partial: to_partial, sums: to_sums, ..Planes::of(x, &division)? };
    launch(device, division.elements, "plane_sums", division.shape(), &args)?;
    launch(device, division.elements, "plane_totals", thread_per_item(sums.elem_count())?, &args)?;
    Ok(sums)
}

/// `y` + offset + residual, each of them optional. `offset`, [image, channel] or [1, channel], is added at all
/// positions.
pub(crate) fn add_offset_and_residual(
    y: &Tensor,
    offset: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let (device, division) = (y.device(), ImageDivision::of(y, &[residual])?);
    let out = uninitialized(y.shape(), y.dtype(), device)?;
    let offset_stride = offset_stride(offset)?;
    let (offset, residual) = (optional_address(offset)?, optional_address(residual)?);
    let args = Planes { out: address_to_write(&out)?, offset, residual, offset_stride, ..Planes::of(y, &division)? };
    launch(device, division.elements, "plane_add", division.shape(), &args)?;
    Ok(out)
}
