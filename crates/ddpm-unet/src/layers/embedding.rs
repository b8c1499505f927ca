//! Table of learned vectors.

use candle_core::{DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use ddpm_ops::{Tape, Value};

/// A table with one learned vector for each index, for example for each class.
///
/// Parameter: `weight` [rows, features], initially standard normal as in PyTorch.
#[derive(Debug, Clone)]
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    /// A table of `rows` vectors of `features` elements.
    ///
    /// # Errors
    /// When `vb` cannot provide the parameter.
    pub fn new(rows: usize, features: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let weight = vb.get_with_hints((rows, features), "weight", Init::Randn { mean: 0.0, stdev: 1.0 })?;
        Ok(Self { weight })
    }

    /// The rows of `indices` `[batch]`, of any dtype: [batch, features].
    ///
    /// # Errors
    /// When an index is negative or not below the number of rows.
    pub fn forward(&self, tape: &Tape, indices: &Tensor) -> Result<Value> {
        let indices = indices.to_dtype(DType::I64)?.to_vec1::<i64>()?;
        // A negative index becomes one that is out of range, so that `Tape::embedding` reports it.
        let rows: Vec<usize> = indices.iter().map(|index| usize::try_from(*index).unwrap_or(usize::MAX)).collect();
        tape.embedding(&self.weight, &rows)
    }
}
