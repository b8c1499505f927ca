//! Images joined, halved, doubled and rearranged, with the channels last.

use candle_core::{Result, Tensor};

use crate::backend::rearrange::Rearrange;
use crate::resample::Resample;
use crate::tape::{Gradients, Tape, Value};

impl Tape {
    pub(crate) fn device_concat(&self, parts: &[&Value]) -> Result<Value> {
        let parts = parts.iter().map(|part| part.device().cloned()).collect::<Result<Vec<_>>>()?;
        let tensors: Vec<&Tensor> = parts.iter().map(|part| &part.tensor).collect();
        let axis = tensors[0].rank() - 1;
        let out = Tensor::cat(&tensors, axis)?;
        let nodes: Vec<_> = parts.iter().map(|part| (part.node, part.dims[1])).collect();
        let places: Vec<_> = nodes.iter().map(|(node, _)| *node).collect();
        Ok(self.push_device(out, &places, &[], || {
            Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
                let mut from = 0;
                for (node, channels) in nodes {
                    if node.is_some() {
                        gradients.add(node, grad.narrow(axis, from, channels)?.contiguous()?);
                    }
                    from += channels;
                }
                Ok(())
            })
        }))
    }

    pub(crate) fn device_resample(&self, x: &Value, how: Resample) -> Result<Value> {
        let x = x.device()?;
        let out = match how {
            Resample::Nearest => doubled(&x.tensor)?,
            Resample::Mean => (sums_of_blocks(&x.tensor)? * 0.25)?,
            Resample::Even => every_second(&x.tensor, 0)?,
            Resample::Odd => every_second(&x.tensor, 1)?,
        };
        Ok(self.push_unary(x, out, move |grad| match how {
            Resample::Nearest => sums_of_blocks(&grad),
            Resample::Mean => doubled(&grad)? * 0.25,
            Resample::Even => apart(&grad, 0),
            Resample::Odd => apart(&grad, 1),
        }))
    }
}

/// The images rearranged.
pub(super) fn arranged(x: &Tensor, arrange: Rearrange) -> Result<Tensor> {
    match arrange {
        Rearrange::AsIs => Ok(x.clone()),
        Rearrange::UpsampleNearest2x => doubled(x),
        Rearrange::PixelUnshuffle2x => {
            let (batch, height, width, channels) = x.dims4()?;
            let blocks = x.reshape((batch, height / 2, 2, width / 2, 2, channels))?;
            let channels_of_blocks = blocks.permute((0, 1, 3, 5, 2, 4))?.contiguous()?;
            channels_of_blocks.reshape((batch, height / 2, width / 2, 4 * channels))
        }
    }
}

/// The gradient of [`arranged`].
pub(super) fn arranged_by_input(grad: &Tensor, arrange: Rearrange) -> Result<Tensor> {
    match arrange {
        Rearrange::AsIs => Ok(grad.clone()),
        Rearrange::UpsampleNearest2x => sums_of_blocks(grad),
        Rearrange::PixelUnshuffle2x => {
            let (batch, height, width, channels) = grad.dims4()?;
            let blocks = grad.reshape((batch, height, width, channels / 4, 2, 2))?.permute((0, 1, 4, 2, 5, 3))?;
            blocks.contiguous()?.reshape((batch, 2 * height, 2 * width, channels / 4))
        }
    }
}

/// Every pixel as a 2 × 2 block of itself.
fn doubled(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let blocks = x.reshape((batch, height, 1, width, 1, channels))?;
    let blocks = blocks.broadcast_as((batch, height, 2, width, 2, channels))?.contiguous()?;
    blocks.reshape((batch, 2 * height, 2 * width, channels))
}

/// The sum of every 2 × 2 block.
fn sums_of_blocks(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    x.reshape((batch, height / 2, 2, width / 2, 2, channels))?.sum(4)?.sum(2)
}

/// Every second row and column, from row and column `first`.
fn every_second(x: &Tensor, first: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let blocks = x.reshape((batch, height / 2, 2, width / 2, 2, channels))?;
    let chosen = blocks.narrow(2, first, 1)?.narrow(4, first, 1)?.contiguous()?;
    chosen.reshape((batch, height / 2, width / 2, channels))
}

/// The gradient of [`every_second`]: zeros between.
fn apart(grad: &Tensor, first: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = grad.dims4()?;
    let blocks = grad.reshape((batch, height, 1, width, 1, channels))?;
    let blocks = blocks.pad_with_zeros(2, first, 1 - first)?.pad_with_zeros(4, first, 1 - first)?.contiguous()?;
    blocks.reshape((batch, 2 * height, 2 * width, channels))
}
