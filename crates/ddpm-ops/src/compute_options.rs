//! Options of a forward pass.

use candle_core::DType;
use serde::{Deserialize, Serialize};

use crate::packed_weights::PackedWeights;

/// The number format that a forward pass computes in. Parameters, their gradients, statistics and sums are f32 in every case.
///
/// The serde names are `"f32"`, `"tf32"`, `"bf16"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32 with its full 24-bit significand. On the CPU this selects the fused kernels of this crate.
    #[default]
    F32,
    /// f32, with the factors of matrix products and convolutions rounded to the 11-bit significand of TF32 on a GPU that has it; f32
    /// elsewhere.
    Tf32,
    /// bf16, with an 8-bit significand, and products summed in f32.
    Bf16,
}

impl Precision {
    /// The type that images are computed in, given the type of the inputs.
    pub(crate) fn dtype(self, given: DType) -> DType {
        match self {
            Self::F32 | Self::Tf32 if given == DType::F64 => DType::F64,
            Self::F32 | Self::Tf32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// Options of a forward pass.
#[derive(Debug, Clone, Default)]
pub struct ComputeOptions {
    /// The number format to compute in.
    pub precision: Precision,
    /// A cache of packed weights, for weights that do not change from pass to pass.
    pub packed_weights: Option<PackedWeights>,
}
