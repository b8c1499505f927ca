//! The forward process q(x_t | x_0), and the way back from a known noise.

use candle_core::{Device, Result as CandleResult, Tensor};
use ddpm_schedule::{Prediction, Schedule};

use crate::DiffusionError;
use crate::error::{batch, check_shape};

/// The forward process of a schedule, and all that follows from it in closed form.
///
/// # Examples
/// ```
/// use candle_core::{Device, Tensor};
/// use ddpm_diffusion::GaussianDiffusion;
/// use ddpm_schedule::{BetaSchedule, Schedule};
///
/// let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000)?;
/// let diffusion = GaussianDiffusion::new(schedule);
/// let x_0 = Tensor::full(0.5f32, (2, 1, 4, 4), &Device::Cpu)?;
/// let eps = x_0.zeros_like()?;
/// let x_t = diffusion.q_sample(&x_0, &[0, 999], &eps)?;
/// assert_eq!(x_t.dims(), [2, 1, 4, 4]);
/// assert!(diffusion.q_sample(&x_0, &[0, 1000], &eps).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct GaussianDiffusion {
    schedule: Schedule,
    prediction: Prediction,
}

impl GaussianDiffusion {
    /// The process of that schedule, for a network that predicts ε.
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, prediction: Prediction::Epsilon }
    }

    /// The same process, for a network that predicts what `prediction` says.
    pub fn predicting(self, prediction: Prediction) -> Self {
        Self { prediction, ..self }
    }

    /// What the network predicts.
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// Its schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, a draw from q(x_t | x_0) for ε ~ N(0, I) (Ho et al. 2020, eq. 4).
    ///
    /// # Shapes
    /// `x_0` and `eps` [batch, channel, height, width]; `t` one index an image. The result has the shape of `x_0`.
    ///
    /// # Errors
    /// When the shapes differ, or an index is not in the schedule.
    pub fn q_sample(&self, x_0: &Tensor, t: &[usize], eps: &Tensor) -> Result<Tensor, DiffusionError> {
        check_shape("eps", eps.dims(), x_0.dims())?;
        let signal = self.per_image(t, x_0, |i| self.schedule.sqrt_alpha_bar(i))?;
        let noise = self.per_image(t, x_0, |i| self.schedule.sqrt_one_minus_alpha_bar(i))?;
        Ok((x_0.broadcast_mul(&signal)? + eps.broadcast_mul(&noise)?)?)
    }

    /// x̂_0 = (x_t − √(1 − ᾱ_t) ε̂) / √ᾱ_t, the image that `eps` would have been added to, whatever the network predicts.
    ///
    /// DIFFERENCE: the article's text divides by √α_t; its code, by √ᾱ_t, is right.
    ///
    /// # Shapes
    /// Those of [`GaussianDiffusion::q_sample`].
    ///
    /// # Errors
    /// When the shapes differ, an index is not in the schedule, or ᾱ_t is 0 there ([`DiffusionError::NoSignal`]).
    pub fn predict_x0(&self, x_t: &Tensor, t: &[usize], eps: &Tensor) -> Result<Tensor, DiffusionError> {
        check_shape("eps", eps.dims(), x_t.dims())?;
        let inverse = self.per_image(t, x_t, |i| self.schedule.sqrt_alpha_bar(i).recip())?;
        let ratio = |i| self.schedule.sqrt_one_minus_alpha_bar(i) / self.schedule.sqrt_alpha_bar(i);
        let ratio = self.per_image(t, x_t, ratio)?;
        Ok((x_t.broadcast_mul(&inverse)? - eps.broadcast_mul(&ratio)?)?)
    }

    /// ε̂ = (x_t − √ᾱ_t x̂_0) / √(1 − ᾱ_t), the noise that leads from `x_0` to x_t.
    ///
    /// # Shapes
    /// Those of [`GaussianDiffusion::q_sample`].
    ///
    /// # Errors
    /// When the shapes differ, or an index is not in the schedule.
    pub fn predict_eps(&self, x_t: &Tensor, t: &[usize], x_0: &Tensor) -> Result<Tensor, DiffusionError> {
        check_shape("x_0", x_0.dims(), x_t.dims())?;
        let inverse = self.per_image(t, x_t, |i| self.schedule.sqrt_one_minus_alpha_bar(i).recip())?;
        let ratio = |i| self.schedule.sqrt_alpha_bar(i) / self.schedule.sqrt_one_minus_alpha_bar(i);
        let ratio = self.per_image(t, x_t, ratio)?;
        Ok((x_t.broadcast_mul(&inverse)? - x_0.broadcast_mul(&ratio)?)?)
    }

    /// What the network is told for those steps: `[batch]`, f32, on the CPU, where networks embed it; indices into the schedule that
    /// it was trained with.
    ///
    /// # Errors
    /// When an index is not in the schedule.
    pub fn network_time(&self, t: &[usize]) -> Result<Tensor, DiffusionError> {
        self.check_steps(t)?;
        let times: Vec<f32> = t.iter().map(|i| self.schedule.timestep(*i) as f32).collect();
        Ok(Tensor::from_vec(times, t.len(), &Device::Cpu)?)
    }

    pub(crate) fn check_steps(&self, t: &[usize]) -> Result<(), DiffusionError> {
        let len = self.schedule.len();
        match t.iter().find(|i| **i >= len) {
            Some(found) => Err(DiffusionError::TimeStep { found: *found, len }),
            None => Ok(()),
        }
    }

    /// A coefficient of each image's step, shaped to multiply `like`: [batch, 1, …, 1] of its dtype.
    pub(crate) fn per_image(
        &self,
        t: &[usize],
        like: &Tensor,
        coefficient: impl Fn(usize) -> f64,
    ) -> Result<Tensor, DiffusionError> {
        check_shape("t", &[t.len()], batch(like))?;
        self.check_steps(t)?;
        let values: Vec<f64> = t.iter().map(|i| coefficient(*i)).collect();
        // Infinite at α or ᾱ = 0; carried on, it would be images of NaN.
        if let Some(at) = values.iter().position(|value| !(*value as f32).is_finite()) {
            let (timestep, alpha_bar) = (self.schedule.timestep(t[at]), self.schedule.alpha_bar(t[at]));
            return Err(DiffusionError::NoSignal { timestep, alpha_bar, heun: false });
        }
        Ok(column(values, like)?)
    }
}

fn column(values: Vec<f64>, like: &Tensor) -> CandleResult<Tensor> {
    let mut shape = vec![1; like.rank()];
    shape[0] = values.len();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(like.dtype())?.to_device(like.device())
}
