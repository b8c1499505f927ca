//! The primitives composed of candle's operations: on whatever device, and what the kernels are tested against. Narrow types are
//! computed in f32 and rounded once, as tensor cores do it.

use candle_core::{D, Result, Tensor};

use super::normalisation::{Statistics, Surroundings};
use super::planes;
use super::pointwise::Function;
use super::wide;
use crate::backend::rearrange::Rearrange;

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
    let first = |t: &Tensor| widened(t)?.permute((0, 3, 1, 2))?.contiguous();
    let out = first(x)?.conv2d(&first(kernel)?, padding, 1, 1, 1)?;
    out.permute((0, 2, 3, 1))?.contiguous()?.to_dtype(x.dtype())
}

/// The gradient of a convolution by its input: the convolution of the gradient with the taps in reverse.
pub(super) fn convolution_by_input(grad: &Tensor, kernel: &Tensor) -> Result<Tensor> {
    let turned = kernel.flip(&[1, 2])?.permute((3, 1, 2, 0))?.contiguous()?;
    convolution(grad, &turned)
}

/// The gradient of a convolution by its kernel, [out, k, k, in]: tap by tap a product of the gradient and the moved input.
pub(super) fn convolution_by_kernel(x: &Tensor, grad: &Tensor, side: usize) -> Result<Tensor> {
    let (batch, height, width, channels_in) = x.dims4()?;
    let channels_out = grad.dim(3)?;
    let positions = batch * height * width;
    let padded = widened(x)?.pad_with_zeros(1, side / 2, side / 2)?.pad_with_zeros(2, side / 2, side / 2)?;
    let grad = widened(grad)?.reshape((positions, channels_out))?.t()?.contiguous()?;
    let tap = |i: usize| {
        let moved = padded.narrow(1, i / side, height)?.narrow(2, i % side, width)?.contiguous()?;
        grad.matmul(&moved.reshape((positions, channels_in))?)
    };
    let taps = (0..side * side).map(tap).collect::<Result<Vec<_>>>()?;
    Tensor::stack(&taps, 1)?.reshape((channels_out, side, side, channels_in))?.to_dtype(x.dtype())
}

/// Sums over the positions of each channel of each image, wide: [batch, channel].
pub(super) fn sums_over_positions(x: &Tensor) -> Result<Tensor> {
    widened(x)?.reshape(image_by_image(x)?)?.sum(1)
}

/// [batch, position, channel] of [batch, …, channel].
fn image_by_image(x: &Tensor) -> Result<(usize, usize, usize)> {
    let (batch, channels) = (x.dim(0)?, x.dim(D::Minus1)?);
    Ok((batch, x.dims()[1..x.rank() - 1].iter().product(), channels))
}

/// `y` [batch, …, channel] + offset [batch, channel] + residual.
pub(super) fn raised(y: &Tensor, offset: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    let mut sum = widened(y)?;
    if let Some(offset) = offset {
        sum = sum.broadcast_add(&over_positions(offset, y)?)?;
    }
    if let Some(residual) = residual {
        sum = (sum + widened(residual)?)?;
    }
    sum.to_dtype(y.dtype())
}

/// [batch, channel] as [batch, 1, …, 1, channel], to be spread over the positions of `like`.
fn over_positions(values: &Tensor, like: &Tensor) -> Result<Tensor> {
    let mut dims = vec![1; like.rank()];
    dims[0] = values.dim(0)?;
    dims[like.rank() - 1] = values.dim(1)?;
    values.reshape(dims)
}

/// Normalised values [batch, position, group, channel of the group] and 1/σ [batch, 1, group, 1].
fn normalised(y: &Tensor, around: &Surroundings<'_>) -> Result<(Tensor, Tensor)> {
    let (batch, positions, channels) = image_by_image(y)?;
    let y = raised(&widened(y)?, around.offset, None)?;
    let grouped = y.reshape((batch, positions, around.groups, channels / around.groups))?;
    let mean = grouped.mean_keepdim(3)?.mean_keepdim(1)?;
    let centred = grouped.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim(3)?.mean_keepdim(1)?;
    let inverse = (variance + around.eps)?.sqrt()?.recip()?;
    Ok((centred.broadcast_mul(&inverse)?, inverse))
}

/// Group normalisation with its surroundings.
pub(super) fn normalisation(y: &Tensor, around: &Surroundings<'_>) -> Result<(Tensor, Statistics)> {
    let (normal, _) = normalised(y, around)?;
    let scaled = normal.reshape(y.dims())?.broadcast_mul(around.weight)?.broadcast_add(around.bias)?;
    let out = if around.silu { scaled.silu()? } else { scaled };
    let out = raised(&out, None, around.residual)?.to_dtype(y.dtype())?;
    Ok((out, Statistics::Again))
}

/// What [`super::normalisation::Gradient`] says, of the mean of the loss's gradient: with ẑ the normalised values, g the gradient
/// by them, ∂y = (g − mean g − ẑ mean(g ẑ)) / σ, means over a group.
pub(super) fn normalisation_by_all(
    y: &Tensor,
    around: &Surroundings<'_>,
    grad: &Tensor,
) -> Result<super::normalisation::Gradient> {
    let (normal, inverse) = normalised(y, around)?;
    let flat = normal.reshape(y.dims())?;
    let mut by_scaled = widened(grad)?;
    if around.silu {
        let scaled = flat.broadcast_mul(around.weight)?.broadcast_add(around.bias)?;
        by_scaled = function_by_input(Function::Silu, &scaled, &by_scaled)?;
    }
    let channels = y.dim(D::Minus1)?;
    let over_all = |x: Tensor| x.reshape(((), channels))?.sum(0);
    let (weight, bias) = (over_all((&by_scaled * &flat)?)?, over_all(by_scaled.clone())?);
    let by_normal = by_scaled.broadcast_mul(around.weight)?.reshape(normal.dims())?;
    let mean = |x: &Tensor| x.mean_keepdim(3)?.mean_keepdim(1);
    let along = normal.broadcast_mul(&mean(&(&by_normal * &normal)?)?)?;
    let input = by_normal.broadcast_sub(&mean(&by_normal)?)?.sub(&along)?.broadcast_mul(&inverse)?;
    let input = input.reshape(y.dims())?;
    let offset = sums_over_positions(&input)?;
    Ok(super::normalisation::Gradient { input: input.to_dtype(y.dtype())?, offset, weight, bias })
}

/// softmax(scale · s) over the last axis.
pub(super) fn softmax(s: &Tensor, scale: f64) -> Result<Tensor> {
    let scaled = (widened(s)? * scale)?;
    let exp = scaled.broadcast_sub(&scaled.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?.to_dtype(s.dtype())
}

/// The gradient of [`softmax`] by s, from its result p: scale p (g − Σ g p).
pub(super) fn softmax_by_input(p: &Tensor, grad: &Tensor, scale: f64) -> Result<Tensor> {
    let (wide_p, wide_grad) = (widened(p)?, widened(grad)?);
    let along = (&wide_p * &wide_grad)?.sum_keepdim(D::Minus1)?;
    ((wide_p * wide_grad.broadcast_sub(&along)?)? * scale)?.to_dtype(p.dtype())
}

/// f(x)
pub(super) fn function(f: Function, x: &Tensor) -> Result<Tensor> {
    let x_wide = widened(x)?;
    let out = match f {
        Function::Silu => x_wide.silu()?,
        Function::Gelu => x_wide.gelu_erf()?,
        Function::Mish => crate::composed::mish(&x_wide)?,
        Function::Relu => x_wide.relu()?,
    };
    out.to_dtype(x.dtype())
}

/// grad · f′(x)
pub(super) fn function_by_input(f: Function, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let x_wide = widened(x)?;
    let sigmoid = || (x_wide.neg()?.exp()? + 1.0)?.recip();
    let slope = match f {
        // σ (1 + x (1 − σ))
        Function::Silu => {
            let s = sigmoid()?;
            (&s * ((&x_wide * s.affine(-1.0, 1.0)?)? + 1.0)?)?
        }
        // Φ + x φ
        Function::Gelu => {
            let density = ((x_wide.sqr()? * -0.5)?.exp()? * (2.0 * std::f64::consts::PI).sqrt().recip())?;
            let distribution = ((&x_wide * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?.affine(0.5, 0.0)?;
            (distribution + (&x_wide * density)?)?
        }
        // t + x (1 − t²) σ with t = tanh(ln(1 + e^x))
        Function::Mish => {
            let softplus = (x_wide.relu()? + (x_wide.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
            let t = softplus.tanh()?;
            let rest = (&x_wide * t.sqr()?.affine(-1.0, 1.0)?)?;
            (t + (rest * sigmoid()?)?)?
        }
        Function::Relu => x_wide.gt(0.0)?.to_dtype(x_wide.dtype())?,
    };
    (widened(grad)? * slope)?.to_dtype(grad.dtype())
}

/// x by 0 or 1 / (1 − rate): uniform numbers of SplitMix (Steele, Lea & Flood 2014) at `seed`, one an element, decide.
pub(super) fn dropout(x: &Tensor, rate: f64, seed: u64) -> Result<Tensor> {
    let kept = (1.0 / (1.0 - rate)) as f32;
    let factor = |i: u64| {
        let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let uniform = ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 24) as f32;
        if uniform < rate as f32 { 0.0 } else { kept }
    };
    let mask: Vec<f32> = (0..x.elem_count() as u64).map(factor).collect();
    let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(wide(x.dtype()))?;
    (widened(x)? * mask)?.to_dtype(x.dtype())
}

/// What a convolution reads.
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
    planes::arranged(&raised(&x, added, None)?, arrange)
}

/// The gradient of [`join`] by the part whose channels begin at `from`.
pub(super) fn join_by_part(grad: &Tensor, arrange: Rearrange, from: usize, channels: usize) -> Result<Tensor> {
    planes::arranged_by_input(grad, arrange)?.narrow(3, from, channels)?.contiguous()
}
