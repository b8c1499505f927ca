//! Two-dimensional convolution.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use ddpm_ops::{FusedConv2d, Tape, Value};

use super::fan_in_init::fan_in_init;

/// A convolution at stride 1 with an odd square kernel and zero padding that keeps height and width.
///
/// Parameters: `weight` [channels_out, channels_in, kernel, kernel] and, unless it was built without, `bias`
/// `[channels_out]`.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Conv2d {
    /// A convolution with a bias.
    ///
    /// # Errors
    /// When `kernel` is even, or when `vb` cannot provide the parameters.
    pub fn new(channels_in: usize, channels_out: usize, kernel: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let mut conv = Self::without_bias(channels_in, channels_out, kernel, vb.clone())?;
        conv.bias = Some(bias(channels_out, channels_in * kernel * kernel, &vb)?);
        Ok(conv)
    }

    /// A convolution without a bias.
    ///
    /// # Errors
    /// Those of [`Conv2d::new`].
    pub fn without_bias(channels_in: usize, channels_out: usize, kernel: usize, vb: VarBuilder<'_>) -> Result<Self> {
        if kernel.is_multiple_of(2) {
            bail!("conv2d: expected an odd kernel, found {kernel}×{kernel}");
        }
        let init = fan_in_init(channels_in * kernel * kernel);
        let weight = vb.get_with_hints((channels_out, channels_in, kernel, kernel), "weight", init)?;
        Ok(Self { weight, bias: None })
    }

    /// A 1 × 1 convolution whose weight is stored as the matrix [channels_out, channels_in] of a linear layer.
    ///
    /// # Errors
    /// When `vb` cannot provide the parameters.
    pub fn from_linear(channels_in: usize, channels_out: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let weight = vb.get_with_hints((channels_out, channels_in), "weight", fan_in_init(channels_in))?;
        Ok(Self { weight, bias: Some(bias(channels_out, channels_in, &vb)?) })
    }

    /// The convolution of `x` as a fused operation, to which a skip connection, a bias per image, a rearrangement, a
    /// normalization or a residual can be added before [`Tape::conv2d`] computes it.
    ///
    /// # Examples
    /// ```
    /// use ddpm_ops::{FusedConv2d, Rearrange, Tape, Value};
    /// use ddpm_unet::layers::Conv2d;
    ///
    /// /// Nearest-neighbor upsampling and a convolution in one operation.
    /// fn upsample(conv: &Conv2d, tape: &Tape, x: &Value) -> candle_core::Result<Value> {
    ///     tape.conv2d(&FusedConv2d { arrange: Rearrange::UpsampleNearest2x, ..conv.fused(x) })
    /// }
    /// ```
    pub fn fused<'a>(&'a self, x: &'a Value) -> FusedConv2d<'a> {
        FusedConv2d::new(x, &self.weight, self.bias.as_ref())
    }

    /// The plain convolution: [batch, channels_in, height, width] to [batch, channels_out, height, width].
    ///
    /// # Errors
    /// When the shape of `x` does not fit the weight.
    pub fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        tape.conv2d(&self.fused(x))
    }
}

fn bias(channels_out: usize, fan_in: usize, vb: &VarBuilder<'_>) -> Result<Tensor> {
    vb.get_with_hints(channels_out, "bias", fan_in_init(fan_in))
}
