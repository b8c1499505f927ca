//! Rearranging, halving and doubling of images with the channels last.

use candle_core::{Result, Tensor};

use crate::backend::rearrange::Rearrange;

/// Images [batch, height, width, channel], rearranged.
pub(super) fn rearrange(x: &Tensor, arrange: Rearrange) -> Result<Tensor> {
    match arrange {
        Rearrange::AsIs => Ok(x.clone()),
        Rearrange::UpsampleNearest2x => upsample(x),
        Rearrange::PixelUnshuffle2x => {
            let (batch, height, width, channels) = x.dims4()?;
            let blocks = x.reshape((batch, height / 2, 2, width / 2, 2, channels))?;
            let channels_of_block = blocks.permute((0, 1, 3, 5, 2, 4))?.contiguous()?;
            channels_of_block.reshape((batch, height / 2, width / 2, 4 * channels))
        }
    }
}

/// The gradient of [`rearrange`].
pub(super) fn rearrange_backward(grad: &Tensor, arrange: Rearrange) -> Result<Tensor> {
    match arrange {
        Rearrange::AsIs => Ok(grad.clone()),
        Rearrange::UpsampleNearest2x => sum_blocks(grad),
        Rearrange::PixelUnshuffle2x => {
            let (batch, height, width, channels) = grad.dims4()?;
            let blocks = grad.reshape((batch, height, width, channels / 4, 2, 2))?.permute((0, 1, 4, 2, 5, 3))?;
            blocks.contiguous()?.reshape((batch, 2 * height, 2 * width, channels / 4))
        }
    }
}

/// Every pixel as a 2 × 2 block.
pub(super) fn upsample(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let blocks = x.reshape((batch, height, 1, width, 1, channels))?;
    let blocks = blocks.broadcast_as((batch, height, 2, width, 2, channels))?.contiguous()?;
    blocks.reshape((batch, 2 * height, 2 * width, channels))
}

/// The sum of every 2 × 2 block.
pub(super) fn sum_blocks(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    x.reshape((batch, height / 2, 2, width / 2, 2, channels))?.sum(4)?.sum(2)
}

/// Every second row and column, from row and column `first`.
pub(super) fn every_second(x: &Tensor, first: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let blocks = x.reshape((batch, height / 2, 2, width / 2, 2, channels))?;
    let chosen = blocks.narrow(2, first, 1)?.narrow(4, first, 1)?.contiguous()?;
    chosen.reshape((batch, height / 2, width / 2, channels))
}

/// The gradient of [`every_second`], with zeros in the other rows and columns.
pub(super) fn every_second_backward(grad: &Tensor, first: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = grad.dims4()?;
    let blocks = grad.reshape((batch, height, 1, width, 1, channels))?;
    let blocks = blocks.pad_with_zeros(2, first, 1 - first)?.pad_with_zeros(4, first, 1 - first)?.contiguous()?;
    blocks.reshape((batch, 2 * height, 2 * width, channels))
}
