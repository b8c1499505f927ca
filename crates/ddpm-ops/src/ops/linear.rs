//! The fully connected layer.

use candle_core::{Result, Tensor, bail};

use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// x Wᵀ + b.
    ///
    /// # Shapes
    /// `x` [batch, feature_in], `weight` [feature_out, feature_in], `bias` `[feature_out]`; the result is [batch,
    /// feature_out].
    ///
    /// # Errors
    /// When the shapes do not fit together.
    pub fn linear(&self, x: &Value, weight: &Tensor, bias: &Tensor) -> Result<Value> {
        let (features_out, features_in) = weight.dims2()?;
        if x.dims().len() != 2 || x.dims()[1] != features_in || bias.dims() != [features_out] {
            let (x, weight, bias) = (x.dims(), weight.dims(), bias.dims());
            bail!("linear: an input of shape {x:?} does not fit a weight of {weight:?} and a bias of {bias:?}");
        }
        self.backend.linear(x, weight, bias)
    }
}
