//! The operations of this crate composed of candle's operations, with candle's gradients: the reference that the
//! backends are tested against.

use candle_core::{D, DType, Result, Tensor, bail};

/// The reference for [`crate::conv2d`], with its shapes and `padding` zeros on every side.
///
/// # Errors
/// When the shapes do not fit together.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, padding: usize) -> Result<Tensor> {
    let out = x.conv2d(weight, padding, 1, 1, 1)?;
    match bias {
        Some(bias) => out.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(out),
    }
}

/// The reference for [`crate::group_norm`], with its shapes. The statistics of a bf16 `x` are f32.
///
/// # Errors
/// When the shapes do not fit together.
pub fn group_norm(x: &Tensor, groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (shape, dtype) = (x.dims().to_vec(), x.dtype());
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let x = x.to_dtype(wide)?.reshape((shape[0], groups, ()))?;
    let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centered.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    let normalized = centered.broadcast_div(&deviation)?.to_dtype(dtype)?.reshape(shape.as_slice())?;
    let mut affine = vec![1; shape.len()];
    affine[1] = shape[1];
    normalized.broadcast_mul(&weight.reshape(affine.as_slice())?)?.broadcast_add(&bias.reshape(affine.as_slice())?)
}

/// The reference for [`crate::attention`], with its shapes.
///
/// # Errors
/// When the shapes do not fit together.
pub fn attention(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, channels, positions) = qkv.dims3()?;
    let head_channels = channels / (3 * heads);
    let qkv = qkv.reshape((batch, 3, heads, head_channels, positions))?;
    let part = |i| qkv.narrow(1, i, 1)?.squeeze(1)?.contiguous();
    let (q, k, v) = (part(0)?, part(1)?, part(2)?);
    let similarity = (q.transpose(2, 3)?.contiguous()?.matmul(&k)? * (head_channels as f64).powf(-0.5))?;
    // Softmax does not depend on the maximum that is subtracted, so the maximum needs no gradient.
    let shifted = similarity.broadcast_sub(&similarity.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let weights = shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)?;
    v.matmul(&weights.transpose(2, 3)?.contiguous()?)?.reshape((batch, channels / 3, positions))
}

/// `x` [batch, channel, height, width] + `values` [batch, channel], broadcast over height and width.
///
/// # Errors
/// When the shapes do not fit.
pub fn add_per_channel(x: &Tensor, values: &Tensor) -> Result<Tensor> {
    x.broadcast_add(&values.unsqueeze(2)?.unsqueeze(3)?)
}

/// `x` (1 + scale) + shift: the reference for [`crate::Tape::modulate`], with its shapes.
///
/// # Errors
/// When the shapes do not fit.
pub fn modulate(x: &Tensor, scale_and_shift: &Tensor) -> Result<Tensor> {
    let mut broadcast = vec![1; x.rank()];
    broadcast[..2].copy_from_slice(&x.dims()[..2]);
    let half = |i: usize| scale_and_shift.narrow(1, i * broadcast[1], broadcast[1])?.reshape(broadcast.as_slice());
    x.broadcast_mul(&(half(0)? + 1.0)?)?.broadcast_add(&half(1)?)
}

/// x tanh(ln(1 + e^x)): the reference for [`crate::Tape::mish`].
///
/// # Errors
/// When candle's operation fails.
pub fn mish(x: &Tensor) -> Result<Tensor> {
    // ln(1 + e^x), without overflow.
    let softplus = (x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    x * softplus.tanh()?
}

/// Every second row and column, starting with row and column `first`, which is 0 or 1.
///
/// # Errors
/// When height or width is odd.
pub fn every_second(x: &Tensor, first: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let blocks = x.reshape((batch, channels, height / 2, 2, width / 2, 2))?;
    blocks.narrow(3, first, 1)?.narrow(5, first, 1)?.reshape((batch, channels, height / 2, width / 2))
}

/// The mean of every 2 × 2 block of pixels.
///
/// # Errors
/// When height or width is odd.
pub fn mean_2x(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    x.reshape((batch, channels, height / 2, 2, width / 2, 2))?.mean(5)?.mean(3)
}

/// Nearest-neighbor upsampling: every pixel becomes a 2 × 2 block.
///
/// # Shapes
/// [batch, channel, height, width] to [batch, channel, 2 height, 2 width].
///
/// # Errors
/// When `x` does not have four axes.
pub fn upsample_nearest_2x(x: &Tensor) -> Result<Tensor> {
    // This broadcasts, because candle's own upsampling overwrites gradients that were accumulated before it.
    let (batch, channels, height, width) = x.dims4()?;
    x.reshape((batch, channels, height, 1, width, 1))?.broadcast_as((batch, channels, height, 2, width, 2))?.reshape((
        batch,
        channels,
        2 * height,
        2 * width,
    ))
}

/// Pixel unshuffle: every 2 × 2 block of pixels becomes four channels. Channel 4c + 2i + j of the result holds row i,
/// column j of the blocks of channel c, which einops writes as "b c (h p1) (w p2) -> b (c p1 p2) h w".
///
/// # Shapes
/// [batch, channel, height, width] to [batch, 4 channel, height / 2, width / 2].
///
/// # Errors
/// When height or width is odd.
pub fn pixel_unshuffle_2x(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    if height % 2 != 0 || width % 2 != 0 {
        bail!("pixel_unshuffle_2x: expected an even height and width, found {height}×{width}");
    }
    x.reshape((batch, channels, height / 2, 2, width / 2, 2))?.permute((0, 1, 3, 5, 2, 4))?.reshape((
        batch,
        4 * channels,
        height / 2,
        width / 2,
    ))
}
