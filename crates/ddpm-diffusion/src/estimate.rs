//! What a network's output says of x_0 and ε, and what it should have said.

use candle_core::Tensor;
use ddpm_schedule::{Factors, Prediction};

use crate::error::check_shape;
use crate::{DiffusionError, GaussianDiffusion};

/// Both sides of a prediction: x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε holds for them.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// x̂_0, [batch, channel, height, width].
    pub x_0: Tensor,
    /// ε̂, of the same shape.
    pub eps: Tensor,
}

impl GaussianDiffusion {
    /// What the network should say of x_t, by what it is trained to predict: ε, x_0 or v.
    ///
    /// # Shapes
    /// `x_0` and `eps` [batch, channel, height, width]; `t` one index an image. The result has the shape of `x_0`.
    ///
    /// # Errors
    /// When the shapes differ, or an index is not in the schedule.
    pub fn target(&self, x_0: &Tensor, eps: &Tensor, t: &[usize]) -> Result<Tensor, DiffusionError> {
        check_shape("eps", eps.dims(), x_0.dims())?;
        match self.prediction() {
            Prediction::Epsilon => Ok(eps.clone()),
            Prediction::X0 => Ok(x_0.clone()),
            Prediction::V => self.mixed(x_0, eps, t, |i| self.schedule().target_factors(Prediction::V, i)),
        }
    }

    /// x̂_0 and ε̂ of the network's output at x_t.
    ///
    /// # Shapes
    /// `x_t` and `output` [batch, channel, height, width]; `t` one index an image.
    ///
    /// # Errors
    /// When the shapes differ, an index is not in the schedule, or the output is ε̂ and ᾱ_t is 0
    /// ([`DiffusionError::NoSignal`]).
    pub fn estimate(&self, x_t: &Tensor, t: &[usize], output: &Tensor) -> Result<Estimate, DiffusionError> {
        check_shape("the network's output", output.dims(), x_t.dims())?;
        let (prediction, schedule) = (self.prediction(), self.schedule());
        let x_0 = match prediction {
            Prediction::X0 => output.clone(),
            _ => self.mixed(x_t, output, t, |i| schedule.x0_factors(prediction, i))?,
        };
        let eps = match prediction {
            Prediction::Epsilon => output.clone(),
            _ => self.mixed(x_t, output, t, |i| schedule.eps_factors(prediction, i))?,
        };
        Ok(Estimate { x_0, eps })
    }

    /// a · first + b · second with each image's own (a, b).
    fn mixed(
        &self,
        first: &Tensor,
        second: &Tensor,
        t: &[usize],
        factors: impl Fn(usize) -> Factors,
    ) -> Result<Tensor, DiffusionError> {
        let of_first = self.per_image(t, first, |i| factors(i).0)?;
        let of_second = self.per_image(t, second, |i| factors(i).1)?;
        Ok((first.broadcast_mul(&of_first)? + second.broadcast_mul(&of_second)?)?)
    }
}
