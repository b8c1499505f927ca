//! Operations as functions of candle tensors, each a forward pass of its own.
//!
//! A network calls the methods of a [`Tape`](crate::Tape) instead, which record all its operations in one forward pass.

use candle_core::{Result, Tensor};

use crate::backend::conv2d::FusedConv2d;
use crate::forward_pass::fused;

/// The cross-correlation of `x` with `weight` at stride 1, padded with zeros to keep height and width, plus `bias`:
/// [`crate::Tape::conv2d`] as one operation of candle.
///
/// # Shapes
/// `x` [batch, channel_in, height, width], `weight` [channel_out, channel_in, k, k] with odd k, `bias` `[channel_out]`;
/// the result is [batch, channel_out, height, width].
///
/// # Errors
/// Those of [`crate::Tape::conv2d`].
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    fused(&[x], |tape, values| tape.conv2d(&FusedConv2d::new(&values[0], weight, bias)))
}

/// Normalizes each group of channels of each image to mean 0 and variance 1 (biased, plus `eps`), then scales and
/// shifts each channel (Wu & He 2018): [`crate::Tape::group_norm`] as one operation of candle.
///
/// # Shapes
/// `x` [batch, channel, height, width] (or any [batch, channel, …]); `weight`, `bias` `[channel]`.
///
/// # Errors
/// When `groups` does not divide the channels, or `weight` or `bias` has another length than the channels.
pub fn group_norm(x: &Tensor, groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    fused(&[x], |tape, values| tape.group_norm(&values[0], groups, weight, bias, eps, false))
}

/// [`group_norm`] followed by SiLU, x σ(x), without storing the tensor between them.
///
/// # Shapes
/// Those of [`group_norm`].
///
/// # Errors
/// Those of [`group_norm`].
pub fn group_norm_silu(x: &Tensor, groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    fused(&[x], |tape, values| tape.group_norm(&values[0], groups, weight, bias, eps, true))
}

/// softmax(qᵀ k / √d) applied to v, for each image and head, with d the channels of a head (Vaswani et al. 2017, eq.
/// 1): [`crate::Tape::attention`] as one operation of candle.
///
/// # Shapes
/// `qkv` [batch, 3 · heads · d, position]: the queries of all heads, then all keys, then all values. The result is
/// [batch, heads · d, position].
///
/// # Errors
/// When three times the number of heads does not divide the number of channels.
pub fn attention(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    fused(&[qkv], |tape, values| tape.attention(&values[0], heads))
}
