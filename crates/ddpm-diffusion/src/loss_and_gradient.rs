//! The loss of a batch, and its gradient.

use candle_core::Tensor;

/// A loss and its gradient.
#[derive(Debug, Clone)]
pub struct LossAndGradient {
    /// The loss of the batch: a scalar, in f32 or f64, on the device of the network's output.
    pub loss: Tensor,
    /// ∂loss/∂output, with the shape and dtype of the network's output.
    pub gradient: Tensor,
}
