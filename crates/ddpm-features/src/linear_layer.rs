//! A fully connected layer.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::weights::Weights;

/// x Wᵀ + b
#[derive(Debug)]
pub(crate) struct LinearLayer {
    /// [feature_in, feature_out], a view of the weights: copying the transposes of a large network takes ten seconds.
    transposed: Tensor,
    /// `[feature_out]`
    bias: Tensor,
}

impl LinearLayer {
    pub(crate) fn new(
        weights: &Weights<'_>,
        name: &str,
        (features_in, features_out): (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        let weight = weights.get(&format!("{name}.weight"), &[features_out, features_in])?;
        let bias = weights.get(&format!("{name}.bias"), &[features_out])?;
        Ok(Self { transposed: weight.to_device(device)?.t()?, bias: bias.to_device(device)? })
    }

    /// x Wᵀ + b for `x` [row, feature_in].
    pub(crate) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.without_bias(x)?.broadcast_add(&self.bias)
    }

    /// x Wᵀ
    pub(crate) fn without_bias(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&self.transposed)
    }
}
