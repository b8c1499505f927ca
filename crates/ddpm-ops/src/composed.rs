//! The operations of this crate composed of candle's: the path of every device and dtype without a fused kernel, and the
//! reference that the fused kernels are tested against. Shapes and errors are those of the functions they stand in for.

use candle_core::{D, DType, Result, Tensor};

/// [`crate::conv2d`].
///
/// # Errors
/// Those of the function it stands in for.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, padding: usize) -> Result<Tensor> {
    let out = x.conv2d(weight, padding, 1, 1, 1)?;
    match bias {
        Some(bias) => out.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(out),
    }
}

/// [`crate::group_norm`]. Statistics are in f32 where `x` is of a narrower type.
///
/// # Errors
/// Those of the function it stands in for.
pub fn group_norm(x: &Tensor, groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (shape, dtype) = (x.dims().to_vec(), x.dtype());
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let x = x.to_dtype(wide)?.reshape((shape[0], groups, ()))?;
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    let normalised = centred.broadcast_div(&deviation)?.to_dtype(dtype)?.reshape(shape.as_slice())?;
    let mut affine = vec![1; shape.len()];
    affine[1] = shape[1];
    normalised.broadcast_mul(&weight.reshape(affine.as_slice())?)?.broadcast_add(&bias.reshape(affine.as_slice())?)
}

/// [`crate::attention`].
///
/// # Errors
/// Those of the function it stands in for.
pub fn attention(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, channels, positions) = qkv.dims3()?;
    let head_channels = channels / (3 * heads);
    let qkv = qkv.reshape((batch, 3, heads, head_channels, positions))?;
    let part = |i| qkv.narrow(1, i, 1)?.squeeze(1)?.contiguous();
    let (q, k, v) = (part(0)?, part(1)?, part(2)?);
    let similarity = (q.transpose(2, 3)?.contiguous()?.matmul(&k)? * (head_channels as f64).powf(-0.5))?;
    // The maximum is a constant of the gradient: softmax does not change when it is taken away.
    let shifted = similarity.broadcast_sub(&similarity.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let weights = shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)?;
    v.matmul(&weights.transpose(2, 3)?.contiguous()?)?.reshape((batch, channels / 3, positions))
}

/// [`crate::add_per_channel`].
///
/// # Errors
/// Those of the function it stands in for.
pub fn add_per_channel(x: &Tensor, values: &Tensor) -> Result<Tensor> {
    x.broadcast_add(&values.unsqueeze(2)?.unsqueeze(3)?)
}
