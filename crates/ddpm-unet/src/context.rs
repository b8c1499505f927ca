//! What every block of one forward pass is given besides its features.

use std::cell::RefCell;

use candle_core::{Result, Tensor};
use ddpm_rng::Stream;

/// The time embedding and the source of dropout masks of one forward pass.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// SiLU of the embedded time steps, [batch, 4 · base_channels]: every block begins with it, so it is computed once.
    pub(crate) time: Tensor,
    /// None outside training.
    pub(crate) dropout: Option<(f64, RefCell<&'a mut Stream>)>,
}

impl Context<'_> {
    /// Zeroes each element with the dropout rate and scales the others by 1 / (1 − rate); the identity outside training.
    pub(crate) fn dropout(&self, x: Tensor) -> Result<Tensor> {
        let Some((rate, stream)) = &self.dropout else { return Ok(x) };
        if *rate == 0.0 {
            return Ok(x);
        }
        let kept = (1.0 / (1.0 - rate)) as f32;
        let mut stream = stream.borrow_mut();
        let mask: Vec<f32> = (0..x.elem_count()).map(|_| if stream.bernoulli(*rate) { 0.0 } else { kept }).collect();
        x.mul(&Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?)
    }
}
