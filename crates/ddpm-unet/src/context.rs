//! What every block of one forward pass is given besides its features.

use std::cell::RefCell;

use candle_core::Result;
use ddpm_ops::{DropoutSource, Tape, Value};
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
        self.tape.dropout(&x, *rate, &mut Source(&mut stream.borrow_mut()))
    }
}

/// A stream as what dropout draws from.
struct Source<'a>(&'a mut Stream);

impl DropoutSource for Source<'_> {
    fn drops(&mut self, rate: f64) -> bool {
        self.0.bernoulli(rate)
    }

    fn seed(&mut self) -> u64 {
        self.0.below(u64::MAX)
    }
}
