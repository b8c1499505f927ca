//! Dropout, and masks that the caller draws.

use candle_core::{Result, bail};

use crate::backend::dropout_source::DropoutSource;
use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// Dropout (Srivastava et al. 2014): each element is zeroed with probability `rate` in [0, 1), and the others are
    /// multiplied by 1 / (1 − rate).
    ///
    /// On the CPU, `source` decides for each element in turn whether it is dropped. On a device the dropped elements
    /// are a function of one seed drawn from `source`, so that no mask is drawn on the CPU or stored.
    ///
    /// # Errors
    /// When the backend fails.
    pub fn dropout(&self, x: &Value, rate: f64, source: &mut impl DropoutSource) -> Result<Value> {
        self.backend.dropout(x, rate, source)
    }

    /// Every element times the factor in the same place of a constant mask, which is in the order [batch, channel, …].
    ///
    /// # Errors
    /// When `mask` does not have as many elements as `x`.
    pub fn mask(&self, x: &Value, mask: Vec<f32>) -> Result<Value> {
        if mask.len() != x.dims().iter().product::<usize>() {
            bail!("mask: expected one factor for each element of {:?}, found {}", x.dims(), mask.len());
        }
        self.backend.mask(x, mask)
    }
}
