//! The time step as a vector: sinusoids, then two fully connected layers.

use candle_core::{DType, Result, Tensor};
use ddpm_ops::{Tape, Value};

use crate::layers::Linear;
use crate::parameters::Parameters;

/// The time MLP on the sinusoidal position embedding (Vaswani et al. 2017, section 3.5; the article's form).
#[derive(Debug)]
pub(crate) struct TimeEmbedding {
    width: usize,
    hidden: Linear,
    out: Linear,
}

impl TimeEmbedding {
    /// From a sinusoidal embedding of `width` values to `4 · width`.
    pub(crate) fn new(width: usize, p: &Parameters<'_>) -> Result<Self> {
        // 0 is the sinusoid and 2 the GELU of the article's Sequential: neither has parameters.
        let hidden = Linear::new(width, 4 * width, &p.at(1))?;
        Ok(Self { width, hidden, out: Linear::new(4 * width, 4 * width, &p.at(3))? })
    }

    /// `t` `[batch]`, time steps from 0, to [batch, 4 · width].
    pub(crate) fn forward(&self, tape: &Tape, t: &Tensor) -> Result<Value> {
        let embedding = tape.constant(&sinusoids(t, self.width, 1, false)?)?;
        let hidden = tape.gelu(&self.hidden.forward(tape, &embedding)?)?;
        self.out.forward(tape, &hidden)
    }
}

/// [sin(t ω_i), cos(t ω_i)] with ω_i = 10000^(−i / (half − shift)), half = width / 2; cosines first where `cosines_first`, a zero
/// at the end of an odd width. Ho et al. have a shift of 1 and sines first.
///
/// `t` `[batch]` to f64 [batch, width]: at t = 999 an f32 angle is off by 3e-5 radians.
pub(crate) fn sinusoids(t: &Tensor, width: usize, shift: usize, cosines_first: bool) -> Result<Tensor> {
    let half = width / 2;
    let steps = t.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let frequency = |i: usize| (-(10_000f64.ln()) * i as f64 / (half as f64 - shift as f64)).exp();
    let frequencies: Vec<f64> = (0..half).map(frequency).collect();
    let mut values = Vec::with_capacity(steps.len() * width);
    for t in &steps {
        let angles = || frequencies.iter().map(|frequency| t * frequency);
        if cosines_first {
            values.extend(angles().map(f64::cos).chain(angles().map(f64::sin)));
        } else {
            values.extend(angles().map(f64::sin).chain(angles().map(f64::cos)));
        }
        values.resize(values.len() + width % 2, 0.0);
    }
    Tensor::from_vec(values, (steps.len(), width), t.device())
}
