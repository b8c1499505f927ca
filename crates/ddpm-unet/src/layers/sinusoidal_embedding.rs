//! Sinusoidal embedding of timesteps.

use candle_core::{D, DType, Result, Tensor};

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
        // Reading the timesteps back from a GPU would wait for it.
        if timesteps.device().is_cpu() { self.on_cpu(timesteps) } else { self.by_candle(timesteps) }
    }

    /// The frequencies ω_i.
    fn frequencies(&self) -> Vec<f64> {
        let half = self.width / 2;
        let frequency = |i: usize| (-(10_000f64.ln()) * i as f64 / (half as f64 - self.freq_shift as f64)).exp();
        (0..half).map(frequency).collect()
    }

    /// The embedding by candle's operations, on any device.
    fn by_candle(&self, timesteps: &Tensor) -> Result<Tensor> {
        let frequencies = Tensor::from_vec(self.frequencies(), (1, self.width / 2), timesteps.device())?;
        let angles = timesteps.to_dtype(DType::F64)?.unsqueeze(1)?.broadcast_mul(&frequencies)?;
        let (sines, cosines) = (angles.sin()?, angles.cos()?);
        let halves = if self.flip_sin_to_cos { [cosines, sines] } else { [sines, cosines] };
        Tensor::cat(&halves, 1)?.pad_with_zeros(D::Minus1, 0, self.width % 2)
    }

    /// The embedding of timesteps on the CPU.
    fn on_cpu(&self, timesteps: &Tensor) -> Result<Tensor> {
        let steps = timesteps.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let frequencies = self.frequencies();
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// On a GPU candle computes the embedding; here both run on the CPU.
    #[test]
    fn both_ways_agree() {
        let timesteps = Tensor::new(&[0f32, 1.0, 500.0, 999.0], &Device::Cpu).expect("timesteps");
        for (width, flip_sin_to_cos) in [(8, false), (8, true), (7, false), (7, true)] {
            let embedding = SinusoidalEmbedding { width, freq_shift: 1, flip_sin_to_cos };
            let values = |tensor: Result<Tensor>| tensor.and_then(|tensor| tensor.to_vec2::<f64>()).expect("values");
            let (expected, found) = (values(embedding.on_cpu(&timesteps)), values(embedding.by_candle(&timesteps)));
            for (expected, found) in expected.iter().flatten().zip(found.iter().flatten()) {
                assert!((expected - found).abs() < 1e-12, "{expected} {found}");
            }
            assert_eq!(found[0].len(), width);
        }
    }
}
