//! The target and the weights of a squared error, as tensors.

use candle_core::{DType, Tensor};

use crate::DiffusionError;
use crate::error::check_shape;
use crate::loss_and_gradient::LossAndGradient;

/// What a squared error compares the output of the network with. It depends on the batch, and not on the output.
///
/// A training step that is captured as a CUDA graph reads it from the device. It is computed by
/// [`Objective::squared_error_target`](crate::Objective::squared_error_target).
#[derive(Debug, Clone)]
pub struct SquaredErrorTarget {
    /// What the network should predict, [batch, channel, height, width].
    pub target: Tensor,
    /// The weight of each image, `[batch]`; None if all weights are 1.
    pub weights: Option<Tensor>,
}

impl SquaredErrorTarget {
    /// The mean over all elements of weight (target − output)², and its gradient with respect to the output.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn loss_and_gradient(&self, output: &Tensor) -> Result<LossAndGradient, DiffusionError> {
        check_shape("the network's output", output.dims(), self.target.dims())?;
        let difference = (output.detach() - self.target.detach())?;
        let elements = difference.elem_count() as f64;

        let wide = if difference.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        // One sum per image first: a sum over all elements at once would be the work of a single block on a GPU.
        let mut squares = difference.to_dtype(wide)?.sqr()?.flatten_from(1)?.sum(1)?;
        let mut gradient = (difference * (2.0 / elements))?;
        if let Some(weights) = &self.weights {
            squares = (&squares * weights.to_dtype(wide)?)?;
            let per_image = weights.to_dtype(gradient.dtype())?.reshape(((), 1, 1, 1))?;
            gradient = gradient.broadcast_mul(&per_image)?;
        }
        Ok(LossAndGradient { loss: (squares.sum(0)? / elements)?, gradient })
    }
}
