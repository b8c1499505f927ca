//! What every block of one forward pass is given besides its features.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, bail};
use ddpm_ops::{DropoutSource, Tape, Value};
use ddpm_rng::Stream;

/// The time embedding and the source of dropout masks of one forward pass.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// What operations are recorded on.
    pub(crate) tape: &'a Tape,
    /// SiLU of the embedded time steps, [batch, 4 · base_channels]: every block begins with it, so it is computed once.
    pub(crate) time: Value,
    /// Whether blocks are computed again for their gradient.
    pub(crate) recompute: bool,
    /// None outside training.
    pub(crate) dropout: Option<(f64, RefCell<&'a mut Stream>)>,
}

impl Context<'_> {
    /// A block of `inputs`: computed again for its gradient, with the same dropout, where that is wanted.
    pub(crate) fn block(
        &self,
        inputs: &[&Value],
        block: impl Fn(&Context<'_>, &[Value]) -> Result<Value> + Send + 'static,
    ) -> Result<Value> {
        if !self.recompute {
            return block(self, &inputs.iter().map(|input| (*input).clone()).collect::<Vec<_>>());
        }
        let begin = self.dropout.as_ref().map(|(rate, stream)| (*rate, stream.borrow().clone()));
        let end = Arc::new(Mutex::new(None));
        let at_end = end.clone();
        let mut all = inputs.to_vec();
        all.push(&self.time);
        let out = self.tape.recompute(&all, move |tape, values| {
            let Some((time, inputs)) = values.split_last() else { bail!("a block of nothing") };
            let mut dropout = begin.clone();
            let of_block = dropout.as_mut().map(|(rate, stream)| (*rate, RefCell::new(stream)));
            let context = Context { tape, time: time.clone(), recompute: false, dropout: of_block };
            let out = block(&context, inputs)?;
            *at_end.lock().unwrap_or_else(PoisonError::into_inner) = dropout.map(|(_, stream)| stream);
            Ok(out)
        })?;
        let end = end.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some((_, stream)), Some(end)) = (&self.dropout, end) {
            **stream.borrow_mut() = end;
        }
        Ok(out)
    }

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
