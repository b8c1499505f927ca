//! Options of a forward pass.

use crate::device::TrainingCache;
use crate::packed_weights::PackedWeights;
use crate::precision::Precision;

/// Options of a forward pass.
#[derive(Debug, Clone, Default)]
pub struct ComputeOptions {
    /// The number format to compute in.
    pub precision: Precision,
    /// A cache of packed weights, for weights that do not change from pass to pass.
    pub packed_weights: Option<PackedWeights>,
    /// What the passes of one training share on a GPU.
    pub training_cache: Option<TrainingCache>,
}
