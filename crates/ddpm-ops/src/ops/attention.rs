//! Scaled dot-product attention over the positions of a feature map.

use candle_core::{Result, bail};

use crate::backend::attention_shape::AttentionShape;
use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// softmax(qᵀ k / √d) applied to v, for each image and head, with d the channels of a head (Vaswani et al. 2017,
    /// eq. 1).
    ///
    /// # Shapes
    /// `qkv` [batch, 3 · heads · d, position]: the queries of all heads, then all keys, then all values. The result is
    /// [batch, heads · d, position].
    ///
    /// # Errors
    /// When three times the number of heads does not divide the number of channels.
    pub fn attention(&self, qkv: &Value, heads: usize) -> Result<Value> {
        let &[batch, channels, positions] = qkv.dims() else {
            bail!("attention: expected [batch, channel, position], found {:?}", qkv.dims())
        };
        if heads == 0 || channels == 0 || !channels.is_multiple_of(3 * heads) {
            bail!("attention: {channels} channels do not divide into queries, keys and values of {heads} heads");
        }
        let shape = AttentionShape { batch, heads, head_channels: channels / (3 * heads), positions };
        self.backend.attention(qkv, &shape)
    }
}
