//! The variance of the reverse process, fixed or learned.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use candle_core::Tensor;
use ddpm_schedule::{Schedule, UnknownName, VarianceKind};
use serde::{Deserialize, Serialize};

use crate::DiffusionError;

/// The variance σ_t² of p(x_{t−1} | x_t).
///
/// With serde: `"fixed-large"`, `"fixed-small"`, `"learned"`, `"learned-range"`; underscores are also read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReverseVariance {
    /// σ² = β ([`VarianceKind::FixedLarge`]).
    #[serde(alias = "fixed_large")]
    FixedLarge,
    /// σ² = β̃ ([`VarianceKind::FixedSmall`]).
    #[serde(alias = "fixed_small")]
    FixedSmall,
    /// ln σ² is the second half of the network's output channels.
    ///
    /// DIFFERENCE: diffusers takes this output as σ² itself, whose square root is NaN for a negative value. Here it is
    /// the logarithm, as in the code of Nichol & Dhariwal 2021.
    Learned,
    /// ln σ² = u ln β + (1 − u) ln β̃ (Nichol & Dhariwal 2021, eq. 15). The second half of the network's output
    /// channels is 2u − 1: −1 stands for β̃ and 1 for β.
    #[serde(alias = "learned_range")]
    LearnedRange,
}

impl ReverseVariance {
    /// All variances, in documentation order.
    pub const ALL: &[Self] = &[Self::FixedLarge, Self::FixedSmall, Self::Learned, Self::LearnedRange];

    /// The name in configuration files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FixedLarge => "fixed-large",
            Self::FixedSmall => "fixed-small",
            Self::Learned => "learned",
            Self::LearnedRange => "learned-range",
        }
    }
}

impl Display for ReverseVariance {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ReverseVariance {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "fixed-large" | "fixed_large" => Ok(Self::FixedLarge),
            "fixed-small" | "fixed_small" => Ok(Self::FixedSmall),
            "learned" => Ok(Self::Learned),
            "learned-range" | "learned_range" => Ok(Self::LearnedRange),
            _ => Err(UnknownName::new("variance", name, Self::ALL)),
        }
    }
}

impl ReverseVariance {
    /// ln σ² at index `i` for every element of `like`. The logarithm of β̃ at index 0 is that at index 1. `output` is
    /// what the network returned for the variance.
    ///
    /// # Errors
    /// [`DiffusionError::NoVariance`] if the variance is learned and the network has returned none.
    pub(crate) fn log_variance(
        self,
        schedule: &Schedule,
        i: usize,
        output: Option<Tensor>,
        like: &Tensor,
    ) -> Result<Tensor, DiffusionError> {
        let fixed = |kind| schedule.log_variance_clipped(kind, i);
        let output = || output.ok_or(DiffusionError::NoVariance { channels: like.dims().get(1).copied().unwrap_or(0) });
        match self {
            Self::FixedLarge => Ok(like.zeros_like()?.affine(0.0, fixed(VarianceKind::FixedLarge))?),
            Self::FixedSmall => Ok(like.zeros_like()?.affine(0.0, fixed(VarianceKind::FixedSmall))?),
            Self::Learned => output(),
            Self::LearnedRange => {
                let (log_beta, log_beta_tilde) = (fixed(VarianceKind::FixedLarge), fixed(VarianceKind::FixedSmall));
                // u = (output + 1) / 2 is 0 for β̃ and 1 for β.
                let u = output()?.affine(0.5, 0.5)?;
                Ok(u.affine(log_beta - log_beta_tilde, log_beta_tilde)?)
            }
        }
    }
}

impl From<VarianceKind> for ReverseVariance {
    fn from(kind: VarianceKind) -> Self {
        match kind {
            VarianceKind::FixedLarge => Self::FixedLarge,
            VarianceKind::FixedSmall => Self::FixedSmall,
        }
    }
}
