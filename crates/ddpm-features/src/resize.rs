//! The ways to resize images before a network.

use serde::{Deserialize, Serialize};

use crate::axis_weights::AxisWeights;

/// How images are resized. Figures that were computed with different ways cannot be compared (Parmar et al. 2022).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Resize {
    /// Bilinear interpolation of TensorFlow 1: corners at the same place, no antialiasing. The graph of the original
    /// FID and the programs that reproduce it, torch-fidelity and StyleGAN's metrics, resize in this way.
    TensorflowBilinear,
    /// Bilinear interpolation of PyTorch with `align_corners=False`, no antialiasing, as in pytorch-fid.
    TorchBilinear,
    /// Pillow's bicubic filter with antialiasing on floating-point numbers, cut off at 0 and 255, as in clean-fid.
    PillowBicubic,
}

impl Resize {
    /// The weights of an axis.
    pub(crate) fn axis(self, input: usize, output: usize) -> AxisWeights {
        match self {
            Self::TensorflowBilinear => AxisWeights::tensorflow_bilinear(input, output),
            Self::TorchBilinear => AxisWeights::torch_bilinear(input, output),
            Self::PillowBicubic => AxisWeights::pillow_bicubic(input, output),
        }
    }

    /// Whether results have to be cut off at 0 and 255: cubic interpolation exceeds the range of its input.
    pub(crate) fn overshoots(self) -> bool {
        self == Self::PillowBicubic
    }
}
