//! The description of a group normalization.

use candle_core::{Result, Tensor, bail};

/// A group normalization (Wu & He 2018): each group of channels of each image gets mean 0 and variance 1, then each
/// channel is scaled and shifted.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// Number of groups; it divides the number of channels.
    pub groups: usize,
    /// Scale of each channel, `[channel]`.
    pub weight: &'a Tensor,
    /// Shift of each channel, `[channel]`.
    pub bias: &'a Tensor,
    /// Added to the (biased) variance.
    pub eps: f64,
}

impl Norm<'_> {
    /// Checks that the normalization fits that many channels.
    pub(crate) fn check(&self, channels: usize) -> Result<()> {
        if self.groups == 0 || !channels.is_multiple_of(self.groups) {
            bail!("group_norm: {channels} channels do not divide into {} groups", self.groups);
        }
        for (name, vector) in [("weight", self.weight), ("bias", self.bias)] {
            if vector.dims() != [channels] {
                bail!("group_norm: expected a {name} of shape [{channels}], found {:?}", vector.dims());
            }
        }
        Ok(())
    }
}
