//! Two-dimensional convolution.

use candle_core::Result;

use crate::backend::conv2d::FusedConv2d;
use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// silu(norm(weight ∗ arrange(concat(input, skip) + added) + bias + image_bias)) + residual, without storing the
    /// tensors between these operations.
    ///
    /// # Shapes
    /// Those of the fields of [`FusedConv2d`]; the result is [batch, channel_out, height, width].
    ///
    /// # Errors
    /// When the shapes do not fit together, the kernel is not square or its side is even, or the groups do not divide
    /// the channels.
    pub fn conv2d(&self, op: &FusedConv2d<'_>) -> Result<Value> {
        self.backend.conv2d(op, &op.shape()?)
    }
}
