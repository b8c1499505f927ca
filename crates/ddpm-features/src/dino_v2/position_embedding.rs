//! The embedding of positions for another number of patches than in the training.

use candle_core::Tensor;

use crate::axis_weights::AxisWeights;
use crate::error::Result;

/// Resizes the embeddings of `from` × `from` patches to `to` × `to` patches; that of the class token stays.
///
/// The interpolation is bicubic as in `Dinov2Embeddings` of transformers: between the centers of patches, a = −3/4.
///
/// DIFFERENCE: the code of Meta AI scales by (to + 0.1) / from, which samples slightly different positions.
///
/// # Shapes
/// `embedding` [1, 1 + from², width]; the result is [1, 1 + to², width].
pub(crate) fn resized_positions(embedding: &Tensor, from: usize, to: usize) -> Result<Tensor> {
    if from == to {
        return Ok(embedding.clone());
    }
    let width = embedding.dim(2)?;
    let class = embedding.narrow(1, 0, 1)?;
    // [width, from, from]
    let patches =
        embedding.narrow(1, 1, from * from)?.reshape((from, from, width))?.permute((2, 0, 1))?.contiguous()?;
    let axis = Tensor::from_vec(AxisWeights::torch_bicubic(from, to).matrix(), (to, from), embedding.device())?;
    let rows = patches.broadcast_matmul(&axis.t()?.contiguous()?)?;
    let resized = axis.broadcast_matmul(&rows)?.permute((1, 2, 0))?.reshape((1, to * to, width))?;
    Ok(Tensor::cat(&[class, resized], 1)?)
}
