//! The fixed variances of the reverse process.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use crate::UnknownName;

/// A fixed variance σ_t² of p(x_{t−1} | x_t) (Ho et al. 2020, section 3.2).
///
/// With serde: `"fixed-large"`, `"fixed-small"`. `"fixed_large"` and `"fixed_small"` are also read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum VarianceKind {
    /// σ_t² = β_t, which is optimal for x_0 ~ N(0, I): the upper bound on the entropy of the reverse step.
    #[cfg_attr(feature = "serde", serde(alias = "fixed_large"))]
    FixedLarge,
    /// σ_t² = β̃_t = (1 − ᾱ_{t−1})/(1 − ᾱ_t)·β_t, which is optimal if x_0 is a single point: the lower bound.
    #[cfg_attr(feature = "serde", serde(alias = "fixed_small"))]
    FixedSmall,
}

impl VarianceKind {
    /// Both variances, in documentation order.
    pub const ALL: &[Self] = &[Self::FixedLarge, Self::FixedSmall];

    /// The name in configuration files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FixedLarge => "fixed-large",
            Self::FixedSmall => "fixed-small",
        }
    }
}

impl Display for VarianceKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for VarianceKind {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "fixed-large" | "fixed_large" => Ok(Self::FixedLarge),
            "fixed-small" | "fixed_small" => Ok(Self::FixedSmall),
            _ => Err(UnknownName::new("variance", name, Self::ALL)),
        }
    }
}
