//! The rules that define a sequence β_1 … β_T.

use crate::max_timesteps::check_timesteps;
use crate::{ScheduleError, cosine, linear, quadratic, sigmoid};

/// A rule for β_1 … β_T. Plain data, validated by [`Schedule::new`](crate::Schedule::new).
///
/// With serde it is internally tagged: `{ kind = "linear", start = 1e-4, end = 0.02 }`.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)
)]
pub enum BetaSchedule {
    /// β is evenly spaced from `start` to `end` (Ho et al. 2020, section 4, with 1e-4 and 0.02).
    Linear {
        /// β_1, in (0, 1).
        start: f64,
        /// β_T, in (0, 1), at least `start`.
        end: f64,
    },
    /// √β is evenly spaced from √`start` to √`end` (`scaled_linear` in diffusers; latent diffusion uses 8.5e-4 and
    /// 0.012).
    ScaledLinear {
        /// β_1, in (0, 1).
        start: f64,
        /// β_T, in (0, 1), at least `start`.
        end: f64,
    },
    /// The same sequence as [`ScaledLinear`](Self::ScaledLinear), bit for bit. `quad` is its name in the code of Ho et
    /// al. 2020; a model card may use either name.
    Quadratic {
        /// β_1, in (0, 1).
        start: f64,
        /// β_T, in (0, 1), at least `start`.
        end: f64,
    },
    /// ᾱ_t ∝ cos²((t/T + offset)/(1 + offset)·π/2) (Nichol & Dhariwal 2021, eq. 17, with 0.008 and 0.999). Each β is
    /// clipped to `max_beta`, and ᾱ is the running product of the clipped 1 − β.
    Cosine {
        /// s, at least 0. It prevents β from being too small near t = 0.
        offset: f64,
        /// The largest β, in (0, 1).
        max_beta: f64,
    },
    /// β = `start` + (`end` − `start`)·σ(u) with u evenly spaced over [−6, 6] (`sigmoid` in diffusers).
    Sigmoid {
        /// The lower limit of β, in (0, 1).
        start: f64,
        /// The upper limit of β, in (0, 1), at least `start`.
        end: f64,
    },
    /// An explicit β for each timestep.
    Given {
        /// T values in (0, 1). The last may be 1, which is zero terminal SNR.
        betas: Vec<f64>,
    },
}

/// The linear schedule of Ho et al. 2020, from 1e-4 to 0.02.
impl Default for BetaSchedule {
    fn default() -> Self {
        Self::Linear { start: 1e-4, end: 0.02 }
    }
}

impl BetaSchedule {
    /// β_1 … β_T. The parameters are validated here; the schedule validates that each β is in (0, 1).
    pub(crate) fn betas(&self, timesteps: usize) -> Result<Vec<f64>, ScheduleError> {
        check_timesteps(timesteps)?;
        match self {
            Self::Linear { start, end } => ends(*start, *end, timesteps, linear::betas),
            Self::ScaledLinear { start, end } | Self::Quadratic { start, end } => {
                ends(*start, *end, timesteps, quadratic::betas)
            }
            Self::Sigmoid { start, end } => ends(*start, *end, timesteps, sigmoid::betas),
            Self::Cosine { offset, max_beta } => {
                if !(offset.is_finite() && *offset >= 0.0) {
                    let expected = "a finite number, at least 0";
                    return Err(ScheduleError::Parameter { name: "cosine_offset", value: *offset, expected });
                }
                check_beta("max_beta", *max_beta)?;
                Ok(cosine::betas(*offset, *max_beta, timesteps))
            }
            Self::Given { betas } if betas.len() == timesteps => Ok(betas.clone()),
            Self::Given { betas } => Err(ScheduleError::BetasLength { timesteps, found: betas.len() }),
        }
    }

    /// The same rule for another number of timesteps: `start` and `end` are multiplied by 1000/T, so that T steps add
    /// about as much noise as a thousand (the code of Nichol & Dhariwal 2021). Without rescaling, a linear schedule of
    /// 200 steps ends at ᾱ = 0.13, so x_T still contains the image.
    ///
    /// The cosine rule is a function of t/T and remains unchanged.
    ///
    /// # Errors
    /// If T is 0 or above [`MAX_TIMESTEPS`](crate::MAX_TIMESTEPS), if a rescaled β is not below 1 (T ≤ 20 for a β of
    /// 0.02), or if the betas are explicit.
    ///
    /// # Examples
    /// ```
    /// use ddpm_schedule::BetaSchedule;
    ///
    /// let linear = BetaSchedule::Linear { start: 1e-4, end: 0.02 };
    /// assert_eq!(linear.rescaled_to(500).unwrap(), BetaSchedule::Linear { start: 2e-4, end: 0.04 });
    /// let error = linear.rescaled_to(20).unwrap_err().to_string();
    /// assert!(error.starts_with("beta_end = 0.02 rescaled by 1000/20 is 1, expected below 1"), "{error}");
    /// ```
    pub fn rescaled_to(&self, timesteps: usize) -> Result<Self, ScheduleError> {
        check_timesteps(timesteps)?;
        let rescale = |name, value: f64| {
            let rescaled = value * (1000.0 / timesteps as f64);
            match rescaled < 1.0 || !value.is_finite() {
                true => Ok(rescaled),
                false => Err(ScheduleError::Rescaled { name, value, rescaled, timesteps }),
            }
        };
        let ends = |start, end| Ok((rescale("beta_start", start)?, rescale("beta_end", end)?));
        match self {
            Self::Linear { start, end } => ends(*start, *end).map(|(start, end)| Self::Linear { start, end }),
            Self::ScaledLinear { start, end } => {
                ends(*start, *end).map(|(start, end)| Self::ScaledLinear { start, end })
            }
            Self::Quadratic { start, end } => ends(*start, *end).map(|(start, end)| Self::Quadratic { start, end }),
            Self::Sigmoid { start, end } => ends(*start, *end).map(|(start, end)| Self::Sigmoid { start, end }),
            Self::Cosine { .. } => Ok(self.clone()),
            Self::Given { .. } => Err(ScheduleError::GivenBetasRescaled),
        }
    }
}

/// The sequence of `rule` between `start` and `end`, which are validated first.
fn ends(
    start: f64,
    end: f64,
    timesteps: usize,
    rule: impl Fn(f64, f64, usize) -> Vec<f64>,
) -> Result<Vec<f64>, ScheduleError> {
    check_beta("beta_start", start)?;
    check_beta("beta_end", end)?;
    if start > end {
        return Err(ScheduleError::Decreasing { start, end });
    }
    Ok(rule(start, end, timesteps))
}

fn check_beta(name: &'static str, value: f64) -> Result<(), ScheduleError> {
    match value > 0.0 && value < 1.0 {
        true => Ok(()),
        false => Err(ScheduleError::Parameter { name, value, expected: "a number in (0, 1)" }),
    }
}
