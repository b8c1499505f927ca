//! Activation functions of every element.

use candle_core::Result;

use crate::backend::activation::Activation;
use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// SiLU, x σ(x), of every element.
    ///
    /// # Errors
    /// When the backend fails.
    pub fn silu(&self, x: &Value) -> Result<Value> {
        self.backend.activation(x, Activation::Silu)
    }

    /// GELU in its exact form (Hendrycks & Gimpel 2016), x Φ(x) with the distribution function Φ of the standard normal
    /// distribution, of every element.
    ///
    /// # Errors
    /// When the backend fails.
    pub fn gelu(&self, x: &Value) -> Result<Value> {
        self.backend.activation(x, Activation::Gelu)
    }

    /// Mish, x tanh(ln(1 + e^x)) (Misra 2019), of every element.
    ///
    /// # Errors
    /// When the backend fails.
    pub fn mish(&self, x: &Value) -> Result<Value> {
        self.backend.activation(x, Activation::Mish)
    }

    /// ReLU, max(x, 0), of every element.
    ///
    /// # Errors
    /// When the backend fails.
    pub fn relu(&self, x: &Value) -> Result<Value> {
        self.backend.activation(x, Activation::Relu)
    }
}
