//! What the operations are made of: each by a kernel of ours or by cuDNN where there is one, else composed of candle's.

use candle_core::{DType, Result, Tensor, bail};

use super::normalisation::{Gradient, Statistics, Surroundings};
use super::pointwise::Function;
use super::{cudnn, kernels, reference};
use crate::backend::rearrange::Rearrange;

/// A weight [out, in, k, k], or [out, in] of one tap, as [out, k, k, in] of that type.
pub(super) fn kernel(weight: &Tensor, dtype: DType) -> Result<Tensor> {
    match *weight.dims() {
        [_, _, _, _] if kernels::take(weight) && weight.dtype() == DType::F32 => {
            kernels::kernel_of_weight(weight, dtype)
        }
        [out, channels] => weight.to_dtype(dtype)?.reshape((out, 1, 1, channels)),
        [_, _, _, _] => weight.to_dtype(dtype)?.permute((0, 2, 3, 1))?.contiguous(),
        _ => bail!("conv2d: expected a weight of two or four axes, found {:?}", weight.dims()),
    }
}

/// The gradient of [`kernel`] by the weight.
pub(super) fn kernel_by_weight(grad: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if weight.rank() == 4 && weight.dtype() == DType::F32 && kernels::take(grad) {
        return kernels::weight_of_kernel(grad);
    }
    let grad = if weight.rank() == 4 { grad.permute((0, 3, 1, 2))?.contiguous()? } else { grad.clone() };
    grad.reshape(weight.shape())?.to_dtype(weight.dtype())
}

/// The convolution of `x` [batch, height, width, in] with `kernel` [out, k, k, in], zeros around the image.
pub(super) fn convolution(x: &Tensor, kernel: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    if kernel.dim(1)? > 1 {
        return match cudnn::convolution(x, kernel)? {
            Some(out) => Ok(out),
            None => reference::convolution(x, kernel),
        };
    }
    let out = kernel.dim(0)?;
    let x = x.reshape((batch * height * width, channels))?;
    matmul(&x, &kernel.reshape((out, channels))?.t()?)?.reshape((batch, height, width, out))
}

/// Its gradient by `x`.
pub(super) fn convolution_by_input(grad: &Tensor, kernel: &Tensor) -> Result<Tensor> {
    let (batch, height, width, out) = grad.dims4()?;
    if kernel.dim(1)? > 1 {
        return match cudnn::convolution_by_input(grad, kernel)? {
            Some(out) => Ok(out),
            None => reference::convolution_by_input(grad, kernel),
        };
    }
    let channels = kernel.dim(3)?;
    let grad = grad.reshape((batch * height * width, out))?;
    matmul(&grad, &kernel.reshape((out, channels))?)?.reshape((batch, height, width, channels))
}

/// Its gradient by `kernel`, whose side is given.
pub(super) fn convolution_by_kernel(x: &Tensor, grad: &Tensor, side: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    if side > 1 {
        return match cudnn::convolution_by_kernel(x, grad, side)? {
            Some(out) => Ok(out),
            None => reference::convolution_by_kernel(x, grad, side),
        };
    }
    let (positions, out) = (batch * height * width, grad.dim(3)?);
    let (x, grad) = (x.reshape((positions, channels))?, grad.reshape((positions, out))?);
    matmul(&grad.t()?, &x)?.reshape((out, 1, 1, channels))
}

/// a · b of matrices, batched or not.
pub(super) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    reference::matmul(a, b)
}

/// Sums over the positions of each channel of each image, wide: [batch, channel].
pub(super) fn sums_over_positions(x: &Tensor) -> Result<Tensor> {
    if kernels::take(x) { kernels::sums_over_positions(x) } else { reference::sums_over_positions(x) }
}

/// `y` + offset + residual, each where it is given: offset [batch, channel], wide, over all positions.
pub(super) fn raised(y: Tensor, offset: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    if offset.is_none() && residual.is_none() {
        Ok(y)
    } else if kernels::take(&y) {
        kernels::raised(&y, offset, residual)
    } else {
        reference::raised(&y, offset, residual)
    }
}

/// Group normalisation with its surroundings.
pub(super) fn normalisation(y: &Tensor, around: &Surroundings<'_>) -> Result<(Tensor, Statistics)> {
    if kernels::take(y) {
        let (out, statistics) = kernels::normalisation(y, around)?;
        Ok((out, Statistics::Kept(statistics)))
    } else {
        reference::normalisation(y, around)
    }
}

/// Its gradient by everything that was given.
pub(super) fn normalisation_by_all(
    y: &Tensor,
    around: &Surroundings<'_>,
    statistics: &Statistics,
    grad: &Tensor,
) -> Result<Gradient> {
    match statistics {
        Statistics::Kept(statistics) => kernels::normalisation_by_all(y, around, statistics, grad),
        Statistics::Again => reference::normalisation_by_all(y, around, grad),
    }
}

/// softmax(scale · s) over the last axis.
pub(super) fn softmax(s: &Tensor, scale: f64) -> Result<Tensor> {
    if kernels::take(s) { kernels::softmax(s, scale) } else { reference::softmax(s, scale) }
}

/// Its gradient by s, from its result.
pub(super) fn softmax_by_input(p: &Tensor, grad: &Tensor, scale: f64) -> Result<Tensor> {
    if kernels::take(p) {
        kernels::softmax_by_input(p, grad, scale)
    } else {
        reference::softmax_by_input(p, grad, scale)
    }
}

/// f of every element.
pub(super) fn function(f: Function, x: &Tensor) -> Result<Tensor> {
    if kernels::take(x) { kernels::function(f, x) } else { reference::function(f, x) }
}

/// grad · f′(x), element by element.
pub(super) fn function_by_input(f: Function, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    if kernels::take(x) { kernels::function_by_input(f, x, grad) } else { reference::function_by_input(f, x, grad) }
}

/// Each element with probability `rate` 0, else by 1 / (1 − rate) larger: which ones is a function of `seed` and the shape.
pub(super) fn dropout(x: &Tensor, rate: f64, seed: u64) -> Result<Tensor> {
    if kernels::take(x) { kernels::dropout(x, rate, seed) } else { reference::dropout(x, rate, seed) }
}

/// What a convolution reads: the channels of one tensor or of two, with values of each channel of each image added, rearranged.
pub(super) fn join(
    first: &Tensor,
    second: Option<&Tensor>,
    added: Option<&Tensor>,
    arrange: Rearrange,
) -> Result<Tensor> {
    if kernels::take(first) {
        kernels::join(first, second, added, arrange)
    } else {
        reference::join(first, second, added, arrange)
    }
}

/// Its gradient by the part whose channels begin at `from` among `both`.
pub(super) fn join_by_part(
    grad: &Tensor,
    arrange: Rearrange,
    both: usize,
    from: usize,
    channels: usize,
) -> Result<Tensor> {
    if kernels::take(grad) {
        kernels::join_by_part(grad, arrange, both, from, channels)
    } else {
        reference::join_by_part(grad, arrange, from, channels)
    }
}
