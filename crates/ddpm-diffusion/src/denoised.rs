//! The conversion of a network's output to predicted x_0 and ε, and the training target.

use candle_core::Tensor;
use ddpm_schedule::{Factors, Prediction};

use crate::error::check_shape;
use crate::{DiffusionError, GaussianDiffusion};

/// Predicted x_0 and the predicted ε that belongs to it: x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε.
#[derive(Debug, Clone)]
pub struct Denoised {
    /// Predicted x_0, [batch, channel, height, width].
    pub x_0: Tensor,
    /// Predicted ε, of the same shape.
    pub eps: Tensor,
}

impl GaussianDiffusion {
    /// The training target for x_t: ε, x_0 or v, depending on what the network predicts.
    ///
    /// # Shapes
    /// `x_0` and `eps` [batch, channel, height, width]; `t` has one index per image. The result has the shape of `x_0`.
    ///
    /// # Errors
    /// If the shapes differ, or an index is not in the schedule.
    pub fn target(&self, x_0: &Tensor, eps: &Tensor, t: &[usize]) -> Result<Tensor, DiffusionError> {
        check_shape("eps", eps.dims(), x_0.dims())?;
        match self.prediction() {
            Prediction::Epsilon => Ok(eps.clone()),
            Prediction::X0 => Ok(x_0.clone()),
            Prediction::V => self.combine(x_0, eps, t, |i| self.schedule().target_factors(Prediction::V, i)),
        }
    }

    /// Predicted x_0 and ε, computed from the network's output at x_t.
    ///
    /// # Shapes
    /// `x_t` and `output` [batch, channel, height, width]; `t` has one index per image.
    ///
    /// # Errors
    /// If the shapes differ or an index is not in the schedule, and [`DiffusionError::NoSignal`] if the network
    /// predicts ε and ᾱ_t is 0.
    pub fn denoised(&self, x_t: &Tensor, t: &[usize], output: &Tensor) -> Result<Denoised, DiffusionError> {
        check_shape("the network's output", output.dims(), x_t.dims())?;
        let (prediction, schedule) = (self.prediction(), self.schedule());
        let x_0 = match prediction {
            Prediction::X0 => output.clone(),
            _ => self.combine(x_t, output, t, |i| schedule.x0_factors(prediction, i))?,
        };
        let eps = match prediction {
            Prediction::Epsilon => output.clone(),
            _ => self.combine(x_t, output, t, |i| schedule.eps_factors(prediction, i))?,
        };
        Ok(Denoised { x_0, eps })
    }

    /// a · `first` + b · `second`, where each image has its own coefficients (a, b).
    fn combine(
        &self,
        first: &Tensor,
        second: &Tensor,
        t: &[usize],
        factors: impl Fn(usize) -> Factors,
    ) -> Result<Tensor, DiffusionError> {
        let a = self.per_image(t, first, |i| factors(i).0)?;
        let b = self.per_image(t, second, |i| factors(i).1)?;
        Ok((first.broadcast_mul(&a)? + second.broadcast_mul(&b)?)?)
    }
}
