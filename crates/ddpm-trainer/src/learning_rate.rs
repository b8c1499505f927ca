//! How the learning rate changes over a run.

use std::fmt;
use std::str::FromStr;

use ddpm_schedule::UnknownName;
use serde::{Deserialize, Serialize};

/// The shape of the learning rate after its warm-up (tip 2 of the article).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LearningRateSchedule {
    /// The base rate throughout, as in the article and in Ho et al. 2020.
    Constant,
    /// A straight line from the base rate to zero after the last step.
    Linear,
    /// Half a cosine from the base rate to zero after the last step (Loshchilov & Hutter 2017, eq. 5, one period).
    Cosine,
}

impl LearningRateSchedule {
    /// Every schedule, in the order of the documentation.
    pub const ALL: &[Self] = &[Self::Constant, Self::Linear, Self::Cosine];

    /// The factor, in (0, 1], that the base rate is multiplied by at `step`, counted from 0, of `total_steps`.
    ///
    /// During the first `warmup_steps` steps it rises linearly: (step + 1) / (warmup_steps + 1). The schedule's own
    /// shape spreads over the remaining steps.
    ///
    /// # Examples
    /// ```
    /// use ddpm_trainer::LearningRateSchedule::{Constant, Cosine, Linear};
    ///
    /// assert_eq!(Constant.factor(0, 3, 100), 0.25);
    /// assert_eq!(Constant.factor(3, 3, 100), 1.0);
    /// assert_eq!(Linear.factor(50, 0, 100), 0.5);
    /// assert!((Cosine.factor(50, 0, 100) - 0.5).abs() < 1e-15);
    /// ```
    pub fn factor(self, step: u64, warmup_steps: u64, total_steps: u64) -> f64 {
        if step < warmup_steps {
            return (step + 1) as f64 / (warmup_steps + 1) as f64;
        }
        let rest = total_steps.saturating_sub(warmup_steps).max(1);
        let done = ((step - warmup_steps) as f64 / rest as f64).min(1.0);
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - done,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
        }
    }
}

impl fmt::Display for LearningRateSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LearningRateSchedule {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName::new("learning-rate schedule", name, Self::ALL);
        Self::ALL.iter().copied().find(|schedule| schedule.name() == name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::LearningRateSchedule::{self, Cosine, Linear};

    #[test]
    fn every_schedule_warms_up_peaks_at_one_and_never_rises_again() {
        for schedule in LearningRateSchedule::ALL {
            let factors: Vec<f64> = (0..100).map(|step| schedule.factor(step, 10, 100)).collect();
            assert!(factors[..10].windows(2).all(|w| w[0] < w[1]) && factors[0] > 0.0);
            assert_eq!(factors[10], 1.0);
            assert!(factors[10..].windows(2).all(|w| w[0] >= w[1]));
            assert!(factors[99] > 0.0);
        }
        assert_eq!(Linear.factor(100, 10, 100), 0.0);
        assert!(Cosine.factor(100, 10, 100) < 1e-15);
    }

    #[test]
    fn a_warm_up_longer_than_the_run_only_rises() {
        assert!((0..10).all(|step| Cosine.factor(step, 50, 10) == (step + 1) as f64 / 51.0));
    }

    #[test]
    fn names_are_those_of_serde() {
        for schedule in LearningRateSchedule::ALL {
            assert_eq!(serde_json::to_value(schedule).unwrap(), schedule.to_string());
            assert_eq!(schedule.to_string().parse(), Ok(*schedule));
        }
        let message = "Cosine".parse::<LearningRateSchedule>().unwrap_err().to_string();
        let expected = r#"unknown learning-rate schedule "Cosine", expected one of "constant", "linear", "cosine""#;
        assert_eq!(message, expected);
    }
}
