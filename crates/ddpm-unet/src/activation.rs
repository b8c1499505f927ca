//! Activation functions.

use candle_core::Result;
use ddpm_ops::{Tape, Value};
use serde::{Deserialize, Serialize};

use crate::enum_names::enum_names;

/// An activation function, applied to every element.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Activation {
    /// `silu`, also called `swish`: x σ(x) (Elfwing et al. 2018).
    #[default]
    #[serde(alias = "swish")]
    Silu,
    /// `mish`: x tanh(ln(1 + eˣ)) (Misra 2019).
    Mish,
    /// `gelu`: x Φ(x), with the exact Φ rather than an approximation (Hendrycks & Gimpel 2016).
    Gelu,
    /// `relu`: max(x, 0).
    Relu,
}

enum_names!(Activation, "activation function", {
    Silu => "silu" | "swish",
    Mish => "mish",
    Gelu => "gelu",
    Relu => "relu",
});

impl Activation {
    /// The activation of every element of `x`, of the shape of `x`.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn forward(self, tape: &Tape, x: &Value) -> Result<Value> {
        match self {
            Self::Silu => tape.silu(x),
            Self::Mish => tape.mish(x),
            Self::Gelu => tape.gelu(x),
            Self::Relu => tape.relu(x),
        }
    }
}
