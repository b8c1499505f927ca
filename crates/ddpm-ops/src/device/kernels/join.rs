//! The input of a convolution: the channels of one or two tensors, with values added, and rearranged.

use candle_core::{Result, Tensor};

use crate::backend::rearrange::Rearrange;
use crate::device::kernels::elements::Elements;
use crate::device::kernels::launch::launch;
use crate::device::kernels::launch_shape::{thread_per_item_of_image, to_i32};
use crate::device::kernels::memory::{address, address_to_write, optional_address, uninitialized};

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
    rearrange: i32,
    part_from: i32,
    part_channels: i32,
    count: i32,
    packed: i32,
}

/// The number of a rearrangement in `kernels.cu`.
fn code(arrange: Rearrange) -> i32 {
    match arrange {
        Rearrange::AsIs => 0,
        Rearrange::UpsampleNearest2x => 1,
        Rearrange::PixelUnshuffle2x => 2,
    }
}

/// Whether the elements that become a pack of the result are adjacent in one of the tensors that are read, and aligned:
/// they are if `channels`, the numbers of channels after which a tensor or a part of it starts, are whole packs.
fn packed(arrange: Rearrange, read: &[Option<&Tensor>], elements: Elements, channels: &[usize]) -> bool {
    let whole = |channels: &usize| channels.is_multiple_of(elements.pack);
    let aligned = |tensor: &&Tensor| whole(&tensor.layout().start_offset());
    arrange != Rearrange::PixelUnshuffle2x && channels.iter().all(whole) && read.iter().flatten().all(aligned)
}

/// The concatenated channels of `first` and `second`, [image, row, column, channel], with the values `added` [image,
/// channel], rearranged.
pub(crate) fn join(
    first: &Tensor,
    second: Option<&Tensor>,
    added: Option<&Tensor>,
    arrange: Rearrange,
) -> Result<Tensor> {
    let (images, height, width, first_channels) = first.dims4()?;
    let second_channels = second.map_or(Ok(0), |second| second.dim(3))?;
    let (channels, height, width) = arrange.shape((first_channels + second_channels, height, width));
    let out = uninitialized((images, height, width, channels), first.dtype(), first.device())?;
    let (given, count) = ([Some(first), second], height * width * channels);
    let elements = Elements::of(&[&out], channels);
    let args = Join {
        first: address(first)?,
        second: optional_address(second)?,
        added: optional_address(added)?,
        out: address_to_write(&out)?,
        first_channels: to_i32(first_channels)?,
        second_channels: to_i32(second_channels)?,
        height: to_i32(height)?,
        width: to_i32(width)?,
        rearrange: code(arrange),
        count: to_i32(count)?,
        packed: i32::from(packed(arrange, &given, elements, &[first_channels, second_channels])),
        ..Join::default()
    };
    launch(out.device(), elements, "join", thread_per_item_of_image(count / elements.pack, images)?, &args)?;
    Ok(out)
}

/// The gradient of one of the two tensors: of the `channels` channels that start at `from`, out of `total`. `grad` is
/// the gradient of the result of [`join`].
pub(crate) fn join_backward(
    grad: &Tensor,
    arrange: Rearrange,
    total: usize,
    from: usize,
    channels: usize,
) -> Result<Tensor> {
    let (images, height, width, _) = grad.dims4()?;
    let (rows, columns) = match arrange {
        Rearrange::AsIs => (height, width),
        Rearrange::UpsampleNearest2x => (height / 2, width / 2),
        Rearrange::PixelUnshuffle2x => (2 * height, 2 * width),
    };
    let out = uninitialized((images, rows, columns, channels), grad.dtype(), grad.device())?;
    // Indices within an image of the gradient are ints too.
    to_i32(grad.elem_count() / images.max(1))?;
    let count = rows * columns * channels;
    let elements = Elements::of(&[&out], channels);
    let args = Join {
        grad: address(grad)?,
        out: address_to_write(&out)?,
        first_channels: to_i32(total)?,
        height: to_i32(height)?,
        width: to_i32(width)?,
        rearrange: code(arrange),
        part_from: to_i32(from)?,
        part_channels: to_i32(channels)?,
        count: to_i32(count)?,
        packed: i32::from(packed(arrange, &[Some(grad)], elements, &[total, from])),
        ..Join::default()
    };
    launch(out.device(), elements, "join_grad", thread_per_item_of_image(count / elements.pack, images)?, &args)?;
    Ok(out)
}
