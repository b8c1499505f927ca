//! Group normalization, alone or followed by SiLU.

use candle_core::{Result, Tensor, bail};

use crate::backend::norm::Norm;
use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// Normalizes each group of channels of each image to mean 0 and variance 1 (biased, plus `eps`), then scales and
    /// shifts each channel (Wu & He 2018). If `silu`, SiLU follows, without a tensor between the two.
    ///
    /// # Shapes
    /// `x` [batch, channel, height, width] (or any [batch, channel, …]); `weight`, `bias` `[channel]`.
    ///
    /// # Errors
    /// When `groups` does not divide the channels, or `weight` or `bias` has another length than the channels.
    pub fn group_norm(
        &self,
        x: &Value,
        groups: usize,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
        silu: bool,
    ) -> Result<Value> {
        let &[_, channels, ..] = x.dims() else {
            bail!("group_norm: expected [batch, channel, …], found {:?}", x.dims())
        };
        let norm = Norm { groups, weight, bias, eps };
        norm.check(channels)?;
        self.backend.group_norm(x, &norm, silu)
    }
}
