//! Losses that a training step differentiates.

use candle_core::{Result, Tensor};

/// The mean over all elements of (prediction − target)².
///
/// # Shapes
/// Two tensors of one shape; the result is a scalar.
///
/// # Errors
/// When the shapes differ.
pub fn mean_squared_error(prediction: &Tensor, target: &Tensor) -> Result<Tensor> {
    if prediction.dims() != target.dims() {
        candle_core::bail!("mean squared error of shapes {:?} and {:?}", prediction.dims(), target.dims());
    }
    prediction.sub(target)?.sqr()?.mean_all()
}
