//! What a convolution reads, out of the tensors that it comes from.

use candle_core::{Result, Tensor};

use super::launch::{Elements, address, address_to_write, launch, number, one_each, optional, unwritten};
use crate::backend::rearrange::Rearrange;

/// `Join` in `kernels.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Join {
    first: u64,
    second: u64,
    added: u64,
    grad: u64,
    out: u64,
    first_channels: i32,
    second_channels: i32,
    height: i32,
    width: i32,
    arrange: i32,
    part_from: i32,
    part_channels: i32,
    count: i64,
}

fn code(arrange: Rearrange) -> i32 {
    match arrange {
        Rearrange::AsIs => 0,
        Rearrange::UpsampleNearest2x => 1,
        Rearrange::PixelUnshuffle2x => 2,
    }
}

pub(in crate::device) fn join(
    first: &Tensor,
    second: Option<&Tensor>,
    added: Option<&Tensor>,
    arrange: Rearrange,
) -> Result<Tensor> {
    let (images, height, width, first_channels) = first.dims4()?;
    let second_channels = second.map_or(Ok(0), |second| second.dim(3))?;
    let (channels, height, width) = arrange.shape((first_channels + second_channels, height, width));
    let out = unwritten((images, height, width, channels), first.dtype(), first.device())?;
    let args = Join {
        first: address(first)?,
        second: optional(second)?,
        added: optional(added)?,
        out: address_to_write(&out)?,
        first_channels: number(first_channels)?,
        second_channels: number(second_channels)?,
        height: number(height)?,
        width: number(width)?,
        arrange: code(arrange),
        count: out.elem_count() as i64,
        ..Join::default()
    };
    let elements = Elements::of(&[&out], channels);
    launch(out.device(), elements, "join", one_each(out.elem_count() / elements.pack)?, &args)?;
    Ok(out)
}

/// The gradient by the part whose channels begin at `from` among `both`.
pub(in crate::device) fn join_by_part(
    grad: &Tensor,
    arrange: Rearrange,
    both: usize,
    from: usize,
    channels: usize,
) -> Result<Tensor> {
    let (images, height, width, _) = grad.dims4()?;
    let (rows, columns) = match arrange {
        Rearrange::AsIs => (height, width),
        Rearrange::UpsampleNearest2x => (height / 2, width / 2),
        Rearrange::PixelUnshuffle2x => (2 * height, 2 * width),
    };
    let out = unwritten((images, rows, columns, channels), grad.dtype(), grad.device())?;
    let args = Join {
        grad: address(grad)?,
        out: address_to_write(&out)?,
        first_channels: number(both)?,
        height: number(height)?,
        width: number(width)?,
        arrange: code(arrange),
        part_from: number(from)?,
        part_channels: number(channels)?,
        count: out.elem_count() as i64,
        ..Join::default()
    };
    let elements = Elements::of(&[&out], channels);
    launch(out.device(), elements, "join_grad", one_each(out.elem_count() / elements.pack)?, &args)?;
    Ok(out)
}
