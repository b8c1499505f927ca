//! The constants of Adam and the form of its weight decay.

use std::fmt;
use std::str::FromStr;

use ddpm_schedule::UnknownName;
use serde::{Deserialize, Serialize};

/// The optimizer, which differs in the form of its weight decay. Without weight decay both are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Optimizer {
    /// Adam: weight decay is an L2 penalty, part of the gradient (Kingma & Ba 2015).
    Adam,
    /// AdamW: weight decay is applied to the weights, apart from the gradient (Loshchilov & Hutter 2019).
    #[serde(rename = "adamw")]
    AdamW,
}

impl Optimizer {
    /// Every optimizer, in the order of the documentation.
    pub const ALL: &[Self] = &[Self::Adam, Self::AdamW];

    fn name(self) -> &'static str {
        match self {
            Self::Adam => "adam",
            Self::AdamW => "adamw",
        }
    }
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Optimizer {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName::new("optimizer", name, Self::ALL);
        Self::ALL.iter().copied().find(|optimizer| optimizer.name() == name).ok_or_else(unknown)
    }
}

/// The constants of the optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConfig {
    /// Adam or AdamW.
    pub optimizer: Optimizer,
    /// β₁, the decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// β₂, the decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// ε, which is added to the root of the second moment, above 0.
    pub epsilon: f64,
    /// λ, the weight decay, at least 0.
    pub weight_decay: f64,
}

impl AdamConfig {
    /// The λ of which λ θ is added to the gradient: that of Adam, 0 for AdamW.
    pub(crate) fn coupled_weight_decay(self) -> f64 {
        if self.optimizer == Optimizer::Adam { self.weight_decay } else { 0.0 }
    }

    /// The λ of which lr λ θ is subtracted from the parameter: that of AdamW, 0 for Adam.
    pub(crate) fn decoupled_weight_decay(self) -> f64 {
        if self.optimizer == Optimizer::AdamW { self.weight_decay } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde() {
        for optimizer in Optimizer::ALL {
            assert_eq!(serde_json::to_value(optimizer).unwrap(), optimizer.to_string());
            assert_eq!(optimizer.to_string().parse(), Ok(*optimizer));
        }
        let message = "sgd".parse::<Optimizer>().unwrap_err().to_string();
        assert_eq!(message, r#"unknown optimizer "sgd", expected one of "adam", "adamw""#);
    }
}
