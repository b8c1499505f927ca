//! The options of sampling as plain data, and the respaced diffusion process that follows from them.

use ddpm_schedule::{Prediction, Schedule, Spacing};
use serde::{Deserialize, Serialize};

use crate::{Clipping, DiffusionError, EpsAfterClip, GaussianDiffusion, Guidance, Method, ReverseVariance};

/// How images are sampled. Plain data; [`sample`](crate::sample) validates it against the schedule.
///
/// Fields that the chosen method or clipping does not read are validated and have no effect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerConfig {
    /// The sampling method. Default: [`Method::Ddpm`].
    #[serde(default)]
    pub method: Method,
    /// The amount of noise of [`Method::Ddim`] as a fraction of the standard deviation √β̃, in [0, 1]. Default: 0.
    #[serde(default)]
    pub eta: f64,
    /// The order of the DPM-Solver++ methods: 1, 2 or 3. Default: 2.
    #[serde(default = "defaults::order")]
    pub order: usize,
    /// How predicted x_0 is clipped. Also read from the key `mean`, its name in earlier versions.
    #[serde(alias = "mean")]
    pub clip: Clipping,
    /// The bound of |x_0| for [`Clipping::Fixed`], above 0. Default: 1.
    #[serde(default = "defaults::clip_range")]
    pub clip_range: f64,
    /// The quantile of |x_0| that is the threshold of [`Clipping::Dynamic`], in [0, 1]. Default: 0.995.
    #[serde(default = "defaults::threshold_quantile")]
    pub threshold_quantile: f64,
    /// The largest threshold of [`Clipping::Dynamic`], finite and at least 1. Default: 1, which clips to ±1.
    #[serde(default = "defaults::threshold_max")]
    pub threshold_max: f64,
    /// The predicted ε that [`Method::Ddim`] and [`Method::Heun`] use with a clipped x_0. Default:
    /// [`EpsAfterClip::Rederived`].
    #[serde(default)]
    pub eps_after_clip: EpsAfterClip,
    /// The variance σ² of [`Method::Ddpm`].
    pub variance: ReverseVariance,
    /// Number of sampling steps, from 1 to the length of the schedule.
    pub steps: usize,
    /// Which timesteps are taken if `steps` is less than the length of the schedule.
    pub spacing: Spacing,
    /// The guidance of class-conditional networks: [`Guidance::scale`], at least 0. Default: 1, no guidance.
    #[serde(default = "defaults::guidance_scale", skip_serializing_if = "defaults::is_one")]
    pub guidance_scale: f64,
    /// The noise levels with guidance: [`Guidance::interval`]. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance_interval: Option<[f64; 2]>,
    /// How far the standard deviation of a guided prediction is restored: [`Guidance::rescale`], in [0, 1]. Default: 0.
    #[serde(default, skip_serializing_if = "defaults::is_zero")]
    pub guidance_rescale: f64,
}

/// The published values that absent fields have.
mod defaults {
    pub(super) fn order() -> usize {
        2
    }
    pub(super) fn clip_range() -> f64 {
        1.0
    }
    pub(super) fn threshold_quantile() -> f64 {
        0.995
    }
    pub(super) fn threshold_max() -> f64 {
        1.0
    }
    pub(super) fn guidance_scale() -> f64 {
        1.0
    }
    // serde passes a reference.
    pub(super) fn is_one(value: &f64) -> bool {
        *value == 1.0
    }
    pub(super) fn is_zero(value: &f64) -> bool {
        *value == 0.0
    }
}

impl SamplerConfig {
    /// A configuration of the fields that have no default; the others have their published values.
    pub fn new(
        method: Method,
        clip: Clipping,
        variance: impl Into<ReverseVariance>,
        steps: usize,
        spacing: Spacing,
    ) -> Self {
        Self {
            method,
            eta: 0.0,
            order: defaults::order(),
            clip,
            clip_range: defaults::clip_range(),
            threshold_quantile: defaults::threshold_quantile(),
            threshold_max: defaults::threshold_max(),
            eps_after_clip: EpsAfterClip::default(),
            variance: variance.into(),
            steps,
            spacing,
            guidance_scale: defaults::guidance_scale(),
            guidance_interval: None,
            guidance_rescale: 0.0,
        }
    }

    /// The options of guidance.
    pub fn guidance(&self) -> Guidance {
        Guidance { scale: self.guidance_scale, interval: self.guidance_interval, rescale: self.guidance_rescale }
    }

    /// The diffusion process over the timesteps that are taken (Nichol & Dhariwal 2021, section 4).
    ///
    /// # Errors
    /// [`DiffusionError::Option`] if a field is out of its range, [`DiffusionError::Schedule`] if `steps` is 0 or more
    /// than the length of the schedule, and [`DiffusionError::NoSignal`] if ᾱ of the first sampling step is so small
    /// that predicted x_0 (or Heun's method) cannot be computed.
    pub fn respaced(&self, diffusion: &GaussianDiffusion) -> Result<GaussianDiffusion, DiffusionError> {
        self.check_ranges()?;
        let schedule = self.respaced_schedule(diffusion.schedule())?;
        let (last, prediction) = (schedule.len() - 1, diffusion.prediction());
        // Predicted ε is converted to x_0 with 1 / √ᾱ_T, and Heun's method starts with x_T / √ᾱ_T.
        let divides_by_signal = prediction == Prediction::Epsilon || self.method == Method::Heun;
        if divides_by_signal && !(schedule.sqrt_alpha_bar(last).recip() as f32).is_finite() {
            let (timestep, alpha_bar) = (schedule.timestep(last), schedule.alpha_bar(last));
            let heun = self.method == Method::Heun;
            return Err(DiffusionError::NoSignal { timestep, alpha_bar, heun });
        }
        Ok(GaussianDiffusion::new(schedule).with_prediction(prediction))
    }

    /// The schedule over the timesteps that are taken. DPM-Solver++ steps from the lowest timestep of a spacing to x_0
    /// without evaluating the network there: it spaces one more step and omits the lowest, as the authors' code does.
    fn respaced_schedule(&self, schedule: &Schedule) -> Result<Schedule, DiffusionError> {
        let omit_lowest =
            self.method.is_dpm_solver() && self.spacing != Spacing::Trailing && self.steps < schedule.len();
        if !omit_lowest {
            return Ok(schedule.respaced(self.steps, self.spacing)?);
        }
        let respaced = schedule.respaced(self.steps + 1, self.spacing)?;
        Ok(respaced.selected(&(1..=self.steps).collect::<Vec<_>>())?)
    }

    fn check_ranges(&self) -> Result<(), DiffusionError> {
        let Self { eta, order, clip_range, threshold_quantile, threshold_max, .. } = *self;
        let check = |field, expected, found, is_valid: bool| {
            if is_valid { Ok(()) } else { Err(DiffusionError::Option { field, expected, found }) }
        };
        let unit = 0.0..=1.0;
        check("eta", "a share in [0, 1]", eta, unit.contains(&eta))?;
        check("order", "1, 2 or 3", order as f64, (1..=3).contains(&order))?;
        check("clip_range", "a finite number above 0", clip_range, clip_range > 0.0 && clip_range.is_finite())?;
        check("threshold_quantile", "a share in [0, 1]", threshold_quantile, unit.contains(&threshold_quantile))?;
        let threshold_is_valid = threshold_max >= 1.0 && threshold_max.is_finite();
        check("threshold_max", "a finite number from 1", threshold_max, threshold_is_valid)?;
        self.guidance().validate()
    }
}
