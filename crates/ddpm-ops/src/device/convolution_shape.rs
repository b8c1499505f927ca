//! The shape of a convolution on a device, and its three passes.

use std::fmt::{self, Display, Formatter};

use candle_core::{Result, Tensor};

/// The computation: the convolution or one of its gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pass {
    /// The result of the convolution.
    Forward,
    /// The gradient of its input.
    InputGradient,
    /// The gradient of its kernel.
    KernelGradient,
}

impl Display for Pass {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Forward => "forward",
            Self::InputGradient => "input gradient",
            Self::KernelGradient => "kernel gradient",
        })
    }
}

/// A convolution of images [batch, height, width, channels_in] with a kernel [channels_out, side, side, channels_in] at
/// stride 1, padded to keep height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the shape of the tensors names the fields")]
pub struct ConvolutionShape {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels_in: usize,
    pub channels_out: usize,
    pub side: usize,
}

impl ConvolutionShape {
    /// The shape of a convolution of `x` [batch, height, width, channels_in].
    pub(super) fn of(x: &Tensor, channels_out: usize, side: usize) -> Result<Self> {
        let (batch, height, width, channels_in) = x.dims4()?;
        Ok(Self { batch, height, width, channels_in, channels_out, side })
    }
}

impl Display for ConvolutionShape {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { batch, height, width, channels_in, channels_out, side } = self;
        write!(f, "{batch} images of {height}×{width}, {channels_in} → {channels_out} channels, {side}×{side}")
    }
}
