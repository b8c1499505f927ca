//! Losses that a training step differentiates.

use candle_core::{DType, Result, Tensor};

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

/// [`mean_squared_error`] and its gradient by the prediction, 2 (prediction − target) / n. Neither is tracked, and nothing waits
/// for a device.
///
/// # Shapes
/// Two tensors of one shape, whose first axis is the images; the loss is a scalar, in f32 at least, the gradient of their shape.
///
/// # Errors
/// When the shapes differ.
pub fn mean_squared_error_and_gradient(prediction: &Tensor, target: &Tensor) -> Result<(Tensor, Tensor)> {
    if prediction.dims() != target.dims() {
        candle_core::bail!("mean squared error of shapes {:?} and {:?}", prediction.dims(), target.dims());
    }
    let difference = (prediction.detach() - target.detach())?;
    let wide = if difference.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    // Image by image first: a sum over everything at once is one block's work on a GPU.
    let squares = difference.to_dtype(wide)?.sqr()?.flatten_from(1)?.sum(1)?;
    let count = difference.elem_count() as f64;
    Ok(((squares.sum(0)? / count)?, (difference * (2.0 / count))?))
}
