//! The functions that the operations of this backend are composed of.
//!
//! Each calls a kernel of this crate or of cuDNN if there is one for its tensors, and otherwise composes candle's
//! operations (`reference.rs`).

use candle_core::{DType, Result, Tensor, bail};

use crate::backend::activation::Activation;
use crate::backend::rearrange::Rearrange;
use crate::device::convolution_report::{ConvolutionMethod, record_convolution};
use crate::device::convolution_shape::{ConvolutionShape, Pass};
use crate::device::fallbacks::{record_fallback, record_missing_kernel};
use crate::device::fused_norm::{FusedNorm, FusedNormGradient};
use crate::device::seed::Seed;
use crate::device::{cudnn, kernels, reference};

/// A convolution's weight [out, in, k, k], or [out, in] for k = 1, as a kernel [out, k, k, in] of type `dtype`.
pub(super) fn kernel(weight: &Tensor, dtype: DType) -> Result<Tensor> {
    match *weight.dims() {
        [_, _, _, _] if kernels::supports(weight) && weight.dtype() == DType::F32 => {
            kernels::weight_to_channels_last(weight, dtype)
        }
        [out, channels] => weight.to_dtype(dtype)?.reshape((out, 1, 1, channels)),
        [_, _, _, _] => weight.to_dtype(dtype)?.permute((0, 2, 3, 1))?.contiguous(),
        _ => bail!("conv2d: expected a weight of two or four axes, found {:?}", weight.dims()),
    }
}

/// The gradient of a convolution's weight, given that of its kernel.
pub(super) fn kernel_backward(grad: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if weight.rank() == 4 && weight.dtype() == DType::F32 && kernels::supports(grad) {
        return kernels::weight_from_channels_last(grad);
    }
    let grad = if weight.rank() == 4 { grad.permute((0, 3, 1, 2))?.contiguous()? } else { grad.clone() };
    grad.reshape(weight.shape())?.to_dtype(weight.dtype())
}

/// The convolution of `x` [batch, height, width, in] with `kernel` [out, k, k, in] at stride 1, padded with zeros to
/// keep height and width. A kernel of one pixel is a matrix product.
pub(super) fn convolution(x: &Tensor, kernel: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    if kernel.dim(1)? > 1 {
        return match cudnn::convolution(x, kernel)? {
            Ok(out) => Ok(out),
            Err(reason) => {
                record_composed(Pass::Forward, x, ConvolutionShape::of(x, kernel.dim(0)?, kernel.dim(1)?)?, reason);
                reference::convolution(x, kernel)
            }
        };
    }
    let out = kernel.dim(0)?;
    let x = x.reshape((batch * height * width, channels))?;
    matmul(&x, &kernel.reshape((out, channels))?.t()?)?.reshape((batch, height, width, out))
}

/// The gradient of the input of [`convolution`].
pub(super) fn convolution_input_backward(grad: &Tensor, kernel: &Tensor) -> Result<Tensor> {
    let (batch, height, width, out) = grad.dims4()?;
    if kernel.dim(1)? > 1 {
        return match cudnn::convolution_input_backward(grad, kernel)? {
            Ok(out) => Ok(out),
            Err(reason) => {
                let channels_in = kernel.dim(3)?;
                let shape = ConvolutionShape { channels_in, ..ConvolutionShape::of(grad, out, kernel.dim(1)?)? };
                record_composed(Pass::InputGradient, grad, shape, reason);
                reference::convolution_input_backward(grad, kernel)
            }
        };
    }
    let channels = kernel.dim(3)?;
    let grad = grad.reshape((batch * height * width, out))?;
    matmul(&grad, &kernel.reshape((out, channels))?)?.reshape((batch, height, width, channels))
}

/// The gradient of the kernel of [`convolution`], which has `side` × `side` pixels.
pub(super) fn convolution_kernel_backward(x: &Tensor, grad: &Tensor, side: usize) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    if side > 1 {
        return match cudnn::convolution_kernel_backward(x, grad, side)? {
            Ok(out) => Ok(out),
            Err(reason) => {
                record_composed(Pass::KernelGradient, x, ConvolutionShape::of(x, grad.dim(3)?, side)?, reason);
                reference::convolution_kernel_backward(x, grad, side)
            }
        };
    }
    let (positions, out) = (batch * height * width, grad.dim(3)?);
    let (x, grad) = (x.reshape((positions, channels))?, grad.reshape((positions, out))?);
    matmul(&grad.t()?, &x)?.reshape((out, 1, 1, channels))
}

/// Records that a convolution of images like `like` is composed of candle's operations.
fn record_composed(pass: Pass, like: &Tensor, shape: ConvolutionShape, reason: String) {
    let operation = || format!("the {pass} pass of a convolution of {shape} in {}", like.dtype().as_str());
    record_fallback(like.device(), operation, &reason);
    if like.device().is_cuda() {
        record_convolution(pass, shape, &ConvolutionMethod::Composed(reason));
    }
}

/// Whether a kernel of this crate computes the operation of this name on `x`.
fn has_kernel(name: &str, x: &Tensor) -> bool {
    let supported = kernels::supports(x);
    if !supported {
        record_missing_kernel(name, x);
    }
    supported
}

/// The product a b of matrices, or of batches of matrices.
pub(super) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    reference::matmul(a, b)
}

/// The sums over the positions of each channel of each image, [batch, channel] in the wide type.
pub(super) fn sums_over_positions(x: &Tensor) -> Result<Tensor> {
    if has_kernel("sum over positions", x) {
        kernels::sums_over_positions(x)
    } else {
        reference::sums_over_positions(x)
    }
}

/// `y` + offset + residual. The offset, [batch, channel] or [1, channel] in the wide type, is broadcast over the
/// positions.
pub(super) fn add_offset_and_residual(y: Tensor, offset: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    if offset.is_none() && residual.is_none() {
        Ok(y)
    } else if has_kernel("offset and residual", &y) {
        kernels::add_offset_and_residual(&y, offset, residual)
    } else {
        reference::add_offset_and_residual(&y, offset, residual)
    }
}

/// The data that the gradient of a normalization needs besides its input.
#[derive(Debug)]
pub(super) enum Statistics {
    /// The statistics that the kernels saved.
    Saved(kernels::Statistics),
    /// No data, because the statistics are computed again.
    Recomputed,
}

/// silu(norm(y + offset)) + residual
pub(super) fn group_norm(y: &Tensor, norm: &FusedNorm<'_>) -> Result<(Tensor, Statistics)> {
    if has_kernel("group normalization", y) {
        let (out, statistics) = kernels::group_norm(y, norm)?;
        Ok((out, Statistics::Saved(statistics)))
    } else {
        Ok((reference::group_norm(y, norm)?, Statistics::Recomputed))
    }
}

/// The gradients of [`group_norm`].
pub(super) fn group_norm_backward(
    y: &Tensor,
    norm: &FusedNorm<'_>,
    statistics: &Statistics,
    grad: &Tensor,
) -> Result<FusedNormGradient> {
    match statistics {
        Statistics::Saved(statistics) => kernels::group_norm_backward(y, norm, statistics, grad),
        Statistics::Recomputed => reference::group_norm_backward(y, norm, grad),
    }
}

/// softmax(scale · s) over the last axis.
pub(super) fn softmax(s: &Tensor, scale: f64) -> Result<Tensor> {
    if has_kernel("softmax", s) { kernels::softmax(s, scale) } else { reference::softmax(s, scale) }
}

/// The gradient of s in [`softmax`], given its result p.
pub(super) fn softmax_backward(p: &Tensor, grad: &Tensor, scale: f64) -> Result<Tensor> {
    if has_kernel("softmax gradient", p) {
        kernels::softmax_backward(p, grad, scale)
    } else {
        reference::softmax_backward(p, grad, scale)
    }
}

/// The activation function of every element.
pub(super) fn activation(activation: Activation, x: &Tensor) -> Result<Tensor> {
    if has_kernel("activation", x) { kernels::activation(activation, x) } else { reference::activation(activation, x) }
}

/// The gradient of x in [`activation`].
pub(super) fn activation_backward(activation: Activation, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    if has_kernel("activation gradient", x) {
        kernels::activation_backward(activation, x, grad)
    } else {
        reference::activation_backward(activation, x, grad)
    }
}

/// Each element zeroed with probability `rate`, or else multiplied by 1 / (1 − rate). Which elements are zeroed is a
/// function of `seed` and the shape.
pub(super) fn dropout(x: &Tensor, rate: f64, seed: &Seed) -> Result<Tensor> {
    if has_kernel("dropout", x) { kernels::dropout(x, rate, seed) } else { reference::dropout(x, rate, seed.value()?) }
}

/// The input of a convolution: the channels of one or two tensors, plus values [batch, channel] broadcast over the
/// positions, rearranged.
pub(super) fn join(
    first: &Tensor,
    second: Option<&Tensor>,
    added: Option<&Tensor>,
    arrange: Rearrange,
) -> Result<Tensor> {
    if has_kernel("concatenation and rearrangement", first) {
        kernels::join(first, second, added, arrange)
    } else {
        reference::join(first, second, added, arrange)
    }
}

/// The gradient of one part of [`join`]: that of `channels` channels from channel `from` on, out of `total`.
pub(super) fn join_backward(
    grad: &Tensor,
    arrange: Rearrange,
    total: usize,
    from: usize,
    channels: usize,
) -> Result<Tensor> {
    if has_kernel("concatenation gradient", grad) {
        kernels::join_backward(grad, arrange, total, from, channels)
    } else {
        reference::join_backward(grad, arrange, from, channels)
    }
}
