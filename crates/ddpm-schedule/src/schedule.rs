//! The validated schedule and every coefficient that follows from it.

use crate::max_timesteps::check_timesteps;
use crate::{BetaSchedule, ScheduleError, VarianceKind};

/// The smallest β̃ in diffusers, see [`Schedule::floored_posterior_variance`].
const VARIANCE_FLOOR: f64 = 1e-20;

/// A noise schedule: validated β_1 … β_T and all coefficients that follow from them.
///
/// Index `i` is the paper's t = i + 1. Each coefficient has two accessors: one for a single index, which panics outside
/// 0..`len` like slice indexing, and one for the whole slice.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    timesteps: Vec<usize>,
    original_timesteps: usize,
    betas: Vec<f64>,
    alphas: Vec<f64>,
    alpha_bars: Vec<f64>,
    alpha_bars_prev: Vec<f64>,
    one_minus_alpha_bars: Vec<f64>,
    sqrt_alpha_bars: Vec<f64>,
    sqrt_one_minus_alpha_bars: Vec<f64>,
    posterior_mean_coefs_x0: Vec<f64>,
    posterior_mean_coefs_xt: Vec<f64>,
    posterior_variances: Vec<f64>,
    posterior_log_variances_clipped: Vec<f64>,
}

impl Schedule {
    /// The schedule of `timesteps` steps with the given rule.
    ///
    /// # Errors
    /// If `timesteps` is 0 or above [`MAX_TIMESTEPS`](crate::MAX_TIMESTEPS), if a parameter of the rule is out of the
    /// range that [`BetaSchedule`] documents, or if a β is not in (0, 1). The last explicit β may be 1.
    pub fn new(rule: &BetaSchedule, timesteps: usize) -> Result<Self, ScheduleError> {
        Self::from_betas(&rule.betas(timesteps)?)
    }

    /// The schedule of the given β, one per timestep. The last may be 1, which is zero terminal SNR.
    ///
    /// # Errors
    /// If there are none or more than [`MAX_TIMESTEPS`](crate::MAX_TIMESTEPS), or if one of them is not in (0, 1),
    /// except for a 1 at the last step.
    ///
    /// # Examples
    /// ```
    /// use ddpm_schedule::{Schedule, ScheduleError};
    ///
    /// assert_eq!(Schedule::from_betas(&[0.5, 0.5]).unwrap().alpha_bars(), [0.5, 0.25]);
    /// assert_eq!(Schedule::from_betas(&[0.5, 1.0]).unwrap().alpha_bars(), [0.5, 0.0]);
    /// assert_eq!(Schedule::from_betas(&[1.0, 0.5]), Err(ScheduleError::Beta { index: 0, value: 1.0 }));
    /// ```
    pub fn from_betas(betas: &[f64]) -> Result<Self, ScheduleError> {
        check_timesteps(betas.len())?;
        Self::from_validated(betas.to_vec(), (0..betas.len()).collect(), betas.len())
    }

    /// The schedule of `betas`, where `timesteps` are the indices in a schedule of `original_timesteps` steps. β must
    /// be in (0, 1), or 1 at the last step. The number of steps has been validated.
    pub(crate) fn from_validated(
        betas: Vec<f64>,
        timesteps: Vec<usize>,
        original_timesteps: usize,
    ) -> Result<Self, ScheduleError> {
        let last = betas.len() - 1;
        let valid = |(i, &beta): (usize, &f64)| beta > 0.0 && (beta < 1.0 || (beta == 1.0 && i == last));
        if let Some(index) = betas.iter().enumerate().position(|pair| !valid(pair)) {
            return Err(ScheduleError::Beta { index, value: betas[index] });
        }
        let alphas: Vec<f64> = betas.iter().map(|beta| 1.0 - beta).collect();
        let alpha_bars = running(1.0, &betas, |product, beta| product * (1.0 - beta));
        // 1 − ᾱ_t = α_t·(1 − ᾱ_{t−1}) + β_t is a sum of positive terms without the cancellation of 1 − ᾱ_t. It
        // increases towards 1; the clamp keeps it monotonic in spite of rounding.
        let one_minus_alpha_bars = running(0.0, &betas, |rest, beta| ((1.0 - beta) * rest + beta).clamp(rest, 1.0));

        let mut schedule = Self {
            timesteps,
            original_timesteps,
            betas,
            alphas,
            alpha_bars,
            one_minus_alpha_bars,
            alpha_bars_prev: Vec::new(),
            sqrt_alpha_bars: Vec::new(),
            sqrt_one_minus_alpha_bars: Vec::new(),
            posterior_mean_coefs_x0: Vec::new(),
            posterior_mean_coefs_xt: Vec::new(),
            posterior_variances: Vec::new(),
            posterior_log_variances_clipped: Vec::new(),
        };
        schedule.derive();
        Ok(schedule)
    }

    /// Copies ᾱ and 1 − ᾱ of the given indices from the original schedule.
    pub(crate) fn copy_noise_levels(&mut self, original: &Self, indices: &[usize]) {
        self.alpha_bars = indices.iter().map(|&i| original.alpha_bars[i]).collect();
        self.one_minus_alpha_bars = indices.iter().map(|&i| original.one_minus_alpha_bars[i]).collect();
        self.derive();
    }

    /// Computes the coefficients that follow from β, ᾱ and 1 − ᾱ.
    fn derive(&mut self) {
        let steps = 0..self.betas.len();
        let prev =
            |values: &[f64], first| [first].into_iter().chain(values.iter().copied()).take(values.len()).collect();
        let roots = |values: &[f64]| values.iter().map(|v| v.sqrt()).collect();
        self.alpha_bars_prev = prev(&self.alpha_bars, 1.0);
        self.sqrt_alpha_bars = roots(&self.alpha_bars);
        self.sqrt_one_minus_alpha_bars = roots(&self.one_minus_alpha_bars);

        // Ho et al. 2020, eq. 7. The coefficients are √ᾱ_{t−1}·β_t/(1 − ᾱ_t) for x_0 and √α_t·(1 − ᾱ_{t−1})/(1 − ᾱ_t)
        // for x_t.
        let noise_prev: Vec<f64> = prev(&self.one_minus_alpha_bars, 0.0);
        let noise = &self.one_minus_alpha_bars;
        let coef_x0 = |i: usize| self.alpha_bars_prev[i].sqrt() * (self.betas[i] / noise[i]);
        let coef_xt = |i: usize| self.alphas[i].sqrt() * (noise_prev[i] / noise[i]);
        self.posterior_mean_coefs_x0 = steps.clone().map(coef_x0).collect();
        self.posterior_mean_coefs_xt = steps.clone().map(coef_xt).collect();
        self.posterior_variances = steps.clone().map(|i| self.betas[i] * (noise_prev[i] / noise[i])).collect();

        // β̃ is 0 at the first step. Its logarithm is replaced by that of the second step, or of β if there is only
        // one.
        let log = |i: usize| self.betas[i].ln() + (noise_prev[i] / noise[i]).ln();
        let mut logs: Vec<f64> = steps.map(log).collect();
        logs[0] = logs.get(1).copied().unwrap_or(self.betas[0].ln());
        self.posterior_log_variances_clipped = logs;
    }

    /// The number of timesteps, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a schedule is never empty")]
    pub fn len(&self) -> usize {
        self.betas.len()
    }

    /// The index of step `i` in the original schedule, which the network receives. It is `i` itself unless the schedule
    /// is respaced.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len).
    pub fn timestep(&self, i: usize) -> usize {
        self.timesteps[i]
    }

    /// [`timestep`](Self::timestep) of every step, in increasing order.
    pub fn timesteps(&self) -> &[usize] {
        &self.timesteps
    }

    /// The number of timesteps of the original schedule. It is [`len`](Self::len) unless the schedule is respaced.
    pub fn original_timesteps(&self) -> usize {
        self.original_timesteps
    }

    /// The signal-to-noise ratio ᾱ_t/(1 − ᾱ_t) of x_t. It decreases with t and is finite.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len).
    pub fn snr(&self, i: usize) -> f64 {
        self.alpha_bars[i] / self.one_minus_alpha_bars[i]
    }

    /// The log-SNR ln ᾱ_t − ln(1 − ᾱ_t). It is −∞ where ᾱ_t is 0, as at the last step of a schedule with zero terminal
    /// SNR.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len).
    pub fn log_snr(&self, i: usize) -> f64 {
        self.alpha_bars[i].ln() - self.one_minus_alpha_bars[i].ln()
    }

    /// The variance σ_t² of the reverse step: β_t or β̃_t. β̃_t is 0 at index 0.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len).
    pub fn variance(&self, kind: VarianceKind, i: usize) -> f64 {
        match kind {
            VarianceKind::FixedLarge => self.betas[i],
            VarianceKind::FixedSmall => self.posterior_variances[i],
        }
    }

    /// ln σ_t², finite at every step. At index 0 it is ln β̃ of index 1 for **both** kinds, as in the code of Ho et
    /// al.: the last sampling step adds no noise, but its likelihood (L_0) needs a positive variance.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len).
    pub fn log_variance_clipped(&self, kind: VarianceKind, i: usize) -> f64 {
        match kind {
            VarianceKind::FixedLarge if i > 0 => self.betas[i].ln(),
            _ => self.posterior_log_variances_clipped[i],
        }
    }

    /// β̃_t, at least 1e-20: the variance `fixed_small` of diffusers, whose logarithm is finite at index 0 too.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len).
    pub fn floored_posterior_variance(&self, i: usize) -> f64 {
        self.posterior_variances[i].max(VARIANCE_FLOOR)
    }
}

/// Defines the two accessors of each coefficient: for one index and for the whole slice.
macro_rules! coefficients {
    ($($(#[doc = $doc:literal])+ $one:ident, $all:ident;)+) => {
        impl Schedule {
            $(
                $(#[doc = $doc])+
                ///
                /// # Panics
                /// If `i` is not below [`len`](Self::len).
                pub fn $one(&self, i: usize) -> f64 {
                    self.$all[i]
                }

                #[doc = concat!("[`", stringify!($one), "`](Self::", stringify!($one), ") of every step.")]
                pub fn $all(&self) -> &[f64] {
                    &self.$all
                }
            )+
        }
    };
}

coefficients! {
    /// β_t, the variance of the noise added at this step: in (0, 1), or 1 at the last step with zero terminal SNR.
    beta, betas;
    /// α_t = 1 − β_t.
    alpha, alphas;
    /// ᾱ_t = Π α_s over s ≤ t (Ho et al. 2020, below eq. 3), the factor of x_0² in the second moment of x_t.
    alpha_bar, alpha_bars;
    /// ᾱ_{t−1}, which is 1 at index 0.
    alpha_bar_prev, alpha_bars_prev;
    /// 1 − ᾱ_t, the variance of q(x_t | x_0), computed without cancellation.
    one_minus_alpha_bar, one_minus_alpha_bars;
    /// √ᾱ_t, the coefficient of x_0 in x_t (Ho et al. 2020, eq. 4).
    sqrt_alpha_bar, sqrt_alpha_bars;
    /// √(1 − ᾱ_t), the coefficient of ε in x_t (Ho et al. 2020, eq. 4).
    sqrt_one_minus_alpha_bar, sqrt_one_minus_alpha_bars;
    /// √ᾱ_{t−1}·β_t/(1 − ᾱ_t), the coefficient of x_0 in the mean of q(x_{t−1} | x_t, x_0) (Ho et al. 2020, eq. 7); 1
    /// at index 0.
    posterior_mean_coef_x0, posterior_mean_coefs_x0;
    /// √α_t·(1 − ᾱ_{t−1})/(1 − ᾱ_t), the coefficient of x_t in the mean of q(x_{t−1} | x_t, x_0) (Ho et al. 2020, eq.
    /// 7); 0 at index 0.
    posterior_mean_coef_xt, posterior_mean_coefs_xt;
    /// β̃_t = (1 − ᾱ_{t−1})/(1 − ᾱ_t)·β_t, the variance of q(x_{t−1} | x_t, x_0) (Ho et al. 2020, eq. 7); 0 at index 0.
    posterior_variance, posterior_variances;
    /// ln β̃_t, with the value of index 1 at index 0, where β̃ is 0 (the code of Ho et al. 2020); ln β_1 for a single
    /// step.
    posterior_log_variance_clipped, posterior_log_variances_clipped;
}

/// The values of the recurrence `next` over `items`, without the initial value `first`.
fn running(first: f64, items: &[f64], next: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let step = |state: &mut f64, item: &f64| {
        *state = next(*state, *item);
        Some(*state)
    };
    items.iter().scan(first, step).collect()
}
