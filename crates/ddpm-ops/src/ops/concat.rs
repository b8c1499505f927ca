//! Concatenation of channels.

use candle_core::{Result, bail};

use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// The channels of all parts, in their order.
    ///
    /// # Shapes
    /// Each part [batch, its channels, …]; the result is [batch, all channels, …].
    ///
    /// # Errors
    /// When there is no part, or the parts differ in another axis than the channels.
    pub fn concat(&self, parts: &[&Value]) -> Result<Value> {
        let Some(&[batch, _, ref rest @ ..]) = parts.first().map(|part| part.dims()) else {
            bail!("concat: expected tensors of [batch, channel, …], found {:?}", parts.first().map(|part| part.dims()))
        };
        let fits = |part: &&Value| part.dims().len() > 1 && part.dims()[0] == batch && part.dims()[2..] == *rest;
        if !parts.iter().all(fits) {
            let found: Vec<_> = parts.iter().map(|part| part.dims()).collect();
            bail!("concat: expected shapes that differ in their channels only, found {found:?}");
        }
        self.backend.concat(parts)
    }
}
