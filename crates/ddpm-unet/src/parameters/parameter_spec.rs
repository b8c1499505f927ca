//! The description of one parameter.

use candle_nn::Init;

/// The shape of a parameter and the distribution of its initial values.
#[derive(Debug, Clone)]
pub struct ParameterSpec {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// The initialization that the layer requests from its `VarBuilder`.
    pub init: Init,
}

impl ParameterSpec {
    /// Number of elements.
    pub fn elem_count(&self) -> usize {
        self.shape.iter().product()
    }
}
