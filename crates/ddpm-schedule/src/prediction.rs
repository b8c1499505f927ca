//! What a network predicts, and the coefficients that convert its output to x_0 and ε.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use crate::{Schedule, UnknownName};

/// What a network predicts. Each prediction determines x_0 and ε of a given x_t; they differ in how an error of the
/// network is weighted at each timestep.
///
/// With serde: `"epsilon"`, `"x0"`, `"v"`. The names in diffusers, `"sample"` and `"v_prediction"`, are also read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Prediction {
    /// The noise ε (Ho et al. 2020, eq. 11). It does not determine x_0 where ᾱ_t is 0.
    #[default]
    Epsilon,
    /// The image x_0 itself (Ho et al. 2020, section 3.2).
    #[cfg_attr(feature = "serde", serde(alias = "sample"))]
    X0,
    /// v = √ᾱ_t ε − √(1 − ᾱ_t) x_0 (Salimans & Ho 2022, section 4). It is −x_0 where ᾱ_t is 0, and ε where ᾱ_t is 1.
    #[cfg_attr(feature = "serde", serde(alias = "v_prediction"))]
    V,
}

impl Prediction {
    /// All predictions, in documentation order.
    pub const ALL: &[Self] = &[Self::Epsilon, Self::X0, Self::V];

    /// The name in configuration files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::X0 => "x0",
            Self::V => "v",
        }
    }
}

impl Display for Prediction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Prediction {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "epsilon" => Ok(Self::Epsilon),
            "x0" | "sample" => Ok(Self::X0),
            "v" | "v_prediction" => Ok(Self::V),
            _ => Err(UnknownName::new("prediction", name, Self::ALL)),
        }
    }
}

/// The coefficients (a, b) of a linear combination a · first + b · second of two quantities.
pub type Factors = (f64, f64);

impl Schedule {
    /// The coefficients of (x_0, ε) in the training target.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len).
    pub fn target_factors(&self, prediction: Prediction, i: usize) -> Factors {
        match prediction {
            Prediction::Epsilon => (0.0, 1.0),
            Prediction::X0 => (1.0, 0.0),
            Prediction::V => (-self.sqrt_one_minus_alpha_bar(i), self.sqrt_alpha_bar(i)),
        }
    }

    /// The coefficients of (x_t, output) in predicted x_0. For [`Prediction::Epsilon`] they are infinite where ᾱ_t is
    /// 0.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len).
    ///
    /// # Examples
    /// ```
    /// use ddpm_schedule::{Prediction, Schedule};
    ///
    /// let schedule = Schedule::from_betas(&[0.19]).unwrap();
    /// // ᾱ = 0.81 and x_t = 0.9 x_0 + √0.19 ε, so x_0 = (x_t − √0.19 ε) / 0.9.
    /// let (a, b) = schedule.x0_factors(Prediction::Epsilon, 0);
    /// assert!((a - 1.0 / 0.9).abs() < 1e-15 && (b + 0.19f64.sqrt() / 0.9).abs() < 1e-15);
    /// ```
    pub fn x0_factors(&self, prediction: Prediction, i: usize) -> Factors {
        let (signal, noise) = (self.sqrt_alpha_bar(i), self.sqrt_one_minus_alpha_bar(i));
        match prediction {
            Prediction::Epsilon => (signal.recip(), -noise / signal),
            Prediction::X0 => (0.0, 1.0),
            Prediction::V => (signal, -noise),
        }
    }

    /// The coefficients of (x_t, output) in predicted ε. They are finite at every step.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len).
    pub fn eps_factors(&self, prediction: Prediction, i: usize) -> Factors {
        let (signal, noise) = (self.sqrt_alpha_bar(i), self.sqrt_one_minus_alpha_bar(i));
        match prediction {
            Prediction::Epsilon => (0.0, 1.0),
            Prediction::X0 => (noise.recip(), -signal / noise),
            Prediction::V => (noise, signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BetaSchedule;

    #[test]
    fn x_0_and_eps_follow_from_the_target() {
        let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000).unwrap();
        let (x_0, eps) = (0.3, -1.7);
        for prediction in [Prediction::Epsilon, Prediction::X0, Prediction::V] {
            for i in [0, 1, 500, 999] {
                let x_t = schedule.sqrt_alpha_bar(i) * x_0 + schedule.sqrt_one_minus_alpha_bar(i) * eps;
                let combine = |(a, b): Factors, x: f64, y: f64| a * x + b * y;
                let output = combine(schedule.target_factors(prediction, i), x_0, eps);
                let factors = [schedule.x0_factors(prediction, i), schedule.eps_factors(prediction, i)];
                let [found_x0, found_eps] = factors.map(|factors| combine(factors, x_t, output));
                // Rounding errors are divided by √ᾱ_T = 6e-3 or √(1 − ᾱ_1) = 0.01.
                assert!((found_x0 - x_0).abs() < 1e-12, "{prediction:?} {i}: {found_x0}");
                assert!((found_eps - eps).abs() < 1e-12, "{prediction:?} {i}: {found_eps}");
            }
        }
    }

    #[test]
    fn without_signal_only_eps_does_not_determine_x_0() {
        let plain = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000).unwrap();
        let schedule = plain.with_zero_terminal_snr().unwrap();
        assert!(schedule.x0_factors(Prediction::Epsilon, 999).0.is_infinite());
        assert_eq!(schedule.x0_factors(Prediction::X0, 999), (0.0, 1.0));
        assert_eq!(schedule.x0_factors(Prediction::V, 999), (0.0, -1.0));
    }
}
