//! How a forward pass computes.

use candle_core::DType;
use serde::{Deserialize, Serialize};

use crate::prepacked::PackedWeights;

/// What a forward pass on a device computes in. Parameters, their gradients, statistics and sums are in f32 in any case.
///
/// With serde: `"f32"`, `"tf32"`, `"bf16"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32, rounded to its 24 bits everywhere. On the CPU: the fused kernels of this crate.
    #[default]
    F32,
    /// f32 whose products are rounded to the 11 bits of TF32 on a GPU that has it; f32 elsewhere.
    Tf32,
    /// bf16, 8 bits, with products summed in f32.
    Bf16,
}

impl Precision {
    /// What images are computed in, given what they come in.
    pub(crate) fn dtype(self, given: DType) -> DType {
        match self {
            Self::F32 | Self::Tf32 if given == DType::F64 => DType::F64,
            Self::F32 | Self::Tf32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// How a forward pass computes.
#[derive(Debug, Clone, Default)]
pub struct ComputeOptions {
    /// In what.
    pub precision: Precision,
    /// Weights from pass to pass, where they do not change.
    pub prepacked: Option<PackedWeights>,
}
