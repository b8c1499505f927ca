//! How the learning rate changes over a run.

use serde::{Deserialize, Serialize};

/// The shape of the learning rate after its warm-up (the article's tip 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LearningRateSchedule {
    /// The base rate throughout, as in the article and in Ho et al.
    Constant,
    /// A straight line from the base rate to zero after the last step.
    Linear,
    /// Half a cosine from the base rate to zero after the last step (Loshchilov & Hutter 2017, eq. 5, one period).
    Cosine,
}

impl LearningRateSchedule {
    /// The rate of a step, counted from 0, as a share of the base rate, in (0, 1].
    ///
    /// Over the first `warmup_steps` it rises in a straight line: (step + 1) / (warmup_steps + 1). What follows spreads over
    /// the rest of `steps`.
    ///
    /// # Examples
    /// ```
    /// use ddpm_trainer::LearningRateSchedule::{Constant, Cosine, Linear};
    ///
    /// assert_eq!(Constant.share(0, 3, 100), 0.25);
    /// assert_eq!(Constant.share(3, 3, 100), 1.0);
    /// assert_eq!(Linear.share(50, 0, 100), 0.5);
    /// assert!((Cosine.share(50, 0, 100) - 0.5).abs() < 1e-15);
    /// ```
    pub fn share(self, step: u64, warmup_steps: u64, steps: u64) -> f64 {
        if step < warmup_steps {
            return (step + 1) as f64 / (warmup_steps + 1) as f64;
        }
        let rest = steps.saturating_sub(warmup_steps).max(1);
        let done = ((step - warmup_steps) as f64 / rest as f64).min(1.0);
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - done,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LearningRateSchedule::{Constant, Cosine, Linear};

    #[test]
    fn every_schedule_warms_up_peaks_at_one_and_never_rises_again() {
        for schedule in [Constant, Linear, Cosine] {
            let shares: Vec<f64> = (0..100).map(|step| schedule.share(step, 10, 100)).collect();
            assert!(shares[..10].windows(2).all(|w| w[0] < w[1]) && shares[0] > 0.0);
            assert_eq!(shares[10], 1.0);
            assert!(shares[10..].windows(2).all(|w| w[0] >= w[1]));
            assert!(shares[99] > 0.0);
        }
        assert_eq!(Linear.share(100, 10, 100), 0.0);
        assert!(Cosine.share(100, 10, 100) < 1e-15);
    }

    #[test]
    fn a_warm_up_longer_than_the_run_only_rises() {
        assert!((0..10).all(|step| Cosine.share(step, 50, 10) == (step + 1) as f64 / 51.0));
    }
}
