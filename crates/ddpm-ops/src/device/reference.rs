//! The primitives composed of candle's operations: they run on any device, and the kernels are tested against them.
//! bf16 is converted to f32, and results are rounded once, as tensor cores do.

use candle_core::{D, Result, Tensor};

use crate::backend::activation::Activation;
use crate::backend::rearrange::Rearrange;
use crate::device::fused_norm::{FusedNorm, FusedNormGradient};
use crate::device::layout::wide;
use crate::device::rearrange::{rearrange, rearrange_backward};

/// `x` in the wide type of its type.
fn widened(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(wide(x.dtype()))
}

/// a · b of matrices, batched or not.
pub(super) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() { widened(a)?.matmul(&widened(b)?)?.to_dtype(a.dtype()) } else { a.matmul(b) }
}

/// `x` [batch, height, width, in], `kernel` [out, k, k, in].
pub(super) fn convolution(x: &Tensor, kernel: &Tensor) -> Result<Tensor> {
    let padding = kernel.dim(1)? / 2;
    let channels_first = |t: &Tensor| widened(t)?.permute((0, 3, 1, 2))?.contiguous();
    let out = channels_first(x)?.conv2d(&channels_first(kernel)?, padding, 1, 1, 1)?;
    out.permute((0, 2, 3, 1))?.contiguous()?.to_dtype(x.dtype())
}

/// The gradient of a convolution's input: the convolution of the result's gradient with the flipped kernel.
pub(super) fn convolution_input_backward(grad: &Tensor, kernel: &Tensor) -> Result<Tensor> {
    let flipped = kernel.flip(&[1, 2])?.permute((3, 1, 2, 0))?.contiguous()?;
    convolution(grad, &flipped)
}

/// The gradient of a convolution's kernel, [out, k, k, in]: for each pixel of the kernel, the matrix product of the
/// result's gradient with the shifted input.
pub(super) fn convolution_kernel_backward(x: &Tensor, grad: &Tensor, side: usize) -> Result<Tensor> {
    let (batch, height, width, channels_in) = x.dims4()?;
    let channels_out = grad.dim(3)?;
    let positions = batch * height * width;
    let padded = widened(x)?.pad_with_zeros(1, side / 2, side / 2)?.pad_with_zeros(2, side / 2, side / 2)?;
    let grad = widened(grad)?.reshape((positions, channels_out))?.t()?.contiguous()?;
    let pixel = |i: usize| {
        let shifted = padded.narrow(1, i / side, height)?.narrow(2, i % side, width)?.contiguous()?;
        grad.matmul(&shifted.reshape((positions, channels_in))?)
    };
    let pixels = (0..side * side).map(pixel).collect::<Result<Vec<_>>>()?;
    Tensor::stack(&pixels, 1)?.reshape((channels_out, side, side, channels_in))?.to_dtype(x.dtype())
}

/// The sums over the positions of each channel of each image, [batch, channel] in the wide type.
pub(super) fn sums_over_positions(x: &Tensor) -> Result<Tensor> {
    widened(x)?.reshape(flat_lengths(x)?)?.sum(1)
}

/// The lengths (batch, position, channel) of a tensor [batch, …, channel].
fn flat_lengths(x: &Tensor) -> Result<(usize, usize, usize)> {
    let (batch, channels) = (x.dim(0)?, x.dim(D::Minus1)?);
    Ok((batch, x.dims()[1..x.rank() - 1].iter().product(), channels))
}

/// `y` [batch, …, channel] + offset [batch, channel] or [1, channel] + residual.
pub(super) fn add_offset_and_residual(
    y: &Tensor,
    offset: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let mut sum = widened(y)?;
    if let Some(offset) = offset {
        sum = sum.broadcast_add(&over_positions(offset, y)?)?;
    }
    if let Some(residual) = residual {
        sum = (sum + widened(residual)?)?;
    }
    sum.to_dtype(y.dtype())
}

/// Values [n, channel] as [n, 1, …, 1, channel], to be broadcast over the positions of `like`.
fn over_positions(values: &Tensor, like: &Tensor) -> Result<Tensor> {
    let mut dims = vec![1; like.rank()];
    dims[0] = values.dim(0)?;
    dims[like.rank() - 1] = values.dim(1)?;
    values.reshape(dims)
}

/// The normalized values [batch, position, group, channel of the group], and 1/σ [batch, 1, group, 1].
fn normalized(y: &Tensor, norm: &FusedNorm<'_>) -> Result<(Tensor, Tensor)> {
    let (batch, positions, channels) = flat_lengths(y)?;
    let y = add_offset_and_residual(&widened(y)?, norm.offset, None)?;
    let grouped = y.reshape((batch, positions, norm.groups, channels / norm.groups))?;
    let mean = grouped.mean_keepdim(3)?.mean_keepdim(1)?;
    let centered = grouped.broadcast_sub(&mean)?;
    let variance = centered.sqr()?.mean_keepdim(3)?.mean_keepdim(1)?;
    let inverse = (variance + norm.eps)?.sqrt()?.recip()?;
    Ok((centered.broadcast_mul(&inverse)?, inverse))
}

/// silu(norm(y + offset)) + residual
pub(super) fn group_norm(y: &Tensor, norm: &FusedNorm<'_>) -> Result<Tensor> {
    let (normal, _) = normalized(y, norm)?;
    let scaled = normal.reshape(y.dims())?.broadcast_mul(norm.weight)?.broadcast_add(norm.bias)?;
    let out = if norm.silu { scaled.silu()? } else { scaled };
    add_offset_and_residual(&out, None, norm.residual)?.to_dtype(y.dtype())
}

/// The gradients of [`group_norm`]. With ẑ the normalized values and g their gradient, ∂y = (g − mean(g) − ẑ mean(g ẑ))
/// / σ, with means over a group.
pub(super) fn group_norm_backward(y: &Tensor, norm: &FusedNorm<'_>, grad: &Tensor) -> Result<FusedNormGradient> {
    let (normal, inverse) = normalized(y, norm)?;
    let flat = normal.reshape(y.dims())?;
    let mut by_scaled = widened(grad)?;
    if norm.silu {
        let scaled = flat.broadcast_mul(norm.weight)?.broadcast_add(norm.bias)?;
        by_scaled = activation_backward(Activation::Silu, &scaled, &by_scaled)?;
    }
    let channels = y.dim(D::Minus1)?;
    let over_all = |x: Tensor| x.reshape(((), channels))?.sum(0);
    let (weight, bias) = (over_all((&by_scaled * &flat)?)?, over_all(by_scaled.clone())?);
    let by_normal = by_scaled.broadcast_mul(norm.weight)?.reshape(normal.dims())?;
    let mean = |x: &Tensor| x.mean_keepdim(3)?.mean_keepdim(1);
    let along = normal.broadcast_mul(&mean(&(&by_normal * &normal)?)?)?;
    let input = by_normal.broadcast_sub(&mean(&by_normal)?)?.sub(&along)?.broadcast_mul(&inverse)?;
    let input = input.reshape(y.dims())?;
    let offset = sums_over_positions(&input)?;
    Ok(FusedNormGradient { input: input.to_dtype(y.dtype())?, offset, weight, bias })
}

/// softmax(scale · s) over the last axis.
pub(super) fn softmax(s: &Tensor, scale: f64) -> Result<Tensor> {
    let scaled = (widened(s)? * scale)?;
    let exp = scaled.broadcast_sub(&scaled.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?.to_dtype(s.dtype())
}

/// The gradient of s in [`softmax`], given its result p and the gradient g of p: scale p (g − Σ g p).
pub(super) fn softmax_backward(p: &Tensor, grad: &Tensor, scale: f64) -> Result<Tensor> {
    let (wide_p, wide_grad) = (widened(p)?, widened(grad)?);
    let along = (&wide_p * &wide_grad)?.sum_keepdim(D::Minus1)?;
    ((wide_p * wide_grad.broadcast_sub(&along)?)? * scale)?.to_dtype(p.dtype())
}

/// The activation function of every element.
pub(super) fn activation(activation: Activation, x: &Tensor) -> Result<Tensor> {
    let x_wide = widened(x)?;
    let out = match activation {
        Activation::Silu => x_wide.silu()?,
        Activation::Gelu => x_wide.gelu_erf()?,
        Activation::Mish => crate::composed::mish(&x_wide)?,
        Activation::Relu => x_wide.relu()?,
    };
    out.to_dtype(x.dtype())
}

/// grad · f′(x), with f the activation function.
pub(super) fn activation_backward(activation: Activation, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let x_wide = widened(x)?;
    let sigmoid = || (x_wide.neg()?.exp()? + 1.0)?.recip();
    let derivative = match activation {
        // σ (1 + x (1 − σ))
        Activation::Silu => {
            let s = sigmoid()?;
            (&s * ((&x_wide * s.affine(-1.0, 1.0)?)? + 1.0)?)?
        }
        // Φ + x φ
        Activation::Gelu => {
            let density = ((x_wide.sqr()? * -0.5)?.exp()? * (2.0 * std::f64::consts::PI).sqrt().recip())?;
            let distribution = ((&x_wide * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?.affine(0.5, 0.0)?;
            (distribution + (&x_wide * density)?)?
        }
        // t + x (1 − t²) σ with t = tanh(ln(1 + e^x))
        Activation::Mish => {
            let softplus = (x_wide.relu()? + (x_wide.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
            let t = softplus.tanh()?;
            let rest = (&x_wide * t.sqr()?.affine(-1.0, 1.0)?)?;
            (t + (rest * sigmoid()?)?)?
        }
        Activation::Relu => x_wide.gt(0.0)?.to_dtype(x_wide.dtype())?,
    };
    (widened(grad)? * derivative)?.to_dtype(grad.dtype())
}

/// x times 0 or 1 / (1 − rate). Uniform numbers of SplitMix64 (Steele et al. 2014) with that seed, one for each
/// element, decide.
pub(super) fn dropout(x: &Tensor, rate: f64, seed: u64) -> Result<Tensor> {
    let scale = (1.0 / (1.0 - rate)) as f32;
    let factor = |i: u64| {
        let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let uniform = ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 24) as f32;
        if uniform < rate as f32 { 0.0 } else { scale }
    };
    let mask: Vec<f32> = (0..x.elem_count() as u64).map(factor).collect();
    let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(wide(x.dtype()))?;
    (widened(x)? * mask)?.to_dtype(x.dtype())
}

/// The input of a convolution.
pub(super) fn join(
    first: &Tensor,
    second: Option<&Tensor>,
    added: Option<&Tensor>,
    arrange: Rearrange,
) -> Result<Tensor> {
    let x = match second {
        Some(second) => Tensor::cat(&[first, second], 3)?,
        None => first.clone(),
    };
    rearrange(&add_offset_and_residual(&x, added, None)?, arrange)
}

/// The gradient of the `channels` channels of [`join`] from channel `from` on.
pub(super) fn join_backward(grad: &Tensor, arrange: Rearrange, from: usize, channels: usize) -> Result<Tensor> {
    rearrange_backward(grad, arrange)?.narrow(3, from, channels)?.contiguous()
}
