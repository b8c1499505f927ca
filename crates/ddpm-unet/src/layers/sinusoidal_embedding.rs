//! Sinusoidal embedding of timesteps.

use candle_core::{DType, Result, Tensor};

/// The sinusoidal embedding [sin(t ω_i), cos(t ω_i)] with ω_i = 10000^(−i / (half − `freq_shift`)), half = `width` / 2
/// (Vaswani et al. 2017, section 3.5).
///
/// It has no parameters. An odd width ends with a zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinusoidalEmbedding {
    /// Number of elements of the embedding.
    pub width: usize,
    /// Subtracted from half in the exponent's divisor, less than half. Ho et al. 2020: 1. Nichol & Dhariwal 2021: 0.
    pub freq_shift: usize,
    /// Whether the cosines come before the sines, diffusers' `flip_sin_to_cos`. Ho et al. 2020: false.
    pub flip_sin_to_cos: bool,
}

impl SinusoidalEmbedding {
    /// Timesteps `[batch]`, of any dtype, to f64 [batch, width] on the same device.
    ///
    /// The angles are computed in f64: at t = 999, an f32 angle is off by 3e-5 radians.
    ///
    /// # Errors
    /// When `timesteps` has another rank.
    pub fn forward(&self, timesteps: &Tensor) -> Result<Tensor> {
        let half = self.width / 2;
        let steps = timesteps.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let frequency = |i: usize| (-(10_000f64.ln()) * i as f64 / (half as f64 - self.freq_shift as f64)).exp();
        let frequencies: Vec<f64> = (0..half).map(frequency).collect();
        let mut values = Vec::with_capacity(steps.len() * self.width);
        for t in &steps {
            let angles = || frequencies.iter().map(|frequency| t * frequency);
            if self.flip_sin_to_cos {
                values.extend(angles().map(f64::cos).chain(angles().map(f64::sin)));
            } else {
                values.extend(angles().map(f64::sin).chain(angles().map(f64::cos)));
            }
            values.resize(values.len() + self.width % 2, 0.0);
        }
        Tensor::from_vec(values, (steps.len(), self.width), timesteps.device())
    }
}
