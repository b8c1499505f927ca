//! The description of a group normalization together with the operations around it.

use candle_core::Tensor;

/// silu(norm(y + offset)) + residual: a group normalization and the operations around it, for images of any type with
/// the channels last.
#[derive(Debug, Clone, Copy)]
pub(super) struct FusedNorm<'a> {
    pub(super) groups: usize,
    pub(super) eps: f64,
    /// True if SiLU follows the normalization.
    pub(super) silu: bool,
    /// Scale of each channel, `[channel]`, in the wide type.
    pub(super) weight: &'a Tensor,
    /// Shift of each channel, `[channel]`, in the wide type.
    pub(super) bias: &'a Tensor,
    /// The biases of the convolution before the normalization, in the wide type: [batch, channel], or [1, channel] for
    /// the same ones for all images.
    pub(super) offset: Option<&'a Tensor>,
    /// Added last, of the shape of y.
    pub(super) residual: Option<&'a Tensor>,
}

/// The gradients of a [`FusedNorm`]. That of the residual is the gradient of the result.
#[derive(Debug)]
pub(super) struct FusedNormGradient {
    /// The gradient of y.
    pub(super) input: Tensor,
    /// [batch, channel] in the wide type.
    pub(super) offset: Tensor,
    /// `[channel]` in the wide type.
    pub(super) weight: Tensor,
    /// `[channel]` in the wide type.
    pub(super) bias: Tensor,
}
