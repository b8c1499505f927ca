//! The forward process q(x_t | x_0), and the conversions between x_0 and ε.

use candle_core::{Device, Result as CandleResult, Tensor};
use ddpm_schedule::{Prediction, Schedule};

use crate::DiffusionError;
use crate::error::{batch_axis, check_shape};

/// The Gaussian diffusion process of a noise schedule, and what the network predicts about it.
///
/// The methods that sample, convert and compare are grouped by topic in other modules of the crate.
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
    /// The process of `schedule` for a network that predicts ε.
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, prediction: Prediction::Epsilon }
    }

    /// The same process for a network that predicts `prediction`.
    pub fn with_prediction(self, prediction: Prediction) -> Self {
        Self { prediction, ..self }
    }

    /// What the network predicts: ε, x_0 or v.
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// The noise schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, which is a draw from q(x_t | x_0) if ε ~ N(0, I) (Ho et al. 2020, eq. 4).
    ///
    /// # Shapes
    /// `x_0` and `eps` [batch, channel, height, width]; `t` has one index per image. The result has the shape of `x_0`.
    ///
    /// # Errors
    /// If the shapes differ, or an index is not in the schedule.
    pub fn q_sample(&self, x_0: &Tensor, t: &[usize], eps: &Tensor) -> Result<Tensor, DiffusionError> {
        check_shape("eps", eps.dims(), x_0.dims())?;
        let signal = self.per_image(t, x_0, |i| self.schedule.sqrt_alpha_bar(i))?;
        let noise = self.per_image(t, x_0, |i| self.schedule.sqrt_one_minus_alpha_bar(i))?;
        Ok((x_0.broadcast_mul(&signal)? + eps.broadcast_mul(&noise)?)?)
    }

    /// x_0 = (x_t − √(1 − ᾱ_t) ε) / √ᾱ_t, the inverse of [`GaussianDiffusion::q_sample`] (Ho et al. 2020, eq. 15). It
    /// does not depend on what the network predicts.
    ///
    /// DIFFERENCE: the article's text divides by √α_t. Its code divides by √ᾱ_t, which is correct.
    ///
    /// # Shapes
    /// As for [`GaussianDiffusion::q_sample`].
    ///
    /// # Errors
    /// If the shapes differ or an index is not in the schedule, and [`DiffusionError::NoSignal`] if ᾱ_t is 0.
    pub fn predict_x0(&self, x_t: &Tensor, t: &[usize], eps: &Tensor) -> Result<Tensor, DiffusionError> {
        check_shape("eps", eps.dims(), x_t.dims())?;
        let inverse = self.per_image(t, x_t, |i| self.schedule.sqrt_alpha_bar(i).recip())?;
        let ratio = |i| self.schedule.sqrt_one_minus_alpha_bar(i) / self.schedule.sqrt_alpha_bar(i);
        let ratio = self.per_image(t, x_t, ratio)?;
        Ok((x_t.broadcast_mul(&inverse)? - eps.broadcast_mul(&ratio)?)?)
    }

    /// ε = (x_t − √ᾱ_t x_0) / √(1 − ᾱ_t), the noise in x_t if the image is `x_0`.
    ///
    /// # Shapes
    /// As for [`GaussianDiffusion::q_sample`].
    ///
    /// # Errors
    /// If the shapes differ, or an index is not in the schedule.
    pub fn predict_eps(&self, x_t: &Tensor, t: &[usize], x_0: &Tensor) -> Result<Tensor, DiffusionError> {
        check_shape("x_0", x_0.dims(), x_t.dims())?;
        let inverse = self.per_image(t, x_t, |i| self.schedule.sqrt_one_minus_alpha_bar(i).recip())?;
        let ratio = |i| self.schedule.sqrt_alpha_bar(i) / self.schedule.sqrt_one_minus_alpha_bar(i);
        let ratio = self.per_image(t, x_t, ratio)?;
        Ok((x_t.broadcast_mul(&inverse)? - x_0.broadcast_mul(&ratio)?)?)
    }

    /// The timesteps that the network receives: indices into the schedule that it was trained with, `[batch]`, f32. The
    /// tensor is on the CPU, where networks compute the timestep embedding.
    ///
    /// # Errors
    /// If an index is not in the schedule.
    pub fn network_timesteps(&self, t: &[usize]) -> Result<Tensor, DiffusionError> {
        self.check_timesteps(t)?;
        let timesteps: Vec<f32> = t.iter().map(|i| self.schedule.timestep(*i) as f32).collect();
        Ok(Tensor::from_vec(timesteps, t.len(), &Device::Cpu)?)
    }

    pub(crate) fn check_timesteps(&self, t: &[usize]) -> Result<(), DiffusionError> {
        let len = self.schedule.len();
        match t.iter().find(|i| **i >= len) {
            Some(found) => Err(DiffusionError::Timestep { found: *found, len }),
            None => Ok(()),
        }
    }

    /// A coefficient of the timestep of each image, as a tensor [batch, 1, …, 1] with the dtype and device of `like`.
    ///
    /// # Errors
    /// [`DiffusionError::NoSignal`] if a coefficient is infinite in f32.
    pub(crate) fn per_image(
        &self,
        t: &[usize],
        like: &Tensor,
        coefficient: impl Fn(usize) -> f64,
    ) -> Result<Tensor, DiffusionError> {
        check_shape("t", &[t.len()], batch_axis(like))?;
        self.check_timesteps(t)?;
        let values: Vec<f64> = t.iter().map(|i| coefficient(*i)).collect();
        // A coefficient is infinite if it divides by α = 0 or ᾱ = 0. Computing with it would give images of NaN.
        if let Some(image) = values.iter().position(|value| !(*value as f32).is_finite()) {
            let (timestep, alpha_bar) = (self.schedule.timestep(t[image]), self.schedule.alpha_bar(t[image]));
            return Err(DiffusionError::NoSignal { timestep, alpha_bar, heun: false });
        }
        Ok(column(values, like)?)
    }
}

/// `values` as a tensor [batch, 1, …, 1] that broadcasts to `like`.
fn column(values: Vec<f64>, like: &Tensor) -> CandleResult<Tensor> {
    let mut shape = vec![1; like.rank()];
    shape[0] = values.len();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(like.dtype())?.to_device(like.device())
}
