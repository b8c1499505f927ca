//! What every block of one forward pass is given besides its features.

use std::cell::RefCell;

use candle_core::Result;
use ddpm_ops::{Tape, Value};
use ddpm_rng::Stream;

/// The time embedding and the source of dropout masks of one forward pass.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// What operations are recorded on.
    pub(crate) tape: &'a Tape,
    /// SiLU of the embedded time steps, [batch, 4 · base_channels]: every block begins with it, so it is computed once.
    pub(crate) time: Value,
    /// None outside training.
    pub(crate) dropout: Option<(f64, RefCell<&'a mut Stream>)>,
}

impl Context<'_> {
    /// Zeroes each element with the dropout rate and scales the others by 1 / (1 − rate); the identity outside training.
    pub(crate) fn dropout(&self, x: Value) -> Result<Value> {
        let Some((rate, stream)) = &self.dropout else { return Ok(x) };
        if *rate == 0.0 {
            return Ok(x);
        }
        let kept = (1.0 / (1.0 - rate)) as f32;
        let mut stream = stream.borrow_mut();
        let elements = x.dims().iter().product();
        self.tape.mask(&x, (0..elements).map(|_| if stream.bernoulli(*rate) { 0.0 } else { kept }).collect())
    }
}
